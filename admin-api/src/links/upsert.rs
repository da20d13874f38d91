//! Putting a link by what it is called elsewhere: the link of the owner with that external id is replaced, or made if there is none.
//!
//! For those who keep their links in another system and send what is there, as often as they like: one record there is one link here.

use linklog::Key;
use linklog::store::StoredLink;

use super::condition::Condition;
use super::create::{Made, Request};
use super::list::by_external_id;
use super::order::Order;
use super::{ChangeError, Changed, Links, TRIES_MAX};
use crate::auth::Caller;
use crate::links::put::Put;
use crate::replication::ReplicationReport;

/// What became of it.
pub enum Upserted {
    /// The link is as the request says.
    Put(Key, Box<Put>),
    /// There is none, and none could be made: why.
    Refused(Made),
}

impl Links {
    /// Replaces the link with the external id `id`, or makes one. What is there keeps its name and its state.
    ///
    /// # Errors
    /// The request names another alias or domain than that of the link, or the change could not be decided.
    pub async fn upsert(
        &self,
        caller: Caller,
        order: &Order,
        id: &str,
        names_domain: bool,
        skip_proxies: bool,
    ) -> Result<Upserted, ChangeError> {
        let mut order = order.clone();
        order.keeping.external_id = Some(Some(id.to_owned()));
        let owner = order.keeping.owner.unwrap_or(caller.user);
        // Asked first: what others call their links is none of the caller's business.
        self.may_give(caller, &order.keeping, caller.user)?;
        for _ in 0..TRIES_MAX {
            let name = id.to_owned();
            let found = self.log.read(move |reader| by_external_id(reader, owner, &name)).await??;
            if let Some((key, old)) = found {
                if order.alias.is_some_and(|alias| alias != key.code)
                    || names_domain && order.domain != key.domain
                {
                    return Err(ChangeError::ExternalIdTaken);
                }
                let order = order.in_place_of(key, &old);
                let at_version = Condition::OneOf(vec![old.stamp.version]);
                match self.put(caller, key, &order, &at_version, skip_proxies).await {
                    // It was changed, or is gone: look again.
                    Err(ChangeError::VersionMismatch { .. } | ChangeError::NothingToMatch) => continue,
                    put => return Ok(Upserted::Put(key, Box::new(put?))),
                }
            }
            let request = Request { caller, orders: &[&order], key: None, skip_proxies, ahead: None };
            let mut batch = self.create(&request).await?;
            match batch.made.pop() {
                // Somebody else was faster.
                Some(Made::ExternalIdTaken) | None => {}
                Some(Made::Created { code, .. }) => {
                    let key = Key::new(order.domain, code);
                    let link = self.get(caller, key).await?;
                    return Ok(Upserted::Put(key, Box::new(made(link, batch.replication))));
                }
                Some(refused) => return Ok(Upserted::Refused(refused)),
            }
        }
        Err(ChangeError::Contended)
    }
}

fn made(link: StoredLink, replication: ReplicationReport) -> Put {
    Put { changed: Changed { link, replication }, is_new: true }
}
