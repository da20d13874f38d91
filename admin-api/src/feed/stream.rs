//! One follower's stream, from Hello to the end.

use std::collections::VecDeque;
use std::time::Duration;

use linklog::entity::MemberState;
use linklog::journal::{JournalRead, ReadError};
use linklog::writer::Commit;
use linklog::{Digest, Position, Seq, SlotSum};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use wire::feed::follower_message::Message as FromFollower;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{Ack, FollowerMessage, Heartbeat, Hello, Records, Refusal, Welcome, WriterMessage};
use wire::identity::PeerIdentity;

use super::FeedSource;
use super::frames::FrameCache;
use super::handshake::{self, Follower, refuse};
use crate::blocking;
use crate::replication::{Acknowledged, StreamId};

/// How long a follower may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often a follower hears from the writer at least.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// From this many records behind on, the journal is read on a thread that may wait for the disk; what is newer is in memory.
const CATCH_UP_RECORDS: u64 = 1_000;
/// How long the last word to a follower may take: one that reads nothing must not hold its task for ever.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(1);

type Inbound = Streaming<FollowerMessage>;
type Outbox = mpsc::Sender<Result<WriterMessage, Status>>;

/// Serves one follower until either side ends it.
pub(super) async fn follow(
    source: &FeedSource,
    frames: &std::sync::Arc<FrameCache>,
    peer: Option<PeerIdentity>,
    mut inbound: Inbound,
    outbox: Outbox,
    stop: CancellationToken,
) {
    let hello = match timeout(HELLO_WITHIN, inbound.message()).await {
        Ok(Ok(Some(FollowerMessage { message: Some(FromFollower::Hello(hello)) }))) => hello,
        Ok(Ok(Some(_))) => {
            let refusal = refuse(Reason::BadRequest, "the first message must be Hello");
            return drop(outbox.send(Ok(message(FromWriter::Refusal(refusal)))).await);
        }
        _ => return,
    };
    let follower = match handshake::admit(source, peer.as_ref(), &hello) {
        Ok(Ok(follower)) => follower,
        Ok(Err(refusal)) => return turn_away(&hello, refusal, &outbox).await,
        Err(error) => {
            tracing::error!(member = hello.member, %error, "could not read the journal for a follower");
            return drop(outbox.send(Err(Status::internal("the journal cannot be read"))).await);
        }
    };
    tracing::info!(member = follower.name, applied = %follower.applied, version = hello.version, "follower connected");
    source.levels.announced(&follower.name, hello.format_level);
    let (id, superseded) = source.replication.connected(&follower.name, follower.is_sync, follower.is_active);
    let name = follower.name.clone();
    let mut stream = Stream::new(source, frames.clone(), follower, id, outbox);
    let end = tokio::select! {
        end = stream.run(&mut inbound, &stop) => end,
        _ = superseded => {
            let detail = "a newer connection of the same member has taken over";
            End::Refused(refuse(Reason::AlreadyConnected, detail))
        }
    };
    source.replication.disconnected(&name, id);
    stream.end(&name, end).await;
}

async fn turn_away(hello: &Hello, refusal: Refusal, outbox: &Outbox) {
    tracing::warn!(member = hello.member, reason = ?refusal.reason(), detail = refusal.detail, "follower refused");
    let _ = outbox.send(Ok(message(FromWriter::Refusal(refusal)))).await;
}

/// How a stream ends.
enum End {
    Gone(Option<Status>),
    Refused(Refusal),
    Failed(ReadError),
}

/// What has been sent to one follower and what it has confirmed.
struct Stream<'a> {
    source: &'a FeedSource,
    frames: std::sync::Arc<FrameCache>,
    follower: Follower,
    id: StreamId,
    outbox: Outbox,
    commits: watch::Receiver<Commit>,
    sent: Position,
    digest: Digest,
    /// The served state's sum at `sent`, if it is known there.
    serve_sum: Option<SlotSum>,
    /// The last record confirmed.
    confirmed: Position,
    unconfirmed: VecDeque<(Seq, u64)>,
    unconfirmed_bytes: u64,
    /// The last record enough sync members have. Others are shown nothing beyond it: a record that a promotion may lose must never have
    /// been served, or spent from.
    limit: watch::Receiver<u64>,
}

impl<'a> Stream<'a> {
    fn new(
        source: &'a FeedSource,
        frames: std::sync::Arc<FrameCache>,
        follower: Follower,
        id: StreamId,
        outbox: Outbox,
    ) -> Stream<'a> {
        Stream {
            source,
            frames,
            sent: follower.applied,
            confirmed: follower.applied,
            follower,
            id,
            outbox,
            commits: source.commits.clone(),
            digest: Digest::ZERO,
            serve_sum: None,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            limit: source.replication.confirmed(),
        }
    }

    /// The last record this follower may be sent.
    fn shown(&mut self) -> Position {
        let head = self.commits.borrow_and_update().head.position;
        let confirmed = *self.limit.borrow_and_update();
        handshake::shown(head, confirmed, self.follower.is_sync)
    }

    async fn run(&mut self, inbound: &mut Inbound, stop: &CancellationToken) -> End {
        let mut members = self.source.members.changes();
        let head = *self.commits.borrow_and_update();
        self.digest = match self.source.journal.digest_at(self.sent) {
            Ok(digest) => digest.unwrap_or(Digest::ZERO),
            Err(error) => return End::Failed(error),
        };
        let here = Acknowledged { applied: self.sent, synced_seq: 0, apply_lag_us: 0 };
        self.source.replication.acknowledged(&self.follower.name, self.id, &here);
        let welcome = Welcome {
            fleet_id: self.source.fleet.as_bytes().to_vec(),
            head: Some(on_wire(head.head.position)),
            format_level: u32::from(head.format_level),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let outbox = self.outbox.clone();
        if outbox.send(Ok(message(FromWriter::Welcome(welcome)))).await.is_err() {
            return End::Gone(None);
        }
        // The table may have changed since the follower was let in.
        if !self.still_allowed() {
            return End::Refused(refuse(Reason::UnknownMember, "this member was forgotten or replaced"));
        }
        let mut heartbeat = interval(HEARTBEAT_EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.unconfirmed_bytes < self.follower.window_bytes;
            let shown = self.shown();
            let more = self.sent.seq < shown.seq;
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Refused(refuse(Reason::ShuttingDown, "the writer is stopping")),
                () = self.source.replaced.cancelled() => return End::Refused(handshake::refuse_replaced()),
                _ = members.changed() => if !self.still_allowed() {
                    return End::Refused(refuse(Reason::UnknownMember, "this member was forgotten or replaced"));
                },
                // Acknowledgements open the window and let requests through.
                message = inbound.message() => match message {
                    Ok(Some(FollowerMessage { message: Some(FromFollower::Ack(ack)) })) => {
                        if let Err(refusal) = self.confirm(&ack) {
                            return End::Refused(refusal);
                        }
                    }
                    Ok(Some(_)) => return End::Refused(refuse(Reason::BadRequest, "only Ack may follow Hello")),
                    Ok(None) => return End::Gone(None),
                    Err(status) => return End::Gone(Some(status)),
                },
                _ = heartbeat.tick() => self.send_heartbeat(),
                place = outbox.reserve(), if room && more => match place {
                    Ok(place) => match self.next_records().await {
                        Ok(Some(records)) => place.send(Ok(message(FromWriter::Records(records)))),
                        Ok(None) => {}
                        Err(end) => return end,
                    },
                    Err(_) => return End::Gone(None),
                },
                // It lives as long as the source.
                _ = self.limit.changed(), if !more => {}
                changed = self.commits.changed(), if !more => if changed.is_err() {
                    return End::Refused(refuse(Reason::ShuttingDown, "the writer is stopping"));
                },
            }
        }
    }

    fn still_allowed(&self) -> bool {
        let member = self.source.members.get(&self.follower.name);
        let same = member.as_ref().is_some_and(|member| self.follower.is_still(member));
        let is_active = member.is_some_and(|member| member.state == MemberState::Active);
        self.source.replication.member_changed(&self.follower.name, is_active);
        same
    }

    /// Returns the next frame, `None` if it was there a moment ago and is not any more.
    async fn next_records(&mut self) -> Result<Option<Records>, End> {
        let commit = *self.commits.borrow_and_update();
        // It may have risen since the follower was let in.
        if self.follower.format_level < u32::from(commit.format_level) {
            return Err(End::Refused(handshake::refuse_level(commit.format_level)));
        }
        let head = self.shown();
        let from = self.sent.seq.next();
        let frame = if head.seq.0.saturating_sub(self.sent.seq.0) < CATCH_UP_RECORDS {
            self.frames.frame(&self.source.journal, from, head, self.follower.with_manage)
        } else {
            let (frames, journal) = (self.frames.clone(), self.source.journal.clone());
            let with_manage = self.follower.with_manage;
            let read = move || frames.frame(&journal, from, head, with_manage);
            blocking::run(read).await.map_err(|_| End::Gone(None))?
        };
        let Some(frame) = frame.map_err(End::Failed)? else { return Ok(None) };
        let bytes = frame.bytes.len() as u64;
        self.sent = frame.last;
        self.digest = frame.digest;
        let at_head = frame.last == commit.head.position;
        self.serve_sum = at_head.then_some(commit.serve_sum);
        self.unconfirmed.push_back((frame.last.seq, bytes));
        self.unconfirmed_bytes += bytes;
        Ok(Some(Records { frame: frame.bytes, synced_at_us: if at_head { commit.synced_at_us } else { 0 } }))
    }

    /// Sends a heartbeat unless the follower reads so slowly that earlier messages still wait.
    fn send_heartbeat(&mut self) {
        let commit = *self.commits.borrow();
        let shown = self.shown();
        if self.sent == commit.head.position {
            self.serve_sum = Some(commit.serve_sum);
        }
        let heartbeat = Heartbeat {
            position: Some(on_wire(self.sent)),
            digest: self.digest.to_bytes().to_vec(),
            serve_sum: self.serve_sum.map(|sum| sum.to_bytes().to_vec()).unwrap_or_default(),
            clock_ms: crate::clock::now_ms(),
            head: Some(on_wire(shown)),
            active_proxies: self.source.members.active_proxies(),
        };
        // A full outbox says that it is alive by itself.
        let _ = self.outbox.try_send(Ok(message(FromWriter::Heartbeat(heartbeat))));
    }

    fn confirm(&mut self, ack: &Ack) -> Result<(), Refusal> {
        let applied = ack.applied.map_or(Position::ZERO, |at| Position::new(at.epoch, at.seq));
        if !handshake::may_confirm(applied, self.confirmed, self.sent) {
            let detail =
                format!("confirms {applied}, was sent up to {}, had confirmed {}", self.sent, self.confirmed);
            return Err(refuse(Reason::BadRequest, detail));
        }
        self.confirmed = applied;
        while let Some((last, bytes)) = self.unconfirmed.front() {
            if *last > applied.seq {
                break;
            }
            self.unconfirmed_bytes -= bytes;
            self.unconfirmed.pop_front();
        }
        let synced_seq = if self.follower.is_sync { ack.follower_synced_seq } else { 0 };
        let ack = Acknowledged { applied, synced_seq, apply_lag_us: ack.apply_lag_us };
        self.source.replication.acknowledged(&self.follower.name, self.id, &ack);
        Ok(())
    }

    async fn last_word(&self, word: Result<WriterMessage, Status>) {
        let _ = timeout(LAST_WORD_WITHIN, self.outbox.send(word)).await;
    }

    async fn end(self, name: &str, end: End) {
        let applied = self.sent;
        match end {
            End::Gone(None) => tracing::info!(member = name, sent = %applied, "follower left"),
            End::Gone(Some(status)) => {
                tracing::warn!(member = name, sent = %applied, %status, "follower lost");
            }
            End::Refused(refusal) => {
                tracing::info!(member = name, reason = ?refusal.reason(), "follower sent away");
                self.last_word(Ok(message(FromWriter::Refusal(refusal)))).await;
            }
            End::Failed(ReadError::NotRetained { first_retained, .. }) => {
                let detail = format!("record {} is no longer kept", applied.seq.next());
                let refusal = refuse(Reason::SnapshotRequired, detail);
                let refusal = Refusal { first_retained_seq: first_retained.0, ..refusal };
                tracing::warn!(member = name, sent = %applied, "follower fell behind what the journal keeps");
                self.last_word(Ok(message(FromWriter::Refusal(refusal)))).await;
            }
            End::Failed(error) => {
                tracing::error!(member = name, %error, "could not read the journal for a follower");
                self.last_word(Err(Status::internal("the journal cannot be read"))).await;
            }
        }
    }
}

fn message(content: FromWriter) -> WriterMessage {
    WriterMessage { message: Some(content) }
}

fn on_wire(position: Position) -> wire::feed::Position {
    wire::feed::Position { epoch: position.epoch.0, seq: position.seq.0 }
}
