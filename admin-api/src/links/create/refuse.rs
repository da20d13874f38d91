//! What is refused before anything is proposed: a request is not to be half done for it.

use linklog::Code;

use super::{Made, Work};
use crate::links::ChangeError;
use crate::links::order::Order;

impl Work<'_> {
    pub(super) fn refuse_expired(&mut self) {
        let now_ms = self.now_ms;
        self.open.retain(|open| {
            let order = self.request.orders[open.index];
            let refused = match (order.expires_at_ms(now_ms), order.link.extras.not_before_ms) {
                // What is imported was somebody's link before, whatever became of it.
                _ if order.kept.is_some() => None,
                (Some(end), _) if end <= now_ms => Some(Made::AlreadyExpired),
                (Some(end), Some(begin)) if end <= begin => Some(Made::EndsFirst),
                _ => None,
            };
            let stays = refused.is_none();
            if let Some(refused) = refused {
                self.made[open.index] = Some(refused);
            }
            stays
        });
    }

    pub(super) fn refuse_denied(&mut self) {
        let (links, caller) = (self.links, self.request.caller);
        let denied = |order: &Order| {
            let code = order.alias.as_ref().map(Code::as_str);
            links.tokens.may_make(caller, order.domain, code)?;
            links.may_give(caller, &order.keeping, caller.user)?;
            // What is imported may be for people of another fleet: nobody here then.
            if order.kept.is_some() { Ok(()) } else { links.may_allow(&order.link, None) }
        };
        self.open.retain(|open| match denied(self.request.orders[open.index]) {
            Ok(()) => true,
            Err(denied) => {
                self.made[open.index] = Some(Made::Denied(denied));
                false
            }
        });
    }

    /// Refuses the whole request if a member does not read what it asks for yet.
    pub(super) fn check_level(&self) -> Result<(), ChangeError> {
        if self.links.levels.is_highest() {
            return Ok(());
        }
        let code = Code::from_bytes(b"a").expect("one letter is a code");
        let orders = self.open.iter().map(|open| self.request.orders[open.index]);
        orders
            .map(|order| order.change(code, self.by(), self.now_ms, None, [0; 16]))
            .try_for_each(|change| Ok(self.links.levels.check(&change)?))
    }

    /// Asks about the targets of what is open.
    pub(super) async fn refuse_targets(&mut self) {
        let orders = self.request.orders;
        let links: Vec<_> = self.open.iter().map(|open| &orders[open.index].link).collect();
        let mut judged = self.links.judge_targets(&links).await.into_iter();
        self.open.retain(|open| {
            let Some(refused) = judged.next().flatten() else { return true };
            self.made[open.index] = Some(Made::Refused(refused));
            false
        });
    }
}
