//! A run: nodes, what they say to each other, and what goes wrong.
//!
//! Streams keep the order of their messages, as TCP does, and end when one is lost; which side notices when is chance. Different streams
//! of one node overtake each other. A node that is killed keeps what it had synced and some of what it had not.

mod client;
mod events;
mod faults;
mod feed;
mod fetch;
mod follower;
mod peace;
mod promotion;
mod renewal;
mod server;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use linklog::journal::JournalRead;
use linklog::simulated::{self, Disk};
use linklog::{Epoch, Head, Position};

use crate::oracle::Oracle;
use crate::plan::{Plan, Plant};
use crate::queue::Queue;
use crate::random::Random;
use events::{Event, Message};
use server::{Role, Server};

/// When a run begins, milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_800_000_000_000;
/// How long everybody is left in peace at the end, microseconds.
const PEACE_US: u64 = 60_000_000;

/// A node: servers come first, then proxies.
type Node = usize;
/// A stream between a follower and a server.
type Stream = u64;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events.
    pub events: u64,
    /// Commands that clients were told had taken effect.
    pub acknowledged: usize,
    /// Promotions that went through.
    pub promotions: u64,
    /// Nodes that were killed.
    pub kills: u64,
    /// Snapshots that were put in place.
    pub snapshots: u64,
    /// The last record of the last writer.
    pub head: Position,
    /// What happened, a line an event, if it was asked for.
    pub trace: String,
    /// What must not have happened.
    pub violation: Option<String>,
}

struct World {
    plan: Plan,
    random: Random,
    queue: Queue<Event>,
    /// What durations are counted from; only differences are looked at.
    base: Instant,
    dir: PathBuf,
    servers: Vec<Server>,
    proxies: Vec<follower::Proxy>,
    /// How far a node's clock is ahead of the time, microseconds.
    clocks: Vec<std::sync::Arc<std::sync::atomic::AtomicU64>>,
    skews_us: Vec<i64>,
    cut: BTreeSet<(Node, Node)>,
    /// When a node last heard from the server it follows.
    heard_us: BTreeMap<Node, u64>,
    /// Streams that have lost a message.
    broken: BTreeSet<Stream>,
    /// When the last message of a stream arrives, each way.
    busy_until_us: BTreeMap<(Stream, Node), u64>,
    /// Snapshots that are being fetched, by who does.
    fetches: BTreeMap<Node, fetch::Fetch>,
    next_number: u64,
    clients: client::Clients,
    oracle: Oracle,
    /// The highest epoch that has begun.
    newest: Epoch,
    at_peace: bool,
    promotions: u64,
    kills: u64,
    snapshots: u64,
    tracing: bool,
    trace: String,
}

/// Runs a plan to its end. `tracing`: every event is noted.
pub fn run(plan: &Plan, tracing: bool) -> Outcome {
    let mut world = World::new(plan.clone(), tracing);
    let (mut events, mut violation) = (0, None);
    let until = world.begin();
    if let Err(problem) = until {
        violation = Some(problem);
    }
    while violation.is_none()
        && let Some(event) = world.queue.pop()
    {
        events += 1;
        world.note(&event);
        if events == world.plan.steps {
            world.make_peace();
        }
        let ends = matches!(event, Event::Peace);
        let done = world.happen(event);
        let done = if ends { done.and_then(|()| world.check_end()) } else { done };
        violation = done.err();
        if ends {
            break;
        }
    }
    let head = world.newest_writer().map_or(Position::ZERO, |writer| world.servers[writer].head().position);
    let acknowledged = world.oracle.acknowledged();
    simulated_off(&world);
    Outcome {
        events,
        acknowledged,
        promotions: world.promotions,
        kills: world.kills,
        snapshots: world.snapshots,
        head,
        trace: std::mem::take(&mut world.trace),
        violation,
    }
}

fn simulated_off(world: &World) {
    for server in &world.servers {
        simulated::unmount(&server.dir);
    }
    for proxy in &world.proxies {
        simulated::unmount(&proxy.dir);
    }
}

impl World {
    fn new(plan: Plan, tracing: bool) -> World {
        static RUNS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = PathBuf::from(format!("/simulated/{run}"));
        let nodes = plan.servers + plan.proxies;
        World {
            random: Random::of_seed(plan.seed),
            queue: Queue::default(),
            base: Instant::now(),
            servers: (0..plan.servers).map(|n| Server::new(dir.join(format!("server-{n}")), n)).collect(),
            proxies: (0..plan.proxies)
                .map(|n| follower::Proxy::new(dir.join(format!("proxy-{n}")), n))
                .collect(),
            dir,
            clocks: (0..nodes).map(|_| std::sync::Arc::default()).collect(),
            skews_us: vec![0; nodes],
            cut: BTreeSet::new(),
            heard_us: BTreeMap::new(),
            broken: BTreeSet::new(),
            busy_until_us: BTreeMap::new(),
            fetches: BTreeMap::new(),
            next_number: 0,
            clients: client::Clients::default(),
            oracle: Oracle::new(plan.min_sync_replicas),
            newest: Epoch(0),
            at_peace: false,
            promotions: 0,
            kills: 0,
            snapshots: 0,
            tracing,
            trace: String::new(),
            plan,
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        debug_assert!(self.dir.is_absolute(), "disks are found by their whole path");
        for node in 0..self.plan.servers + self.plan.proxies {
            let skew = self.random.below(2 * self.plan.skew_max_ms + 1) as i64 - self.plan.skew_max_ms as i64;
            self.skews_us[node] = skew * 1_000;
        }
        self.tick();
        self.found_fleet()?;
        for node in 1..self.plan.servers + self.plan.proxies {
            self.start(node)?;
        }
        for client in 0..3 {
            self.queue.after(1_000 * client as u64, Event::Client { client });
        }
        if self.plan.fault_every_us > 0 {
            self.queue.after(self.plan.fault_every_us, Event::Fault);
        }
        self.queue.after(300_000, Event::Operator);
        if let Some(plan) = &self.plan.snapshots {
            self.queue.after(plan.damage_every_us, Event::Damage);
        }
        Ok(())
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.tracing {
            let what = what();
            self.trace.push_str("             ");
            self.trace.push_str(&what);
            self.trace.push('\n');
        }
    }

    /// Sets every node's clock to what it shows now.
    fn tick(&mut self) {
        let now_us = BEGIN_MS * 1_000 + self.queue.now_us();
        for (clock, skew) in self.clocks.iter().zip(&self.skews_us) {
            clock.store(now_us.saturating_add_signed(*skew), std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// What a node's clock shows, microseconds since the Unix epoch.
    fn clock_us(&self, node: Node) -> u64 {
        self.clocks[node].load(std::sync::atomic::Ordering::Relaxed)
    }

    fn now(&self) -> Instant {
        self.base + std::time::Duration::from_micros(self.queue.now_us())
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn plants(&self, plant: Plant) -> bool {
        self.plan.plant == Some(plant)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        self.tick();
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Turn { server, life } => self.turn(server, life),
            Event::Heartbeat { server, life } => self.heartbeat(server, life),
            Event::Dial { node, life } => self.dial(node, life),
            Event::Silence { node, stream } => self.silence(node, stream),
            Event::Over { node, stream } => self.over(node, stream),
            Event::Unconfirmed { server, life, ticket } => self.unconfirmed(server, life, ticket),
            Event::PollEnds { server, life, question } => self.poll_ends(server, life, question),
            Event::Client { client } => self.client_acts(client),
            Event::GiveUp { command, attempt } => self.client_gives_up(command, attempt),
            Event::Made { server, life, making } => self.made(server, life, &making),
            Event::OfferLater { server, life, waits } => self.offer_later(server, life, &waits),
            Event::SendOn { server, life, to, call, piece } => self.send_on(server, life, to, call, piece),
            Event::FetchSilent { node, call } => self.fetch_silent(node, call),
            Event::Install { node, call } => self.install(node, call),
            Event::Renew { server, life, is_decided } => self.renew(server, life, is_decided),
            Event::Mend { server, life } => self.mend(server, life),
            Event::Damage => self.damage(),
            Event::Fault => self.fault(),
            Event::Operator => self.operator(),
            Event::Start { node } => self.start(node),
            Event::Heal { a, b } => {
                self.cut.remove(&(a.min(b), a.max(b)));
                Ok(())
            }
            Event::Peace => Ok(()),
        }
    }

    /// Sends what is asked or answered by itself: it may be lost, late or there twice.
    fn post(&mut self, from: Node, to: Node, message: Message) {
        let copies = 1 + u64::from(!self.at_peace && self.random.percent(2));
        for _ in 0..copies {
            if self.loses(from, to) {
                continue;
            }
            let delay = self.delay_us();
            self.queue.after(delay, Event::Deliver { from, to, message: message.clone() });
        }
    }

    /// Sends on a stream: in order, or the stream is over.
    fn send(&mut self, from: Node, to: Node, stream: Stream, message: Message) {
        if self.broken.contains(&stream) {
            return;
        }
        if self.loses(from, to) {
            self.broken.insert(stream);
            for node in [from, to] {
                let noticed = self.random.between(1_000, 3_000_000);
                self.queue.after(noticed, Event::Over { node, stream });
            }
            return;
        }
        let at = self.queue.now_us() + self.delay_us();
        let busy = self.busy_until_us.entry((stream, to)).or_default();
        *busy = (*busy + 1).max(at);
        let at = *busy;
        self.queue.at(at, Event::Deliver { from, to, message });
    }

    fn loses(&mut self, from: Node, to: Node) -> bool {
        let cut = self.cut.contains(&(from.min(to), from.max(to)));
        cut || !self.at_peace && self.plan.fault_every_us > 0 && self.random.below(1_000) < 2
    }

    fn delay_us(&mut self) -> u64 {
        let max = if self.at_peace { 1_000 } else { self.plan.delay_max_us };
        self.random.between(50, max + 51)
    }

    fn fsync_us(&mut self) -> u64 {
        let max = if self.at_peace { 1_000 } else { self.plan.fsync_max_us };
        self.random.between(20, max + 21)
    }

    fn deliver(&mut self, from: Node, to: Node, message: Message) -> Result<(), String> {
        // What others ask or refuse says nothing about the one that is followed.
        if let Message::Welcome { stream, .. }
        | Message::Records { stream, .. }
        | Message::Heartbeat { stream, .. } = &message
            && self.is_on(to, *stream)
        {
            self.heard_us.insert(to, self.queue.now_us());
        }
        match message {
            Message::Hello { stream, member, at, highest_epoch } => {
                self.admit(from, to, stream, &member, at, highest_epoch)
            }
            Message::Ack { stream, applied, synced_seq } => self.confirm(to, stream, applied, synced_seq),
            Message::Welcome { stream, head } => self.welcomed(from, to, stream, head),
            Message::Refused { stream, reason } => self.refused(from, to, stream, reason),
            Message::Records { stream, frame } => self.add(to, stream, &frame),
            Message::Heartbeat { stream, at, serve_sum } => self.compare(to, stream, at, serve_sum),
            Message::Fence { question, epoch } => self.fence(from, to, question, epoch),
            Message::Standing { question, standing } => self.standing(from, to, question, standing),
            Message::Tail { question, after } => self.tail(from, to, question, after),
            Message::Tailed { question, frames } => self.tailed(to, question, frames),
            Message::Request { command, attempt, change } => self.request(to, command, attempt, change),
            Message::Response { command, attempt, answer } => self.response(from, command, attempt, answer),
            Message::OpenSnapshot { call, asks } => self.asked_for_snapshot(from, to, call, &asks),
            Message::Snapshot { call, id, manifest } => self.offered(to, call, id, &manifest),
            Message::NoSnapshot { call } => self.fetch_lost(to, call),
            Message::ReadSnapshot { call, piece } => self.asked_for_part(from, to, call, piece),
            Message::Chunk { call, part, data } => self.received_chunk(to, call, part, &data),
        }
    }

    /// Returns the writer of the newest epoch, if it runs.
    fn newest_writer(&self) -> Option<Node> {
        (0..self.servers.len()).find(|server| {
            let server = &self.servers[*server];
            matches!(server.role, Role::Writer(_)) && server.head().position.epoch == self.newest
        })
    }

    /// The digest of a journal at a place that is in it, or was before it was trimmed.
    fn head_at(&self, journal: &dyn JournalRead, position: Position) -> Result<Head, String> {
        if let Some(digest) = journal.digest_at(position).map_err(|error| error.to_string())? {
            return Ok(Head { position, digest });
        }
        let history = self.oracle.archive.history(journal.head())?;
        let trimmed = history.iter().map(|(head, _)| *head).find(|head| head.position == position);
        trimmed
            .filter(|head| head.position.seq < journal.first_retained())
            .ok_or_else(|| format!("record {position} was decided and is not in the journal"))
    }
}

fn disk_at(dir: &std::path::Path) -> Disk {
    simulated::mount(dir)
}
