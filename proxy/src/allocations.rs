//! Counting what the threads that serve allocate: an allocator around another, and a count for each kind of thread.
//!
//! A redirect from the hot map allocates nothing, and a metric of the running process says so. Whatever has not said what it is
//! ([`count_as`]) is not counted and pays a look at one thread-local byte for each allocation. Deliberately not here: what C and C++
//! allocate (RocksDB, OpenSSL), which never comes by; `make allocations` counts that from outside.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads whose allocations are counted, by what they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// Answers visitors.
    Worker,
    /// Reads links from the disk.
    Disk,
}

impl Role {
    /// Each, with its name in the metric.
    pub const ALL: [(Role, &'static str); 2] = [(Role::Worker, "worker"), (Role::Disk, "disk")];
}

static COUNTS: [AtomicU64; Role::ALL.len()] = [const { AtomicU64::new(0) }; Role::ALL.len()];

thread_local! {
    // Constant and without a destructor: looking at it allocates nothing and works from a thread's first moment to its last.
    static ROLE: Cell<Option<Role>> = const { Cell::new(None) };
}

/// Counts what this thread allocates from now on, if the process has [`Counted`] for its allocator.
pub fn count_as(role: Role) {
    ROLE.set(Some(role));
}

/// How often the threads of a kind have allocated so far, growing in place included.
pub fn counted(role: Role) -> u64 {
    COUNTS[role as usize].load(Ordering::Relaxed)
}

/// An allocator that counts.
#[derive(Debug)]
pub struct Counted<A>(pub A);

#[inline]
fn count() {
    if let Some(role) = ROLE.get() {
        COUNTS[role as usize].fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on as it came; counting allocates nothing and does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { self.0.realloc(pointer, layout, size) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    fn only_threads_that_have_said_what_they_are_are_counted() {
        let allocator = Counted(System);
        let layout = Layout::new::<u64>();
        let allocate = || {
            // SAFETY: the layout is not empty, and each pointer is freed once, with the layout it has then.
            unsafe {
                let pointer = allocator.realloc(allocator.alloc(layout), layout, 2 * layout.size());
                let larger = Layout::from_size_align_unchecked(2 * layout.size(), layout.align());
                allocator.dealloc(pointer, larger);
                allocator.dealloc(allocator.alloc_zeroed(layout), layout);
            }
            counted(Role::Disk)
        };
        // Of this process's tests none has a disk thread counted but this one: the allocator is not installed.
        std::thread::scope(|scope| {
            let counts = scope.spawn(|| (allocate(), count_as(Role::Disk), allocate()));
            let (before, (), after) = counts.join().expect("the thread does not panic");
            assert_eq!((before, after), (0, 3));
        });
        assert_eq!(allocate(), 3);
    }
}
