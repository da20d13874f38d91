//! Which threads come first where there are more of them than cores.
//!
//! The scheduler lets a thread finish its slice, some milliseconds, before another that has just been woken gets its turn; one with a
//! shorter slice does not wait (`PREEMPT_SHORT`, Linux 6.12, `kernel/sched/fair.c`). The shortest slice there is suits threads whose turns
//! are short and for which others wait: a proxy's workers, the writer of the log. How much of the core each gets is not changed by it.
//! Work that nobody waits for gets a tenth of what others get who want the core too, so that even then it comes along.
//!
//! That does not help a thread which is woken on another core than the one it ran on last: with less than its share it has to wait for the
//! next tick, up to 4 ms, however nice the one is that it waits for, and though another core may be idle (EEVDF, `kernel/sched/fair.c`).
//! So work that takes its time pauses now and then ([`Pauses`]): whoever waits has the core at once.
//!
//! Nor does it help against the kernel's own threads, which go on for as long as they have a claim to the core: only real-time priority
//! does ([`Ahead`]).
//!
//! Older kernels take a slice and change nothing.

mod ahead;
mod attributes;

use std::io;
use std::time::{Duration, Instant};

use nix::libc::{SCHED_BATCH, sched_attr};

pub use ahead::{Ahead, LOOK_EVERY, Witness};
use attributes::{of_this_thread, take};

/// The shortest slice the kernel takes, in nanoseconds (sched_setattr(2)).
const SLICE_NS: u64 = 100_000;
/// How long work that pauses goes on without.
const PAUSE_EVERY: Duration = Duration::from_micros(200);
/// Any time at all: the kernel makes 50 to 60 µs of it (timer slack, prctl(2)).
const PAUSE: Duration = Duration::from_nanos(1);
/// The niceness of work that nobody waits for: a tenth of the weight of 0 (`sched_prio_to_weight`, `kernel/sched/core.c`).
const NICENESS: i32 = 10;

/// Gives the calling thread the shortest slice.
///
/// # Errors
/// The system does not allow it; everything works as before then.
pub fn comes_at_once() -> io::Result<()> {
    let mut attributes = of_this_thread()?;
    attributes.sched_runtime = SLICE_NS;
    take(attributes)
}

/// Runs work that takes its time: meanwhile the calling thread has a slice of usual length, so that threads that come at once do.
pub fn takes_its_time<T>(work: impl FnOnce() -> T) -> T {
    struct Shortened(sched_attr);
    impl Drop for Shortened {
        fn drop(&mut self) {
            let _ = take(self.0);
        }
    }
    let before = of_this_thread().ok().filter(|attributes| attributes.sched_runtime == SLICE_NS);
    let _shortened = before.and_then(|before| {
        let usual = sched_attr { sched_runtime: 0, ..before };
        take(usual).ok().map(|()| Shortened(before))
    });
    work()
}

/// Puts the calling thread, and those it starts from now on, behind all others of the system that are not nice either.
///
/// # Errors
/// The system does not allow it; everything works as before then.
pub fn gives_way() -> io::Result<()> {
    let mut attributes = of_this_thread()?;
    attributes.sched_policy = SCHED_BATCH as u32;
    attributes.sched_nice = attributes.sched_nice.max(NICENESS);
    take(attributes)
}

/// Pauses in work of which a step takes much less than 200 µs.
#[derive(Debug)]
pub struct Pauses {
    since: Instant,
}

impl Pauses {
    /// Begins the work.
    pub fn begin() -> Pauses {
        Pauses { since: Instant::now() }
    }

    /// To be called between two steps: lets go of the core for a moment if the last pause was 200 µs ago.
    pub fn step(&mut self) {
        if self.since.elapsed() >= PAUSE_EVERY {
            std::thread::sleep(PAUSE);
            self.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy_and_priorities() -> (u32, i32, u32) {
        let attributes = of_this_thread().unwrap();
        (attributes.sched_policy, attributes.sched_nice, attributes.sched_priority)
    }

    #[test]
    fn a_thread_that_comes_at_once_keeps_its_policy_and_priority() {
        let before = policy_and_priorities();
        comes_at_once().unwrap();
        assert_eq!(policy_and_priorities(), before);
    }

    #[test]
    fn a_slice_is_short_again_after_work_that_takes_its_time() {
        let slice = || of_this_thread().unwrap().sched_runtime;
        std::thread::spawn(move || {
            let usual = takes_its_time(slice);
            assert_ne!(usual, SLICE_NS);
            comes_at_once().unwrap();
            assert_eq!(takes_its_time(slice), usual);
            let broken = std::panic::catch_unwind(|| takes_its_time(|| panic!("on purpose")));
            assert!(broken.is_err());
            assert_eq!(slice(), SLICE_NS);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_that_gives_way_does_so_with_all_it_starts_and_nobody_else() {
        let before = policy_and_priorities();
        let gave_way = std::thread::spawn(|| {
            gives_way().unwrap();
            [policy_and_priorities(), std::thread::spawn(policy_and_priorities).join().unwrap()]
        });
        let nice = (SCHED_BATCH as u32, before.1.max(NICENESS), before.2);
        assert_eq!(gave_way.join().unwrap(), [nice, nice]);
        assert_eq!(policy_and_priorities(), before);
    }
}
