//! How much one network may ask: requests and unknown codes over a window, for the whole process.
//!
//! Everything here is opt-in and shared by all workers: one `table` of atomic words, no lock, no allocation after the start. A
//! request costs one hash, one bucket of 128 bytes to search and one compare-and-exchange; a network that is over its limit costs no
//! write at all.
//!
//! A window begins with the first request that counts and lasts as long as the rule says; then the next one begins. So no window
//! ever holds more than the limit, and after one the count starts anew.
//!
//! Who is over a limit still gets the links that exist, since offices and carriers share addresses; everything else is answered 429.
//! `strict` answers 429 to everything. A network that asks for very many unknown codes in an hour is reported, once an hour, and
//! may be blocked for a while: then it gets 429 to everything.

mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{Limit, Over};
use crate::network::Network;
use table::{Counted, Place, Table, TableOptions, Tick};

/// Unknown codes are watched over this time.
const WATCHED: Duration = Duration::from_secs(3_600);
/// At most one line in the log in this time, however many networks it is about.
const LOG_EVERY_MS: u64 = 10_000;

/// At most `count` in `window`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// How many, at least 1.
    pub count: u32,
    /// In how long, at least a second.
    pub window: Duration,
}

/// What networks may do.
#[derive(Clone, Copy, Debug)]
pub struct QuotaOptions {
    /// Requests of any kind.
    pub requests: Option<Rule>,
    /// Requests for codes that do not exist.
    pub not_found: Option<Rule>,
    /// Over a limit, links that exist are not answered either.
    pub strict: bool,
    /// So many unknown codes in an hour are reported; `None`: not watched.
    pub scan_alarm: Option<u32>,
    /// For how long such a network is blocked; zero: not at all.
    pub scan_block: Duration,
    /// How many networks are remembered; rounded up to what the table's shape allows.
    pub networks_max: usize,
}

/// What a request may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its answer.
    Free,
    /// Its answer if it is for a link that exists, otherwise 429.
    LinksOnly(Over),
    /// 429.
    Nothing(Over),
}

/// What the quotas have seen; each only rises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Networks that asked for very many unknown codes, once an hour each.
    pub scans: u64,
    /// Networks forgotten while one of their windows ran, since the table was full.
    pub forgotten: u64,
}

/// The counts of a process.
pub struct Quotas {
    table: Table,
    options: QuotaOptions,
    /// In ticks, as the table wants them.
    requests: Option<(u32, Tick)>,
    not_found: Option<(u32, Tick)>,
    blocked: Tick,
    scans: AtomicU64,
    logged_ms: AtomicU64,
}

impl Quotas {
    /// Makes the table; [`Quotas`] of a configuration without limits are `None`.
    pub fn new(options: QuotaOptions) -> Option<Quotas> {
        let in_ticks = |rule: Rule| (rule.count, Tick::lasting(rule.window));
        let quotas = Quotas {
            table: Table::new(TableOptions {
                networks: options.networks_max,
                windows: [
                    options.requests.map_or(Tick(0), |rule| Tick::lasting(rule.window)),
                    options.not_found.map_or(Tick(0), |rule| Tick::lasting(rule.window)),
                    Tick::lasting(WATCHED.max(options.scan_block)),
                ],
            }),
            requests: options.requests.map(in_ticks),
            not_found: options.not_found.map(in_ticks),
            blocked: Tick::lasting(options.scan_block),
            options,
            scans: AtomicU64::new(0),
            logged_ms: AtomicU64::new(0),
        };
        (quotas.requests.is_some() || quotas.not_found.is_some() || options.scan_alarm.is_some())
            .then_some(quotas)
    }

    /// Counts a request of `network` and says what it may get.
    #[inline]
    pub fn request(&self, network: Network, now_ms: u64) -> Verdict {
        let now = Tick::at(now_ms);
        let place = match self.requests {
            Some(_) => self.table.enter(network, now),
            // Nothing is counted yet, but something may be held against it.
            None => self.table.find(network),
        };
        let Some(place) = place else { return Verdict::Free };
        if let Some(left) = self.block_left(place, now) {
            return Verdict::Nothing(over(Limit::Block, left));
        }
        if let Some((max, window)) = self.requests
            && let Some(left) = place.requests().count(now, window, max).over()
        {
            let over = over(Limit::Requests, left);
            return if self.options.strict { Verdict::Nothing(over) } else { Verdict::LinksOnly(over) };
        }
        match self.not_found {
            Some((max, window)) if self.options.strict => match place.not_found().over(now, window, max) {
                Some(left) => Verdict::Nothing(over(Limit::NotFound, left)),
                None => Verdict::Free,
            },
            _ => Verdict::Free,
        }
    }

    /// Counts an unknown code of `network`; `Some`: it shall not be told that the code is unknown.
    pub fn not_found(&self, network: Network, now_ms: u64) -> Option<Over> {
        let now = Tick::at(now_ms);
        let place = self.table.enter(network, now)?;
        if let Some(alarm) = self.options.scan_alarm {
            self.watch(place, network, now, now_ms, alarm);
        }
        let (max, window) = self.not_found?;
        place.not_found().count(now, window, max).over().map(|left| over(Limit::NotFound, left))
    }

    /// What has been seen so far.
    pub fn seen(&self) -> Seen {
        Seen { scans: self.scans.load(Ordering::Relaxed), forgotten: self.table.forgotten() }
    }

    fn block_left(&self, place: &Place, now: Tick) -> Option<Tick> {
        if self.blocked == Tick(0) {
            return None;
        }
        place.watched().blocked(now, self.blocked)
    }

    fn watch(&self, place: &Place, network: Network, now: Tick, now_ms: u64, alarm: u32) {
        let counted = place.watched().count(now, Tick::lasting(WATCHED), alarm + 1);
        // The one that passes the mark reports; those after it are not counted any more.
        if !matches!(counted, Counted::Within { count } if count == alarm + 1) {
            return;
        }
        if self.blocked != Tick(0) {
            place.watched().block(now);
        }
        self.scans.fetch_add(1, Ordering::Relaxed);
        let last = self.logged_ms.load(Ordering::Relaxed);
        let due = last == 0 || now_ms.saturating_sub(last) >= LOG_EVERY_MS;
        if due && self.logged_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(%network, in_an_hour = alarm + 1, blocked_for = ?self.options.scan_block,
                "a network asks for many codes that do not exist");
        }
    }
}

fn over(limit: Limit, left: Tick) -> Over {
    Over { limit, retry_after_s: left.seconds() }
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quotas").field("options", &self.options).field("seen", &self.seen()).finish()
    }
}
