//! The table of acknowledgements: pure but for the oneshots it resolves; time comes in as an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use linklog::Position;
use linklog::entity::{Member, MemberRole, MemberState};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::gate::Gate;
use super::{Acknowledged, StreamId};
use crate::members::MemberTable;

/// Which active members have a change, as told to the client that made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct ReplicationReport {
    /// How many have applied it.
    pub applied: usize,
    /// How many active members there are.
    pub of: usize,
    /// The names of the others.
    pub missing: Vec<String>,
}

/// One member's place, as `GET /v1/replication` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct MemberStatus {
    /// The member's name.
    pub id: String,
    /// `read` or `sync`.
    pub role: &'static str,
    /// `in_sync`, `catching_up` or `absent`; `drained` and `forgotten` for members nobody waits for; `joining` for a sync member that does not
    /// count towards `min_sync_replicas` yet, because too few of the others know of it.
    pub state: &'static str,
    /// The last record it has applied, as far as is known.
    pub applied_seq: u64,
    /// How many records it is behind.
    pub lag_records: u64,
    /// How old the oldest record it lacks is, milliseconds.
    pub lag_ms: u64,
    /// How long the last acknowledged record took from fsync here to visible there, microseconds.
    pub apply_lag_us: u64,
}

/// A member that is, or was, connected since this process started.
struct Follower {
    stream: StreamId,
    /// Dropped or used when a newer stream takes over.
    superseded: Option<oneshot::Sender<()>>,
    connected: bool,
    is_sync: bool,
    applied: Position,
    synced_seq: u64,
    apply_lag_us: u64,
    last_ack: Option<Instant>,
    waited_for: bool,
    /// Whether it may be waited for at all: an active member.
    may_be_waited_for: bool,
    /// What it must have applied to be waited for (again): the head when it connected, or was dropped, or last fell short. A target
    /// that moved with every commit could not be reached under load.
    rejoin_at: u64,
}

impl Follower {
    /// Whether it counts towards `min_sync_replicas`: an active one, which a promotion asks.
    const fn confirms(&self) -> bool {
        self.is_sync && self.may_be_waited_for
    }
}

/// How far behind the head a proxy may be to be waited for again: about what is under way at once under full load.
const REJOIN_LAG_RECORDS: u64 = 20_000;

/// Who has applied and fsynced what, as of their acknowledgements.
pub struct Table {
    followers: HashMap<String, Follower>,
    next_stream: u64,
    min_sync_replicas: usize,
    healthy_within: Duration,
    applied_gate: Gate,
    synced_gate: Gate,
    /// What the synced gate has reached, at most.
    confirmed: watch::Sender<u64>,
}

impl Table {
    /// Returns a table in which nobody is connected.
    pub fn new(min_sync_replicas: usize, healthy_within: Duration) -> Table {
        let mut table = Table {
            followers: HashMap::new(),
            next_stream: 0,
            min_sync_replicas,
            healthy_within,
            applied_gate: Gate::default(),
            synced_gate: Gate::default(),
            confirmed: watch::Sender::new(0),
        };
        table.open_gates();
        table
    }

    /// Registers a member's new stream, with the writer's head; it resolves when a still newer one takes over.
    pub fn connected(
        &mut self,
        member: &str,
        is_sync: bool,
        is_active: bool,
        head: u64,
    ) -> (StreamId, oneshot::Receiver<()>) {
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        let (superseded, on_superseded) = oneshot::channel();
        let follower = Follower {
            stream,
            superseded: Some(superseded),
            connected: true,
            is_sync,
            applied: Position::ZERO,
            synced_seq: 0,
            apply_lag_us: 0,
            last_ack: None,
            waited_for: false,
            may_be_waited_for: is_active,
            rejoin_at: head,
        };
        if let Some(mut older) = self.followers.insert(member.to_owned(), follower)
            && let Some(tell) = older.superseded.take()
        {
            let _ = tell.send(());
        }
        self.open_gates();
        (stream, on_superseded)
    }

    /// Notes that a member's stream has ended.
    pub fn disconnected(&mut self, member: &str, stream: StreamId) {
        if let Some(follower) = self.current(member, stream) {
            follower.connected = false;
            follower.waited_for = false;
            follower.superseded = None;
            self.open_gates();
        }
    }

    /// Notes an acknowledgement. Late ones of a stream that is over change nothing.
    pub fn acknowledged(
        &mut self,
        member: &str,
        stream: StreamId,
        ack: &Acknowledged,
        head: u64,
        now: Instant,
    ) {
        let Some(follower) = self.current(member, stream) else { return };
        follower.applied = ack.applied;
        follower.synced_seq = ack.synced_seq.min(ack.applied.seq.0);
        if ack.apply_lag_us > 0 {
            follower.apply_lag_us = ack.apply_lag_us;
        }
        follower.last_ack = Some(now);
        let applied = ack.applied.seq.0;
        if follower.may_be_waited_for && !follower.waited_for && applied >= follower.rejoin_at {
            match head.saturating_sub(applied) <= REJOIN_LAG_RECORDS {
                true => follower.waited_for = true,
                false => follower.rejoin_at = head,
            }
        }
        self.open_gates();
    }

    /// Notes that a member has become active, or has stopped being so.
    pub fn member_changed(&mut self, member: &str, is_active: bool) {
        if let Some(follower) = self.followers.get_mut(member) {
            follower.may_be_waited_for = is_active;
            follower.waited_for &= is_active;
            self.open_gates();
        }
    }

    fn current(&mut self, member: &str, stream: StreamId) -> Option<&mut Follower> {
        self.followers.get_mut(member).filter(|follower| follower.stream == stream && follower.connected)
    }

    /// Returns what resolves when everybody who is waited for has applied `seq`; `None` if they have.
    pub fn when_applied(&mut self, seq: u64, now: Instant) -> Option<oneshot::Receiver<()>> {
        let healthy_within = self.healthy_within;
        let mut silent = false;
        for follower in self.followers.values_mut().filter(|follower| follower.waited_for) {
            if follower.last_ack.is_none_or(|at| now.saturating_duration_since(at) > healthy_within) {
                follower.waited_for = false;
                follower.rejoin_at = seq;
                silent = true;
            }
        }
        if silent {
            self.open_gates();
        }
        self.applied_gate.wait(seq)
    }

    /// Returns what resolves when enough sync members have fsynced `seq`; `None` if they have.
    pub fn when_synced(&mut self, seq: u64) -> Option<oneshot::Receiver<()>> {
        self.synced_gate.wait(seq)
    }

    /// Returns how many sync members have fsynced `seq`.
    pub fn synced_members(&self, seq: u64) -> usize {
        self.followers.values().filter(|follower| follower.confirms() && follower.synced_seq >= seq).count()
    }

    /// Returns the last record that a sync member has said it has fsynced, whether it counts or not; 0 if none.
    pub fn synced_seq(&self, member: &str) -> u64 {
        self.followers
            .get(member)
            .filter(|follower| follower.is_sync)
            .map_or(0, |follower| follower.synced_seq)
    }

    /// How many sync members are connected and were heard within `silence_max`.
    pub fn listening(&self, now: Instant, silence_max: Duration) -> usize {
        let heard = |follower: &&Follower| {
            follower.last_ack.is_some_and(|at| now.saturating_duration_since(at) <= silence_max)
        };
        self.followers
            .values()
            .filter(|follower| follower.connected && follower.confirms())
            .filter(heard)
            .count()
    }

    /// Returns what enough sync members have, as it rises.
    pub fn confirmed(&self) -> watch::Receiver<u64> {
        self.confirmed.subscribe()
    }

    /// Stops waiting for everybody who has not applied `seq`; returns their names.
    pub fn drop_stragglers(&mut self, seq: u64) -> Vec<String> {
        let mut names = Vec::new();
        for (name, follower) in &mut self.followers {
            if follower.waited_for && follower.applied.seq.0 < seq {
                follower.waited_for = false;
                follower.rejoin_at = seq;
                names.push(name.clone());
            }
        }
        self.open_gates();
        names
    }

    fn open_gates(&mut self) {
        let waited_for = self.followers.values().filter(|follower| follower.waited_for);
        let applied = waited_for.map(|follower| follower.applied.seq.0).min();
        self.applied_gate.set_reached(applied.unwrap_or(u64::MAX));
        let synced = match self.min_sync_replicas {
            0 => u64::MAX,
            needed => {
                let sync = self.followers.values().filter(|follower| follower.confirms());
                let mut seqs: Vec<_> = sync.map(|follower| follower.synced_seq).collect();
                seqs.sort_unstable_by(|a, b| b.cmp(a));
                seqs.get(needed - 1).copied().unwrap_or(0)
            }
        };
        self.synced_gate.set_reached(synced);
        // What was confirmed once stays so, whoever is drained or forgotten.
        self.confirmed.send_if_modified(|confirmed| {
            let rises = synced > *confirmed;
            *confirmed = (*confirmed).max(synced);
            rises
        });
    }

    /// Returns who has applied `seq`.
    pub fn report(&self, seq: u64, members: &MemberTable) -> ReplicationReport {
        let active = || members.iter().filter(|(_, member)| member.state == MemberState::Active);
        let has_applied = |name: &str| {
            let follower = self.followers.get(name);
            follower.is_some_and(|follower| follower.connected && follower.applied.seq.0 >= seq)
        };
        let missing: Vec<_> =
            active().map(|(name, _)| name).filter(|name| !has_applied(name)).cloned().collect();
        let of = active().count();
        ReplicationReport { applied: of - missing.len(), of, missing }
    }

    /// Returns every member's place but for the age of what it lacks, which takes reads of the journal.
    pub fn status(&self, members: &MemberTable, head: u64, now: Instant) -> Vec<MemberStatus> {
        let one = |(name, member): (&String, &Member)| {
            let follower = self.followers.get(name);
            let applied_seq = follower.map_or(0, |follower| follower.applied.seq.0);
            let heard = follower.and_then(|follower| follower.last_ack.filter(|_| follower.connected));
            let healthy = heard.is_some_and(|at| now.saturating_duration_since(at) <= self.healthy_within);
            let state = match (member.state, follower) {
                (MemberState::Drained, _) => "drained",
                (MemberState::Forgotten, _) => "forgotten",
                (MemberState::Joining, _) => "joining",
                (MemberState::Active, Some(follower)) if healthy && follower.waited_for => "in_sync",
                (MemberState::Active, Some(follower)) if follower.connected => "catching_up",
                (MemberState::Active, _) => "absent",
            };
            let role = match member.role {
                MemberRole::Read => "read",
                MemberRole::Sync => "sync",
            };
            MemberStatus {
                id: name.clone(),
                role,
                state,
                applied_seq,
                lag_records: head.saturating_sub(applied_seq),
                lag_ms: 0,
                apply_lag_us: follower.map_or(0, |follower| follower.apply_lag_us),
            }
        };
        members.iter().map(one).collect()
    }
}
