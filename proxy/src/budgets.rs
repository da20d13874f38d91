//! Links that end with a number of clicks, and quotas of redirects: what this proxy may still spend of them.
//!
//! Owned here: a click of such a link is spent out of a budget that the log has granted to this proxy, and recorded in `slots` before the
//! answer is written. No two proxies ever hold the same click, so however they are cut off or killed, there are never more redirects than
//! the link allows. What is idle goes back within a second; what the writer asks for goes back at once. The same holds for a quota in each
//! of its periods, but what is idle of it stays until the period is over: it is large, and moving it costs records.
//!
//! - Granted and settled: what the log says, applied by the follower ([`Budgets::apply`]).
//! - Spent and given back: `slots`. Both only ever grow, so telling the writer twice changes nothing.
//! - `quotas`: what links of a token may answer together, and when that begins anew.
//! - `hold`: the stream on which the writer is told and asked.
//!
//! Deliberately not here: whether the link has ended, which its record says.

mod hold;
mod quotas;
mod slots;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::{DashMap, Entry};
use linklog::codec::value;
use linklog::entity::{Budget, Quota, QuotaId};
use linklog::store::Reader;
use linklog::{Allowance, Position, StateKey};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::timeout;

pub use hold::{Holding, start};
pub use quotas::Quoted;
use slots::{Kept, SLOTS, Slots};

/// The file in the folder of the click rings.
const FILE: &str = "budgets";
/// How long a visitor waits for a click to be granted.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Links that visitors may wait for at once; beyond, they are told to come back.
const WAITING_MAX: usize = 4_096;
/// Visitors that may wait at once; beyond, they are told to come back.
const VISITORS_MAX: usize = 16_384;
/// A budget nobody has spent of for this long goes back.
const IDLE: Duration = Duration::from_millis(400);
/// How often the writer is told of what is spent while more is at hand.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often it is told again what it has not settled.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// How often it is told of what is spent of a quota: that makes no record.
const TELL_OF_QUOTA_EVERY: Duration = Duration::from_secs(1);
/// How often it is told that again: it may have begun anew since.
const REPEAT_OF_QUOTA_EVERY: Duration = Duration::from_secs(5);

/// The budgets of this proxy.
pub struct Budgets {
    member: String,
    slots: Slots,
    reader: RwLock<Reader>,
    /// As the log has them: as many as there are tokens with one.
    quotas: DashMap<QuotaId, Quota>,
    /// By the link's or the quota's key in the log's encoding. Whoever holds an entry's lock may spend, give back, or forget.
    held: DashMap<Box<[u8]>, Held>,
    /// Visitors that wait for a change of a link's budget, or of the link.
    waiting: DashMap<Box<[u8]>, Arc<News>>,
    /// How many there are.
    visitors: AtomicUsize,
    work: Mutex<Work>,
    wake: Notify,
}

/// What visitors who wait for a link are told.
#[derive(Debug, Default)]
struct News {
    told: Notify,
    /// How often the link itself has changed since somebody waits for it.
    link_changes: AtomicU64,
}

/// How long a visitor may wait for clicks of a link, over all its tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience(Instant);

impl Patience {
    /// From now on.
    pub fn new() -> Patience {
        Patience(Instant::now() + WAIT_MAX)
    }

    fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new()
    }
}

/// Somebody who hears the news of a link. The last one takes them out of the map, also when it is cancelled.
struct Listener<'a> {
    waiting: &'a DashMap<Box<[u8]>, Arc<News>>,
    key: &'a [u8],
    /// There until it is dropped.
    news: Option<Arc<News>>,
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        drop(self.news.take());
        // The map's own and none besides: nobody waits any more.
        self.waiting.remove_if(self.key, |_, news| Arc::strong_count(news) == 1);
    }
}

/// A visitor that waits, counted while it does.
struct Visitor<'a>(&'a AtomicUsize);

impl<'a> Visitor<'a> {
    /// `None`: there are too many.
    fn admitted(visitors: &'a AtomicUsize) -> Option<Visitor<'a>> {
        let before = visitors.fetch_add(1, Ordering::Relaxed);
        let visitor = Visitor(visitors);
        (before < VISITORS_MAX).then_some(visitor)
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What [`hold`] has to look at.
#[derive(Debug, Default)]
struct Work {
    active: HashSet<Box<[u8]>>,
    wanted: HashMap<Box<[u8]>, Position>,
}

#[derive(Debug)]
struct Held {
    created: Position,
    place: usize,
    /// Ever, less what was burned.
    granted: u64,
    spent: u64,
    returned: u64,
    /// What the log says of these.
    settled: (u64, u64),
    /// What the writer was told of them, and when.
    told: (u64, u64),
    told_at: Option<Instant>,
    used_at: Instant,
    /// What there was after the last grant: at a quarter of it, more is asked for.
    share: u64,
    asked: bool,
}

impl Held {
    const fn at_hand(&self) -> u64 {
        self.granted.saturating_sub(self.spent).saturating_sub(self.returned)
    }
}

/// What the writer is to be told of a budget.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    key: Box<[u8]>,
    created: Position,
    spent: u64,
    returned: u64,
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets")
            .field("member", &self.member)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Budgets {
    /// Opens what an earlier process has left in `dir`, which is on tmpfs and locked by this one; `member` is our name.
    ///
    /// # Errors
    /// The file cannot be made, reserved or mapped, or the replica cannot be read.
    pub fn open(dir: &Path, member: String, reader: Reader) -> io::Result<Budgets> {
        Budgets::with_slots(dir, member, reader, SLOTS)
    }

    fn with_slots(dir: &Path, member: String, reader: Reader, slots: usize) -> io::Result<Budgets> {
        let (slots, kept) = Slots::open(&dir.join(FILE), slots)?;
        let budgets = Budgets {
            member,
            slots,
            quotas: quotas::load(&reader).map_err(io::Error::other)?,
            reader: RwLock::new(reader),
            held: DashMap::new(),
            waiting: DashMap::new(),
            visitors: AtomicUsize::new(0),
            work: Mutex::default(),
            wake: Notify::new(),
        };
        if budgets.reader().applied_seq().0 == 0 {
            budgets.begin_anew(&kept);
            return Ok(budgets);
        }
        for kept in kept {
            let row = budgets.row(&kept.key).filter(|row| row.created == kept.created);
            let held = Held {
                created: kept.created,
                place: kept.place,
                granted: row.map_or(0, |row| row.granted - row.burned),
                spent: kept.spent,
                returned: kept.returned,
                // Of a budget that is gone everything is settled.
                settled: row.map_or((kept.spent, kept.returned), |row| (row.spent, row.returned)),
                told: (0, 0),
                told_at: None,
                used_at: Instant::now(),
                share: 0,
                asked: false,
            };
            budgets.work.lock().active.insert(kept.key.clone());
            budgets.held.insert(kept.key, held);
        }
        Ok(budgets)
    }

    /// The replica begins anew and memory may not: the records that will be applied make what was spent and settled long ago look as if it
    /// were at hand, and what memory has of them nobody could tell from what is settled. So nothing of ours counts any more.
    fn begin_anew(&self, kept: &[Kept]) {
        self.slots.renew_holder();
        kept.iter().for_each(|kept| self.slots.release(kept.place));
        if !kept.is_empty() {
            tracing::warn!(
                links = kept.len(),
                "clicks of limited links that were at hand are given up: the replica begins anew, and the writer burns them"
            );
        }
    }

    /// Which memory the budgets are in: another one after it was lost.
    pub fn holder(&self) -> [u8; 16] {
        self.slots.holder()
    }

    /// Says whether a click of the link with this key that was made at `created` is at hand.
    pub fn has(&self, key: &[u8], created: Position) -> bool {
        self.held.get(key).is_some_and(|held| held.created == created && held.at_hand() > 0)
    }

    /// Spends a click of the link with this key that was made at `created`; says whether there was one. From then on it is recorded, and
    /// the visitor may be led on.
    pub fn spend(&self, key: &[u8], created: Position) -> bool {
        let Some(mut held) = self.held.get_mut(key) else { return false };
        if held.created != created || held.at_hand() == 0 {
            return false;
        }
        held.spent += 1;
        self.slots.set_spent(held.place, held.spent);
        held.used_at = Instant::now();
        let is_low = held.at_hand() <= held.share / 4 && !held.asked;
        held.asked |= is_low;
        drop(held);
        if is_low {
            self.want(key, created);
        }
        true
    }

    /// Waits until something has changed that may let [`Budgets::spend`] succeed, or the link say that it has ended. Whoever finds that
    /// somebody was faster may wait again, as long as its patience lasts. False: it has waited long enough, or too many wait.
    ///
    /// # Cancel safety
    /// Cancelled, it waits no more; nothing is spent by waiting.
    pub async fn wait(&self, key: &[u8], created: Position, patience: Patience) -> bool {
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(key) {
            return false;
        }
        let Some(visitor) = Visitor::admitted(&self.visitors) else { return false };
        let news = Some(Arc::clone(&*self.waiting.entry(key.into()).or_default()));
        let listener = Listener { waiting: &self.waiting, key, news };
        let is_worth_a_try = match listener.news.as_deref() {
            Some(news) => self.hear(key, created, news, patience).await,
            None => false,
        };
        drop((listener, visitor));
        is_worth_a_try
    }

    async fn hear(&self, key: &[u8], created: Position, news: &News, patience: Patience) -> bool {
        let changes = news.link_changes.load(Ordering::Acquire);
        loop {
            let mut told = pin!(news.told.notified());
            told.as_mut().enable();
            // What has come before we listened, or since.
            if self.has(key, created) || news.link_changes.load(Ordering::Acquire) != changes {
                return true;
            }
            let Some(left) = patience.left() else { return false };
            self.want(key, created);
            if timeout(left, told).await.is_err() {
                return false;
            }
        }
    }

    /// Takes note of a served key that has changed; to be called when the replica has it.
    pub fn apply(&self, key: &[u8], serve_value: Option<&[u8]>) {
        match StateKey::decode(key) {
            Ok(StateKey::Link(_)) => self.tell_waiting(key, true),
            Ok(StateKey::Quota(id)) => {
                self.set_quota(id, serve_value);
                self.tell_waiting(key, true);
            }
            Ok(StateKey::Budget(of, member)) if member == self.member => {
                let link = of.encode();
                match serve_value.and_then(read_row) {
                    Some(row) if row.holder == self.slots.holder() => self.granted(&link, &row),
                    // Another holder's: nothing of ours is in it.
                    Some(_) => {}
                    None => self.forget(&link),
                }
                self.tell_waiting(&link, false);
            }
            _ => {}
        }
    }

    fn tell_waiting(&self, link: &[u8], it_has_changed: bool) {
        if !self.waiting.is_empty()
            && let Some(news) = self.waiting.get(link)
        {
            if it_has_changed {
                news.link_changes.fetch_add(1, Ordering::Release);
            }
            news.told.notify_waiters();
        }
    }

    fn want(&self, key: &[u8], created: Position) {
        let mut work = self.work.lock();
        work.wanted.insert(key.into(), created);
        work.active.insert(key.into());
        drop(work);
        self.wake.notify_one();
    }

    /// Takes over what the log says about our budget of a link.
    fn granted(&self, link: &[u8], row: &Budget) {
        match self.held.entry(link.into()) {
            Entry::Occupied(mut entry) if entry.get().created == row.created => {
                let held = entry.get_mut();
                // The log knows more than memory only while old records are applied again.
                if row.spent > held.spent {
                    held.spent = row.spent;
                    self.slots.set_spent(held.place, held.spent);
                }
                if row.returned > held.returned {
                    held.returned = row.returned;
                    self.slots.set_returned(held.place, held.returned);
                }
                let more = (row.granted - row.burned).max(held.granted);
                if more > held.granted {
                    held.granted = more;
                    held.share = held.at_hand();
                    held.asked = false;
                    held.used_at = Instant::now();
                }
                held.settled = (held.settled.0.max(row.spent), held.settled.1.max(row.returned));
            }
            Entry::Occupied(mut entry) => {
                // The link was deleted, and another one made in its place.
                if entry.get().created > row.created {
                    return;
                }
                self.slots.release(entry.get().place);
                match self.held_of(link, row) {
                    Some(held) => drop(entry.insert(held)),
                    None => drop(entry.remove()),
                }
            }
            Entry::Vacant(entry) => {
                // What is settled to the last click needs no place.
                if row.at_hand() > 0
                    && let Some(held) = self.held_of(link, row)
                {
                    drop(entry.insert(held));
                }
            }
        }
        self.work.lock().active.insert(link.into());
        self.wake.notify_one();
    }

    fn held_of(&self, link: &[u8], row: &Budget) -> Option<Held> {
        let place = self.slots.take(link, row.created, row.spent, row.returned)?;
        let granted = row.granted - row.burned;
        let settled = (row.spent, row.returned);
        Some(Held {
            created: row.created,
            place,
            granted,
            spent: row.spent,
            returned: row.returned,
            settled,
            told: settled,
            told_at: None,
            used_at: Instant::now(),
            share: row.at_hand(),
            asked: false,
        })
    }

    /// The log has no budget of ours any more: the link is gone, or used up and all of it settled.
    fn forget(&self, link: &[u8]) {
        if let Some((_, held)) = self.held.remove(link) {
            self.slots.release(held.place);
        }
    }

    /// Takes over a grant that the replica has and memory does not: an earlier process applied it.
    fn adopt(&self, link: &[u8]) {
        // Under the entry's lock: what is forgotten meanwhile must not come back with an old row.
        if let Entry::Vacant(entry) = self.held.entry(link.into())
            && let Some(row) = self.row(link).filter(|row| row.at_hand() > 0)
            && let Some(held) = self.held_of(link, &row)
        {
            drop(entry.insert(held));
            self.work.lock().active.insert(link.into());
        }
    }

    /// Our own budget of a link, as the replica has it.
    fn row(&self, link: &[u8]) -> Option<Budget> {
        let key = StateKey::Budget(Allowance::decode(link)?, self.member.clone()).encode();
        let row = self.reader().serve_value(&key, |value| value.and_then(read_row));
        match row {
            Ok(row) => row.filter(|row| row.holder == self.slots.holder()),
            Err(error) => {
                tracing::error!(%error, "cannot read a budget in the replica");
                None
            }
        }
    }

    /// Never held across a wait: another replica may take the place of this one.
    fn reader(&self) -> Reader {
        self.reader.read().clone()
    }

    /// Reads from another replica from now on, and takes over what its records, which nobody has applied one by one, say about our budgets.
    ///
    /// If it is of another history, what was spent and settled may be at hand again in it. So nothing of ours counts any more: we hold budgets
    /// under another name from now on, and the writer burns what the old one had.
    pub fn switch(&self, reader: Reader, is_other_history: bool) {
        self.reload_quotas(&reader);
        *self.reader.write() = reader;
        if is_other_history {
            self.give_up();
        } else {
            let held: Vec<Box<[u8]>> = self.held.iter().map(|entry| entry.key().clone()).collect();
            for link in held {
                let Some(of) = Allowance::decode(&link) else { continue };
                let row = StateKey::Budget(of, self.member.clone()).encode();
                match self.reader().serve_value(&row, |value| value.map(<[u8]>::to_vec)) {
                    Ok(value) => self.apply(&row, value.as_deref()),
                    Err(error) => tracing::error!(%error, "cannot read a budget in the new replica"),
                }
            }
        }
        // Whatever they wait for may have changed.
        for news in &self.waiting {
            news.link_changes.fetch_add(1, Ordering::Release);
            news.told.notify_waiters();
        }
    }

    fn give_up(&self) {
        let held = self.held.len();
        self.slots.renew_holder();
        // An entry is taken out under its lock: no click of it is spent any more.
        self.held.retain(|_, held| {
            self.slots.release(held.place);
            false
        });
        *self.work.lock() = Work::default();
        self.wake.notify_one();
        tracing::warn!(
            links = held,
            "clicks of limited links that were at hand are given up: the log has another history, and the writer burns them"
        );
    }

    /// What is to be told of a budget now; gives back what is idle, or all of it if it `must`. Forgets what is settled.
    fn step(&self, link: &[u8], now: Instant, must: bool) -> Step {
        let quota = quotas::id_of(link);
        let Entry::Occupied(mut entry) = self.held.entry(link.into()) else { return Step::Done };
        let held = entry.get_mut();
        if quota.is_some_and(|id| self.is_over(id, held.created)) {
            // Nobody misses what is left of it.
            self.slots.release(held.place);
            entry.remove();
            return Step::Done;
        }
        let at_hand = held.at_hand();
        let is_idle = || quota.is_none() && now.saturating_duration_since(held.used_at) >= IDLE;
        if at_hand > 0 && (must || is_idle()) {
            held.returned += at_hand;
            self.slots.set_returned(held.place, held.returned);
        }
        let is = (held.spent, held.returned);
        if held.at_hand() == 0 && is == held.settled {
            self.slots.release(held.place);
            entry.remove();
            return Step::Done;
        }
        let (tell_every, repeat_every) = match quota {
            None => (TELL_EVERY, REPEAT_EVERY),
            // What was given back is waited for.
            Some(_) if held.returned > held.settled.1 => (TELL_OF_QUOTA_EVERY, REPEAT_EVERY),
            Some(_) => (TELL_OF_QUOTA_EVERY, REPEAT_OF_QUOTA_EVERY),
        };
        let since = held.told_at.map(|at| now.saturating_duration_since(at));
        let is_due = match is == held.told {
            false => held.at_hand() == 0 || since.is_none_or(|since| since >= tell_every),
            true => is != held.settled && since.is_none_or(|since| since >= repeat_every),
        };
        if !is_due && !must {
            return Step::Later;
        }
        (held.told, held.told_at) = (is, Some(now));
        Step::Tell(Told { key: link.into(), created: held.created, spent: is.0, returned: is.1 })
    }
}

/// What comes of looking at a budget.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// The writer is to be told.
    Tell(Told),
    /// To be looked at again.
    Later,
    /// There is nothing to it any more.
    Done,
}

fn read_row(value: &[u8]) -> Option<Budget> {
    let (stamp, body) = value::split(value).ok()?;
    Budget::decode(body).ok().filter(|_| stamp.live)
}
