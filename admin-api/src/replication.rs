//! Who has applied what, and when a change counts as replicated.
//!
//! A create is answered when every *healthy* proxy has applied it: an active member, connected, whose acknowledgements come within
//! `healthy_within`, and which is in the wait set. The first wait that times out takes the stragglers out of the wait set until they
//! have caught up: a stuck proxy costs one request a delay, not every request. With `min_sync_replicas` above 0, that many sync members
//! must besides have fsynced it.
//!
//! Everything is one table under one lock, held for a few hundred nanoseconds; waiting costs one oneshot channel a request.

mod gate;
pub mod table;

pub use table::{MemberStatus, ReplicationReport};

use std::sync::Arc;
use std::time::{Duration, Instant};

use linklog::codec::record;
use linklog::journal::{JournalRead, JournalReader};
use linklog::{Position, Seq};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::members::Members;
use table::Table;

/// How replication is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicationOptions {
    /// How many sync members must have fsynced a change before it is acknowledged.
    pub min_sync_replicas: usize,
    /// How long an answer waits for proxies at most.
    pub wait: Duration,
    /// How old a member's last acknowledgement may be for it to count as healthy.
    pub healthy_within: Duration,
}

/// How long an answer waits for sync members at most.
pub const SYNC_WAIT: Duration = Duration::from_secs(5);

/// Too few sync members have fsynced the change in time: it is durable here and may or may not survive this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{synced} of {needed} sync replicas have confirmed the change in time; repeat the request with the same Idempotency-Key"
)]
pub struct OutcomeUnknown {
    /// How many have.
    pub synced: usize,
    /// How many must.
    pub needed: usize,
}

/// An acknowledgement of a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    /// Visible to the member's readers.
    pub applied: Position,
    /// Fsynced there; 0 if it does not fsync.
    pub synced_seq: u64,
    /// How long after its fsync here the last record became visible there, microseconds; 0 if unknown.
    pub apply_lag_us: u64,
}

/// Names one stream of a member: a newer stream takes over from an older one, whose late messages then change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamId(u64);

/// The table of acknowledgements, shared; cheap to clone.
#[derive(Clone)]
pub struct Replication {
    table: Arc<Mutex<Table>>,
    members: Members,
    journal: JournalReader,
    options: ReplicationOptions,
}

impl Replication {
    /// Returns a table in which nobody is connected.
    pub fn new(members: Members, journal: JournalReader, options: ReplicationOptions) -> Replication {
        let table = Table::new(options.min_sync_replicas, options.healthy_within);
        Replication { table: Arc::new(Mutex::new(table)), members, journal, options }
    }

    /// Waits until every healthy proxy has applied `position` or the wait times out, and says who has. `skip_proxies` (the client
    /// prefers an early answer) waits for sync members only.
    ///
    /// # Errors
    /// Not enough sync members in time.
    pub async fn wait(
        &self,
        position: Position,
        skip_proxies: bool,
    ) -> Result<ReplicationReport, OutcomeUnknown> {
        let seq = position.seq.0;
        if self.options.min_sync_replicas > 0 {
            let synced = self.table.lock().when_synced(seq);
            if !reached(synced, SYNC_WAIT).await {
                let synced = self.table.lock().synced_members(seq);
                return Err(OutcomeUnknown { synced, needed: self.options.min_sync_replicas });
            }
        }
        if !skip_proxies {
            let applied = self.table.lock().when_applied(seq, Instant::now());
            if !reached(applied, self.options.wait).await {
                for name in self.table.lock().drop_stragglers(seq) {
                    tracing::warn!(
                        member = name,
                        seq,
                        "proxy is late and no longer waited for until it has caught up"
                    );
                }
            }
        }
        let members = self.members.table();
        Ok(self.table.lock().report(seq, &members))
    }

    /// Says whether enough sync members are connected to confirm a change.
    pub fn can_confirm(&self) -> bool {
        let needed = self.options.min_sync_replicas;
        needed == 0 || self.table.lock().listening(Instant::now(), SYNC_WAIT) >= needed
    }

    /// How many sync members must have fsynced a change before it is acknowledged.
    pub fn min_sync_replicas(&self) -> usize {
        self.options.min_sync_replicas
    }

    /// Returns the last record that a sync member has said it has fsynced, whether it counts or not; 0 if none.
    pub(crate) fn synced_seq(&self, member: &str) -> u64 {
        self.table.lock().synced_seq(member)
    }

    /// Returns the last record that enough sync members have, as it rises: what may be shown to members that would not survive its loss.
    /// `u64::MAX` if no sync member has to confirm anything.
    pub(crate) fn confirmed(&self) -> watch::Receiver<u64> {
        self.table.lock().confirmed()
    }

    /// Returns every member's place, for `GET /v1/replication`. Reads the journal for members that are behind: not for the runtime's
    /// own threads.
    pub fn status(&self) -> Vec<MemberStatus> {
        let head = self.journal.head().position.seq.0;
        let mut status = {
            let members = self.members.table();
            self.table.lock().status(&members, head, Instant::now())
        };
        for member in status.iter_mut().filter(|member| member.lag_records > 0) {
            member.lag_ms = self.age_ms(member.applied_seq + 1);
        }
        status
    }

    /// Returns how long ago record `seq` was written, or the oldest one kept if it is gone.
    fn age_ms(&self, seq: u64) -> u64 {
        let from = Seq(seq).max(self.journal.first_retained());
        let written_ms = self.journal.read(from, 1).ok().and_then(|entries| {
            let view = entries.first()?.view().ok()?;
            Some(record::read_serve(view.header, view.serve).ok()?.at_ms)
        });
        written_ms.map_or(0, |at| crate::clock::now_ms().saturating_sub(at))
    }

    /// Registers a member's new stream, which takes over from an older one; it resolves when a still newer one does.
    pub(crate) fn connected(
        &self,
        member: &str,
        is_sync: bool,
        is_active: bool,
    ) -> (StreamId, oneshot::Receiver<()>) {
        let head = self.journal.head().position.seq.0;
        self.table.lock().connected(member, is_sync, is_active, head)
    }

    /// Notes that a member has become active, or has stopped being so.
    pub(crate) fn member_changed(&self, member: &str, is_active: bool) {
        self.table.lock().member_changed(member, is_active);
    }

    /// Notes that a member's stream has ended.
    pub(crate) fn disconnected(&self, member: &str, stream: StreamId) {
        self.table.lock().disconnected(member, stream);
    }

    /// Notes an acknowledgement.
    pub(crate) fn acknowledged(&self, member: &str, stream: StreamId, ack: &Acknowledged) {
        let head = self.journal.head().position.seq.0;
        self.table.lock().acknowledged(member, stream, ack, head, Instant::now());
    }
}

async fn reached(gate: Option<oneshot::Receiver<()>>, wait: Duration) -> bool {
    match gate {
        None => true,
        Some(gate) => matches!(tokio::time::timeout(wait, gate).await, Ok(Ok(()))),
    }
}

#[cfg(test)]
mod tests;
