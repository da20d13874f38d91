//! Writes a log as the writer would: records, frames, digests, sums.

use linklog::codec::FORMAT_LEVEL;
use linklog::codec::frame::{FrameRecord, FrameWriter, Section};
use linklog::codec::record::{self, Envelope, Sections};
use linklog::digest::SectionHash;
use linklog::entity::{Fleet, Host};
use linklog::replica::Replica;
use linklog::store::{Contents, StoreOptions};
use linklog::{
    Change, DomainId, Head, Key, Link, Operation, Part, Position, Precondition, SlotSum, StateKey,
};

pub(crate) const SMALL: StoreOptions =
    StoreOptions { block_cache_bytes: 8 << 20, memtable_bytes: 4 << 20, background_threads: 1 };

/// The fleet of every author.
pub(crate) const FLEET: [u8; 16] = [0xf1; 16];

pub(crate) struct Author {
    head: Head,
    epoch: u32,
    /// Its own copy of the state, for the sums.
    replica: Replica,
    /// Every frame so far, with the head after it.
    pub(crate) frames: Vec<(Vec<u8>, Head)>,
    _dir: tempfile::TempDir,
}

impl Author {
    /// Begins a log: an epoch, the fleet.
    pub(crate) fn new() -> Author {
        let dir = tempfile::tempdir().unwrap();
        let replica = Replica::open(dir.path(), Contents::Serve, &SMALL).unwrap();
        let mut author = Author { head: Head::EMPTY, epoch: 0, replica, frames: Vec::new(), _dir: dir };
        author.start_epoch(1);
        let fleet = Fleet::new(FLEET, FORMAT_LEVEL);
        author.put(StateKey::Fleet, fleet.encode());
        author
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    pub(crate) fn sum(&self) -> SlotSum {
        self.replica.serve_sum()
    }

    /// Another writer takes over.
    pub(crate) fn start_epoch(&mut self, epoch: u32) -> Vec<u8> {
        self.epoch = epoch;
        let sections = record::epoch_start(self.head, FORMAT_LEVEL, 1);
        self.frame(vec![sections])
    }

    /// A link with its defaults.
    pub(crate) fn link(&mut self, code: &str, target: &str) -> Vec<u8> {
        self.link_on(0, code, &Link { target: target.into(), ..Link::default() })
    }

    pub(crate) fn link_on(&mut self, domain: u16, code: &str, link: &Link) -> Vec<u8> {
        self.put(link_key(domain, code), link.encode())
    }

    /// Many links in one frame.
    pub(crate) fn links(&mut self, links: impl Iterator<Item = (String, String)>) -> Vec<u8> {
        let changes = links.map(|(code, target)| {
            let link = Link { target, ..Link::default() };
            let operation = Operation::Put { serve: link.encode(), manage: Vec::new() };
            change(link_key(0, &code), operation)
        });
        let sections = changes.map(|change| written(&change)).collect();
        self.frame(sections)
    }

    pub(crate) fn delete(&mut self, code: &str) -> Vec<u8> {
        let change = change(link_key(0, code), Operation::Delete);
        self.frame(vec![written(&change)])
    }

    pub(crate) fn host(&mut self, host: &str, domain: u16) -> Vec<u8> {
        self.put(StateKey::Host(host.into()), Host { domain: DomainId(domain) }.encode())
    }

    /// What a domain answers.
    pub(crate) fn answers(&mut self, domain: u16, serve: Vec<u8>) -> Vec<u8> {
        self.put(StateKey::Domain(DomainId(domain)), serve)
    }

    pub(crate) fn put(&mut self, key: StateKey, serve: Vec<u8>) -> Vec<u8> {
        let change = change(key, Operation::Put { serve, manage: Vec::new() });
        self.frame(vec![written(&change)])
    }

    fn frame(&mut self, records: Vec<Sections>) -> Vec<u8> {
        let mut frame = FrameWriter::new();
        for sections in &records {
            let position = Position::new(self.epoch, self.head.position.seq.0 + 1);
            let record = FrameRecord {
                header: sections.header,
                position,
                conflict: false,
                serve: Section::Full(&sections.serve),
                manage: Section::Hash(SectionHash::of(&sections.manage)),
            };
            self.head = Head { position, digest: record.digest_after(self.head.digest) };
            frame.push(&record);
        }
        let frame = frame.finish(self.head.digest);
        self.replica.apply(&frame).unwrap();
        self.frames.push((frame.clone(), self.head));
        frame
    }
}

fn link_key(domain: u16, code: &str) -> StateKey {
    StateKey::Link(Key::new(DomainId(domain), code.parse().unwrap()))
}

fn change(key: StateKey, operation: Operation) -> Change {
    Change::new("test", vec![Part { key, precondition: Precondition::Any, operation }])
}

fn written(change: &Change) -> Sections {
    record::sections_of(change, &Envelope { level: FORMAT_LEVEL, at_ms: now_ms(), nonce: [0; 16] })
}

pub(crate) fn now_ms() -> u64 {
    signpost_proxy::wall_clock::now_us() / 1_000
}
