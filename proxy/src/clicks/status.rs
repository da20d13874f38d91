//! How counting goes: what `/metrics` and `stats` tell, kept by the threads that count and report. Never touched by a worker.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use clicklog::ledger::Standing;
use clicklog::{BatchNumber, Kind};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::wall_clock::now_us;

/// What the reporter is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReportState {
    /// No writer has let the feed in yet, or it cannot be reached.
    Connecting = 0,
    /// A writer takes batches.
    Reporting = 1,
    /// The writer says no; asking again now and then.
    Refused = 2,
}

impl ReportState {
    /// All of them, in the order of their numbers.
    pub const ALL: [ReportState; 3] = [ReportState::Connecting, ReportState::Reporting, ReportState::Refused];

    /// For people and labels.
    pub const fn name(self) -> &'static str {
        match self {
            ReportState::Connecting => "connecting",
            ReportState::Reporting => "reporting",
            ReportState::Refused => "refused",
        }
    }
}

/// Names of the kinds, in the order of their numbers.
pub const KIND_NAMES: [&str; Kind::ALL.len()] = ["person", "bot", "head", "prefetch"];

/// The numbers, shared.
#[derive(Debug)]
pub struct ClickStatus {
    kinds: [AtomicU64; Kind::ALL.len()],
    ring_full: AtomicU64,
    damaged: AtomicU64,
    possible_losses: AtomicU64,
    is_failing: AtomicBool,
    report: AtomicU8,
    counted: AtomicU64,
    /// Clicks up to here are counted on the writer, milliseconds since the Unix epoch.
    counted_until_ms: AtomicU64,
    standing: Mutex<Option<Standing>>,
}

impl Default for ClickStatus {
    fn default() -> Self {
        ClickStatus {
            kinds: Default::default(),
            ring_full: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            possible_losses: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            report: AtomicU8::new(0),
            counted: AtomicU64::new(0),
            counted_until_ms: AtomicU64::new(now_us() / 1_000),
            standing: Mutex::new(None),
        }
    }
}

/// A copy of the numbers.
#[derive(Clone, Copy, Debug)]
pub struct ClickNumbers {
    /// Recorded on disk since start, by kind.
    pub kinds: [u64; Kind::ALL.len()],
    /// Lost since start because a ring was full.
    pub ring_full: u64,
    /// Lost since start because a record could not be read.
    pub damaged: u64,
    /// How often since start clicks may have been lost without being counted: 0 or 1.
    pub possible_losses: u64,
    /// The ledger cannot be written.
    pub is_failing: bool,
    /// What the reporter does.
    pub report: ReportState,
    /// The last batch the writer has counted, as last heard.
    pub counted: BatchNumber,
    /// How far the writer's counts are behind this proxy's answers, milliseconds.
    pub behind_ms: u64,
    /// The ledger.
    pub standing: Option<Standing>,
}

impl ClickStatus {
    /// Clicks are on disk: so many of each kind; so many were lost.
    pub(super) fn recorded(&self, kinds: [u64; Kind::ALL.len()], ring_full: u64, damaged: u64) {
        for (sum, count) in self.kinds.iter().zip(kinds) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
        self.ring_full.fetch_add(ring_full, Ordering::Relaxed);
        self.damaged.fetch_add(damaged, Ordering::Relaxed);
    }

    pub(super) fn possibly_lost(&self) {
        self.possible_losses.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether that is news.
    pub(super) fn set_failing(&self, is_failing: bool) -> bool {
        self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    pub(super) fn set_report(&self, state: ReportState) {
        self.report.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        *self.standing.lock() = Some(standing);
    }

    pub(super) fn set_counted(&self, counted: BatchNumber) {
        self.counted.store(counted.0, Ordering::Relaxed);
    }

    pub(super) fn set_counted_until(&self, until_ms: u64) {
        self.counted_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// Returns a copy.
    pub fn numbers(&self) -> ClickNumbers {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let report = usize::from(self.report.load(Ordering::Relaxed));
        ClickNumbers {
            kinds: std::array::from_fn(|at| of(&self.kinds[at])),
            ring_full: of(&self.ring_full),
            damaged: of(&self.damaged),
            possible_losses: of(&self.possible_losses),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            report: ReportState::ALL.get(report).copied().unwrap_or(ReportState::Connecting),
            counted: BatchNumber(of(&self.counted)),
            behind_ms: (now_us() / 1_000).saturating_sub(of(&self.counted_until_ms)),
            standing: *self.standing.lock(),
        }
    }
}

impl ClickNumbers {
    /// Batches and bytes that the writer has not released.
    pub fn unreleased(&self) -> (u64, u64) {
        let unreleased = |standing: Standing| {
            (standing.last.0.saturating_sub(standing.released.0), standing.unreleased_bytes)
        };
        self.standing.map_or((0, 0), unreleased)
    }

    /// Clicks lost since the ledger's birth because batches had to make room.
    pub fn queue_full(&self) -> u64 {
        self.standing.map_or(0, |standing| standing.dropped_clicks)
    }

    /// For `stats`.
    pub fn to_json(&self) -> Value {
        let kinds: serde_json::Map<String, Value> = KIND_NAMES
            .iter()
            .zip(self.kinds)
            .map(|(name, count)| ((*name).to_owned(), count.into()))
            .collect();
        let (batches, bytes) = self.unreleased();
        json!({
            "recorded": kinds,
            "dropped": {
                "ring_full": self.ring_full,
                "damaged": self.damaged,
                "queue_full": self.queue_full(),
            },
            "possible_losses": self.possible_losses,
            "failing": self.is_failing,
            "report": self.report.name(),
            "behind_ms": self.behind_ms,
            "ledger": self.standing.map(|standing| json!({
                "id": standing.id.to_string(),
                "last": standing.last.0,
                "first_kept": standing.first_kept.0,
                "kept_bytes": standing.kept_bytes,
            })),
            "counted": self.counted.0,
            "unreleased": { "batches": batches, "bytes": bytes },
        })
    }
}
