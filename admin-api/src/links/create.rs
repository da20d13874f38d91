//! Making links: one or a thousand, in one proposal to the writer.
//!
//! - `replay`: what was decided before · `refuse`: what may not be made · `same`: what need not be made

mod refuse;
mod replay;
mod same;

use linklog::apply::Conflict;
use linklog::entity::QuotaId;
use linklog::store::StoredLink;
use linklog::writer::{Decision, ProposeError};
use linklog::{Code, Code7, Key, LinkManage, Part, Position, Precondition};

use super::idempotency::IdempotencyKey;
use super::import::turn::Turn;
use super::order::{By, Order};
use super::targets::RefusedTarget;
use super::{ChangeError, Links};
use crate::auth::allow::{Denied, Taken};
use crate::auth::{Caller, Tokens};
use crate::clock;
use crate::replication::ReplicationReport;
use replay::made_at;

/// How often an order whose generated code turned out to be in use gets another one.
const ROUNDS_MAX: usize = 8;

/// What became of one order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Made {
    /// The link was made now.
    Created {
        /// Its code.
        code: Code,
        /// Its version.
        version: u64,
        /// When, milliseconds since the Unix epoch.
        created_at_ms: u64,
        /// What is kept of it besides what proxies get; not there for an import, which shows no links.
        manage: Option<Box<LinkManage>>,
    },
    /// An earlier request with the same key made it; this is the link as it is now.
    Replayed(Box<(Key, StoredLink)>),
    /// A link that is there will do: this one.
    Found(Box<(Key, StoredLink)>),
    /// Somebody has the alias.
    AliasTaken,
    /// Another link of the owner has the external id.
    ExternalIdTaken,
    /// The token may not make it.
    Denied(Denied),
    /// There is no code for it, and none can be had soon.
    NoCode,
    /// The end of its life is not in the future.
    AlreadyExpired,
    /// It would end before it begins.
    EndsFirst,
    /// No link may lead there.
    Refused(RefusedTarget),
    /// An earlier request with the same key made it, and it was deleted since, or given to somebody whose links the token does not see.
    Gone,
}

impl Made {
    /// What an earlier request made may be somebody else's since, and the token's limits others.
    fn seen_by(self, caller: Caller, tokens: &Tokens) -> Made {
        match self {
            Made::Replayed(found)
                if !caller.sees(found.1.manage.owner) || tokens.may_touch(caller, &found.0).is_err() =>
            {
                Made::Gone
            }
            made => made,
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Batch {
    /// In the order of the orders.
    pub made: Vec<Made>,
    /// Who has all of it.
    pub replication: ReplicationReport,
    /// Nothing was made now: every link is there from an earlier request.
    pub replayed: bool,
}

/// A request to make links.
pub struct Request<'a> {
    /// Who asks.
    pub caller: Caller,
    /// For what, at most [`linklog::limits::PROPOSAL_CHANGES_MAX`].
    pub orders: &'a [&'a Order],
    /// Under which key, and the hash of the whole request.
    pub key: Option<(IdempotencyKey, [u8; 16])>,
    /// Whether to answer before the proxies have it.
    pub skip_proxies: bool,
    /// What an import knows of it.
    pub ahead: Option<Ahead<'a>>,
}

/// What an import has looked at before it makes links.
pub struct Ahead<'a> {
    /// Which of the aliases are reservations whose time is over.
    pub over: Vec<Key>,
    /// Passed when the aliases are with the writer.
    pub turn: &'a Turn,
}

/// An order on its way.
struct Open {
    index: usize,
    attempt: usize,
    /// A code that was used before and may be again, and what takes its mark away.
    freed: Option<(Code7, Part)>,
}

impl Links {
    /// Makes links.
    ///
    /// # Errors
    /// The request as a whole could not be decided; whether links were made is then unknown only for
    /// [`ProposeError::Unknown`](linklog::writer::ProposeError) and [`ChangeError::Replication`].
    pub async fn create(&self, request: &Request<'_>) -> Result<Batch, ChangeError> {
        let _working = match request.key {
            Some((key, _)) => Some(self.in_flight.begin(key).ok_or(ChangeError::KeyInFlight)?),
            None => None,
        };
        let mut work = Work {
            links: self,
            request,
            now_ms: clock::now_ms(),
            actor: &request.caller.token.to_string(),
            quota: self.tokens.quota_of(request.caller.token),
            made: vec![None; request.orders.len()],
            open: (0..request.orders.len()).map(|index| Open { index, attempt: 0, freed: None }).collect(),
            last: Position::ZERO,
            created: 0,
            same: Vec::new(),
            taken: None,
        };
        work.replay().await?;
        work.refuse_expired();
        work.refuse_denied();
        work.refuse_targets().await;
        work.check_level()?;
        work.release_reservations().await?;
        let alone = work.find_duplicates().await?;
        work.taken = self.tokens.take_creates(request.caller, work.open.len() as u64)?;
        for _ in 0..ROUNDS_MAX {
            if work.open.is_empty() {
                break;
            }
            work.propose().await?;
        }
        drop((work.taken.take(), alone));
        work.settle_same().await?;
        self.metrics.links_created.inc_by(work.created);
        let replication = self.replicated(work.last, request.skip_proxies).await?;
        let replayed =
            work.created == 0 && work.made.iter().any(|made| matches!(made, Some(Made::Replayed(_))));
        // What is still open found a used code every time: whoever supplies them has lost its memory.
        let made = work.made.into_iter().map(|made| made.unwrap_or(Made::NoCode)).collect();
        Ok(Batch { made, replication, replayed })
    }
}

struct Work<'a> {
    links: &'a Links,
    request: &'a Request<'a>,
    now_ms: u64,
    actor: &'a str,
    /// What redirects of what is made are counted in.
    quota: Option<QuotaId>,
    made: Vec<Option<Made>>,
    open: Vec<Open>,
    last: Position,
    created: u64,
    /// Orders that ask for the same as another one of the request: which, as which.
    same: Vec<(usize, usize)>,
    /// What was taken out of the token's quota for it.
    taken: Option<Taken>,
}

impl Work<'_> {
    async fn release_reservations(&self) -> Result<(), ChangeError> {
        let orders = self.open.iter().map(|open| self.request.orders[open.index]);
        let keys = orders.filter_map(|order| order.alias.map(|alias| Key::new(order.domain, alias)));
        let over = self.request.ahead.as_ref().map(|ahead| ahead.over.clone());
        let keys = over.unwrap_or_else(|| keys.collect());
        self.links.release_reservations(keys).await
    }

    fn by(&self) -> By<'_> {
        By { actor: self.actor, user: self.request.caller.user, quota: self.quota }
    }

    /// Proposes everything that is open; what hit a used code stays open.
    async fn propose(&mut self) -> Result<(), ChangeError> {
        let orders = self.request.orders;
        let is_without = |open: &&Open| orders[open.index].alias.is_none() && open.freed.is_none();
        let needed = self.open.iter().filter(is_without).count();
        let mut codes = self.links.codes.take(needed).await.into_iter();
        let mut tried: Vec<(Open, Code, Option<Code7>)> = Vec::with_capacity(self.open.len());
        let mut changes = Vec::with_capacity(self.open.len());
        let mut pending = None;
        for mut open in std::mem::take(&mut self.open) {
            let order = orders[open.index];
            let (freed, mark) = open.freed.take().unzip();
            let (code, generated) = match order.alias {
                Some(alias) => {
                    if pending.is_none() && alias.as_code7().is_some() {
                        pending = Some(self.links.marks.begin());
                    }
                    (alias, None)
                }
                None => match freed.or_else(|| codes.next()) {
                    Some(code) => (code.to_code(), Some(code)),
                    None => {
                        self.made[open.index] = Some(Made::NoCode);
                        continue;
                    }
                },
            };
            let command = self.request.key.map(|(key, _)| key.command(open.index, open.attempt));
            let hash = self.request.key.map_or([0; 16], |(_, hash)| hash);
            let mut change = order.change(code, self.by(), self.now_ms, command, hash);
            if let Some(mark) = mark {
                change.parts[0].precondition = Precondition::Absent;
                change.parts.push(mark);
            }
            changes.push(change);
            tried.push((open, code, generated));
        }
        let asked = changes.len() as u64;
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(taken) = &mut self.taken {
            taken.propose(asked);
        }
        let turn = self.request.ahead.as_ref().map(|ahead| ahead.turn);
        let accepted = || turn.into_iter().for_each(Turn::pass);
        let decisions = self.links.log.propose_and(changes, accepted).await;
        let may_be = match &decisions {
            Ok(decisions) => {
                decisions.iter().filter(|one| matches!(one, Decision::Applied { .. })).count() as u64
            }
            Err(ProposeError::Unknown) => asked,
            Err(_) => 0,
        };
        if let Some(taken) = &mut self.taken {
            taken.not_made(asked - may_be);
        }
        let decisions = match decisions {
            Ok(decisions) => decisions,
            Err(error) => {
                if error != ProposeError::Unknown {
                    self.links.codes.give_back(tried.iter().filter_map(|(.., generated)| *generated));
                }
                return Err(error.into());
            }
        };
        for ((open, code, generated), decision) in tried.into_iter().zip(decisions) {
            if let (Decision::Applied { .. }, None, Some(code), Some(pending)) =
                (&decision, generated, code.as_code7(), &pending)
            {
                pending.created(code);
            }
            self.settle(open, code, generated, decision).await?;
        }
        Ok(())
    }

    /// What takes the mark of a code away that was freed long enough ago.
    async fn take_freed(&self, index: usize, code: Code7) -> Result<Option<Part>, ChangeError> {
        let (reuse, domain, now_ms) = (self.links.reuse, self.request.orders[index].domain, self.now_ms);
        if reuse.after_ms.is_none() {
            return Ok(None);
        }
        Ok(self.links.log.read(move |reader| reuse.take(reader, domain, code, now_ms)).await??)
    }

    async fn settle(
        &mut self,
        open: Open,
        code: Code,
        generated: Option<Code7>,
        decision: Decision,
    ) -> Result<(), ChangeError> {
        match decision {
            Decision::Applied { position, stamps, .. } => {
                let version = stamps[0].map_or(1, |stamp| stamp.version);
                let order = self.request.orders[open.index];
                let is_shown = self.request.ahead.is_none();
                let manage = is_shown.then(|| Box::new(order.manage(self.by(), self.now_ms)));
                self.made[open.index] =
                    Some(Made::Created { code, version, created_at_ms: self.now_ms, manage });
                self.last = self.last.max(position);
                self.created += 1;
            }
            Decision::Conflict(conflict) if self.request.orders[open.index].names_external(conflict.part) => {
                self.links.codes.give_back(generated);
                self.made[open.index] = Some(Made::ExternalIdTaken);
            }
            Decision::Conflict(_) if generated.is_none() => self.made[open.index] = Some(Made::AliasTaken),
            Decision::Conflict(conflict) => {
                let freed = match (generated, conflict) {
                    // Its link was deleted.
                    (Some(code), Conflict { part: 0, found: Some(stamp) }) if !stamp.live => {
                        self.take_freed(open.index, code).await?.map(|mark| (code, mark))
                    }
                    _ => None,
                };
                if freed.is_none() {
                    self.links.metrics.code_conflicts.inc();
                }
                self.open.push(Open { attempt: open.attempt + 1, freed, ..open });
            }
            Decision::Replayed(outcome) => {
                // Another request with the same key was decided since we looked.
                self.links.codes.give_back(generated);
                let hash = self.request.key.map_or([0; 16], |(_, hash)| hash);
                if outcome.request_hash != hash {
                    return Err(ChangeError::KeyReused);
                }
                match outcome.conflict {
                    Some(part) if self.request.orders[open.index].names_external(part.into()) => {
                        self.made[open.index] = Some(Made::ExternalIdTaken);
                    }
                    Some(_) if generated.is_some() => {
                        self.open.push(Open { attempt: open.attempt + 1, ..open })
                    }
                    Some(_) => self.made[open.index] = Some(Made::AliasTaken),
                    None => {
                        let at = outcome.position;
                        let made = self.links.log.read(move |reader| made_at(reader, at)).await??;
                        self.made[open.index] = Some(made.seen_by(self.request.caller, &self.links.tokens));
                        self.last = self.last.max(at);
                    }
                }
            }
            Decision::Invalid(invalid) => return Err(invalid.into()),
        }
        Ok(())
    }
}
