//! The feed of a writer: who follows, what each was sent and has confirmed.

use linklog::codec::FORMAT_LEVEL;
use linklog::entity::{MemberRole, MemberState};
use linklog::journal::{JournalRead, ReadError};
use linklog::writer::ProposeError;
use linklog::{Epoch, Head, Position};
use signpost_admin::feed::frames;
use signpost_admin::feed::handshake::{self, Beyond};
use signpost_admin::replication::{Acknowledged, StreamId};
use wire::feed::Hello;
use wire::feed::refusal::Reason;

use super::server::Role;
use super::{Event, Message, Node, Stream, World};
use crate::plan::Plant;

/// Frames of one stream that are not confirmed yet.
const FRAMES_MAX: usize = 3;
pub(super) const HEARTBEAT_EVERY_US: u64 = 1_000_000;

/// What was sent to a follower and what it has confirmed.
pub(super) struct Feed {
    node: Node,
    member: String,
    is_sync: bool,
    id: StreamId,
    sent: Head,
    confirmed: Position,
    unconfirmed: Vec<Position>,
}

impl World {
    /// A follower says Hello.
    pub(super) fn admit(
        &mut self,
        from: Node,
        server: Node,
        stream: Stream,
        member: &str,
        at: Head,
        highest_epoch: Epoch,
    ) -> Result<(), String> {
        let newest = self.newest;
        let goes_on = self.plants(Plant::WriteWhenReplaced);
        let (is_down, refuse) =
            (matches!(self.servers[server].role, Role::Down), |reason| Message::Refused { stream, reason });
        if is_down {
            return Ok(());
        }
        let Some(node) = self.writer_of(server) else {
            self.send(server, from, stream, refuse(Reason::Standby));
            return Ok(());
        };
        let Some(record) = node.members.get(member).filter(|record| record.state != MemberState::Forgotten)
        else {
            self.send(server, from, stream, refuse(Reason::UnknownMember));
            return Ok(());
        };
        let (handle, journal) = (node.writer.handle(), node.writer.journal());
        let head = journal.head();
        match handshake::beyond(head.position, highest_epoch.0, at.position, record.role) {
            Some(_) if goes_on => {}
            Some(Beyond::Replaced) => handle.fence(highest_epoch.0),
            Some(Beyond::Claimed) => handle.fence_for_now(),
            Some(Beyond::Behind) => handle.stop_behind(),
            None => {}
        }
        let refusal = match handle.refusal() {
            Some(ProposeError::Fenced) => Some(Reason::StaleWriter),
            _ => {
                let hello = Hello {
                    fleet_id: Vec::new(),
                    member: member.to_owned(),
                    format_level: u32::from(FORMAT_LEVEL),
                    highest_epoch: highest_epoch.0,
                    applied: None,
                    digest: if at.position.seq.0 == 0 { Vec::new() } else { at.digest.to_bytes().to_vec() },
                    with_manage: record.role == MemberRole::Sync,
                    window_bytes: 1 << 20,
                    version: String::new(),
                };
                let checked = handshake::check_place(&journal, &hello, at.position, FORMAT_LEVEL);
                checked.map_err(|error| error.to_string())?.map(|refusal| refusal.reason())
            }
        };
        if let Some(reason) = refusal {
            if head.position.epoch == newest
                && (reason == Reason::WriterBehind
                    || reason == Reason::Diverged && record.role == MemberRole::Read)
            {
                return Err(format!(
                    "{member} has applied record {}, which the writer of the newest epoch does not have: its log ends at {}",
                    at.position, head.position
                ));
            }
            self.say(|| format!("server {server} refuses {member} at {}: {reason:?}", at.position));
            self.send(server, from, stream, refuse(reason));
            return Ok(());
        }
        let (is_sync, is_active) = (record.role == MemberRole::Sync, record.state == MemberState::Active);
        let (id, _) = node.table.connected(member, is_sync, is_active, head.position.seq.0);
        // The older stream of the same member is over.
        node.feeds.retain(|_, feed| feed.member != member);
        let feed = Feed {
            node: from,
            member: member.to_owned(),
            is_sync,
            id,
            sent: at,
            confirmed: at.position,
            unconfirmed: Vec::new(),
        };
        node.feeds.insert(stream, feed);
        let now = self.now();
        let here = Acknowledged { applied: at.position, synced_seq: 0, apply_lag_us: 0 };
        if let Some(node) = self.writer_of(server) {
            node.table.acknowledged(member, id, &here, head.position.seq.0, now);
        }
        self.send(server, from, stream, Message::Welcome { stream, head: head.position });
        self.pump(server)
    }

    /// Sends away members that are not what they were.
    pub(super) fn drop_strangers(&mut self, server: Node) {
        let Some(node) = self.writer_of(server) else { return };
        let mut gone = Vec::new();
        for (stream, feed) in &node.feeds {
            let record = node.members.get(&feed.member);
            let is_active = record.as_ref().is_some_and(|record| record.state == MemberState::Active);
            node.table.member_changed(&feed.member, is_active);
            if record.is_none_or(|record| record.state == MemberState::Forgotten) {
                gone.push((*stream, feed.node));
            }
        }
        for (stream, to) in gone {
            self.close_feed(server, stream);
            self.send(server, to, stream, Message::Refused { stream, reason: Reason::UnknownMember });
        }
    }

    pub(super) fn close_feed(&mut self, server: Node, stream: Stream) {
        if let Some(node) = self.writer_of(server)
            && let Some(feed) = node.feeds.remove(&stream)
        {
            node.table.disconnected(&feed.member, feed.id);
        }
    }

    /// Sends every follower what it may be sent.
    pub(super) fn pump(&mut self, server: Node) -> Result<(), String> {
        let shows_all = self.plants(Plant::ShowUnconfirmed);
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        if node.writer.handle().refusal() == Some(ProposeError::Fenced) {
            let streams: Vec<_> = node.feeds.iter().map(|(stream, feed)| (*stream, feed.node)).collect();
            for (stream, to) in streams {
                self.close_feed(server, stream);
                self.send(server, to, stream, Message::Refused { stream, reason: Reason::StaleWriter });
            }
            return Ok(());
        }
        let (journal, confirmed) = (node.writer.journal(), *node.confirmed.borrow());
        let head = journal.head().position;
        let (mut outgoing, mut behind) = (Vec::new(), Vec::new());
        for (stream, feed) in &mut node.feeds {
            let shown = handshake::shown(head, confirmed, feed.is_sync || shows_all);
            while feed.sent.position.seq < shown.seq && feed.unconfirmed.len() < FRAMES_MAX {
                let from = feed.sent.position.seq.next();
                let frame = match frames::make(&journal, from, shown, feed.is_sync) {
                    Ok(frame) => frame,
                    Err(ReadError::NotRetained { .. }) => {
                        behind.push((*stream, feed.node));
                        break;
                    }
                    Err(error) => return Err(error.to_string()),
                };
                let Some(frame) = frame else { break };
                feed.sent = Head { position: frame.last, digest: frame.digest };
                feed.unconfirmed.push(frame.last);
                outgoing.push((*stream, feed.node, frame.bytes));
            }
        }
        for (stream, to, frame) in outgoing {
            self.send(server, to, stream, Message::Records { stream, frame });
        }
        for (stream, to) in behind {
            self.close_feed(server, stream);
            self.send(server, to, stream, Message::Refused { stream, reason: Reason::SnapshotRequired });
        }
        Ok(())
    }

    pub(super) fn confirm(
        &mut self,
        server: Node,
        stream: Stream,
        applied: Position,
        synced_seq: u64,
    ) -> Result<(), String> {
        let now = self.now();
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        let head = node.writer.handle().commit().head.position.seq.0;
        let Some(feed) = node.feeds.get_mut(&stream) else { return Ok(()) };
        if !handshake::may_confirm(applied, feed.confirmed, feed.sent.position) {
            return Err(format!("{} confirms {applied} and was sent {}", feed.member, feed.sent.position));
        }
        feed.confirmed = applied;
        feed.unconfirmed.retain(|sent| sent.seq > applied.seq);
        let synced_seq = if feed.is_sync { synced_seq } else { 0 };
        let ack = Acknowledged { applied, synced_seq, apply_lag_us: 0 };
        node.table.acknowledged(&feed.member, feed.id, &ack, head, now);
        self.settle(server)?;
        self.let_count(server)?;
        self.pump(server)
    }

    pub(super) fn heartbeat(&mut self, server: Node, life: u64) -> Result<(), String> {
        if self.servers[server].life != life {
            return Ok(());
        }
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        let commit = node.writer.handle().commit();
        let beats: Vec<_> = node
            .feeds
            .iter()
            .map(|(stream, feed)| {
                let serve_sum = (feed.sent.position == commit.head.position).then_some(commit.serve_sum);
                (feed.node, *stream, Message::Heartbeat { stream: *stream, at: feed.sent, serve_sum })
            })
            .collect();
        let (untold, epoch) = (node.untold.clone(), commit.head.position.epoch);
        for (to, stream, beat) in beats {
            self.send(server, to, stream, beat);
        }
        for other in untold {
            self.post(server, other, Message::Fence { question: 0, epoch });
        }
        self.queue.after(HEARTBEAT_EVERY_US, Event::Heartbeat { server, life });
        self.let_count(server)?;
        // The thread works at least once a second.
        self.work(server)
    }

    /// Whether that stream is one of the writer's.
    pub(super) fn serves(&self, server: Node, stream: Stream) -> bool {
        match &self.servers[server].role {
            Role::Writer(node) => node.feeds.contains_key(&stream),
            _ => false,
        }
    }
}
