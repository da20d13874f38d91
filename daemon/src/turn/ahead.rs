//! Threads that go before all others, as long as these come along.
//!
//! A thread of real-time priority (`SCHED_RR`, sched(7)) has its core as soon as it wants it, whoever else wants it. With enough to do it
//! would keep it, and all but it would stand still, for 95 % of every second (`sched_rt_runtime_us`). So it looks again and again
//! whether an ordinary thread, the [`Witness`], still gets its turns, and is ordinary itself for a while when not. Who shares a core
//! with it then waits no longer than some hundredths of a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{SCHED_FLAG_RESET_ON_FORK, SCHED_RR, sched_attr};

use super::SLICE_NS;
use super::attributes::{of_this_thread, take};

/// How often a thread that is ahead should [look](Ahead::look) whether others come along.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the witness wants a turn.
const TURN_EVERY: Duration = Duration::from_millis(20);
/// How long the witness may go without one.
const SILENCE_MAX: Duration = Duration::from_millis(50);
/// How long a thread stays ordinary that has held others up.
const ORDINARY_FOR: Duration = Duration::from_secs(1);
/// The least there is: enough to go before what is ordinary, and behind whatever the operator gives more (sched(7)).
const PRIORITY: u32 = 1;

/// An ordinary thread by which to tell that ordinary threads come along.
#[derive(Debug)]
pub struct Witness {
    began: Instant,
    /// When it had its last turn, in nanoseconds since it began.
    turn_ns: AtomicU64,
}

impl Witness {
    /// Starts it. It ends when nobody asks it any more.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start() -> io::Result<Arc<Witness>> {
        let witness = Arc::new(Witness { began: Instant::now(), turn_ns: AtomicU64::new(0) });
        let asked = Arc::downgrade(&witness);
        thread::Builder::new().name("witness".to_owned()).spawn(move || {
            while let Some(witness) = asked.upgrade() {
                witness.turn_ns.store(witness.now_ns(), Ordering::Relaxed);
                drop(witness);
                thread::sleep(TURN_EVERY);
            }
        })?;
        Ok(witness)
    }

    /// Says whether it has been without a turn for too long.
    fn is_kept_waiting(&self) -> bool {
        let silent_ns = self.now_ns().saturating_sub(self.turn_ns.load(Ordering::Relaxed));
        Duration::from_nanos(silent_ns) > SILENCE_MAX
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The priority of one thread, which alone may use it.
#[derive(Debug)]
pub struct Ahead {
    witness: Arc<Witness>,
    /// Its attributes while it is ahead, and while it is not.
    ahead: sched_attr,
    ordinary: sched_attr,
    /// Since when it is ordinary, if it is.
    ordinary_since: Option<Instant>,
}

impl Ahead {
    /// Puts the calling thread before all ordinary ones; threads it starts are ordinary.
    ///
    /// # Errors
    /// The system does not allow it (setrlimit(2), `RLIMIT_RTPRIO`): everything is as before.
    pub fn begin(witness: Arc<Witness>) -> io::Result<Ahead> {
        let before = of_this_thread()?;
        let flags = before.sched_flags | SCHED_FLAG_RESET_ON_FORK as u64;
        let ordinary = sched_attr { sched_flags: flags, sched_runtime: SLICE_NS, ..before };
        let ahead = sched_attr {
            sched_policy: SCHED_RR as u32,
            sched_priority: PRIORITY,
            sched_nice: 0,
            sched_runtime: 0,
            ..ordinary
        };
        take(ahead)?;
        Ok(Ahead { witness, ahead, ordinary, ordinary_since: None })
    }

    /// Stands back if others do not come along, and goes ahead again a second later; `is_crowded`: the thread knows of somebody who
    /// does not. To be called every [`LOOK_EVERY`] by the thread that began. Says whether it is ahead.
    ///
    /// # Errors
    /// The system does not allow it; it stays as it is.
    pub fn look(&mut self, is_crowded: bool) -> io::Result<bool> {
        match self.ordinary_since {
            None if is_crowded || self.witness.is_kept_waiting() => {
                take(self.ordinary)?;
                self.ordinary_since = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= ORDINARY_FOR => {
                take(self.ahead)?;
                self.ordinary_since = None;
            }
            _ => {}
        }
        Ok(self.ordinary_since.is_none())
    }
}

#[cfg(test)]
mod tests {
    use nix::libc::{EPERM, SCHED_OTHER};
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    use nix::unistd::Pid;

    use super::*;

    const AHEAD: (u32, u32) = (SCHED_RR as u32, PRIORITY);
    const ORDINARY: (u32, u32) = (SCHED_OTHER as u32, 0);

    fn policy_and_priority() -> (u32, u32) {
        let attributes = of_this_thread().unwrap();
        (attributes.sched_policy, attributes.sched_priority)
    }

    /// Runs a test on a thread of its own, which is ahead, if the system lets one be; if not, nothing has changed.
    fn ahead(test: impl FnOnce(Ahead) + Send + 'static) {
        ahead_after(|| {}, test);
    }

    fn ahead_after(preparing: fn(), test: impl FnOnce(Ahead) + Send + 'static) {
        let run = move || {
            preparing();
            match Ahead::begin(Witness::start().unwrap()) {
                Ok(ahead) => test(ahead),
                Err(error) => {
                    assert_eq!((error.raw_os_error(), policy_and_priority()), (Some(EPERM), ORDINARY));
                }
            }
        };
        thread::spawn(run).join().unwrap();
    }

    #[test]
    fn what_a_thread_starts_that_is_ahead_is_ordinary() {
        ahead(|_| {
            assert_eq!(policy_and_priority(), AHEAD);
            assert_eq!(thread::spawn(policy_and_priority).join().unwrap(), ORDINARY);
        });
    }

    #[test]
    fn who_is_told_of_a_crowd_is_ordinary_for_a_while() {
        ahead(|mut ahead| {
            assert!(!ahead.look(true).unwrap());
            assert_eq!(policy_and_priority(), ORDINARY);
            assert_eq!(of_this_thread().unwrap().sched_runtime, SLICE_NS);
            assert!(!ahead.look(false).unwrap());
            ahead.ordinary_since = Instant::now().checked_sub(ORDINARY_FOR);
            // However long the witness has waited: who goes ahead looks again the next time.
            assert!(ahead.look(false).unwrap());
            assert_eq!(policy_and_priority(), AHEAD);
        });
    }

    #[test]
    fn who_leaves_others_no_time_stands_back() {
        let with_all_others_on_one_core = || {
            let mut here = CpuSet::new();
            here.set(sched_getcpu().unwrap()).unwrap();
            sched_setaffinity(Pid::from_raw(0), &here).unwrap();
        };
        ahead_after(with_all_others_on_one_core, |mut ahead| {
            // Would never end otherwise.
            while ahead.look(false).unwrap() {}
            assert_eq!(policy_and_priority(), ORDINARY);
        });
    }
}
