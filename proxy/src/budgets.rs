//! Links that end with a number of clicks, and quotas of redirects: what this proxy may still spend of them.
//!
//! Owned here: a click of such a link is spent out of a budget that the log has granted to this proxy, and recorded in `slots` before the
//! answer is written. No two proxies ever hold the same click, so however they are cut off or killed, there are never more redirects than
//! the link allows. What is idle goes back within a second; what the writer asks for goes back at once. The same holds for a quota in each
//! of its periods, but what is idle of it stays until the period is over: it is large, and moving it costs records.
//!
//! - Granted and settled: what the log says, applied by the follower ([`Budgets::apply`], in `replayed`).
//! - Spent and given back: `slots`. Both only ever grow, so telling the writer twice changes nothing.
//! - `quotas`: what links of a token may answer together, and when that begins anew.
//! - `hold`: the stream on which the writer is told and asked; `tell`: of what, and when.
//!
//! Deliberately not here: whether the link has ended, which its record says.

mod hold;
mod quotas;
mod replayed;
mod slots;
mod tell;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use linklog::Position;
use linklog::entity::{Quota, QuotaId};
use linklog::store::Reader;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clicks::ring_dir::boot_id;

pub use hold::{Holding, start};
pub use quotas::Quoted;
use slots::{Kept, SLOTS, Slots};
use tell::{Step, Told};

/// The file in the folder of the click rings.
const FILE: &str = "budgets";
/// How long a visitor waits for a click to be granted.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Links that visitors may wait for at once; beyond, they are told to come back.
const WAITING_MAX: usize = 4_096;
/// Visitors that may wait at once; beyond, they are told to come back.
const VISITORS_MAX: usize = 16_384;

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
        let (slots, kept) = Slots::open(&dir.join(FILE), slots, boot_id())?;
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

    fn want(&self, key: &[u8], created: Position) {
        let mut work = self.work.lock();
        work.wanted.insert(key.into(), created);
        work.active.insert(key.into());
        drop(work);
        self.wake.notify_one();
    }
}
