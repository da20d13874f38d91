//! Snapshots of a server, for whoever the feed cannot bring on: which are kept, making one, sending its parts.

use std::path::PathBuf;

use bytes::Bytes;
use linklog::entity::{MemberRole, MemberState};
use linklog::journal::JournalReader;
use linklog::snapshot::{self, Cut, Manifest, Source};
use linklog::store::Contents;
use linklog::{Head, Seq, folders};
use signpost_admin::members::Members;
use signpost_admin::snapshots::choice::{self, Wanted};

use super::server::Role;
use super::{Event, Message, Node, Stream, World};
use crate::plan::Plant;

/// The one fleet there is.
pub(super) const FLEET: [u8; 16] = [7; 16];

/// A snapshot's name.
pub(super) type SnapshotId = [u8; 16];

/// The snapshots of one server; they outlive its process.
#[derive(Default)]
pub(super) struct Shelf(Vec<Kept>);

struct Kept {
    id: SnapshotId,
    manifest: Manifest,
    used_us: u64,
}

/// Who asks for which snapshot.
#[derive(Clone, Debug)]
pub(super) struct Asks {
    pub(super) member: String,
    pub(super) contents: Contents,
    pub(super) at_least: Seq,
    pub(super) resume: Vec<u8>,
}

/// What is asked of a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) id: SnapshotId,
    pub(super) part: usize,
    pub(super) offset: u64,
}

/// A snapshot that is there and waits to be confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    to: Node,
    call: Stream,
    at_least: Seq,
    id: SnapshotId,
    until_us: u64,
}

/// How long that is waited for, and how often it is looked at, microseconds.
const CONFIRMED_WITHIN_US: u64 = 10_000_000;
const LOOK_EVERY_US: u64 = 50_000;

/// A snapshot that is being made for somebody.
#[derive(Clone)]
pub(super) struct Making {
    to: Node,
    call: Stream,
    at_least: Seq,
    id: SnapshotId,
    manifest: Box<Manifest>,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} for {}, call {}", self.manifest.head.position, self.to, self.call)
    }
}

fn name_of(id: SnapshotId) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

impl World {
    fn shelf_dir(&self, server: Node, id: SnapshotId) -> PathBuf {
        self.servers[server].dir.join("snapshots").join(name_of(id))
    }

    /// Takes over what an earlier process of this server has left, if it is complete and of its log.
    pub(super) fn open_shelf(&mut self, server: Node) {
        let now_us = self.queue.now_us();
        let dir = self.servers[server].dir.join("snapshots");
        let Some(journal) = self.servers[server].journal() else { return };
        let disk = self.servers[server].disk.clone();
        let mut kept = Vec::new();
        for name in disk.list(&dir) {
            let folder = dir.join(&name);
            let manifest = snapshot::read_manifest(&folder).ok();
            let ours =
                manifest.filter(|manifest| choice::is_ours(manifest, FLEET, &journal).is_ok_and(|ours| ours));
            match (ours, u128::from_str_radix(&name, 16)) {
                (Some(manifest), Ok(id)) => {
                    kept.push(Kept { id: id.to_be_bytes(), manifest, used_us: now_us })
                }
                // What fails here fails again at the next write of the log.
                _ => drop(folders::remove(&folder)),
            }
        }
        self.servers[server].shelf = Shelf(kept);
    }

    /// Removes what nobody has read for a while.
    fn tidy(&mut self, server: Node) {
        let Some(plan) = &self.plan.snapshots else { return };
        let until = self.queue.now_us().saturating_sub(plan.kept_us);
        let old: Vec<Kept> =
            self.servers[server].shelf.0.extract_if(.., |kept| kept.used_us < until).collect();
        for kept in old {
            drop(folders::remove(&self.shelf_dir(server, kept.id)));
        }
    }

    /// What a snapshot is made from, whether a server lets this member have it, and the journal it has to reach.
    fn source(&self, server: Node, asks: &Asks) -> Option<(Source, JournalReader)> {
        let (reader, members) = match &self.servers[server].role {
            Role::Down => return None,
            Role::Writer(node) => (node.writer.reader(), node.members.get(&asks.member)),
            Role::Standby(node) => {
                let members = Members::load(&node.standby.reader()).ok()?;
                // A log that is damaged or of another history is nothing to begin with for anybody.
                let unfit = self.servers[server].is_damaged || self.servers[server].is_diverged;
                (node.standby.reader(), members.get(&asks.member).filter(|_| !unfit))
            }
        };
        let member = members.filter(|member| member.state != MemberState::Forgotten)?;
        let may = match (asks.contents, &self.servers[server].role) {
            (Contents::Serve, Role::Standby(node)) => {
                let members = Members::load(&node.standby.reader()).ok()?;
                let own = members.get(&self.servers[server].member);
                choice::is_confirmed_here(self.plan.min_sync_replicas, own.as_ref())
                    || self.plants(Plant::ShowSnapshots)
            }
            (Contents::Serve, _) => true,
            _ => member.role == MemberRole::Sync,
        };
        may.then(|| (Source::from(&reader), self.servers[server].journal()))
            .and_then(|(source, journal)| Some((source, journal?)))
    }

    /// A follower asks for a snapshot.
    pub(super) fn asked_for_snapshot(
        &mut self,
        from: Node,
        server: Node,
        call: Stream,
        asks: &Asks,
    ) -> Result<(), String> {
        if matches!(self.servers[server].role, Role::Down) {
            return Ok(());
        }
        let Some((source, journal)) = self.source(server, asks) else {
            self.send(server, from, call, Message::NoSnapshot { call });
            return Ok(());
        };
        self.tidy(server);
        let kept = self.servers[server].shelf.0.iter().map(|kept| (&kept.id[..], &kept.manifest));
        let resume = Some(&asks.resume[..]);
        let wanted = Wanted { contents: asks.contents, at_least: asks.at_least, resume };
        if let Some(place) = choice::choose(kept, wanted, &journal) {
            return self.offer(server, from, call, asks.at_least, place, None);
        }
        self.make(server, from, call, asks, &source)
    }

    fn make(
        &mut self,
        server: Node,
        to: Node,
        call: Stream,
        asks: &Asks,
        source: &Source,
    ) -> Result<(), String> {
        let Some(plan) = self.plan.snapshots.clone() else { return Ok(()) };
        let id = u128::from(self.number()).to_be_bytes();
        let dir = self.shelf_dir(server, id);
        let cut = Cut { part_bytes: plan.part_bytes, ..Cut::new(asks.contents, FLEET) };
        // What it takes passes below. Until then there is no manifest, and without it nothing that anybody takes for a snapshot.
        let made = snapshot::write(source, &cut, &dir);
        let unfinished = made.is_ok() && folders::remove(&dir.join(snapshot::MANIFEST_FILE)).is_ok();
        let Some(mut manifest) = made.ok().filter(|_| unfinished) else {
            self.send(server, to, call, Message::NoSnapshot { call });
            return Ok(());
        };
        if self.plants(Plant::SnapshotOffByOne)
            && let Some(before) = self.record_before(manifest.head)?
        {
            manifest.head = before;
        }
        let took = self.random.between(100, plan.work_max_us + 101);
        let life = self.servers[server].life;
        let making = Making { to, call, at_least: asks.at_least, id, manifest: Box::new(manifest) };
        self.queue.after(took, Event::Made { server, life, making });
        Ok(())
    }

    fn record_before(&self, head: Head) -> Result<Option<Head>, String> {
        let history = self.oracle.archive.history(head)?;
        Ok(history.iter().rev().nth(1).map(|(head, _)| *head))
    }

    /// A snapshot is whole.
    pub(super) fn made(&mut self, server: Node, life: u64, making: &Making) -> Result<(), String> {
        let Making { to, call, at_least, id, manifest } = making;
        if self.servers[server].life != life {
            return Ok(());
        }
        if snapshot::store_manifest(&self.shelf_dir(server, *id), manifest).is_err() {
            self.send(server, *to, *call, Message::NoSnapshot { call: *call });
            return Ok(());
        }
        let used_us = self.queue.now_us();
        let kept = Kept { id: *id, manifest: (**manifest).clone(), used_us };
        self.say(|| format!("server {server} has made a snapshot of {}", kept.manifest.head.position));
        self.servers[server].shelf.0.push(kept);
        let place = self.servers[server].shelf.0.len() - 1;
        self.offer(server, *to, *call, *at_least, place, None)
    }

    fn offer(
        &mut self,
        server: Node,
        to: Node,
        call: Stream,
        at_least: Seq,
        place: usize,
        until_us: Option<u64>,
    ) -> Result<(), String> {
        let now_us = self.queue.now_us();
        let shows_all = self.plants(Plant::ShowSnapshots);
        let confirmed = match &self.servers[server].role {
            Role::Writer(node) if !shows_all => *node.confirmed.borrow(),
            _ => u64::MAX,
        };
        let life = self.servers[server].life;
        let Some(kept) = self.servers[server].shelf.0.get_mut(place) else { return Ok(()) };
        kept.used_us = now_us;
        let (contents, head) = (kept.manifest.contents, kept.manifest.head.position.seq);
        if !choice::may_show(contents, head, confirmed) && head >= at_least {
            let id = kept.id;
            let waits =
                Offer { to, call, at_least, id, until_us: until_us.unwrap_or(now_us + CONFIRMED_WITHIN_US) };
            if waits.until_us <= now_us {
                self.send(server, to, call, Message::NoSnapshot { call });
            } else {
                self.queue.after(LOOK_EVERY_US, Event::OfferLater { server, life, waits });
            }
            return Ok(());
        }
        let message = match head < at_least {
            true => Message::NoSnapshot { call },
            false => Message::Snapshot { call, id: kept.id, manifest: kept.manifest.encode().into() },
        };
        self.send(server, to, call, message);
        Ok(())
    }

    /// A snapshot whose end was not confirmed is looked at again.
    pub(super) fn offer_later(&mut self, server: Node, life: u64, waits: &Offer) -> Result<(), String> {
        if self.servers[server].life != life || self.broken.contains(&waits.call) {
            return Ok(());
        }
        let place = self.servers[server].shelf.0.iter().position(|kept| kept.id == waits.id);
        match place {
            Some(place) => {
                self.offer(server, waits.to, waits.call, waits.at_least, place, Some(waits.until_us))
            }
            None => {
                self.send(server, waits.to, waits.call, Message::NoSnapshot { call: waits.call });
                Ok(())
            }
        }
    }

    /// A follower asks for a part from some byte on, or it is sent on.
    pub(super) fn asked_for_part(
        &mut self,
        to: Node,
        server: Node,
        call: Stream,
        piece: Piece,
    ) -> Result<(), String> {
        let Some(plan) = self.plan.snapshots.clone() else { return Ok(()) };
        if matches!(self.servers[server].role, Role::Down) {
            return Ok(());
        }
        if piece.offset == 0 {
            self.tidy(server);
        }
        let now_us = self.queue.now_us();
        let kept = self.servers[server].shelf.0.iter_mut().find(|kept| kept.id == piece.id);
        let there = kept.is_some_and(|kept| {
            kept.used_us = now_us;
            piece.part < kept.manifest.parts.len()
        });
        let path = self.shelf_dir(server, piece.id).join(snapshot::part_name(piece.part));
        let bytes = self.servers[server].disk.read(&path).filter(|_| there);
        let Some(bytes) = bytes.filter(|bytes| piece.offset <= bytes.len() as u64) else {
            self.send(server, to, call, Message::NoSnapshot { call });
            return Ok(());
        };
        let from = piece.offset as usize;
        let until = bytes.len().min(from + plan.chunk_bytes as usize);
        let data = Bytes::copy_from_slice(&bytes[from..until]);
        self.send(server, to, call, Message::Chunk { call, part: piece.part, data });
        if until < bytes.len() {
            let life = self.servers[server].life;
            let pause = self.delay_us();
            let piece = Piece { offset: until as u64, ..piece };
            self.queue.after(pause, Event::SendOn { server, life, to, call, piece });
        }
        Ok(())
    }

    pub(super) fn send_on(
        &mut self,
        server: Node,
        life: u64,
        to: Node,
        call: Stream,
        piece: Piece,
    ) -> Result<(), String> {
        if self.servers[server].life != life || self.broken.contains(&call) {
            return Ok(());
        }
        self.asked_for_part(to, server, call, piece)
    }
}
