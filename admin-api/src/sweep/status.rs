//! How far the sweep is: numbers for metrics, for the API and for the log.

use std::sync::Arc;

use daemon::metrics::{Counter, Registry};
use parking_lot::Mutex;

/// How many links are due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// So many were counted.
    pub links: u64,
    /// Whether that is all of them.
    pub is_exact: bool,
}

/// A time during which there was something to do, without a break.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// When it began, milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// When there was nothing left to do, or the window closed; `None`: it goes on.
    pub ended_at_ms: Option<u64>,
    /// Links that were removed because they had ended.
    pub ended: u64,
    /// Links that were removed because nobody followed them.
    pub idle: u64,
    /// Links that were due when they were looked at and changed before they were removed.
    pub kept: u64,
}

/// How far links are looked at for being idle.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdleProgress {
    /// Links looked at since the start.
    pub looked_at: u64,
    /// When all links had been looked at last, milliseconds since the Unix epoch.
    pub all_looked_at_ms: Option<u64>,
    /// Why nothing is looked at now.
    pub waits: Option<String>,
}

/// Why a link was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    Ended,
    Idle,
}

/// How far the sweep is, shared; cheap to clone.
#[derive(Clone, Default)]
pub struct SweepStatus {
    state: Arc<Mutex<State>>,
    ended: Counter,
    idle: Counter,
    kept: Counter,
}

#[derive(Clone, Default)]
struct State {
    due: Due,
    run: Option<Run>,
    idle: IdleProgress,
}

impl SweepStatus {
    /// Registers its counters.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("sweep_links_ended", "Links swept because they had ended", &self.ended),
            ("sweep_links_idle", "Links swept because nobody followed them", &self.idle),
            ("sweep_links_kept", "Links that changed before they were swept, and stayed", &self.kept),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }

    /// The last run, or the one that goes on.
    pub fn run(&self) -> Option<Run> {
        self.state.lock().run
    }

    /// How many links were due when it was last counted.
    pub fn due(&self) -> Due {
        self.state.lock().due
    }

    /// How far links are looked at for being idle.
    pub fn idle(&self) -> IdleProgress {
        self.state.lock().idle.clone()
    }

    pub(super) fn set_due(&self, due: Due) {
        let mut state = self.state.lock();
        state.due = due;
        if let Some(run) = state.run.filter(|run| run.ended_at_ms.is_none()) {
            let Run { ended, idle, kept, .. } = run;
            tracing::info!(ended, idle, kept, due = due.links, "sweeping");
        }
    }

    pub(super) fn set_idle(&self, change: impl FnOnce(&mut IdleProgress)) {
        change(&mut self.state.lock().idle);
    }

    /// Notes what was done in a step.
    pub(super) fn swept(&self, why: Why, removed: u64, kept: u64, now_ms: u64) {
        let mut state = self.state.lock();
        let run = state.run.filter(|run| run.ended_at_ms.is_none());
        let mut run = run.unwrap_or(Run { started_at_ms: now_ms, ..Run::default() });
        let (counter, number) = match why {
            Why::Ended => (&self.ended, &mut run.ended),
            Why::Idle => (&self.idle, &mut run.idle),
        };
        counter.inc_by(removed);
        *number += removed;
        self.kept.inc_by(kept);
        run.kept += kept;
        state.run = Some(run);
    }

    /// Notes that there is nothing to do now.
    pub(super) fn ended(&self, now_ms: u64) {
        let mut state = self.state.lock();
        if let Some(run) = state.run.as_mut().filter(|run| run.ended_at_ms.is_none()) {
            run.ended_at_ms = Some(now_ms);
            let Run { ended, idle, kept, .. } = *run;
            tracing::info!(ended, idle, kept, "swept links that had ended or that nobody followed");
        }
    }
}
