//! Links from elsewhere, or from a backup: made as they were, with their codes, dates and state.
//!
//! Owned here: an import can be run again. A link that is there exactly as the line says is left alone and counted as unchanged, so the same file
//! twice makes nothing twice; a link that is there and is another one is a collision, which is reported and never overwritten unless that
//! was asked for. Clicks come with the making of a link alone, so no import adds them twice.
//!
//! - [`mod@line`]: a line, read and judged · [`turn`]: several batches at once, in their order

pub mod line;
pub mod turn;

use std::collections::HashMap;

use linklog::link::extras::Limit;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Code, Key, LinkState};

use super::condition::Condition;
use super::create::{Ahead, Made, Request};
use super::list::by_external_id;
use super::order::Order;
use super::reserved::is_over;
use super::targets::RefusedTarget;
use super::{ChangeError, Links, may_move};
use crate::auth::Caller;
use crate::auth::allow::Denied;
use crate::clock;
use crate::replication::ReplicationReport;
use turn::Turn;

/// What to do about a link that is there and is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnCollision {
    /// Leave it and say so.
    #[default]
    Skip,
    /// Put the line's link in its place.
    Replace,
}

/// Whose the links are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owners {
    /// Whose the lines say; where they say nothing, the token's user's.
    #[default]
    Keep,
    /// The token's user's, or nobody's, whatever the lines say.
    None,
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
    /// Another link has the code, or the external id.
    Collision,
    /// There is no code for it.
    NoCode,
    /// Only an operator's token may do this: the line, or the link in its place, is taken down.
    MayNot,
    /// The token may not make it.
    Denied(Denied),
    /// No link may lead there.
    Refused(RefusedTarget),
}

/// Says whether a link is what an order says; dates and clicks do not count.
fn same(order: &Order, stored: &StoredLink) -> bool {
    let mut link = order.link.clone();
    if let (Some(said), Some(stands)) = (&mut link.extras.limit, stored.link.extras.limit) {
        *said = Limit { max: said.max, ..stands };
    }
    link == stored.link
        && order.replacing(stored, stored.manage.archived_at_ms.unwrap_or(1)).manage == stored.manage
}

type Results = Vec<Option<Imported>>;
type There = HashMap<usize, StoredLink>;

/// What is known of orders before they are made.
pub struct Looked {
    /// What needs no record.
    results: Results,
    /// Which links the others would replace.
    in_the_way: There,
    /// Which of the codes are reservations whose time is over.
    over: Vec<Key>,
}

impl Links {
    /// Imports orders, in their order. What is there already, and what is in the way and stays, costs nothing of the token's quota.
    ///
    /// For a dry run `made_before` says how many links it has foreseen before these. `looked` is what [`Links::look_ahead`] said of them. The
    /// turn is passed when those that name their codes are accepted by the writer.
    ///
    /// # Errors
    /// The orders as a whole could not be decided, or some of them may have been: an import is run again.
    pub async fn import(
        &self,
        caller: Caller,
        orders: &[Order],
        options: Options,
        made_before: u64,
        looked: Option<Looked>,
        turn: &Turn,
    ) -> Result<Vec<Imported>, ChangeError> {
        let Looked { mut results, in_the_way, over } = match looked {
            Some(looked) => looked,
            None => self.look(caller, orders, options).await?,
        };
        if options.dry_run {
            self.foresee(caller, orders, &in_the_way, &mut results).await?;
            let made = results.iter().filter(|result| matches!(result, Some(Imported::Created(_)))).count();
            // Dropped again: it only has to be there.
            self.tokens.take_creates(caller, made_before + made as u64)?;
        } else {
            self.make(caller, orders, &in_the_way, Ahead { over, turn }, &mut results).await?;
            self.settle(caller, orders, options, &mut results).await?;
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Imported::NoCode)).collect())
    }

    /// Looks at orders while others are made; `None`: where links are replaced, what is there has to be looked at when its turn has come.
    /// Of what those others make meanwhile, the making hears when it is refused.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn look_ahead(
        &self,
        caller: Caller,
        orders: &[Order],
        options: Options,
    ) -> Result<Option<Looked>, ChangeError> {
        match options {
            Options { dry_run: false, on_collision: OnCollision::Skip } => {
                self.look(caller, orders, options).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Settles what needs no record, and returns besides what is there.
    async fn look(&self, caller: Caller, orders: &[Order], options: Options) -> Result<Looked, ChangeError> {
        let now_ms = clock::now_ms();
        let mut there = self.there(orders, |_| true).await?;
        let may_not = |from, order: &Order| may_move(caller, from, order.link.state).is_err();
        let denied = |order: &Order| {
            let code = order.alias.as_ref().map(Code::as_str);
            self.tokens.may_make(caller, order.domain, code).err().map(Imported::Denied)
        };
        let looked = |(index, order): (usize, &Order)| match there.get(&index) {
            Some(stored) if caller.sees(stored.manage.owner) && same(order, stored) => {
                Some(Imported::Unchanged)
            }
            _ if may_not(LinkState::default(), order) => Some(Imported::MayNot),
            None => None,
            Some(stored) if is_over(&stored.link, now_ms) => None,
            Some(stored) if !caller.sees(stored.manage.owner) => Some(Imported::Collision),
            Some(_) if options.on_collision == OnCollision::Skip => Some(Imported::Collision),
            Some(stored) => may_not(stored.link.state, order).then_some(Imported::MayNot),
        };
        // What is outside the token's limits is refused before anybody is told what is there.
        let all = orders.iter().enumerate();
        let results: Results =
            all.map(|(index, order)| denied(order).or_else(|| looked((index, order)))).collect();
        let mut over = Vec::new();
        there.retain(|index, stored| {
            let is_over = is_over(&stored.link, now_ms);
            let key = orders[*index].alias.map(|code| Key::new(orders[*index].domain, code));
            over.extend(key.filter(|_| is_over && results[*index].is_none()));
            results[*index].is_none() && !is_over
        });
        Ok(Looked { results, in_the_way: there, over })
    }

    /// Asks what would be asked if the open orders were made, or put in the place of what is there.
    async fn foresee(
        &self,
        caller: Caller,
        orders: &[Order],
        in_the_way: &There,
        results: &mut Results,
    ) -> Result<(), ChangeError> {
        let owner_now = |index| in_the_way.get(&index).map_or(caller.user, |stored| stored.manage.owner);
        let mut named = Vec::new();
        for (index, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_none()) {
            let order = &orders[index];
            let code = order.alias.as_ref().map(Code::as_str);
            let allowed = self.tokens.may_make(caller, order.domain, code);
            let allowed = allowed.and_then(|()| self.may_give(caller, &order.keeping, owner_now(index)));
            if let Some(Some(id)) = &order.keeping.external_id {
                let owner = order.keeping.owner.unwrap_or(owner_now(index));
                named.push((index, owner, id.clone(), order.alias.map(|code| Key::new(order.domain, code))));
            }
            *result = Some(match allowed {
                Err(denied) => Imported::Denied(denied),
                Ok(()) if in_the_way.contains_key(&index) => Imported::Replaced,
                Ok(()) => Imported::Created(None),
            });
        }
        let taken = move |reader: &Reader| {
            let mut taken = Vec::new();
            for (index, owner, id, key) in named {
                let other = by_external_id(reader, owner, &id)?.filter(|(found, _)| Some(*found) != key);
                taken.extend(other.map(|_| index));
            }
            Ok::<_, StoreError>(taken)
        };
        let is_made =
            |result: &Option<Imported>| matches!(result, Some(Imported::Created(_) | Imported::Replaced));
        for index in self.log.read(taken).await?? {
            if is_made(&results[index]) {
                results[index] = Some(Imported::Collision);
            }
        }
        let made: Vec<usize> = (0..orders.len()).filter(|index| is_made(&results[*index])).collect();
        let links: Vec<_> = made.iter().map(|index| &orders[*index].link).collect();
        for (index, refused) in made.into_iter().zip(self.judge_targets(&links).await) {
            if let Some(refused) = refused {
                results[index] = Some(Imported::Refused(refused));
            }
        }
        Ok(())
    }

    /// Makes what is not there.
    async fn make(
        &self,
        caller: Caller,
        orders: &[Order],
        in_the_way: &There,
        ahead: Ahead<'_>,
        results: &mut Results,
    ) -> Result<(), ChangeError> {
        let is_open = |index: &usize| results[*index].is_none() && !in_the_way.contains_key(index);
        let open: Vec<usize> = (0..orders.len()).filter(is_open).collect();
        let wanted: Vec<&Order> = open.iter().map(|index| &orders[*index]).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // Proxies are waited for once, at the end of the import.
        let request = Request { caller, orders: &wanted, key: None, skip_proxies: true, ahead: Some(ahead) };
        let batch = self.create(&request).await?;
        for (index, made) in open.into_iter().zip(batch.made) {
            results[index] = match made {
                Made::Created { code, .. } => {
                    Some(Imported::Created(orders[index].alias.is_none().then_some(code)))
                }
                Made::AliasTaken => None,
                Made::ExternalIdTaken => Some(Imported::Collision),
                Made::Denied(denied) => Some(Imported::Denied(denied)),
                Made::Refused(refused) => Some(Imported::Refused(refused)),
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
        results: &mut Results,
    ) -> Result<(), ChangeError> {
        if results.iter().all(Option::is_some) {
            return Ok(());
        }
        let there = self.there(orders, |index| results[index].is_none()).await?;
        for (index, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_none()) {
            let order = &orders[index];
            let key = order.alias.map(|code| Key::new(order.domain, code));
            let is_same = |stored: &&StoredLink| caller.sees(stored.manage.owner) && same(order, stored);
            *result = Some(match (there.get(&index).filter(is_same), key) {
                (Some(_), _) => Imported::Unchanged,
                (None, Some(key)) if options.on_collision == OnCollision::Replace => {
                    match self.put(caller, key, order, &Condition::Any, true).await {
                        Ok(_) => Imported::Replaced,
                        Err(ChangeError::Banned | ChangeError::MayNotBan(_)) => Imported::MayNot,
                        Err(ChangeError::Denied(denied)) => Imported::Denied(denied),
                        Err(ChangeError::Target(refused)) => Imported::Refused(refused),
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
    async fn there(&self, orders: &[Order], wanted: impl Fn(usize) -> bool) -> Result<There, ChangeError> {
        let keys: Vec<(usize, Key)> = orders
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
            .filter_map(|(index, order)| Some((index, Key::new(order.domain, order.alias?))))
            .collect();
        let read = move |reader: &Reader| {
            let (indexes, keys): (Vec<usize>, Vec<Key>) = keys.into_iter().unzip();
            let found = reader.links(&keys)?.into_iter();
            Ok::<_, StoreError>(found.map(|(place, stored)| (indexes[place], stored)).collect())
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

/// What an import keeps of a link's past where it makes the link; times are milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// When the link was made; now, if it is not said.
    pub created_at_ms: Option<u64>,
    /// When it was last changed; when it was made, if it is not said.
    pub updated_at_ms: Option<u64>,
    /// How many people had followed it.
    pub clicks: u64,
}

impl Kept {
    /// Returns when the link was made and when it was changed, neither later than now.
    pub fn dates(&self, now_ms: u64) -> (u64, u64) {
        let created = self.created_at_ms.map_or(now_ms, |at| at.min(now_ms));
        (created, self.updated_at_ms.map_or(created, |at| at.clamp(created, now_ms)))
    }
}
