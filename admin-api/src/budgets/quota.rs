//! A token's quota of redirects: set with the token's record.

use linklog::entity::{Period, Quota, QuotaId};
use linklog::store::Reader;
use linklog::{Allowance, Operation, Part, Precondition};

use super::book::read_quota;
use super::{Budgets, Turn};
use crate::links::ChangeError;

/// What changes a quota; to be proposed before it is dropped, since nobody else changes the quota meanwhile.
pub(crate) struct QuotaChange<'a> {
    /// What belongs into the change of the token's record; `None`: nothing is different.
    pub(crate) part: Option<Part>,
    id: QuotaId,
    _turn: Turn<'a>,
}

impl Budgets {
    /// Prepares that a quota becomes what is said: so many redirects in each period, or none any more. What is used of a period counts
    /// on as long as the periods stay the same.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub(crate) async fn change_quota(
        &self,
        id: QuotaId,
        to: Option<(u64, Period)>,
    ) -> Result<QuotaChange<'_>, ChangeError> {
        let of = Allowance::Quota(id);
        let turn = self.turn(&of).await;
        let read = move |reader: &Reader| {
            reader.serve_value(&of.encode(), |stored| stored.map_or(Ok(None), read_quota))
        };
        let known = self.0.log.read(read).await??;
        let known = known.map_err(|source| linklog::store::StoreError::Damaged { what: "quota", source })?;
        let precondition =
            known.as_ref().map_or(Precondition::Absent, |(_, version)| Precondition::Version(*version));
        let old = known.map(|(quota, _)| quota);
        let new = to.map(|(max, period)| match old {
            Some(old) if old.period == period => Quota { max, ..old },
            _ => Quota::new(max, period),
        });
        let operation = match new {
            _ if new == old => None,
            Some(new) => Some(Operation::Put { serve: new.encode(), manage: Vec::new() }),
            None => Some(Operation::Delete),
        };
        let part = operation.map(|operation| Part { key: of.state_key(), precondition, operation });
        Ok(QuotaChange { part, id, _turn: turn })
    }

    /// Asks everybody back for what they have of a quota that was changed: what is left is shared out anew.
    ///
    /// # Errors
    /// As [`Budgets::standing`].
    pub(crate) async fn quota_changed(&self, change: QuotaChange<'_>) -> Result<(), ChangeError> {
        let of = Allowance::Quota(change.id);
        if change.part.is_some() {
            let book = self.book(of).await?;
            self.recall(&book, &of, None);
        }
        Ok(())
    }
}
