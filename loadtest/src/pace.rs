//! Waiting for an instant, stopping early, and what the process used meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeValLike;

/// The longest sleep before the stop flag is looked at again.
const NAP: Duration = Duration::from_millis(50);

/// Lets the sleeps of this thread end when asked and not up to 50 µs later (the kernel's default slack).
pub fn precise_sleeps() {
    // Without it the run is still right: the lateness is measured and reported.
    let _ = prctl::set_timerslack(1);
}

/// Gives this thread its turn when it wakes: it stands for a client on a machine of its own, which waits for nobody's slice here.
pub fn prompt_turns() {
    // As above.
    let _ = daemon::turn::comes_at_once();
}

/// A wish to end, shared by threads.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that SIGTERM, SIGINT and SIGHUP set; a second one ends the process at once with code 1.
    ///
    /// Call it before threads are started: they inherit that these signals are left to this one.
    ///
    /// # Errors
    /// When signals cannot be taken over.
    pub fn on_signals() -> anyhow::Result<Self> {
        let flag = Self::default();
        flag.clone().call_on_signals(|| ())?;
        Ok(flag)
    }

    /// As [`StopFlag::on_signals`] for this flag, and calls `also` after setting it.
    ///
    /// # Errors
    /// When signals cannot be taken over.
    pub fn call_on_signals(self, also: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("cannot take over the signals")?;
        let wait = move || {
            let _signal = signals.wait();
            self.set();
            also();
            let _second = signals.wait();
            std::process::exit(1);
        };
        thread::Builder::new()
            .name("signals".into())
            .spawn(wait)
            .context("cannot start the signal thread")?;
        Ok(())
    }

    /// Asks everybody to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `deadline`; false when stopped before.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        loop {
            if self.is_set() {
                return false;
            }
            match deadline.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return true,
                Some(rest) => thread::sleep(rest.min(NAP)),
            }
        }
    }
}

/// The processor time this process has used so far, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0.0 };
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

/// `later − earlier` in ns; 0 when it is not later.
#[must_use]
pub fn ns_between(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_nanos()).unwrap_or(u64::MAX)
}
