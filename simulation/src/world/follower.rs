//! Following: the same steps for proxies and for standbys.

use std::path::PathBuf;

use linklog::replica::Replica;
use linklog::simulated::Disk;
use linklog::store::{Contents, StoreOptions};
use linklog::{Epoch, Head, Position, SlotSum, folders};
use wire::feed::refusal::Reason;

use super::server::Role;
use super::{Event, Message, Node, Stream, World, disk_at};
use crate::plan::Plant;

pub(super) const STORE: StoreOptions =
    StoreOptions { block_cache_bytes: 0, memtable_bytes: 0, background_threads: 1 };

/// A proxy: a replica of what is served.
pub(super) struct Proxy {
    pub(super) dir: PathBuf,
    pub(super) disk: Disk,
    pub(super) member: String,
    pub(super) life: u64,
    /// `None`: it is down.
    pub(super) replica: Option<Replica>,
    pub(super) stream: Option<Stream>,
    /// Which of its replicas is in use.
    pub(super) number: u64,
    /// It is noted that the replica will not do: nothing more is applied to it.
    pub(super) is_damaged: bool,
    /// The last record that visitors may have seen the effect of.
    pub(super) shows: Position,
    next: usize,
}

/// Longest silence on a stream, microseconds.
const SILENCE_US: u64 = 10_000_000;

impl Proxy {
    pub(super) fn new(dir: PathBuf, number: usize) -> Proxy {
        Proxy {
            disk: disk_at(&dir),
            dir,
            member: format!("proxy-{number}"),
            life: 0,
            replica: None,
            stream: None,
            number: 0,
            is_damaged: false,
            shows: Position::ZERO,
            next: 0,
        }
    }

    pub(super) fn replica_dir(&self, number: u64) -> PathBuf {
        self.dir.join(format!("replica-{number}"))
    }

    /// Finds the replica to serve from, the one with the highest number, and removes those before it.
    fn find_replica(&mut self) {
        let numbers = self.disk.list(&self.dir).into_iter();
        let numbers = numbers.filter_map(|name| name.strip_prefix("replica-")?.parse::<u64>().ok());
        let (mut older, current) = (Vec::new(), numbers.clone().max().unwrap_or(0));
        older.extend(numbers.filter(|number| *number < current));
        for number in older {
            // What fails is left for the next start.
            drop(folders::remove(&self.replica_dir(number)));
        }
        self.number = current;
    }
}

impl World {
    /// Starts a node that is down.
    pub(super) fn start(&mut self, node: Node) -> Result<(), String> {
        let Some(proxy) = node.checked_sub(self.plan.servers) else { return self.start_server(node) };
        let proxy = &mut self.proxies[proxy];
        if proxy.replica.is_some() {
            return Ok(());
        }
        proxy.find_replica();
        let dir = proxy.replica_dir(proxy.number);
        let replica = Replica::open(&dir, Contents::Serve, &STORE).map_err(|error| error.to_string())?;
        self.oracle.saw(replica.head())?;
        proxy.shows = replica.head().position;
        proxy.replica = Some(replica);
        let life = proxy.life;
        self.queue.after(1_000, Event::Dial { node, life });
        Ok(())
    }

    fn life(&self, node: Node) -> u64 {
        match node.checked_sub(self.plan.servers) {
            Some(proxy) => self.proxies[proxy].life,
            None => self.servers[node].life,
        }
    }

    fn stream_of(&mut self, node: Node) -> Option<&mut Option<Stream>> {
        match node.checked_sub(self.plan.servers) {
            Some(proxy) => {
                let proxy = &mut self.proxies[proxy];
                proxy.replica.is_some().then_some(&mut proxy.stream)
            }
            None => self.standby_of(node).map(|node| &mut node.stream),
        }
    }

    pub(super) fn is_on(&mut self, node: Node, stream: Stream) -> bool {
        self.stream_of(node).is_some_and(|own| *own == Some(stream))
    }

    /// Where a follower stands, and the highest epoch it has accepted.
    pub(super) fn place(&mut self, node: Node) -> Option<(Head, Epoch)> {
        match node.checked_sub(self.plan.servers) {
            Some(proxy) => {
                let replica = self.proxies[proxy].replica.as_ref()?;
                Some((replica.head(), replica.highest_epoch()))
            }
            None => {
                let node = self.standby_of(node)?;
                Some((node.standby.head(), node.standby.highest_epoch()))
            }
        }
    }

    /// Looks for a writer, the next in turn.
    pub(super) fn dial(&mut self, node: Node, life: u64) -> Result<(), String> {
        if self.life(node) != life || !self.stream_of(node).is_some_and(|stream| stream.is_none()) {
            return Ok(());
        }
        if self.fetches.get(&node).is_some_and(|fetch| !fetch.follows_on) {
            return Ok(());
        }
        let Some((at, highest_epoch)) = self.place(node) else { return Ok(()) };
        if let Some(node) = self.standby_of(node)
            && node.promotion.is_some()
        {
            return Ok(());
        }
        let servers = self.plan.servers;
        let next = match node.checked_sub(servers) {
            Some(proxy) => &mut self.proxies[proxy].next,
            None => match self.standby_of(node) {
                Some(standby) => &mut standby.next,
                None => return Ok(()),
            },
        };
        let to = *next % servers;
        *next += 1;
        if to == node {
            return self.again(node);
        }
        if self.is_known_damaged(node) {
            return self.fetch_from_any(node, to);
        }
        let member = match node.checked_sub(servers) {
            Some(proxy) => self.proxies[proxy].member.clone(),
            None => self.servers[node].member.clone(),
        };
        let stream = self.number();
        if let Some(own) = self.stream_of(node) {
            *own = Some(stream);
        }
        self.send(node, to, stream, Message::Hello { stream, member, at, highest_epoch });
        if matches!(self.servers[to].role, Role::Down) {
            // Nobody listens there.
            self.queue.after(1_000, Event::Over { node, stream });
        }
        self.heard_us.insert(node, self.queue.now_us());
        self.queue.after(SILENCE_US, Event::Silence { node, stream });
        Ok(())
    }

    /// Whether nothing may be applied before there is another replica.
    fn is_known_damaged(&self, node: Node) -> bool {
        node.checked_sub(self.plan.servers).is_some_and(|proxy| self.proxies[proxy].is_damaged)
    }

    /// Fetches a snapshot from `first`, or a proxy from whoever else has one.
    fn fetch_from_any(&mut self, node: Node, first: Node) -> Result<(), String> {
        let is_proxy = node >= self.plan.servers;
        let others = (0..self.plan.servers).filter(|other| is_proxy && *other != first).collect();
        self.fetch(node, first, others, false)
    }

    /// Whoever says nothing for long is given up.
    pub(super) fn silence(&mut self, node: Node, stream: Stream) -> Result<(), String> {
        if !self.is_on(node, stream) {
            return Ok(());
        }
        let until = self.heard_us.get(&node).copied().unwrap_or(0) + SILENCE_US;
        if until <= self.queue.now_us() {
            return self.over(node, stream);
        }
        self.queue.at(until, Event::Silence { node, stream });
        Ok(())
    }

    pub(super) fn again(&mut self, node: Node) -> Result<(), String> {
        let life = self.life(node);
        let pause = self.random.between(50_000, 1_000_000);
        self.queue.after(pause, Event::Dial { node, life });
        Ok(())
    }

    fn off(&mut self, node: Node) {
        if let Some(own) = self.stream_of(node) {
            *own = None;
        }
        if let Some(standby) = self.standby_of(node) {
            standby.writer = None;
        }
    }

    /// One side of a stream has noticed that it is over.
    pub(super) fn over(&mut self, node: Node, stream: Stream) -> Result<(), String> {
        if self.fetches.get(&node).is_some_and(|fetch| fetch.call == stream) {
            return self.fetch_lost(node, stream);
        }
        self.broken.insert(stream);
        if node < self.plan.servers {
            self.close_feed(node, stream);
        }
        if self.is_on(node, stream) {
            self.off(node);
            return self.again(node);
        }
        Ok(())
    }

    /// Ends a stream at the follower's side; the server notices later.
    pub(super) fn leave(&mut self, node: Node, stream: Stream) -> Result<(), String> {
        self.broken.insert(stream);
        for server in 0..self.plan.servers {
            let noticed = self.random.between(1_000, 3_000_000);
            self.queue.after(noticed, Event::Over { node: server, stream });
        }
        self.off(node);
        self.again(node)
    }

    pub(super) fn welcomed(
        &mut self,
        from: Node,
        node: Node,
        stream: Stream,
        head: Position,
    ) -> Result<(), String> {
        let replaced = self.place(node).is_some_and(|(_, highest)| head.epoch < highest);
        if !self.is_on(node, stream) {
            return Ok(());
        }
        if replaced {
            return self.leave(node, stream);
        }
        let stays_behind = self.plants(Plant::StayBehind);
        if let Some(standby) = self.standby_of(node) {
            standby.writer = Some(from);
            standby.follows = if stays_behind { Epoch(0) } else { head.epoch };
        }
        Ok(())
    }

    pub(super) fn refused(
        &mut self,
        from: Node,
        node: Node,
        stream: Stream,
        reason: Reason,
    ) -> Result<(), String> {
        if !self.is_on(node, stream) {
            return Ok(());
        }
        if reason == Reason::Diverged && node < self.plan.servers {
            let theirs = self.servers[from].head().position.epoch;
            // The operator replaces it, if it is the newest writer that says so.
            self.servers[node].is_diverged |= theirs == self.newest;
        }
        self.leave(node, stream)?;
        match (reason, self.fetches.get_mut(&node)) {
            // The one that is being fetched already is waited for.
            (Reason::SnapshotRequired, Some(fetch)) => {
                fetch.follows_on = false;
                Ok(())
            }
            (Reason::SnapshotRequired, None) => self.fetch_from_any(node, from),
            _ => Ok(()),
        }
    }

    /// Records arrive: they are applied and confirmed, or the stream is over.
    pub(super) fn add(&mut self, node: Node, stream: Stream, frame: &[u8]) -> Result<(), String> {
        if !self.is_on(node, stream) {
            return Ok(());
        }
        let now_us = self.clock_us(node);
        let from = self.server_of(stream);
        let added = match node.checked_sub(self.plan.servers) {
            Some(proxy) => {
                let lossy = self.plants(Plant::LoseRow) && self.random.percent(5);
                let proxy = &mut self.proxies[proxy];
                let Some(replica) = proxy.replica.as_mut() else { return Ok(()) };
                match replica.apply(frame) {
                    Ok(applied) => {
                        if let Some(changed) = applied.changed.first().filter(|_| lossy) {
                            proxy.disk.lose_row(&proxy.replica_dir(proxy.number), "serve", &changed.key);
                        }
                        proxy.shows = applied.head.position;
                        Ok((applied.head, 0))
                    }
                    Err(error) => Err((error.is_divergence(), false, error.to_string())),
                }
            }
            None => match self.standby_of(node) {
                None => return Ok(()),
                Some(standby) => match standby.standby.follow(frame, standby.follows, now_us) {
                    Ok(followed) => Ok((followed.head, followed.head.position.seq.0)),
                    Err(error) => Err((error.is_divergence(), error.is_fatal(), error.to_string())),
                },
            },
        };
        match added {
            Ok((head, synced_seq)) => {
                self.oracle.saw(head)?;
                self.note_promises(node);
                let fsync = if synced_seq > 0 { self.fsync_us() } else { 0 };
                let ack = Message::Ack { stream, applied: head.position, synced_seq };
                // The disk's time passes before the word goes out; the order of a stream is kept.
                if let Some(from) = from {
                    let busy = self.busy_until_us.entry((stream, from)).or_default();
                    *busy = (*busy).max(self.queue.now_us() + fsync);
                    self.send(node, from, stream, ack);
                }
                Ok(())
            }
            Err((_, true, _)) => self.kill(node),
            Err((is_divergence, false, problem)) => {
                self.say(|| format!("node {node} leaves its stream: {problem}"));
                if is_divergence && node >= self.plan.servers {
                    return Err(format!("node {node} cannot apply what it was sent: {problem}"));
                }
                self.leave(node, stream)
            }
        }
    }

    /// What a standby confirms, and the epoch it knows, is to be kept.
    pub(super) fn note_promises(&mut self, node: Node) {
        if node < self.plan.servers
            && let Some((head, accepted)) = self.place(node)
        {
            self.oracle.promises(&self.servers[node].member, head, accepted);
        }
    }

    /// Returns the server that serves a stream.
    fn server_of(&self, stream: Stream) -> Option<Node> {
        (0..self.plan.servers).find(|server| self.serves(*server, stream))
    }

    pub(super) fn compare(
        &mut self,
        node: Node,
        stream: Stream,
        at: Head,
        serve_sum: Option<SlotSum>,
    ) -> Result<(), String> {
        if !self.is_on(node, stream) {
            return Ok(());
        }
        let same = match node.checked_sub(self.plan.servers) {
            Some(proxy) => {
                let replica = self.proxies[proxy].replica.as_ref();
                replica.map_or(Ok(()), |replica| replica.check(at.position, at.digest, serve_sum))
            }
            None => self
                .standby_of(node)
                .map_or(Ok(()), |node| node.standby.check(at.position, at.digest, serve_sum)),
        };
        let failed = self.standby_of(node).is_some_and(|node| node.standby.housekeeping().is_err());
        if failed {
            return self.kill(node);
        }
        same.map_err(|mismatch| format!("node {node} differs from its writer: {mismatch}"))?;
        let (Some((head, _)), Some(from)) = (self.place(node), self.server_of(stream)) else { return Ok(()) };
        let synced_seq = if node < self.plan.servers { head.position.seq.0 } else { 0 };
        self.send(node, from, stream, Message::Ack { stream, applied: head.position, synced_seq });
        Ok(())
    }
}
