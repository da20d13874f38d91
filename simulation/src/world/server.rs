//! Servers: the writer, its standbys, and what each of them answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linklog::codec::FORMAT_LEVEL;
use linklog::entity::{MemberRole, MemberState};
use linklog::journal::{HeadFileError, JournalRead, JournalReader, OpenError};
use linklog::simulated::Disk;
use linklog::standby::{Standby, StandbyOptions};
use linklog::store::{StoreError, StoreOptions};
use linklog::writer::{Decision, ProposeError, SteppedWriter, WriterOptions};
use linklog::{Change, Epoch, Head, Position};
use signpost_admin::feed::frames;
use signpost_admin::feed::handshake::{self, Beyond};
use signpost_admin::members::{self, Members};
use signpost_admin::replication::table::Table;
use signpost_admin::replication::{Acknowledged, SYNC_WAIT, StreamId};
use tokio::sync::{oneshot, watch};
use wire::feed::Hello;
use wire::feed::refusal::Reason;

use super::client::Answer;
use super::promotion::Promotion;
use super::{Event, Message, Node, Stream, World, disk_at};
use crate::plan::Plant;
use crate::random::Random;

/// Memory plays no part on a simulated disk.
const STORE: StoreOptions = StoreOptions { block_cache_bytes: 0, memtable_bytes: 0, background_threads: 1 };
const JOURNAL_BYTES_KEPT: u64 = 1 << 30;
/// Frames of one stream that are not confirmed yet.
const FRAMES_MAX: usize = 3;
const HEARTBEAT_EVERY_US: u64 = 1_000_000;

/// What a server is doing.
pub(super) enum Role {
    /// Nothing: it is down.
    Down,
    Writer(Box<WriterNode>),
    Standby(Box<StandbyNode>),
}

/// A machine with a log.
pub(super) struct Server {
    pub(super) dir: PathBuf,
    pub(super) disk: Disk,
    /// What it is called as a standby.
    pub(super) member: String,
    /// Whether it follows if it was not promoted.
    pub(super) is_standby: bool,
    pub(super) life: u64,
    pub(super) role: Role,
    /// Where it was told that its log is not the writer's.
    pub(super) is_diverged: bool,
}

/// A log that is written, and who follows it.
pub(super) struct WriterNode {
    pub(super) writer: SteppedWriter,
    pub(super) table: Table,
    pub(super) confirmed: watch::Receiver<u64>,
    pub(super) members: Members,
    feeds: BTreeMap<Stream, Feed>,
    decided: Decided,
    waiting: BTreeMap<u64, Waiting>,
    turns: bool,
    /// Servers that have not heard of this epoch.
    pub(super) untold: Vec<Node>,
}

type Decided = Arc<Mutex<Vec<(Asked, Result<Vec<Decision>, ProposeError>)>>>;

/// Whose change it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) from: Option<Node>,
    pub(super) command: u64,
    pub(super) attempt: u64,
}

/// A change that is durable here and waits for sync members.
struct Waiting {
    asked: Asked,
    head: Head,
    conflict: bool,
    through: oneshot::Receiver<()>,
}

/// What was sent to a follower and what it has confirmed.
struct Feed {
    node: Node,
    member: String,
    is_sync: bool,
    id: StreamId,
    sent: Head,
    confirmed: Position,
    unconfirmed: Vec<Position>,
}

/// A log that follows.
pub(super) struct StandbyNode {
    pub(super) standby: Standby,
    pub(super) stream: Option<Stream>,
    pub(super) promotion: Option<Promotion>,
    /// Whom it asks next.
    pub(super) next: usize,
}

impl Server {
    pub(super) fn new(dir: PathBuf, number: usize) -> Server {
        Server {
            disk: disk_at(&dir),
            dir,
            member: format!("standby-{number}"),
            is_standby: number > 0,
            life: 0,
            role: Role::Down,
            is_diverged: false,
        }
    }

    pub(super) fn head(&self) -> Head {
        match &self.role {
            Role::Down => Head::EMPTY,
            Role::Writer(node) => node.writer.handle().commit().head,
            Role::Standby(node) => node.standby.head(),
        }
    }

    pub(super) fn journal(&self) -> Option<JournalReader> {
        match &self.role {
            Role::Down => None,
            Role::Writer(node) => Some(node.writer.journal()),
            Role::Standby(node) => Some(node.standby.journal()),
        }
    }
}

impl World {
    pub(super) fn standby_of(&mut self, server: Node) -> Option<&mut StandbyNode> {
        match &mut self.servers.get_mut(server)?.role {
            Role::Standby(node) => Some(node),
            _ => None,
        }
    }

    fn writer_of(&mut self, server: Node) -> Option<&mut WriterNode> {
        match &mut self.servers.get_mut(server)?.role {
            Role::Writer(node) => Some(node),
            _ => None,
        }
    }

    /// Makes the first writer, with the members there are at first.
    pub(super) fn found_fleet(&mut self) -> Result<(), String> {
        self.open_writer(0)?;
        let now_ms = self.clock_us(0) / 1_000;
        let standbys = (1..=self.plan.members_at_first).map(|n| (format!("standby-{n}"), MemberRole::Sync));
        let proxies = (0..self.plan.proxies).map(|n| (format!("proxy-{n}"), MemberRole::Read));
        let changes: Vec<Change> =
            standbys.chain(proxies).map(|(name, role)| members::add(&name, None, role, now_ms)).collect();
        let node = self.writer_of(0).ok_or("no writer")?;
        node.writer.handle().propose(changes, Box::new(|_| {}));
        node.writer.turn().map_err(|error| error.to_string())?;
        node.members.reload().map_err(|error| error.to_string())
    }

    fn writer_options(&mut self, server: Node) -> WriterOptions {
        let clock = self.clocks[server].clone();
        let mut nonces = Random::of_seed(self.random.below(u64::MAX));
        WriterOptions {
            store: STORE,
            journal_bytes_kept: JOURNAL_BYTES_KEPT,
            queue_max: 64,
            clock_us: Box::new(move || clock.load(Ordering::Relaxed)),
            nonce: Box::new(move || nonces.bytes()),
            on_commit: Box::new(|_| {}),
            on_fatal: Box::new(|_| {}),
        }
    }

    /// Starts what a server's disk and configuration say it is.
    pub(super) fn start_server(&mut self, server: Node) -> Result<(), String> {
        if !matches!(self.servers[server].role, Role::Down) {
            return Ok(());
        }
        let dir = self.servers[server].dir.clone();
        let was_promoted = Standby::was_promoted(&dir, &STORE).map_err(|error| error.to_string())?;
        match was_promoted || !self.servers[server].is_standby {
            true => self.open_writer(server),
            false => self.open_standby(server),
        }
    }

    /// A disk that fails is tried again; everything else must not be.
    fn not_opened(&mut self, server: Node, error: &OpenError) -> Result<(), String> {
        match error {
            OpenError::HeadFile(HeadFileError::Io { .. }) | OpenError::Store(StoreError::Io { .. }) => {
                self.kill(server)
            }
            error => Err(format!("server {server} does not start: {error}")),
        }
    }

    fn open_standby(&mut self, server: Node) -> Result<(), String> {
        let options = StandbyOptions { store: STORE, journal_bytes_kept: JOURNAL_BYTES_KEPT };
        let standby = Standby::open(&self.servers[server].dir, &options);
        let standby = match standby {
            Ok(standby) => standby,
            Err(error) => return self.not_opened(server, &error),
        };
        self.oracle.saw(standby.head())?;
        let node = StandbyNode { standby, stream: None, promotion: None, next: 0 };
        self.servers[server].role = Role::Standby(Box::new(node));
        let life = self.servers[server].life;
        self.queue.after(1_000, Event::Dial { node: server, life });
        Ok(())
    }

    pub(super) fn open_writer(&mut self, server: Node) -> Result<(), String> {
        let options = self.writer_options(server);
        let writer = match SteppedWriter::open(&self.servers[server].dir, options) {
            Ok(writer) => writer,
            Err(OpenError::Replaced { .. }) => {
                // The operator gives it a [standby] section.
                self.servers[server].is_standby = true;
                return self.open_standby(server);
            }
            Err(error) => return self.not_opened(server, &error),
        };
        let epoch = writer.handle().commit().head.position.epoch;
        let members = Members::load(&writer.reader()).map_err(|error| error.to_string())?;
        let min = self.plan.min_sync_replicas;
        let table = Table::new(min, Duration::from_secs(2));
        let node = WriterNode {
            confirmed: table.confirmed(),
            table,
            members,
            writer,
            feeds: BTreeMap::new(),
            decided: Decided::default(),
            waiting: BTreeMap::new(),
            turns: false,
            untold: (0..self.servers.len()).filter(|other| *other != server && epoch > Epoch(1)).collect(),
        };
        if epoch >= self.newest {
            self.newest = epoch;
            self.oracle.check_journal(&format!("server {server}"), &node.writer.journal())?;
        }
        self.oracle.saw(node.writer.handle().commit().head)?;
        self.servers[server].role = Role::Writer(Box::new(node));
        let life = self.servers[server].life;
        self.queue.after(HEARTBEAT_EVERY_US, Event::Heartbeat { server, life });
        Ok(())
    }

    /// Somebody asks for a change.
    pub(super) fn request(
        &mut self,
        server: Node,
        command: u64,
        attempt: u64,
        change: Change,
    ) -> Result<(), String> {
        let asked = Asked { from: Some(server), command, attempt };
        let (now, min) = (self.now(), self.plan.min_sync_replicas);
        let is_operators = change.command.is_none();
        let Some(node) = self.writer_of(server) else {
            self.answer(server, asked, Answer::NotWriter);
            return Ok(());
        };
        let refused = node.writer.handle().refusal().is_some();
        let confirmable = min == 0 || node.table.listening(now, SYNC_WAIT) >= min;
        if refused || !confirmable && !is_operators {
            self.answer(server, asked, Answer::NotWriter);
            return Ok(());
        }
        let decided = node.decided.clone();
        let reply = move |decisions| decided.lock().expect("one thread").push((asked, decisions));
        node.writer.handle().propose(vec![change], Box::new(reply));
        self.schedule_turn(server);
        Ok(())
    }

    fn schedule_turn(&mut self, server: Node) {
        let life = self.servers[server].life;
        let Some(node) = self.writer_of(server) else { return };
        if !std::mem::replace(&mut node.turns, true) {
            let fsync = self.fsync_us();
            self.queue.after(fsync, Event::Turn { server, life });
        }
    }

    pub(super) fn turn(&mut self, server: Node, life: u64) -> Result<(), String> {
        if self.servers[server].life != life {
            return Ok(());
        }
        self.work(server)
    }

    /// Lets a writer decide and commit what waits, and tells everybody.
    pub(super) fn work(&mut self, server: Node) -> Result<(), String> {
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        node.turns = false;
        if node.writer.turn().is_err() {
            // The disk is gone: the process ends, and nobody is answered.
            self.say(|| format!("server {server} ends: its disk fails"));
            return self.kill(server);
        }
        node.members.reload().map_err(|error| error.to_string())?;
        let decided = std::mem::take(&mut *node.decided.lock().expect("one thread"));
        let journal = node.writer.journal();
        self.oracle.saw(journal.head())?;
        for (asked, decisions) in decided {
            match decisions.map(|decisions| decisions.into_iter().next()) {
                Ok(Some(Decision::Applied { position, .. })) => {
                    let head = World::head_at(&journal, position)?;
                    self.replicate(server, asked, head, false)?;
                }
                Ok(Some(Decision::Replayed(outcome))) => {
                    let head = World::head_at(&journal, outcome.position)?;
                    self.replicate(server, asked, head, outcome.conflict.is_some())?;
                }
                Ok(Some(Decision::Conflict(_))) => self.answer(server, asked, Answer::Conflict),
                Ok(Some(Decision::Invalid(invalid))) => return Err(format!("an invalid change: {invalid}")),
                Ok(None) => {}
                Err(_) => self.answer(server, asked, Answer::NotWriter),
            }
        }
        self.drop_strangers(server);
        self.pump(server)
    }

    /// Answers when enough sync members have it.
    fn replicate(&mut self, server: Node, asked: Asked, head: Head, conflict: bool) -> Result<(), String> {
        if asked.from.is_none() {
            return Ok(());
        }
        let hasty = self.plants(Plant::AnswerUnconfirmed);
        let ticket = self.number();
        let life = self.servers[server].life;
        let min = self.plan.min_sync_replicas;
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        let through = if min == 0 || hasty { None } else { node.table.when_synced(head.position.seq.0) };
        match through {
            None => self.acknowledge(server, asked, head, conflict),
            Some(through) => {
                node.waiting.insert(ticket, Waiting { asked, head, conflict, through });
                self.queue.after(SYNC_WAIT.as_micros() as u64, Event::Unconfirmed { server, life, ticket });
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, server: Node, asked: Asked, head: Head, conflict: bool) -> Result<(), String> {
        if !conflict && self.clients.is_clients(asked.command) {
            let code = self.clients.code_of(asked.command);
            self.oracle.acknowledge(asked.command, head, code)?;
        }
        let answer = if conflict { Answer::Conflict } else { Answer::Done };
        self.answer(server, asked, answer);
        Ok(())
    }

    fn answer(&mut self, server: Node, asked: Asked, answer: Answer) {
        // Clients are everywhere: no cut keeps them from a server, but words are lost and late.
        let Asked { command, attempt, .. } = asked;
        self.post(server, server, Message::Response { command, attempt, answer });
    }

    /// Lets through whoever has waited for what is confirmed now.
    fn settle(&mut self, server: Node) -> Result<(), String> {
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        let through: Vec<u64> = node
            .waiting
            .iter_mut()
            .filter_map(|(ticket, waiting)| waiting.through.try_recv().is_ok().then_some(*ticket))
            .collect();
        for ticket in through {
            let waiting = self.writer_of(server).and_then(|node| node.waiting.remove(&ticket));
            if let Some(Waiting { asked, head, conflict, .. }) = waiting {
                self.acknowledge(server, asked, head, conflict)?;
            }
        }
        Ok(())
    }

    pub(super) fn unconfirmed(&mut self, server: Node, life: u64, ticket: u64) -> Result<(), String> {
        if self.servers[server].life != life {
            return Ok(());
        }
        let waiting = self.writer_of(server).and_then(|node| node.waiting.remove(&ticket));
        if let Some(waiting) = waiting {
            self.answer(server, waiting.asked, Answer::Unknown);
        }
        Ok(())
    }

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
    fn drop_strangers(&mut self, server: Node) {
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
    fn pump(&mut self, server: Node) -> Result<(), String> {
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
        let mut outgoing = Vec::new();
        for (stream, feed) in &mut node.feeds {
            let shown = handshake::shown(head, confirmed, feed.is_sync || shows_all);
            while feed.sent.position.seq < shown.seq && feed.unconfirmed.len() < FRAMES_MAX {
                let from = feed.sent.position.seq.next();
                let frame =
                    frames::make(&journal, from, shown, feed.is_sync).map_err(|error| error.to_string())?;
                let Some(frame) = frame else { break };
                feed.sent = Head { position: frame.last, digest: frame.digest };
                feed.unconfirmed.push(frame.last);
                outgoing.push((*stream, feed.node, frame.bytes));
            }
        }
        for (stream, to, frame) in outgoing {
            self.send(server, to, stream, Message::Records { stream, frame });
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
        // The thread works at least once a second.
        self.work(server)
    }
}

impl World {
    pub(super) fn serves(&self, server: Node, stream: Stream) -> bool {
        match &self.servers[server].role {
            Role::Writer(node) => node.feeds.contains_key(&stream),
            _ => false,
        }
    }
}
