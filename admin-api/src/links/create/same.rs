//! Orders for which a link that is there will do, or one that the same request makes.

use linklog::Key;
use linklog::store::{Reader, StoreError};

use super::{Made, Work};
use crate::links::{ChangeError, dedupe};

impl Work<'_> {
    /// Settles the orders for which a link that is there will do. What is returned keeps others from making the same meanwhile.
    pub(super) async fn find_duplicates(&mut self) -> Result<Option<dedupe::Alone>, ChangeError> {
        let caller = self.request.caller;
        let mut looked: Vec<(usize, dedupe::Wanted)> = Vec::new();
        for index in self.open.iter().map(|open| open.index) {
            let order = self.request.orders[index];
            if !order.dedupe {
                continue;
            }
            let owner = order.keeping.owner.unwrap_or(caller.user);
            let mut link = order.settled(self.now_ms).link;
            link.extras.quota = self.quota;
            let link = &link;
            // An end that is counted from now on is never that of a link that is there.
            let any_end = order.link.expires_at_ms.is_none() && link.expires_at_ms.is_some();
            let wanted = dedupe::Wanted::of(order.domain, owner, link, any_end);
            let Some(wanted) = wanted else { continue };
            match looked.iter().find(|(_, before)| *before == wanted) {
                Some((before, _)) => self.same.push((index, *before)),
                None => looked.push((index, wanted)),
            }
        }
        if looked.is_empty() {
            return Ok(None);
        }
        let alone = self.links.duplicates.alone(looked.iter().map(|(_, wanted)| wanted)).await;
        let now_ms = self.now_ms;
        let find = move |reader: &Reader| {
            let find = |(index, wanted): &(usize, dedupe::Wanted)| Ok((*index, wanted.find(reader, now_ms)?));
            looked.iter().map(find).collect::<Result<Vec<_>, StoreError>>()
        };
        for (index, found) in self.links.log.read(find).await?? {
            if let Some(found) = found {
                self.made[index] = Some(Made::Found(Box::new(found)));
            }
        }
        let (made, same) = (&self.made, &self.same);
        self.open
            .retain(|open| made[open.index].is_none() && !same.iter().any(|(index, _)| *index == open.index));
        Ok(alone)
    }

    /// Settles the orders that ask for the same as an earlier one of this request.
    pub(super) async fn settle_same(&mut self) -> Result<(), ChangeError> {
        for (index, before) in std::mem::take(&mut self.same) {
            let made = match &self.made[before] {
                Some(Made::Created { code, .. }) => {
                    let key = Key::new(self.request.orders[before].domain, *code);
                    let link = self.links.log.read(move |reader| reader.link(&key)).await??;
                    link.map_or(Made::Gone, |link| Made::Found(Box::new((key, link))))
                }
                other => other.clone().unwrap_or(Made::NoCode),
            };
            self.made[index] = Some(made);
        }
        Ok(())
    }
}
