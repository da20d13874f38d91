//! Links from elsewhere, or from a backup: made as they were, with their codes, dates and state.
//!
//! Owned here: an import can be run again. A link that is there exactly as the line says is left alone and counted as unchanged, so the same file
//! twice makes nothing twice; a link that is there and is another one is a collision, which is reported and never overwritten unless that
//! was asked for.
//!
//! - [`mod@line`]: a line, read and judged

pub mod line;

use std::collections::HashMap;

use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Code, Key, LinkState};

use super::condition::Condition;
use super::create::{Made, Request};
use super::order::Order;
use super::{ChangeError, Links, may_move};
use crate::auth::Caller;
use crate::replication::ReplicationReport;

/// What to do about a link that is there and is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnCollision {
    /// Leave it and say so.
    #[default]
    Skip,
    /// Put the line's link in its place.
    Replace,
}

/// How an import is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Only look what would happen.
    pub dry_run: bool,
    /// What to do about collisions.
    pub on_collision: OnCollision,
}

/// What became of a line, or would become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Imported {
    /// The link was made; its code, if the line had none and one was given out.
    Created(Option<Code>),
    /// It is there already, exactly so.
    Unchanged,
    /// It took the place of another one.
    Replaced,
    /// Another link has the code.
    Collision,
    /// There is no code for it.
    NoCode,
    /// Only an operator's token may do this: the line, or the link in its place, is taken down.
    MayNot,
}

/// Says whether a link is what an order says; dates do not count.
fn same(order: &Order, stored: &StoredLink) -> bool {
    order.link == stored.link
        && order.replacing(stored, stored.manage.archived_at_ms.unwrap_or(1)).manage == stored.manage
}

impl Links {
    /// Imports orders, in their order.
    ///
    /// # Errors
    /// The orders as a whole could not be decided, or some of them may have been: an import is run again.
    pub async fn import(
        &self,
        caller: Caller,
        orders: &[Order],
        options: Options,
    ) -> Result<Vec<Imported>, ChangeError> {
        let mut results: Vec<Option<Imported>> = orders
            .iter()
            .map(|order| {
                may_move(caller, LinkState::default(), order.link.state).is_err().then_some(Imported::MayNot)
            })
            .collect();
        if options.dry_run {
            self.foresee(orders, options, &mut results).await?;
        } else {
            self.make(caller, orders, &mut results).await?;
            self.settle(caller, orders, options, &mut results).await?;
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Imported::NoCode)).collect())
    }

    async fn foresee(
        &self,
        orders: &[Order],
        options: Options,
        results: &mut [Option<Imported>],
    ) -> Result<(), ChangeError> {
        let there = self.there(orders, |_| true).await?;
        let replaced = match options.on_collision {
            OnCollision::Skip => Imported::Collision,
            OnCollision::Replace => Imported::Replaced,
        };
        for (index, (order, result)) in orders.iter().zip(results).enumerate() {
            result.get_or_insert_with(|| match there.get(&index) {
                None => Imported::Created(None),
                Some(stored) if same(order, stored) => Imported::Unchanged,
                Some(_) => replaced.clone(),
            });
        }
        Ok(())
    }

    async fn make(
        &self,
        caller: Caller,
        orders: &[Order],
        results: &mut [Option<Imported>],
    ) -> Result<(), ChangeError> {
        let open: Vec<usize> = (0..orders.len()).filter(|index| results[*index].is_none()).collect();
        let wanted: Vec<&Order> = open.iter().map(|index| &orders[*index]).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // Proxies are waited for once, at the end of the import.
        let request = Request { caller, orders: &wanted, key: None, skip_proxies: true };
        let batch = self.create(&request).await?;
        for (index, made) in open.into_iter().zip(batch.made) {
            results[index] = match made {
                Made::Created { code, .. } => {
                    Some(Imported::Created(orders[index].alias.is_none().then_some(code)))
                }
                Made::AliasTaken => None,
                Made::ExternalIdTaken => Some(Imported::Collision),
                Made::Denied(_) => Some(Imported::MayNot),
                _ => Some(Imported::NoCode),
            };
        }
        Ok(())
    }

    /// Looks at what is in the way of those that were not made.
    async fn settle(
        &self,
        caller: Caller,
        orders: &[Order],
        options: Options,
        results: &mut [Option<Imported>],
    ) -> Result<(), ChangeError> {
        if results.iter().all(Option::is_some) {
            return Ok(());
        }
        let there = self.there(orders, |index| results[index].is_none()).await?;
        for (index, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_none()) {
            let order = &orders[index];
            let key = order.alias.map(|code| Key::new(order.domain, code));
            *result = Some(match (there.get(&index), key) {
                (Some(stored), _) if same(order, stored) => Imported::Unchanged,
                (_, Some(key)) if options.on_collision == OnCollision::Replace => {
                    match self.put(caller, key, order, &Condition::Any, true).await {
                        Ok(_) => Imported::Replaced,
                        Err(ChangeError::Banned | ChangeError::MayNotBan(_) | ChangeError::Denied(_)) => {
                            Imported::MayNot
                        }
                        Err(ChangeError::Taken | ChangeError::ExternalIdTaken) => Imported::Collision,
                        // It was deleted meanwhile, and the code is none that may be chosen today.
                        Err(ChangeError::Alias(_)) => Imported::Collision,
                        Err(error) => return Err(error),
                    }
                }
                _ => Imported::Collision,
            });
        }
        Ok(())
    }

    /// Reads what is there under the codes of some orders.
    async fn there(
        &self,
        orders: &[Order],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<HashMap<usize, StoredLink>, ChangeError> {
        let keys: Vec<(usize, Key)> = orders
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
            .filter_map(|(index, order)| Some((index, Key::new(order.domain, order.alias?))))
            .collect();
        let read = move |reader: &Reader| {
            let mut there = HashMap::new();
            for (index, key) in keys {
                there.extend(reader.link(&key)?.map(|stored| (index, stored)));
            }
            Ok::<_, StoreError>(there)
        };
        Ok(self.log.read(read).await??)
    }

    /// Waits until everything imported so far is where it has to be.
    ///
    /// # Errors
    /// Too few sync members have it in time.
    pub async fn import_replicated(&self) -> Result<ReplicationReport, ChangeError> {
        self.replicated(self.log.commit().head.position, false).await
    }
}

/// Dates that an import keeps; milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// When the link was made; now, if it is not said.
    pub created_at_ms: Option<u64>,
    /// When it was last changed; when it was made, if it is not said.
    pub updated_at_ms: Option<u64>,
}

impl Kept {
    /// Returns when the link was made and when it was changed, neither later than now.
    pub fn dates(&self, now_ms: u64) -> (u64, u64) {
        let created = self.created_at_ms.map_or(now_ms, |at| at.min(now_ms));
        (created, self.updated_at_ms.map_or(created, |at| at.clamp(created, now_ms)))
    }
}
