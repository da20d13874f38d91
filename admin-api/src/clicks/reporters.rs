//! Who is reporting now, and who was heard of when.
//!
//! Invariant: a ledger has at most one live stream. Two would mean two processes with copies of one directory, each making batches with
//! the same numbers, of which only one could be counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use clicklog::LedgerId;
use parking_lot::Mutex;

/// Most live streams of one member: its current one, and those that it does not know to be dead yet.
const STREAMS_PER_MEMBER_MAX: usize = 8;

/// The table of reporters, shared; cheap to clone.
#[derive(Clone, Default)]
pub struct Reporters {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    live: HashMap<LedgerId, String>,
    /// Members only, so there are few.
    heard: HashMap<String, Instant>,
}

/// Why a ledger may not report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotClaimed {
    /// It does already.
    InUse,
    /// Its member has too many streams.
    TooMany,
}

/// A ledger's right to report; given back when dropped.
pub(super) struct Claim {
    reporters: Reporters,
    ledger: LedgerId,
    member: String,
}

impl Reporters {
    /// Takes a ledger for one stream.
    pub(super) fn claim(&self, ledger: LedgerId, member: &str) -> Result<Claim, NotClaimed> {
        let mut table = self.table.lock();
        if table.live.contains_key(&ledger) {
            return Err(NotClaimed::InUse);
        }
        if table.live.values().filter(|name| *name == member).count() >= STREAMS_PER_MEMBER_MAX {
            return Err(NotClaimed::TooMany);
        }
        table.live.insert(ledger, member.to_owned());
        Ok(Claim { reporters: self.clone(), ledger, member: member.to_owned() })
    }

    /// Returns when a member last reported to this process.
    pub fn last_heard(&self, member: &str) -> Option<Instant> {
        self.table.lock().heard.get(member).copied()
    }

    /// Returns how many ledgers report now.
    pub fn live(&self) -> usize {
        self.table.lock().live.len()
    }
}

impl Claim {
    /// Notes that the ledger was heard of now.
    pub(super) fn heard(&self) {
        let mut table = self.reporters.table.lock();
        match table.heard.get_mut(&self.member) {
            Some(at) => *at = Instant::now(),
            None => drop(table.heard.insert(self.member.clone(), Instant::now())),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.reporters.table.lock().live.remove(&self.ledger);
    }
}
