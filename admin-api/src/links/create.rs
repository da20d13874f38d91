//! Making links: one or a thousand, in one proposal to the writer.

use linklog::apply::Conflict;
use linklog::entity::QuotaId;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::writer::{Decision, ProposeError};
use linklog::{Code, Code7, Key, LinkManage, Part, Position, Precondition, Seq};

use super::dedupe;
use super::idempotency::IdempotencyKey;
use super::order::{By, Order};
use super::targets::RefusedTarget;
use super::{ChangeError, Links};
use crate::auth::Caller;
use crate::auth::allow::{Denied, Taken};
use crate::clock;
use crate::replication::ReplicationReport;

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
        /// What is kept of it besides what proxies get.
        manage: Box<LinkManage>,
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
    /// What an earlier request made may be somebody else's since.
    fn seen_by(self, caller: Caller) -> Made {
        match self {
            Made::Replayed(found) if !caller.sees(found.1.manage.owner) => Made::Gone,
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
    /// Settles what earlier requests with the same key have decided, without needing codes or asking the writer.
    async fn replay(&mut self) -> Result<(), ChangeError> {
        let Some((key, hash)) = self.request.key else { return Ok(()) };
        let asked =
            |order: &&Order| Asked { alias: order.alias.is_some(), external: order.names_external(1) };
        let asked: Vec<_> = self.request.orders.iter().map(asked).collect();
        let found = self.links.log.read(move |reader| replay_all(reader, &key, hash, &asked)).await??;
        let mut found = found.into_iter();
        let caller = self.request.caller;
        self.open.retain_mut(|open| match found.next() {
            Some(Earlier::Decided { made, position }) => {
                self.made[open.index] = Some(made.seen_by(caller));
                self.last = self.last.max(position);
                false
            }
            Some(Earlier::Undecided { attempt }) => {
                open.attempt = attempt;
                true
            }
            None => true,
        });
        Ok(())
    }

    fn refuse_expired(&mut self) {
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

    async fn release_reservations(&self) -> Result<(), ChangeError> {
        let orders = self.open.iter().map(|open| self.request.orders[open.index]);
        let keys = orders.filter_map(|order| order.alias.map(|alias| Key::new(order.domain, alias)));
        self.links.release_reservations(keys.collect()).await
    }

    fn by(&self) -> By<'_> {
        By { actor: self.actor, user: self.request.caller.user, quota: self.quota }
    }

    fn refuse_denied(&mut self) {
        let (links, caller) = (self.links, self.request.caller);
        let denied = |order: &Order| {
            let code = order.alias.as_ref().map(Code::as_str);
            links.tokens.may_make(caller, order.domain, code)?;
            links.may_give(caller, &order.keeping, caller.user)
        };
        self.open.retain(|open| match denied(self.request.orders[open.index]) {
            Ok(()) => true,
            Err(denied) => {
                self.made[open.index] = Some(Made::Denied(denied));
                false
            }
        });
    }

    /// Settles the orders for which a link that is there will do. What is returned keeps others from making the same meanwhile.
    async fn find_duplicates(&mut self) -> Result<Option<dedupe::Alone>, ChangeError> {
        let caller = self.request.caller;
        let mut looked: Vec<(usize, dedupe::Wanted)> = Vec::new();
        for index in self.open.iter().map(|open| open.index) {
            let order = self.request.orders[index];
            let owner = order.keeping.owner.unwrap_or(caller.user);
            let mut link = order.settled(self.now_ms).link;
            link.extras.quota = self.quota;
            let link = &link;
            // An end that is counted from now on is never that of a link that is there.
            let any_end = order.link.expires_at_ms.is_none() && link.expires_at_ms.is_some();
            let wanted =
                order.dedupe.then(|| dedupe::Wanted::of(order.domain, owner, link, any_end)).flatten();
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
    async fn settle_same(&mut self) -> Result<(), ChangeError> {
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

    /// Asked before anything is proposed: a request is not to be half done for it.
    fn check_level(&self) -> Result<(), ChangeError> {
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
    async fn refuse_targets(&mut self) {
        let orders = self.request.orders;
        let links: Vec<_> = self.open.iter().map(|open| &orders[open.index].link).collect();
        let mut judged = self.links.judge_targets(&links).await.into_iter();
        self.open.retain(|open| {
            let Some(refused) = judged.next().flatten() else { return true };
            self.made[open.index] = Some(Made::Refused(refused));
            false
        });
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
        let decisions = self.links.log.propose(changes).await;
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
                let manage = Box::new(self.request.orders[open.index].manage(self.by(), self.now_ms));
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
                        self.made[open.index] = Some(made.seen_by(self.request.caller));
                        self.last = self.last.max(at);
                    }
                }
            }
            Decision::Invalid(invalid) => return Err(invalid.into()),
        }
        Ok(())
    }
}

/// What names an order asks for.
struct Asked {
    alias: bool,
    external: bool,
}

/// What earlier requests with the same key have decided about an order.
enum Earlier {
    Decided { made: Made, position: Position },
    Undecided { attempt: usize },
}

fn replay_all(
    reader: &Reader,
    key: &IdempotencyKey,
    hash: [u8; 16],
    asked: &[Asked],
) -> Result<Vec<Earlier>, ChangeError> {
    let mut all = Vec::with_capacity(asked.len());
    for (index, asked) in asked.iter().enumerate() {
        let mut attempt = 0;
        all.push(loop {
            let Some(outcome) = reader.outcome(key.command(index, attempt))? else {
                break Earlier::Undecided { attempt };
            };
            if outcome.request_hash != hash {
                return Err(ChangeError::KeyReused);
            }
            let position = outcome.position;
            match outcome.conflict {
                None => break Earlier::Decided { made: made_at(reader, position)?, position },
                Some(1) if asked.external => {
                    break Earlier::Decided { made: Made::ExternalIdTaken, position };
                }
                Some(_) if asked.alias => break Earlier::Decided { made: Made::AliasTaken, position },
                Some(_) => attempt += 1,
            }
        });
    }
    Ok(all)
}

/// Returns the link that a record made, as it is now.
fn made_at(reader: &Reader, position: Position) -> Result<Made, StoreError> {
    let after = Seq(position.seq.0 + 1);
    let newest = reader.links_by_age(Some(after), 1)?;
    let Some(row) = newest.first().filter(|row| row.created_seq == position.seq) else {
        return Ok(Made::Gone);
    };
    let link = reader.link(&row.key)?.filter(|link| link.stamp.created == position);
    Ok(link.map_or(Made::Gone, |link| Made::Replayed(Box::new((row.key, link)))))
}
