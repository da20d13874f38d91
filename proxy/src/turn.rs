//! A worker's turn comes at once, also on a core where something else is running.
//!
//! Threads of this process work in the background (clicks are added up, records applied, tables compacted), and with fewer cores than
//! threads they meet a worker. The scheduler lets a thread finish its slice, some milliseconds, before another that has just been woken
//! gets its turn; one with a shorter slice does not wait (`PREEMPT_SHORT`, Linux 6.12, `kernel/sched/fair.c`). A worker's turns are tens
//! of microseconds long, so the shortest slice there is suits it. How much of the core each gets is not changed by it.
//!
//! Older kernels take the call and change nothing.
#![allow(unsafe_code)]

use std::io;
use std::ptr::from_mut;

use nix::libc::{SYS_sched_getattr, SYS_sched_setattr, sched_attr, syscall};

/// The shortest slice the kernel takes, in nanoseconds (sched_setattr(2)).
const SLICE_NS: u64 = 100_000;

/// Gives the calling thread the shortest slice.
///
/// # Errors
/// The system does not allow it; everything works as before then.
pub(crate) fn comes_at_once() -> io::Result<()> {
    let mut attributes = of_this_thread()?;
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: 0 is the calling thread; the structure is as the kernel filled it, and says its own size.
    succeeded(unsafe { syscall(SYS_sched_setattr, 0, from_mut(&mut attributes), 0) })
}

fn of_this_thread() -> io::Result<sched_attr> {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut attributes: sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<sched_attr>() as u32;
    // SAFETY: 0 is the calling thread; the kernel writes at most `size` bytes to a structure of that size.
    succeeded(unsafe { syscall(SYS_sched_getattr, 0, from_mut(&mut attributes), size, 0) })?;
    Ok(attributes)
}

fn succeeded(returned: nix::libc::c_long) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_policy_and_priority() {
        let kept = || {
            let attributes = of_this_thread().unwrap();
            (attributes.sched_policy, attributes.sched_nice, attributes.sched_priority)
        };
        let before = kept();
        comes_at_once().unwrap();
        assert_eq!(kept(), before);
    }
}
