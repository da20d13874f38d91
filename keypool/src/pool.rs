//! What a pool is, without disk, clock or randomness: which codes wait, which leases were given, what may come next.
//!
//! Every code of the pool's *stock* has a serial, in the order in which it was generated:
//!
//! ```text
//!   0 ………………………… waiting.start ………………………… waiting.end
//!     leased or burned        waiting, leased next from the left
//! ```
//!
//! Invariants: `waiting.start` never goes back, so a serial is handed out by one lease or by none; a lease is a range of
//! serials without those it omits, so repeating it for the same request gives the same codes; lease numbers of one pool
//! id are 1, 2, 3 … A caller changes the disk first and then calls `apply_…` here: what is in memory is never ahead of
//! what is durable.
//!
//! Deliberately not here: the set of all codes ever taken ([`codeset`](crate::codeset)), which leasing never asks.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use linklog::Code7;

mod lease;
mod lease_book;
#[cfg(test)]
mod tests;

pub use lease::{HOLDER_BYTES_MAX, Lease, LeaseRecordError, RequestId};
pub use lease_book::{LEASES_KEPT_MAX, LeaseBook};

/// How many leased codes are kept, so that a repeated request can be answered: 25 MB, hours of the heaviest load.
pub const LEASED_CODES_KEPT: u64 = 4 << 20;

/// Which pool this is: random, made at the first start, and again when a database is restored from a backup.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolId(pub [u8; 16]);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for PoolId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What an admin asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    /// Repeated by a retry.
    pub request_id: RequestId,
    /// The admin's name, at most [`HOLDER_BYTES_MAX`] bytes.
    pub holder: String,
    /// The writer epoch the block will belong to.
    pub epoch: u32,
    /// How many codes, from 1.
    pub count: u32,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was answered before: the same again.
    Repeat(Lease),
    /// Codes from the stock, from `waiting.start` on.
    Next,
    /// Nothing waits.
    Empty,
    /// The request id was used by somebody else.
    Stolen,
}

/// The codes picked for a lease, before it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picked {
    /// What is to be made durable.
    pub lease: Lease,
    /// What it hands out.
    pub codes: Vec<Code7>,
    /// Waiting codes that it passed over because they came into use another way; they need not be remembered longer.
    pub passed_over: Vec<Code7>,
}

/// The state of a pool in memory.
#[derive(Debug)]
pub struct Pool {
    /// Which pool it is.
    pub id: PoolId,
    waiting: Range<u64>,
    /// How many codes were ever taken, without those of a batch that is not in stock yet.
    taken: u64,
    /// The first serial whose code is still in the database.
    kept_from: u64,
    last_lease_number: u64,
    leases: LeaseBook,
    /// Waiting codes that came into use another way. A subset of what waits, so bounded by the high watermark.
    skipped: HashSet<Code7>,
}

impl Pool {
    /// Makes a pool from what the database holds.
    pub fn new(id: PoolId, waiting: Range<u64>, taken: u64, kept_from: u64, last_lease_number: u64) -> Pool {
        let (leases, skipped) = (LeaseBook::default(), HashSet::new());
        Pool { id, waiting, taken, kept_from, last_lease_number, leases, skipped }
    }

    /// Takes in a lease that the database remembers; in the order of their numbers.
    pub fn remember_lease(&mut self, lease: Lease) {
        self.leases.push(lease);
    }

    /// Takes in codes that wait and must not be leased.
    pub fn apply_skipped(&mut self, codes: impl IntoIterator<Item = Code7>) {
        self.skipped.extend(codes);
    }

    /// Returns the serials that wait.
    pub fn waiting(&self) -> Range<u64> {
        self.waiting.clone()
    }

    /// Returns how many codes wait to be leased.
    pub fn unused(&self) -> u64 {
        (self.waiting.end - self.waiting.start).saturating_sub(self.skipped.len() as u64)
    }

    /// Returns how many codes were ever taken, those that wait included.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns how many codes will never be leased again: leased, marked or burned.
    pub fn used(&self) -> u64 {
        self.taken.saturating_sub(self.unused())
    }

    /// Returns the number of the latest lease, 0 before the first.
    pub fn last_lease_number(&self) -> u64 {
        self.last_lease_number
    }

    /// Says whether a waiting code must not be leased.
    pub fn is_skipped(&self, code: Code7) -> bool {
        self.skipped.contains(&code)
    }

    /// Decides what becomes of a request.
    pub fn answer(&self, request: &LeaseRequest) -> Answer {
        match self.leases.find(&request.request_id) {
            // Its codes may be gone from the database: then the request is as good as new, and gets new codes.
            Some(lease) if lease.serials.start >= self.kept_from => {
                let same = lease.holder == request.holder && lease.epoch == request.epoch;
                if same { Answer::Repeat(lease.clone()) } else { Answer::Stolen }
            }
            _ if self.waiting.is_empty() => Answer::Empty,
            _ => Answer::Next,
        }
    }

    /// Picks the codes of a new lease from `stock`, the codes from `waiting.start` on: `count` of them that are neither
    /// skipped nor `forbidden`, fewer if the stock ends. `None` if there is no such code at all.
    pub fn pick(
        &self,
        request: &LeaseRequest,
        stock: impl IntoIterator<Item = Code7>,
        forbidden: impl Fn(Code7) -> bool,
    ) -> Option<Picked> {
        let (mut codes, mut omitted, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        let mut length = 0;
        for code in stock {
            if codes.len() == request.count as usize {
                break;
            }
            let skipped = self.skipped.contains(&code);
            if skipped {
                passed_over.push(code);
            }
            if skipped || forbidden(code) {
                omitted.push(length);
            } else {
                codes.push(code);
            }
            length += 1;
        }
        let lease = Lease {
            number: self.last_lease_number + 1,
            request_id: request.request_id,
            holder: request.holder.clone(),
            epoch: request.epoch,
            serials: self.waiting.start..self.waiting.start + u64::from(length),
            omitted,
        };
        if codes.is_empty() { None } else { Some(Picked { lease, codes, passed_over }) }
    }

    /// Returns the number of the lease that is forgotten once one more is given.
    pub fn forgotten_next(&self) -> Option<u64> {
        self.leases.evicted_by_next()
    }

    /// Takes in a lease that is durable now.
    pub fn apply_lease(&mut self, picked: &Picked) {
        let lease = &picked.lease;
        debug_assert_eq!(
            (lease.number, lease.serials.start),
            (self.last_lease_number + 1, self.waiting.start)
        );
        self.waiting.start = lease.serials.end;
        self.last_lease_number = lease.number;
        for code in &picked.passed_over {
            self.skipped.remove(code);
        }
        self.leases.push(lease.clone());
    }

    /// Takes in codes that were put at the end of the stock and are durable now; `new` of them were never taken before.
    pub fn apply_stocked(&mut self, end: u64, new: u64) {
        debug_assert!(end >= self.waiting.end, "the stock grows at its end");
        self.waiting.end = end;
        self.taken += new;
    }

    /// Takes in how many codes are taken, now that no batch is on its way to the stock.
    pub fn apply_taken(&mut self, taken: u64) {
        self.taken = taken;
    }

    /// Returns up to which serial leased codes may be dropped from the database.
    pub fn droppable_below(&self) -> u64 {
        self.waiting.start.saturating_sub(LEASED_CODES_KEPT).max(self.kept_from)
    }

    /// Takes in that codes below `serial` are about to be dropped.
    pub fn apply_dropping(&mut self, serial: u64) {
        self.kept_from = self.kept_from.max(serial.min(self.waiting.start));
    }
}
