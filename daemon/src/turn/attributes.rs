//! How the kernel schedules the calling thread: sched_getattr(2), sched_setattr(2).
#![allow(unsafe_code)]

use std::io;
use std::ptr::from_mut;

use nix::libc::{SYS_sched_getattr, SYS_sched_setattr, sched_attr, syscall};

pub(super) fn of_this_thread() -> io::Result<sched_attr> {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut attributes: sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<sched_attr>() as u32;
    // SAFETY: 0 is the calling thread; the kernel writes at most `size` bytes to a structure of that size.
    succeeded(unsafe { syscall(SYS_sched_getattr, 0, from_mut(&mut attributes), size, 0) })?;
    Ok(attributes)
}

pub(super) fn take(mut attributes: sched_attr) -> io::Result<()> {
    // SAFETY: 0 is the calling thread; the structure is as the kernel filled it, but for values it checks, and says its own size.
    succeeded(unsafe { syscall(SYS_sched_setattr, 0, from_mut(&mut attributes), 0) })
}

fn succeeded(returned: nix::libc::c_long) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
