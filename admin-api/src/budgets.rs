//! Links that end with a number of clicks, and quotas of redirects: who may spend how many of them.
//!
//! Owned here: the sum of what was spent, what was burned and what is in members' hands never exceeds a link's limit, nor a quota in one of its
//! periods. A click moves only by a record: granted by one, given back by one, burned by one; whatever is granted is at most what the log
//! says is left. One thing at a time is decided about a link or a quota (its turn), and every record names the version it was decided on.
//!
//! The two differ in what they cost. A link's clicks are few, and what is spent of them is in the log within a second. A quota's are many:
//! members keep what they got until the period is over or it is asked back, and what they say they have spent is kept in memory until there
//! is a record to be written anyway. It only makes numbers that people see more recent; nothing is granted by it.
//!
//! - `book`: a link's clicks or a quota as the log has them · `quota`: a token's quota, set · `freed`: what goes with a link that is deleted
//! - [`escrow`]: what becomes of a budget, pure
//! - `stream`: what members say and are asked · `settle`: what comes back from them · `room`: a limit that is lowered
//! - Spending itself, and giving back what is idle, is the proxies'.

mod book;
mod burning;
pub mod escrow;
mod freed;
mod quota;
mod room;
mod settle;
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
use linklog::{Allowance, Change, Operation, Part, Position, Precondition, StateKey};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, mpsc};
use tonic::Status;
use wire::budgets::WriterMessage;
use wire::budgets::writer_message::Message as FromWriter;
use wire::identity::FleetId;

pub(crate) use freed::Freed;
pub(crate) use stream::HoldService;

use crate::clock;
use crate::links::ChangeError;
use crate::log::Log;
use crate::members::Members;
use book::{Book, Row};

/// Who makes these records.
const ACTOR: &str = "budgets";
/// Links that are decided about at once.
const TURNS: usize = 64;
/// How often a record that lost against another change of the link is tried again.
const TRIES_MAX: usize = 8;
/// Budgets that are closed by one record, which has 8 parts.
const CLOSED_AT_ONCE: usize = 7;
/// How often members are asked to give back the same link's clicks.
const RECALL_EVERY: Duration = Duration::from_millis(20);

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
    at_large: HashMap<String, HashSet<Allowance>>,
    /// Members that want clicks of a link while others have them.
    wishes: HashMap<Allowance, HashMap<String, Instant>>,
    /// Links of which nothing is granted: their limit is about to be lowered.
    paused: HashSet<Allowance>,
    recalled: HashMap<Allowance, Instant>,
    /// What members say they have spent of quotas since the last record.
    told: HashMap<(Allowance, String), Told>,
}

/// What a member says it has spent, of which budget in which memory.
#[derive(Clone, Copy)]
struct Told {
    label: Position,
    holder: [u8; 16],
    spent: u64,
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

/// A link or a quota as a member names it, and what the member is.
#[derive(Clone, Debug)]
struct Of {
    what: Allowance,
    /// Where the link was made, or which period.
    created: Position,
    member: String,
}

impl Budgets {
    /// Reads who has clicks in hand.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub fn load(fleet: FleetId, log: Log, members: Members, counts: Counts) -> Result<Budgets, StoreError> {
        let mut at_large: HashMap<String, HashSet<Allowance>> = HashMap::new();
        let mut damaged = None;
        log.reader().scan_served(&[StateKey::BUDGETS], |key, stored| {
            let Ok(StateKey::Budget(of, _)) = StateKey::decode(key) else { return false };
            match book::read_row(key, stored) {
                Ok(Some(row)) if row.budget.at_hand() > 0 => {
                    at_large.entry(row.member).or_default().insert(of);
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
    async fn turn(&self, of: &Allowance) -> Turn<'_> {
        let index = self.0.hasher.hash_one(of) as usize % TURNS;
        self.0.turns[index].lock().await
    }

    async fn book(&self, of: Allowance) -> Result<Book, ChangeError> {
        let now_ms = clock::now_ms();
        let read = move |reader: &Reader| Book::read(reader, &of, now_ms);
        let mut book = self.0.log.read(read).await??;
        if let Allowance::Quota(_) = of {
            self.bring_up_to_date(&of, &mut book);
        }
        Ok(book)
    }

    /// Adds to a quota's book what members said since the last record. As after that record: never more than was granted.
    fn bring_up_to_date(&self, of: &Allowance, book: &mut Book) {
        let state = self.0.state.lock();
        for Row { member, budget, .. } in &mut book.all {
            let told = state.told.get(&(*of, member.clone()));
            if let Some(told) =
                told.filter(|told| told.label == budget.created && told.holder == budget.holder)
            {
                budget.spent =
                    budget.spent.max(told.spent).min(budget.granted - budget.returned - budget.burned);
            }
        }
    }

    /// How a link's clicks stand, or a quota's redirects in this period; `None`: it has no limit.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub async fn standing(&self, of: Allowance) -> Result<Option<Standing>, ChangeError> {
        let book = self.book(of).await?;
        let Some(limit) = book.limit() else { return Ok(None) };
        let (used, burned) = book.used_and_burned();
        let held = book.rows().map(|row| (row.member.clone(), row.budget.at_hand()));
        let held = held.filter(|(_, clicks)| *clicks > 0).collect();
        Ok(Some(Standing { limit, used, burned, left: book.left(), held }))
    }

    /// Grants a member clicks of a link, if there are any; otherwise asks those for them who have them. In the link's turn.
    async fn grant(&self, of: &Of) -> Result<(), ChangeError> {
        for _ in 0..TRIES_MAX {
            let book = self.book(of.what).await?;
            if book.label != Some(of.created) || book.limit().is_none() {
                return Ok(());
            }
            let Some(holder) = self.0.state.lock().holders.get(&of.member).map(|holder| holder.holder) else {
                return Ok(());
            };
            let is_paused = self.0.state.lock().paused.contains(&of.what);
            let left = if is_paused { 0 } else { book.left() };
            if left == 0 {
                if book.at_large() == 0 && !is_paused {
                    return self.close(of.what).await;
                }
                self.0
                    .state
                    .lock()
                    .wishes
                    .entry(of.what)
                    .or_default()
                    .insert(of.member.clone(), Instant::now());
                self.recall(&book, &of.what, Some(&of.member));
                return Ok(());
            }
            let old = book.row(&of.member);
            let clicks = book.share(self.members());
            let own = old.map(|row| row.budget);
            let Some(new) = escrow::granted(own, of.created, holder, clicks) else { return Ok(()) };
            if self.put(&of.what, &of.member, old, new).await? {
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
        of: &Allowance,
        member: &str,
        old: Option<&Row>,
        new: Budget,
    ) -> Result<bool, ChangeError> {
        let operation = Operation::Put { serve: new.encode(), manage: Vec::new() };
        let is_applied = self.propose(vec![part(of, member, old, operation)]).await?;
        if is_applied {
            self.note(of, member, new.at_hand());
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

    fn note(&self, of: &Allowance, member: &str, at_hand: u64) {
        let mut state = self.0.state.lock();
        let links = state.at_large.entry(member.to_owned()).or_default();
        if at_hand > 0 {
            links.insert(*of)
        } else {
            links.remove(of)
        };
    }

    /// Asks everybody who may have clicks of a link for them, but not one member.
    fn recall(&self, book: &Book, of: &Allowance, but: Option<&str>) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        if state.recalled.get(of).is_some_and(|at| now.saturating_duration_since(*at) < RECALL_EVERY) {
            return;
        }
        state.recalled.retain(|_, at| now.saturating_duration_since(*at) < RECALL_EVERY);
        state.recalled.insert(*of, now);
        for row in book.rows().filter(|row| row.budget.at_hand() > 0 && but != Some(&*row.member)) {
            if let Some(holder) = state.holders.get(&row.member) {
                let recall = FromWriter::Recall(stream::link_of(of, row.budget.created));
                // Whoever reads so slowly is asked again.
                let _ = holder.outbox.try_send(Ok(WriterMessage { message: Some(recall) }));
            }
        }
    }
}

fn part(of: &Allowance, member: &str, old: Option<&Row>, operation: Operation) -> Part {
    let precondition = old.map_or(Precondition::Absent, |row| Precondition::Version(row.version));
    Part { key: StateKey::Budget(*of, member.to_owned()), precondition, operation }
}
