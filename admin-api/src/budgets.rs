//! Links that end with a number of clicks: who may spend how many of them.
//!
//! Owned here: the sum of what was spent, what was burned and what is in members' hands never exceeds a link's limit. A click moves only by
//! a record: granted by one, given back by one, burned by one; whatever is granted is at most what the log says is left. One thing at
//! a time is decided about a link (its turn), and every record names the version it was decided on.
//!
//! - `book`: a link's clicks as the log has them · `stream`: what members say and are asked
//! - Spending itself, and giving back what is idle, is the proxies'.

mod book;
mod burning;
mod stream;

pub use burning::burning;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::metrics::{Counter, Registry};
use linklog::entity::{Budget, MemberState};
use linklog::link::extras::Limit;
use linklog::store::{Reader, StoreError};
use linklog::writer::Decision;
use linklog::{Change, Key, Link, Operation, Part, Position, Precondition, StateKey};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, mpsc};
use tonic::Status;
use wire::budgets::WriterMessage;
use wire::budgets::writer_message::Message as FromWriter;
use wire::identity::FleetId;

pub(crate) use stream::HoldService;

use crate::links::ChangeError;
use crate::log::Log;
use crate::members::Members;
use book::{Book, Row, share};

/// Who makes these records.
const ACTOR: &str = "budgets";
/// Links that are decided about at once.
const TURNS: usize = 64;
/// How often a record that lost against another change of the link is tried again.
const TRIES_MAX: usize = 8;
/// Budgets that are closed by one record, which has 8 parts.
const CLOSED_AT_ONCE: usize = 7;
/// How long a wish is remembered: whoever still wants it says so again.
const WISH_KEPT: Duration = Duration::from_secs(1);
/// How often members are asked to give back the same link's clicks.
const RECALL_EVERY: Duration = Duration::from_millis(20);
/// How long lowering a limit waits for members to give back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(3);

/// The key's exclusive right to be decided about.
pub(crate) type Turn<'a> = MutexGuard<'a, ()>;
type Outbox = mpsc::Sender<Result<WriterMessage, Status>>;

/// Budgets, shared; cheap to clone.
#[derive(Clone)]
pub struct Budgets(Arc<Inner>);

struct Inner {
    fleet: FleetId,
    log: Log,
    members: Members,
    turns: [tokio::sync::Mutex<()>; TURNS],
    hasher: RandomState,
    state: Mutex<State>,
    counts: Counts,
}

#[derive(Default)]
struct State {
    /// By the member's name: who speaks for it.
    holders: HashMap<String, Holder>,
    /// By the member's name: the links of which it may have clicks at hand.
    at_large: HashMap<String, HashSet<Key>>,
    /// Members that want clicks of a link while others have them.
    wishes: HashMap<Key, HashMap<String, Instant>>,
    /// Links of which nothing is granted: their limit is about to be lowered.
    paused: HashSet<Key>,
    recalled: HashMap<Key, Instant>,
}

struct Holder {
    holder: [u8; 16],
    stream: u64,
    outbox: Outbox,
}

/// What happened to clicks, for metrics.
#[derive(Clone, Default)]
pub struct Counts {
    granted: Counter,
    burned: Counter,
}

impl Counts {
    /// Registers them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "limited_clicks_granted",
            "Clicks of limited links granted to proxies",
            self.granted.clone(),
        );
        registry.register(
            "limited_clicks_burned",
            "Clicks of limited links lost with a proxy's memory",
            self.burned.clone(),
        );
    }
}

/// A link's clicks, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// Redirects proxies are known to have answered.
    pub used: u64,
    /// Clicks that are lost.
    pub burned: u64,
    /// Clicks nobody has.
    pub left: u64,
    /// Who has clicks at hand, and how many.
    pub held: Vec<(String, u64)>,
}

/// A link as a member names it, and what the member is.
#[derive(Clone, Debug)]
struct Of {
    key: Key,
    created: Position,
    member: String,
}

impl Budgets {
    /// Reads who has clicks in hand.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub fn load(fleet: FleetId, log: Log, members: Members, counts: Counts) -> Result<Budgets, StoreError> {
        let mut at_large: HashMap<String, HashSet<Key>> = HashMap::new();
        let mut damaged = None;
        log.reader().scan_served(&[StateKey::BUDGETS], |key, stored| {
            let Ok(StateKey::Budget(link, _)) = StateKey::decode(key) else { return false };
            match book::read_row(key, stored) {
                Ok(Some(row)) if row.budget.at_hand() > 0 => {
                    at_large.entry(row.member).or_default().insert(link);
                }
                Ok(_) => {}
                Err(source) => damaged = Some(StoreError::Damaged { what: "budget", source }),
            }
            damaged.is_none()
        })?;
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::default());
        let state = Mutex::new(State { at_large, ..State::default() });
        Ok(Budgets(Arc::new(Inner { fleet, log, members, turns, hasher: RandomState::new(), state, counts })))
    }

    /// Waits until nothing else is decided about a link's clicks.
    async fn turn(&self, key: &Key) -> Turn<'_> {
        let index = self.0.hasher.hash_one(key) as usize % TURNS;
        self.0.turns[index].lock().await
    }

    async fn book(&self, key: Key) -> Result<Book, ChangeError> {
        Ok(self.0.log.read(move |reader: &Reader| Book::read(reader, &key)).await??)
    }

    /// How a link's clicks stand; `None`: it has no limit.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub async fn standing(&self, key: Key) -> Result<Option<Standing>, ChangeError> {
        let book = self.book(key).await?;
        let Some(limit) = book.limit() else { return Ok(None) };
        let (used, burned) = book.used_and_burned();
        let held = book.rows().map(|row| (row.member.clone(), row.budget.at_hand()));
        let held = held.filter(|(_, clicks)| *clicks > 0).collect();
        Ok(Some(Standing { limit, used, burned, left: book.left(), held }))
    }

    /// Grants a member clicks of a link, if there are any; otherwise asks those for them who have them. In the link's turn.
    async fn grant(&self, of: &Of) -> Result<(), ChangeError> {
        for _ in 0..TRIES_MAX {
            let book = self.book(of.key).await?;
            let is_it = book.link.as_ref().is_some_and(|link| link.stamp.created == of.created);
            if !is_it || book.limit().is_none() {
                return Ok(());
            }
            let Some(holder) = self.0.state.lock().holders.get(&of.member).map(|holder| holder.holder) else {
                return Ok(());
            };
            let is_paused = self.0.state.lock().paused.contains(&of.key);
            let left = if is_paused { 0 } else { book.left() };
            if left == 0 {
                if book.at_large() == 0 && !is_paused {
                    return self.close(of.key).await;
                }
                self.0
                    .state
                    .lock()
                    .wishes
                    .entry(of.key)
                    .or_default()
                    .insert(of.member.clone(), Instant::now());
                self.recall(&book, &of.key, Some(&of.member));
                return Ok(());
            }
            let old = book.row(&of.member);
            let own = old.filter(|row| row.budget.created == of.created).map(|row| row.budget);
            let own = own.unwrap_or_else(|| Budget::none(of.created, holder));
            let clicks = share(left, self.members());
            // What another memory held is burned before this one gets any.
            if own.at_hand() >= clicks || own.holder != holder && own.at_hand() > 0 {
                return Ok(());
            }
            let new = Budget { holder, granted: own.granted + clicks, ..own };
            if self.put(&of.key, &of.member, old, new).await? {
                self.0.counts.granted.inc_by(clicks);
                return Ok(());
            }
        }
        Err(ChangeError::Contended)
    }

    fn members(&self) -> u64 {
        self.0.members.table().values().filter(|member| member.state == MemberState::Active).count() as u64
    }

    /// Writes a budget down; false: the record was changed meanwhile.
    async fn put(
        &self,
        key: &Key,
        member: &str,
        old: Option<&Row>,
        new: Budget,
    ) -> Result<bool, ChangeError> {
        let operation = Operation::Put { serve: new.encode(), manage: Vec::new() };
        let is_applied = self.propose(vec![part(key, member, old, operation)]).await?;
        if is_applied {
            self.note(key, member, new.at_hand());
        }
        Ok(is_applied)
    }

    async fn propose(&self, parts: Vec<Part>) -> Result<bool, ChangeError> {
        match self.0.log.propose(vec![Change::new(ACTOR, parts)]).await?.pop() {
            Some(Decision::Applied { .. }) => Ok(true),
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
            _ => Ok(false),
        }
    }

    fn note(&self, key: &Key, member: &str, at_hand: u64) {
        let mut state = self.0.state.lock();
        let links = state.at_large.entry(member.to_owned()).or_default();
        if at_hand > 0 {
            links.insert(*key)
        } else {
            links.remove(key)
        };
    }

    /// Asks everybody who may have clicks of a link for them, but not one member.
    fn recall(&self, book: &Book, key: &Key, but: Option<&str>) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        if state.recalled.get(key).is_some_and(|at| now.saturating_duration_since(*at) < RECALL_EVERY) {
            return;
        }
        state.recalled.retain(|_, at| now.saturating_duration_since(*at) < RECALL_EVERY);
        state.recalled.insert(*key, now);
        for row in book.rows().filter(|row| row.budget.at_hand() > 0 && but != Some(&*row.member)) {
            if let Some(holder) = state.holders.get(&row.member) {
                let recall = FromWriter::Recall(stream::link_of(key, row.budget.created));
                // Whoever reads so slowly is asked again.
                let _ = holder.outbox.try_send(Ok(WriterMessage { message: Some(recall) }));
            }
        }
    }

    /// Takes note of what a member has spent and given back; false: it cannot have.
    async fn report(
        &self,
        of: &Of,
        holder: [u8; 16],
        spent: u64,
        returned: u64,
    ) -> Result<bool, ChangeError> {
        let _turn = self.turn(&of.key).await;
        for _ in 0..TRIES_MAX {
            let book = self.book(of.key).await?;
            let Some(row) = book.row(&of.member) else { return Ok(true) };
            if row.budget.created != of.created || row.budget.holder != holder {
                return Ok(true);
            }
            let new = Budget {
                spent: row.budget.spent.max(spent),
                returned: row.budget.returned.max(returned),
                ..row.budget
            };
            let gone = new.spent.checked_add(new.returned).and_then(|gone| gone.checked_add(new.burned));
            if gone.is_none_or(|gone| gone > new.granted) {
                return Ok(false);
            }
            if book.link.as_ref().is_none_or(|link| link.stamp.created != of.created) {
                // The link is gone: so is its budget.
                if self.propose(vec![part(&of.key, &of.member, Some(row), Operation::Delete)]).await? {
                    self.note(&of.key, &of.member, 0);
                    return Ok(true);
                }
            } else if new == row.budget || self.put(&of.key, &of.member, Some(row), new).await? {
                self.serve_wishes(of.key, of.created).await?;
                return Ok(true);
            }
        }
        Err(ChangeError::Contended)
    }

    /// Grants what members want of a link, now that something has come back. In its turn.
    async fn serve_wishes(&self, key: Key, created: Position) -> Result<(), ChangeError> {
        let wishes = self.0.state.lock().wishes.remove(&key).unwrap_or_default();
        for (member, at) in wishes {
            if at.elapsed() < WISH_KEPT {
                self.grant(&Of { key, created, member }).await?;
            }
        }
        let book = self.book(key).await?;
        if book.limit().is_some() && book.left() == 0 && book.at_large() == 0 {
            self.close(key).await?;
        }
        Ok(())
    }

    /// Adds budgets of which nothing is at hand to the link itself, and removes them: from then on the link says by itself that it is used
    /// up. In its turn.
    async fn close(&self, key: Key) -> Result<(), ChangeError> {
        for _ in 0..TRIES_MAX {
            let book = self.book(key).await?;
            let (Some(stored), Some(mut limit)) = (&book.link, book.limit()) else { return Ok(()) };
            let closed: Vec<&Row> =
                book.rows().filter(|row| row.budget.at_hand() == 0).take(CLOSED_AT_ONCE).collect();
            if closed.is_empty() {
                return Ok(());
            }
            for row in &closed {
                limit.used += row.budget.spent;
                limit.burned += row.budget.burned;
            }
            let mut link: Link = stored.link.clone();
            link.extras.limit = Some(limit);
            let operation = Operation::Put { serve: link.encode(), manage: stored.manage.encode() };
            let precondition = Precondition::Version(stored.stamp.version);
            let mut parts = vec![Part { key: StateKey::Link(key), precondition, operation }];
            parts.extend(closed.iter().map(|row| part(&key, &row.member, Some(row), Operation::Delete)));
            self.propose(parts).await?;
        }
        Ok(())
    }

    /// Burns what other memories of a member than `holder` have at hand, or all of it; returns how much.
    async fn burn(&self, member: &str, holder: Option<[u8; 16]>) -> Result<u64, ChangeError> {
        let links: Vec<Key> =
            self.0.state.lock().at_large.get(member).into_iter().flatten().copied().collect();
        let mut burned = 0;
        for key in links {
            let _turn = self.turn(&key).await;
            for _ in 0..TRIES_MAX {
                let book = self.book(key).await?;
                let Some(row) = book.row(member).filter(|row| Some(row.budget.holder) != holder) else {
                    break;
                };
                let at_hand = row.budget.at_hand();
                let new = Budget {
                    burned: row.budget.burned + at_hand,
                    holder: holder.unwrap_or(row.budget.holder),
                    ..row.budget
                };
                if at_hand == 0 || self.put(&key, member, Some(row), new).await? {
                    burned += at_hand;
                    self.serve_wishes(key, row.budget.created).await?;
                    break;
                }
            }
        }
        self.0.counts.burned.inc_by(burned);
        Ok(burned)
    }

    /// Burns whatever a member that was forgotten has at hand; returns how much.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub async fn burn_all(&self, member: &str) -> Result<u64, ChangeError> {
        self.burn(member, None).await
    }

    /// Makes sure that no more than `max` clicks of a link are used or in anybody's hands, or at least that none is in anybody's hands:
    /// whoever then lowers its limit in the turn that is returned knows that it holds.
    ///
    /// # Errors
    /// Members do not give back in time, or the log cannot be read.
    pub(crate) async fn make_room(&self, key: Key, max: u64) -> Result<Turn<'_>, ChangeError> {
        let until = Instant::now() + GIVEN_BACK_WITHIN;
        self.0.state.lock().paused.insert(key);
        let _paused = Paused { budgets: self, key };
        loop {
            let turn = self.turn(&key).await;
            let book = self.book(key).await?;
            if book.at_large() == 0 || book.taken() <= max {
                return Ok(turn);
            }
            if Instant::now() >= until {
                let held = book.rows().filter(|row| row.budget.at_hand() > 0);
                return Err(ChangeError::LimitHeld(held.map(|row| row.member.clone()).collect()));
            }
            self.recall(&book, &key, None);
            drop(turn);
            tokio::time::sleep(RECALL_EVERY).await;
        }
    }

    /// As [`Budgets::make_room`], for a limit that is taken off: nobody has any click, and no budget is left.
    ///
    /// # Errors
    /// As [`Budgets::make_room`].
    pub(crate) async fn clear(&self, key: Key) -> Result<Turn<'_>, ChangeError> {
        let turn = self.make_room(key, 0).await?;
        self.close(key).await?;
        Ok(turn)
    }
}

/// Takes the pause back, whatever becomes of the request.
struct Paused<'a> {
    budgets: &'a Budgets,
    key: Key,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.budgets.0.state.lock().paused.remove(&self.key);
    }
}

fn part(key: &Key, member: &str, old: Option<&Row>, operation: Operation) -> Part {
    let precondition = old.map_or(Precondition::Absent, |row| Precondition::Version(row.version));
    Part { key: StateKey::Budget(*key, member.to_owned()), precondition, operation }
}
