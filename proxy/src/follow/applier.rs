//! The one thread that applies: frames in, a newer replica and a newer hot map out, then the acknowledgement.
//!
//! The order is what makes an acknowledgement true: the replica first, then hosts and hot map, then the ack. Work comes through a
//! bounded queue in the order of the stream; what belongs to a stream that has failed is dropped.

use std::sync::Arc;

use bytes::Bytes;
use daemon::metrics::Latency;
use daemon::turn;
use linklog::codec::value;
use linklog::entity::Fleet;
use linklog::replica::{Applied, ApplyError, Mismatch, Replica, StillOpen};
use linklog::store::{ChangedKey, Reader};
use linklog::{Digest, Epoch, Head, Position, SlotSum, StateKey};
use tokio::sync::{mpsc, oneshot};
use wire::feed::follower_message::Message;
use wire::feed::{Ack, FollowerMessage, Heartbeat};

use super::status::{Served, Status};
use crate::budgets::Budgets;
use crate::hosts::Hosts;
use crate::hot_map::{HotMap, Mark};
use crate::link_key::LinkKey;
use crate::lookup::facts_of;
use crate::passwords::attempts::Attempts;
use crate::visitors::Visitors;
use crate::wall_clock;

/// Frames and heartbeats that may wait to be applied. Their bytes are bounded by the window the writer keeps to.
pub(super) const WORK_MAX: usize = 64;
/// A frame of more than this takes its time: visitors come first.
const LARGE_BYTES: usize = 64 << 10;
/// Above this the clocks of the fleet are wrong: links would end early or late.
const CLOCK_SKEW_MAX_MS: u64 = 1_000;

/// What the stream asks for.
pub(super) enum Work {
    /// A stream begins.
    Begin { stream: u64, fault: oneshot::Sender<Fault>, standing: oneshot::Sender<Standing> },
    /// Records.
    Frame { stream: u64, frame: Bytes, synced_at_us: u64, acks: Acks },
    /// Another replica takes the place of ours; answered when it is served from.
    Switch { made: Box<NewReplica>, done: oneshot::Sender<StillOpen> },
    /// Where the writer is.
    Heartbeat { stream: u64, heartbeat: Heartbeat, skew_ms: i64, acks: Acks },
}

/// A replica that takes the place of ours.
pub(super) struct NewReplica {
    pub(super) replica: Replica,
    /// Its place among the replicas of this process.
    pub(super) generation: u64,
    /// The writer's clock at its last record, milliseconds since the Unix epoch; 0: not known.
    pub(super) at_ms: u64,
    /// It is of another history than ours: what was settled here may not be settled there.
    pub(super) is_other_history: bool,
}

/// Where acknowledgements go.
pub(super) type Acks = mpsc::Sender<FollowerMessage>;

/// Where the replica stands when a stream begins: after everything earlier streams have brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) head: Head,
    pub(super) highest_epoch: Epoch,
    /// The fleet the replica belongs to, if it says.
    pub(super) fleet: Option<[u8; 16]>,
}

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("a heartbeat without position or digest")]
    BadHeartbeat,
}

impl Fault {
    /// The replica's history or state is in doubt.
    pub(super) const fn is_divergence(&self) -> bool {
        match self {
            Fault::Apply(error) => error.is_divergence(),
            Fault::Mismatch(_) => true,
            Fault::BadHeartbeat => false,
        }
    }

    /// The history is the same, and what was made of it is not.
    pub(super) const fn is_other_state(&self) -> bool {
        matches!(
            self,
            Fault::Mismatch(Mismatch::State { .. }) | Fault::Apply(ApplyError::WrongOutcome { .. })
        )
    }

    /// What is stored is not what was written.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Fault::Apply(ApplyError::Store(error)) if error.is_damage())
    }

    /// The database failed, and no frame can be applied until it is opened again.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(self, Fault::Apply(ApplyError::Store(_)))
    }
}

/// What applying works on.
pub(super) struct Applier {
    pub(super) replica: Replica,
    pub(super) generation: u64,
    pub(super) hot: Arc<HotMap>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) budgets: Option<Arc<Budgets>>,
    pub(super) visitors: Arc<Visitors>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) status: Arc<Status>,
    pub(super) lag: Latency,
    /// Has everybody read from another replica.
    pub(super) switch: SwitchReaders,
}

/// Has readers that are not in `Applier` read from another replica, the given one of this process.
pub type SwitchReaders = Box<dyn Fn(u64, &Reader) + Send>;

impl Applier {
    /// Works until nobody can ask any more; then closes the replica.
    pub(super) fn run(mut self, mut work: mpsc::Receiver<Work>) {
        let mut current = 0;
        let mut on_fault = None;
        let mut clock_is_wrong = false;
        while let Some(work) = work.blocking_recv() {
            let done = match work {
                Work::Begin { stream, fault, standing } => {
                    current = stream;
                    on_fault = Some(fault);
                    // A stream that was given up meanwhile does not wait for it.
                    let _ = standing.send(self.standing());
                    Ok(())
                }
                Work::Switch { made, done } => {
                    on_fault = None;
                    // Whoever asked may have gone; the replica is in place all the same.
                    let _ = done.send(self.switch(*made));
                    Ok(())
                }
                Work::Frame { stream, .. } | Work::Heartbeat { stream, .. }
                    if stream != current || on_fault.is_none() =>
                {
                    Ok(())
                }
                Work::Frame { frame, synced_at_us, acks, .. } if frame.len() > LARGE_BYTES => {
                    turn::takes_its_time(|| self.apply(&frame, synced_at_us, &acks))
                }
                Work::Frame { frame, synced_at_us, acks, .. } => self.apply(&frame, synced_at_us, &acks),
                Work::Heartbeat { heartbeat, skew_ms, acks, .. } => {
                    self.watch_clock(skew_ms, &mut clock_is_wrong);
                    self.compare(&heartbeat, skew_ms, &acks)
                }
            };
            if let Err(fault) = done
                && let Some(on_fault) = on_fault.take()
            {
                let _ = on_fault.send(fault);
            }
        }
    }

    /// Puts another replica in the place of ours: hosts, visitors, links, budgets, in that order. Returns a watch on the old one.
    fn switch(&mut self, made: NewReplica) -> StillOpen {
        let NewReplica { replica, generation, at_ms, is_other_history } = made;
        let old = std::mem::replace(&mut self.replica, replica);
        self.generation = generation;
        let reader = self.replica.reader();
        if let Err(error) = self.hosts.reload(&reader) {
            tracing::error!(%error, "a host's or a domain's record is damaged: hosts stay as they were");
        }
        if let Err(error) = self.visitors.reload(&reader) {
            tracing::error!(%error, "whom it did not come to may follow no private link");
        }
        (self.switch)(generation, &reader);
        if let Some(budgets) = &self.budgets {
            budgets.switch(reader, is_other_history);
        }
        self.status.replaced(self.replica.head(), Served::by(&self.replica), at_ms);
        old.still_open()
    }

    fn standing(&self) -> Standing {
        let fleet = self.replica.reader().serve_value(&StateKey::Fleet.encode(), |value| fleet_of(value?));
        Standing {
            head: self.replica.head(),
            highest_epoch: self.replica.highest_epoch(),
            fleet: fleet.ok().flatten(),
        }
    }

    fn apply(&mut self, frame: &[u8], synced_at_us: u64, acks: &Acks) -> Result<(), Fault> {
        let applied = self.replica.apply(frame)?;
        self.show(&applied);
        // From here on every visitor sees the new state.
        let now_us = wall_clock::now_us();
        let lag_us = if synced_at_us == 0 { 0 } else { now_us.saturating_sub(synced_at_us).max(1) };
        let served = Served::by(&self.replica);
        self.status.applied(applied.head, served, applied.records, applied.at_ms, now_us / 1_000);
        acknowledge(acks, applied.head.position, lag_us);
        if lag_us > 0 {
            self.lag.observe(std::time::Duration::from_micros(lag_us));
        }
        Ok(())
    }

    fn show(&self, applied: &Applied) {
        let mark = Mark { generation: self.generation, applied_seq: applied.head.position.seq.0 };
        let hosts =
            applied.changed.iter().map(|ChangedKey { key, serve_value }| (&**key, serve_value.as_deref()));
        if let Err(error) = self.hosts.change(hosts) {
            tracing::error!(%error, at = %applied.head.position, "a host's or a domain's record is damaged and was left out");
        }
        for ChangedKey { key, serve_value } in &applied.changed {
            if let Err(error) = self.visitors.change(key, serve_value.as_deref()) {
                tracing::error!(%error, at = %applied.head.position, "a user's, pass's or signing key's record is damaged and counts as none");
            }
            if let Ok(StateKey::Link(key)) = StateKey::decode(key) {
                // What does not decode is looked up in the replica instead, where the error is seen.
                let facts = facts_of(serve_value.as_deref()).ok().flatten();
                self.hot.supersede(mark, &LinkKey::of_key(&key), facts);
            }
        }
        // Last: whoever waits for a click finds the link as it is now.
        if let Some(budgets) = &self.budgets {
            let changed = applied.changed.iter();
            changed.for_each(|ChangedKey { key, serve_value }| budgets.apply(key, serve_value.as_deref()));
        }
    }

    /// Compares with the writer. `skew_ms`: our clock minus its.
    fn compare(&mut self, heartbeat: &Heartbeat, skew_ms: i64, acks: &Acks) -> Result<(), Fault> {
        let position = heartbeat.position.as_ref().ok_or(Fault::BadHeartbeat)?;
        let position = Position::new(position.epoch, position.seq);
        let digest = bytes16(&heartbeat.digest).map(Digest::from_bytes).ok_or(Fault::BadHeartbeat)?;
        let sum = match &*heartbeat.serve_sum {
            [] => None,
            bytes => Some(bytes16(bytes).map(SlotSum::from_bytes).ok_or(Fault::BadHeartbeat)?),
        };
        self.replica.check(position, digest, sum)?;
        let head = heartbeat.head.as_ref().map_or(position, |head| Position::new(head.epoch, head.seq));
        self.status.heard(head, skew_ms);
        self.attempts.shared_by(heartbeat.active_proxies);
        acknowledge(acks, self.replica.head().position, 0);
        Ok(())
    }

    fn watch_clock(&self, skew_ms: i64, was_wrong: &mut bool) {
        let is_wrong = skew_ms.unsigned_abs() > CLOCK_SKEW_MAX_MS;
        if is_wrong && !*was_wrong {
            tracing::warn!(skew_ms, "this clock and the writer's differ: links end early or late here");
        } else if !is_wrong && *was_wrong {
            tracing::info!(skew_ms, "this clock and the writer's agree again");
        }
        *was_wrong = is_wrong;
    }
}

fn fleet_of(value: &[u8]) -> Option<[u8; 16]> {
    let (stamp, body) = value::split(value).ok()?;
    Fleet::decode(body).ok().filter(|_| stamp.live).map(|fleet| fleet.id)
}

fn bytes16(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

/// An ack that finds no room is left out: the next one says more, and there is one a second at least.
fn acknowledge(acks: &Acks, applied: Position, apply_lag_us: u64) {
    let applied = Some(wire::feed::Position { epoch: applied.epoch.0, seq: applied.seq.0 });
    let ack = Ack { applied, follower_synced_seq: 0, apply_lag_us };
    let _ = acks.try_send(FollowerMessage { message: Some(Message::Ack(ack)) });
}
