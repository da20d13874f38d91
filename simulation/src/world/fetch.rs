//! Fetching a snapshot: ask, receive what is not there yet, check it, have it put in place. The steps of `bootstrap::receive`, whose connections
//! are events here; what is kept on the disk meanwhile is what it keeps.

use std::path::PathBuf;

use bootstrap::Wish;
use linklog::snapshot::{self, Manifest};
use linklog::store::Contents;
use linklog::{Epoch, Seq, folders};
use signpost_admin::standby::places::Places;

use super::server::Role;
use super::snapshots::{Asks, FLEET, Piece, SnapshotId};
use super::{Event, Message, Node, Stream, World};
use crate::plan::Plant;

/// Longest silence of whoever was asked, microseconds.
const SILENCE_US: u64 = 30_000_000;

/// A snapshot that is being fetched.
pub(super) struct Fetch {
    pub(super) call: Stream,
    /// Whom it is asked of, and who else may have one.
    from: Node,
    others: Vec<Node>,
    /// Whether the log is followed on meanwhile.
    pub(super) follows_on: bool,
    at_least_seq: u64,
    highest_epoch: Epoch,
    id: SnapshotId,
    manifest: Option<Manifest>,
    part: usize,
    /// The part was not right and is received a second time.
    is_again: bool,
    is_whole: bool,
    heard_us: u64,
}

impl World {
    fn contents_of(&self, node: Node) -> Contents {
        if node < self.plan.servers { Contents::Full } else { Contents::Serve }
    }

    /// Where a node receives a snapshot.
    pub(super) fn received(&self, node: Node) -> PathBuf {
        match node.checked_sub(self.plan.servers) {
            Some(proxy) => self.proxies[proxy].dir.join("bootstrap"),
            None => Places::of_log(&self.servers[node].dir).received().to_owned(),
        }
    }

    /// Begins to fetch a snapshot from `from`, or else from one of `others`.
    pub(super) fn fetch(
        &mut self,
        node: Node,
        from: Node,
        others: Vec<Node>,
        follows_on: bool,
    ) -> Result<(), String> {
        let Some((at, highest_epoch)) = self.place(node) else { return Ok(()) };
        let call = self.number();
        let fetch = Fetch {
            call,
            from,
            others,
            follows_on,
            // Visitors never see an older state than they did, and what was confirmed is not given up.
            at_least_seq: at.position.seq.0.max(1),
            highest_epoch,
            id: SnapshotId::default(),
            manifest: None,
            part: 0,
            is_again: false,
            is_whole: false,
            heard_us: self.queue.now_us(),
        };
        let asks = Asks {
            member: match node.checked_sub(self.plan.servers) {
                Some(proxy) => self.proxies[proxy].member.clone(),
                None => self.servers[node].member.clone(),
            },
            contents: self.contents_of(node),
            at_least: Seq(fetch.at_least_seq),
            resume: folders::read(&self.received(node).join("ID"), 16).ok().flatten().unwrap_or_default(),
        };
        self.say(|| format!("node {node} fetches a snapshot from server {from}"));
        self.fetches.insert(node, fetch);
        self.send(node, from, call, Message::OpenSnapshot { call, asks });
        if matches!(self.servers[from].role, Role::Down) {
            self.queue.after(1_000, Event::Over { node, stream: call });
        }
        self.queue.after(SILENCE_US, Event::FetchSilent { node, call });
        Ok(())
    }

    fn fetch_of(&mut self, node: Node, call: Stream) -> Option<&mut Fetch> {
        let now_us = self.queue.now_us();
        let fetch = self.fetches.get_mut(&node).filter(|fetch| fetch.call == call && !fetch.is_whole)?;
        fetch.heard_us = now_us;
        Some(fetch)
    }

    /// Whoever was asked has fallen silent.
    pub(super) fn fetch_silent(&mut self, node: Node, call: Stream) -> Result<(), String> {
        let heard = self.fetches.get(&node).filter(|fetch| fetch.call == call && !fetch.is_whole);
        let Some(until) = heard.map(|fetch| fetch.heard_us + SILENCE_US) else { return Ok(()) };
        if until <= self.queue.now_us() {
            return self.fetch_lost(node, call);
        }
        self.queue.at(until, Event::FetchSilent { node, call });
        Ok(())
    }

    /// Whoever was asked has none, or is gone: somebody else may have one. What was received is kept.
    pub(super) fn fetch_lost(&mut self, node: Node, call: Stream) -> Result<(), String> {
        if self.fetch_of(node, call).is_none() {
            return Ok(());
        }
        self.broken.insert(call);
        let Some(mut fetch) = self.fetches.remove(&node) else { return Ok(()) };
        if fetch.others.is_empty() {
            return self.fetch_failed(node, fetch.follows_on);
        }
        let next = fetch.others.remove(0);
        self.fetch(node, next, fetch.others, fetch.follows_on)
    }

    /// Nobody has one, for now.
    pub(super) fn fetch_failed(&mut self, node: Node, follows_on: bool) -> Result<(), String> {
        self.fetches.remove(&node);
        self.say(|| format!("node {node} has no snapshot"));
        match follows_on {
            // It looks again by itself.
            true => Ok(()),
            false => self.again(node),
        }
    }

    /// A snapshot is offered.
    pub(super) fn offered(
        &mut self,
        node: Node,
        call: Stream,
        id: SnapshotId,
        manifest: &[u8],
    ) -> Result<(), String> {
        let (contents, received) = (self.contents_of(node), self.received(node));
        let mixes = self.plants(Plant::MixSnapshots);
        let Some(fetch) = self.fetch_of(node, call) else { return Ok(()) };
        let manifest = Manifest::decode(manifest).map_err(|error| error.to_string())?;
        let wish = Wish {
            url: "",
            identity: None,
            name: "",
            fleet: Some(FLEET),
            contents,
            at_least_seq: fetch.at_least_seq,
            highest_epoch: fetch.highest_epoch,
        };
        if wish.check(&manifest).is_err() {
            return self.fetch_lost(node, call);
        }
        (fetch.id, fetch.manifest) = (id, Some(manifest));
        let begun = folders::read(&received.join("ID"), 16).ok().flatten();
        if begun.as_deref() != Some(&id[..]) {
            let removed = if mixes { Ok(()) } else { folders::remove(&received) };
            if removed.and_then(|()| folders::write(&received.join("ID"), &id)).is_err() {
                return self.kill(node);
            }
        }
        self.next_piece(node, call)
    }

    /// Asks for what is missing, or goes on with the next part, or has what is whole put in place.
    fn next_piece(&mut self, node: Node, call: Stream) -> Result<(), String> {
        let received = self.received(node);
        let (mixes, hurries) = (self.plants(Plant::MixSnapshots), self.plants(Plant::SwitchTooSoon));
        let work_max_us = self.plan.snapshots.as_ref().map_or(0, |plan| plan.work_max_us);
        loop {
            let Some(fetch) = self.fetch_of(node, call) else { return Ok(()) };
            let Some(manifest) = &fetch.manifest else { return Ok(()) };
            let is_enough = hurries && fetch.part > 0 && fetch.part + 1 == manifest.parts.len();
            let Some(part) = manifest.parts.get(fetch.part).filter(|_| !is_enough) else {
                fetch.is_whole = true;
                if snapshot::store_manifest(&received, manifest).is_err() {
                    return self.kill(node);
                }
                let took = self.random.between(100, work_max_us + 101);
                self.queue.after(took, Event::Install { node, call });
                return Ok(());
            };
            let path = received.join(snapshot::part_name(fetch.part));
            let there = folders::read(&path, usize::MAX).ok().flatten().map_or(0, |bytes| bytes.len() as u64);
            if there < part.bytes {
                let (to, piece) = (fetch.from, Piece { id: fetch.id, part: fetch.part, offset: there });
                self.send(node, to, call, Message::ReadSnapshot { call, piece });
                return Ok(());
            }
            match snapshot::check_part(&path, part) {
                Ok(()) => (fetch.part, fetch.is_again) = (fetch.part + 1, false),
                Err(_) if mixes => fetch.part += 1,
                Err(_) if fetch.is_again => {
                    let follows_on = fetch.follows_on;
                    return self.fetch_failed(node, follows_on);
                }
                Err(_) => {
                    fetch.is_again = true;
                    if folders::remove(&path).is_err() {
                        return self.kill(node);
                    }
                }
            }
        }
    }

    /// Some bytes of a part arrive.
    pub(super) fn received_chunk(
        &mut self,
        node: Node,
        call: Stream,
        part: usize,
        data: &[u8],
    ) -> Result<(), String> {
        let received = self.received(node);
        let Some(fetch) = self.fetch_of(node, call).filter(|fetch| fetch.part == part) else { return Ok(()) };
        let expected = fetch.manifest.as_ref().and_then(|manifest| manifest.parts.get(part));
        let expected = expected.map_or(0, |part| part.bytes);
        let path = received.join(snapshot::part_name(part));
        let there = folders::read(&path, usize::MAX).ok().flatten().map_or(0, |bytes| bytes.len() as u64);
        if there + data.len() as u64 > expected {
            return self.fetch_lost(node, call);
        }
        let disk = match node.checked_sub(self.plan.servers) {
            Some(proxy) => self.proxies[proxy].disk.clone(),
            None => self.servers[node].disk.clone(),
        };
        if disk.append(&path, data).is_err() {
            return self.kill(node);
        }
        match there + data.len() as u64 == expected {
            true => self.next_piece(node, call),
            false => Ok(()),
        }
    }

    /// What was received is whole: it is verified, and takes the place of what is in use.
    pub(super) fn install(&mut self, node: Node, call: Stream) -> Result<(), String> {
        let fetch = self.fetches.get(&node).filter(|fetch| fetch.call == call && fetch.is_whole);
        let Some(follows_on) = fetch.map(|fetch| fetch.follows_on) else { return Ok(()) };
        self.broken.insert(call);
        match node.checked_sub(self.plan.servers) {
            Some(proxy) => self.switch(node, proxy),
            None => self.make_log(node, follows_on),
        }
    }
}
