//! Servers: the writer, its standbys, and what each of them answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linklog::entity::{MemberRole, MemberState};
use linklog::journal::{HeadFileError, JournalRead, JournalReader, OpenError};
use linklog::simulated::Disk;
use linklog::standby::{Standby, StandbyOptions};
use linklog::store::{StoreError, StoreOptions};
use linklog::writer::{Decision, ProposeError, SteppedWriter, WriterOptions};
use linklog::{Change, Epoch, Head, Seq};
use signpost_admin::members::joining::{self, Joiners};
use signpost_admin::members::{self, Members};
use signpost_admin::replication::SYNC_WAIT;
use signpost_admin::replication::table::Table;
use signpost_admin::standby::ballot::Yielded;
use signpost_admin::standby::places;
use tokio::sync::{oneshot, watch};

use super::client::Answer;
use super::feed::{Feed, HEARTBEAT_EVERY_US};
use super::promotion::Promotion;
use super::renewal::Unsettled;
use super::snapshots::Shelf;
use super::{Event, Message, Node, Stream, World, disk_at};
use crate::plan::Plant;
use crate::random::Random;

/// Memory plays no part on a simulated disk.
const STORE: StoreOptions = StoreOptions { block_cache_bytes: 0, memtable_bytes: 0, background_threads: 1 };
/// What journals keep if they are not trimmed.
const ALL_BYTES: u64 = 1 << 30;

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
    /// The last look at the disk found damage.
    pub(super) is_damaged: bool,
    /// Snapshots for others.
    pub(super) shelf: Shelf,
}

/// A log that is written, and who follows it.
pub(super) struct WriterNode {
    pub(super) writer: SteppedWriter,
    pub(super) table: Table,
    pub(super) confirmed: watch::Receiver<u64>,
    pub(super) members: Members,
    joiners: Joiners,
    pub(super) feeds: BTreeMap<Stream, Feed>,
    decided: Decided,
    waiting: BTreeMap<u64, Waiting>,
    turns: bool,
    /// The last record that the archive has.
    archived: Seq,
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

/// A log that follows.
pub(super) struct StandbyNode {
    pub(super) standby: Standby,
    pub(super) stream: Option<Stream>,
    /// The writer it follows, since it was welcomed.
    pub(super) writer: Option<Node>,
    /// The epoch of that one.
    pub(super) follows: Epoch,
    pub(super) promotion: Option<Promotion>,
    /// The writer that yielded to a promotion of this process.
    pub(super) yielded: Option<Yielded>,
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
            is_damaged: false,
            shelf: Shelf::default(),
        }
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
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

    pub(super) fn writer_of(&mut self, server: Node) -> Option<&mut WriterNode> {
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

    fn journal_bytes_kept(&self) -> u64 {
        self.plan.snapshots.as_ref().map_or(ALL_BYTES, |plan| plan.journal_bytes_kept)
    }

    fn writer_options(&mut self, server: Node) -> WriterOptions {
        let clock = self.clocks[server].clone();
        let mut nonces = Random::of_seed(self.random.below(u64::MAX));
        WriterOptions {
            store: STORE,
            journal_bytes_kept: self.journal_bytes_kept(),
            queue_max: 64,
            clock_us: Box::new(move || clock.load(Ordering::Relaxed)),
            nonce: Box::new(move || nonces.bytes()),
            at_start: Box::new(|| {}),
            on_commit: Box::new(|_| {}),
            on_fatal: Box::new(|_| {}),
        }
    }

    /// Starts what a server's disk and configuration say it is.
    pub(super) fn start_server(&mut self, server: Node) -> Result<(), String> {
        if !matches!(self.servers[server].role, Role::Down) {
            return Ok(());
        }
        let was_promoted = Standby::was_promoted(&self.servers[server].log_dir(), &STORE);
        if was_promoted.map_err(|error| error.to_string())? {
            if places::forget(&self.servers[server].dir).is_err() {
                return self.kill(server);
            }
            return self.open_writer(server);
        }
        if !self.servers[server].is_standby {
            return self.open_writer(server);
        }
        match self.take_new_log(server) {
            Ok(is_another) => self.open_standby(server, is_another),
            Err(Unsettled::Disk) => self.kill(server),
            Err(Unsettled::Never(problem)) => Err(format!("server {server} does not start: {problem}")),
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

    /// `is_another`: the log may be another one than it was.
    fn open_standby(&mut self, server: Node, is_another: bool) -> Result<(), String> {
        let options = StandbyOptions { store: STORE, journal_bytes_kept: self.journal_bytes_kept() };
        let standby = Standby::open(&self.servers[server].log_dir(), &options);
        let standby = match standby {
            Ok(standby) => standby,
            Err(error) => return self.not_opened(server, &error),
        };
        self.oracle.archive.keep(&standby.journal(), Seq::ZERO)?;
        self.oracle.saw(standby.head())?;
        let member = &self.servers[server].member;
        self.oracle.check_promises(member, standby.head(), standby.highest_epoch(), is_another)?;
        if is_another {
            self.check_state(member, &standby.reader(), standby.head())?;
        }
        let (promotion, yielded) = (None, None);
        let node = StandbyNode {
            standby,
            stream: None,
            writer: None,
            follows: Epoch(0),
            promotion,
            yielded,
            next: 0,
        };
        self.servers[server].role = Role::Standby(Box::new(node));
        let life = self.servers[server].life;
        self.queue.after(1_000, Event::Dial { node: server, life });
        if self.servers[server].is_damaged {
            self.queue.after(1_000_000, Event::Mend { server, life });
        }
        self.open_shelf(server);
        Ok(())
    }

    pub(super) fn open_writer(&mut self, server: Node) -> Result<(), String> {
        let options = self.writer_options(server);
        let writer = match SteppedWriter::open(&self.servers[server].log_dir(), options) {
            Ok(writer) => writer,
            Err(OpenError::Replaced { .. }) => {
                // The operator gives it a [standby] section.
                self.servers[server].is_standby = true;
                return self.open_standby(server, false);
            }
            Err(error) => return self.not_opened(server, &error),
        };
        let archived = self.oracle.archive.keep(&writer.journal(), Seq::ZERO)?.position.seq;
        let epoch = writer.handle().commit().head.position.epoch;
        let members = Members::load(&writer.reader()).map_err(|error| error.to_string())?;
        let min = self.plan.min_sync_replicas;
        let table = Table::new(min, Duration::from_secs(2));
        let node = WriterNode {
            confirmed: table.confirmed(),
            table,
            members,
            joiners: Joiners::default(),
            writer,
            feeds: BTreeMap::new(),
            decided: Decided::default(),
            waiting: BTreeMap::new(),
            turns: false,
            archived,
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
        self.open_shelf(server);
        self.retire_own_member(server)
    }

    /// A promoted standby is no sync member any more.
    fn retire_own_member(&mut self, server: Node) -> Result<(), String> {
        let name = self.servers[server].member.clone();
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        let found = members::with_version(&node.writer.reader(), &name).map_err(|error| error.to_string())?;
        if let Some((member, version)) = found.filter(|(member, _)| member.state.takes_part()) {
            let change = members::set_state(&name, &member, version, MemberState::Drained);
            node.writer.handle().propose(vec![change], Box::new(|_| {}));
            self.schedule_turn(server);
        }
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
        let archived = node.archived;
        let archived = self.oracle.archive.keep(&journal, archived)?.position.seq;
        if let Some(node) = self.writer_of(server) {
            node.archived = archived;
        }
        self.oracle.saw(journal.head())?;
        for (asked, decisions) in decided {
            match decisions.map(|decisions| decisions.into_iter().next()) {
                Ok(Some(Decision::Applied { position, .. })) => {
                    let head = self.head_at(&journal, position)?;
                    self.replicate(server, asked, head, false)?;
                }
                Ok(Some(Decision::Replayed(outcome))) => {
                    let head = self.head_at(&journal, outcome.position)?;
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

    /// Lets a joining sync member count when enough of the others know of it.
    pub(super) fn let_count(&mut self, server: Node) -> Result<(), String> {
        let min = self.plan.min_sync_replicas;
        let Some(node) = self.writer_of(server) else { return Ok(()) };
        if !node.members.all().values().any(joining::is_joining) {
            return Ok(());
        }
        let reader = node.writer.reader();
        let members = members::with_versions(&reader).map_err(|error| error.to_string())?;
        let head = reader.head().map_err(|error| error.to_string())?;
        node.joiners.note(&members, head.position.seq.0);
        let ready = node.joiners.ready(&members, min, |name| node.table.synced_seq(name));
        let Some((name, version)) = ready else { return Ok(()) };
        let Some((member, _)) = members.get(&name) else { return Ok(()) };
        let change = members::set_state(&name, member, version, MemberState::Active);
        node.writer.handle().propose(vec![change], Box::new(|_| {}));
        self.say(|| format!("server {server} lets {name} count"));
        self.schedule_turn(server);
        Ok(())
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
    pub(super) fn settle(&mut self, server: Node) -> Result<(), String> {
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
}
