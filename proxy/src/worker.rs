//! What a worker shares with the others and what it has for itself.
//!
//! A worker is one thread with its own sockets and event loop. It answers from [`Shared`]; its counters are written by nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use linklog::RedirectStatus;
use linklog::store::StoreError;
use tokio::sync::Notify;

use crate::answer::{Answer, Page};
use crate::budgets::Budgets;
use crate::census::Census;
use crate::clicks::ClickRing;
use crate::clicks::record::Click;
use crate::client::{Client, Clients};
use crate::disk::Unsure;
use crate::geo::Geo;
use crate::hosts::Hosts;
use crate::hot_map::Block;
use crate::http::clock::now_ms;
use crate::http::render::Pieces;
use crate::limits::Limit;
pub use crate::limits::Limits;
use crate::link_key::LinkKey;
use crate::lookup::{Lookups, Tier};
use crate::passwords::Passwords;
use crate::quota::{Quotas, Verdict};
use crate::scrub::Scrub;
use crate::visitors::Visitors;

/// What all workers answer from.
pub struct Shared {
    /// Links.
    pub lookups: Lookups,
    /// Hosts.
    pub hosts: Arc<Hosts>,
    /// Ready pieces of answers.
    pub pieces: Pieces,
    /// Where `/` leads.
    pub root_redirect: Option<Box<[u8]>>,
    /// Keeps a failing disk from filling the log.
    pub database_failures: FailureLog,
    /// Looks at the disk when a lookup has met damage.
    pub scrub: Arc<Scrub>,
    /// Who is connected.
    pub census: Arc<Census>,
    /// Who counts as one client.
    pub clients: Clients,
    /// How much one network may ask, if that is limited.
    pub quotas: Option<Arc<Quotas>>,
    /// What may be spent of links that end with a number of clicks; `None`: nothing.
    pub budgets: Option<Arc<Budgets>>,
    /// Where visitors come from, if there is a database that says it.
    pub geo: Option<Arc<Geo>>,
    /// Who visitors are.
    pub visitors: Arc<Visitors>,
    /// Where passwords are compared.
    pub passwords: Passwords,
}

impl Shared {
    /// The answer to `/`.
    pub fn root(&self) -> Answer<'_> {
        match &self.root_redirect {
            Some(target) => Answer::Redirect { status: RedirectStatus::Found, target, max_age_s: None },
            None => Answer::Page(Page::Root),
        }
    }
}

/// Logs failures of the database, one in a while.
#[derive(Debug, Default)]
pub struct FailureLog {
    last_ms: AtomicU64,
}

impl FailureLog {
    /// Logs at most once in this many milliseconds.
    const EVERY_MS: u64 = 60_000;

    /// Returns whether it was logged.
    fn report(&self, error: &StoreError) -> bool {
        let (now, last) = (now_ms(), self.last_ms.load(Ordering::Relaxed));
        let due = last == 0 || now.saturating_sub(last) >= Self::EVERY_MS;
        // Of several threads that find it due, one logs.
        let is_first =
            due && self.last_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            tracing::error!(%error, "cannot look links up in the replica, visitors get 503");
        }
        is_first
    }
}

/// One thread that serves.
pub struct Worker {
    /// What it answers from.
    pub shared: Arc<Shared>,
    /// What it has done.
    pub counters: Arc<Counters>,
    /// How patient it is.
    pub limits: Limits,
    /// `None`: clicks are not counted.
    clicks: Option<ClickRing>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Worker {
    /// Makes a worker.
    pub fn new(shared: Arc<Shared>, counters: Arc<Counters>, limits: Limits) -> Worker {
        let (stopping, stop) = (AtomicBool::new(false), Notify::new());
        Worker { shared, counters, limits, clicks: None, stopping, stop }
    }

    /// Makes it record redirects.
    #[must_use]
    pub fn recording(self, clicks: ClickRing) -> Worker {
        Worker { clicks: Some(clicks), ..self }
    }

    /// Records a redirect that is about to be answered.
    #[inline]
    pub(crate) fn record(&self, click: &Click<'_>) {
        if let Some(clicks) = &self.clicks {
            clicks.record(click);
        }
    }

    /// Says whether the thread that counts its clicks is about to lose some.
    pub(crate) fn leaves_no_time_to_count(&self) -> bool {
        self.clicks.as_ref().is_some_and(ClickRing::is_nearly_full)
    }

    /// Closes idle connections, and every other one after its next answer.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_waiters();
    }

    /// Says whether [`Worker::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Counts a request and says what it may get.
    #[inline]
    pub(crate) fn admit(&self, client: &Client, now_ms: u64) -> Verdict {
        match (&self.shared.quotas, client.network) {
            (Some(quotas), Some(network)) => quotas.request(network, now_ms),
            _ => Verdict::Free,
        }
    }

    /// What a client gets in place of `answer`: that, or 429.
    #[inline]
    pub(crate) fn limited<'a>(
        &self,
        client: &Client,
        verdict: Verdict,
        answer: Answer<'a>,
        now_ms: u64,
    ) -> Answer<'a> {
        let (Some(quotas), Some(network)) = (&self.shared.quotas, client.network) else { return answer };
        let unknown = match answer {
            Answer::Page(Page::NotFound) => quotas.not_found(network, now_ms),
            _ => None,
        };
        let over = match verdict {
            Verdict::Free => unknown,
            Verdict::LinksOnly(_) if answer.is_of_a_link() => None,
            Verdict::LinksOnly(over) | Verdict::Nothing(over) => Some(over),
        };
        match over {
            None => answer,
            Some(over) => {
                self.counters.reached(over.limit);
                Answer::Limited { retry_after_s: over.retry_after_s }
            }
        }
    }

    /// Looks a link up on the disk, and counts how that went.
    pub(crate) async fn look_up_on_disk(&self, key: LinkKey) -> Result<Option<Block>, Unsure> {
        let found = self.shared.lookups.on_disk(key).await;
        match &found {
            Ok(_) => self.counters.count(Event::LookedUp(Tier::Disk)),
            Err(Unsure::Full) => self.counters.count(Event::DiskFull),
            Err(Unsure::Late) => self.counters.count(Event::DiskLate),
            Err(Unsure::Failed(error)) => self.failed(error),
            Err(Unsure::Incomplete) => self.counters.count(Event::Incomplete),
        }
        found
    }

    /// Counts a failure of the database, and logs it if nobody has lately.
    pub(crate) fn failed(&self, error: &StoreError) {
        self.counters.count(Event::DiskFailed);
        let is_news = self.shared.database_failures.report(error);
        if is_news && error.is_damage() {
            self.shared.scrub.suspect();
        }
    }

    /// What wakes a connection when the worker stops.
    pub(crate) fn stop_signal(&self) -> &Notify {
        &self.stop
    }
}

/// The statuses we answer with; anything else is a bug and counted as the last.
pub const STATUSES: [u16; 18] =
    [302, 301, 307, 308, 303, 200, 404, 410, 451, 503, 400, 401, 403, 405, 408, 429, 431, 505];

/// What a request took, besides its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Found, or found missing, in the hot map, the database's memory or on the disk.
    LookedUp(Tier),
    /// No disk thread was free.
    DiskFull,
    /// The disk was too slow.
    DiskLate,
    /// The database failed.
    DiskFailed,
    /// Not here, and the replica has never been whole.
    Incomplete,
    /// Parsed by the fast parser.
    Fast,
    /// Given to Pingora's session.
    Session,
    /// Came by HTTP/2.
    Http2,
    /// A TLS handshake ended.
    Handshake(Handshake),
    /// A connection came.
    Opened,
    /// A connection went.
    Closed,
}

/// What came of a TLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// TLS 1.2 from the start.
    Full12,
    /// TLS 1.3 from the start.
    Full13,
    /// TLS 1.2 with a ticket.
    Resumed12,
    /// TLS 1.3 with a ticket.
    Resumed13,
    /// Nothing: the peer went away, or does not speak TLS, or not one of ours.
    Failed,
    /// It took too long.
    Late,
}

impl Event {
    /// How many there are.
    pub const COUNT: usize = 18;

    const fn index(self) -> usize {
        match self {
            Event::LookedUp(Tier::Hot) => 0,
            Event::LookedUp(Tier::Cache) => 1,
            Event::LookedUp(Tier::Disk) => 2,
            Event::DiskFull => 3,
            Event::DiskLate => 4,
            Event::DiskFailed => 5,
            Event::Fast => 6,
            Event::Session => 7,
            Event::Opened => 8,
            Event::Closed => 9,
            Event::Incomplete => 10,
            Event::Http2 => 11,
            Event::Handshake(handshake) => 12 + handshake as usize,
        }
    }
}

/// A worker's counts. Only its own thread adds; anybody may read.
#[derive(Debug, Default)]
pub struct Counters {
    statuses: CachePadded<[AtomicU64; STATUSES.len()]>,
    events: CachePadded<[AtomicU64; Event::COUNT]>,
    limits: CachePadded<[AtomicU64; Limit::ALL.len()]>,
    is_ahead: AtomicBool,
}

impl Counters {
    /// Counts an answer.
    #[inline]
    pub fn answered(&self, status: u16) {
        let index = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        add_one(&self.statuses[index]);
    }

    /// Counts an event.
    #[inline]
    pub fn count(&self, event: Event) {
        add_one(&self.events[event.index()]);
    }

    /// Counts that somebody has reached a limit.
    pub(crate) fn reached(&self, limit: Limit) {
        add_one(&self.limits[limit.index()]);
    }

    /// How often a limit was reached.
    pub fn limited(&self, limit: Limit) -> u64 {
        self.limits[limit.index()].load(Ordering::Relaxed)
    }

    /// Notes whether the worker comes before everything else on its core.
    pub(crate) fn set_ahead(&self, is_ahead: bool) {
        self.is_ahead.store(is_ahead, Ordering::Relaxed);
    }

    /// Whether the worker comes before everything else on its core.
    pub fn is_ahead(&self) -> bool {
        self.is_ahead.load(Ordering::Relaxed)
    }

    /// Answers with one of [`STATUSES`], by its place there.
    pub fn answers(&self, index: usize) -> u64 {
        self.statuses[index].load(Ordering::Relaxed)
    }

    /// How often something happened.
    pub fn events(&self, event: Event) -> u64 {
        self.events[event.index()].load(Ordering::Relaxed)
    }
}

/// With one writer no locked instruction is needed: a load and a store.
#[inline]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
