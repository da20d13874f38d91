//! The thread that keeps the index: behind the writer, at low priority, one commit every few seconds. It waits while thousands of links
//! a second come, and follows when they have.
//!
//! An index that is there goes on from its mark, by the journal. One that is not there, is damaged, of another version, or further behind
//! than the journal reaches, is made from the state, oldest links first, and then goes on in the same way. While it is made, records and
//! state overlap; therefore what the records of that time create is taken out before it is added.
//!
//! Invariant: the mark in a commit names the record up to which every change is in that commit, once the state was scanned.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daemon::turn;
use linklog::codec::record::{self, Kind, RecordView};
use linklog::journal::{Entry, JournalRead, JournalReader, ReadError};
use linklog::store::{Find, Order, Place, Reader, StoreError, Within};
use linklog::{DecodeError, Head, Key, Link, LinkManage, Precondition, Seq, StateKey};
use tantivy::TantivyError;

use super::clicked::{ClickSource, Clicked};
use super::mark::Mark;
use super::rush::Rush;
use super::segments::Segment;
use super::store::Store;
use super::{Preparing, Search, SearchOptions, Snapshot, document};
use crate::clock;

/// How often the thread looks for new records.
const TICK: Duration = Duration::from_millis(50);
/// How many bytes of records are read in one go.
const READ_BYTES: usize = 1 << 20;
/// How many links are read from the state in one go.
const SCANNED_AT_ONCE: usize = 1000;
/// How often, while the index is made, what there is of it is committed.
const SCAN_COMMIT_EVERY: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again: so long at first, twice as long each time, and never longer than the latter.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// What the index is made from.
#[derive(Clone)]
pub struct Source {
    /// The state.
    pub reader: Reader,
    /// The records.
    pub journal: JournalReader,
    /// The clicks.
    pub clicks: ClickSource,
}

/// The running thread. Dropping it ends it; what is not committed is done again at the next start.
pub struct Indexer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

enum Failure {
    /// Not the index's fault.
    Log(ReadError),
    /// The index is thrown away.
    Index(TantivyError),
    /// It is too far behind, or belongs to another log.
    Unfit(&'static str),
    /// There is no room.
    Full,
    /// The thread is told to end.
    Stopped,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::NotRetained { .. } => Failure::Unfit("the journal does not reach back to it"),
            error => Failure::Log(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Log(error.into())
    }
}

impl From<TantivyError> for Failure {
    fn from(error: TantivyError) -> Failure {
        Failure::Index(error)
    }
}

fn damaged(source: DecodeError) -> ReadError {
    ReadError::Store(StoreError::Damaged { what: "journal entry", source })
}

impl Indexer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(search: Search, options: SearchOptions, source: Source) -> std::io::Result<Indexer> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            search,
            dir: options.dir.clone(),
            options,
            source,
            stop: stop.clone(),
            clicked: Clicked::default(),
            segments: Vec::new(),
            upserts_to: Seq::ZERO,
            clicks_due: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("search".into()).spawn(move || work.run())?;
        Ok(Indexer { stop, thread: Some(thread) })
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Work {
    search: Search,
    options: SearchOptions,
    dir: PathBuf,
    source: Source,
    stop: Arc<AtomicBool>,
    clicked: Clicked,
    /// As they were published last.
    segments: Vec<Segment>,
    /// Up to which record what is created may be there already.
    upserts_to: Seq,
    clicks_due: Instant,
}

impl Work {
    fn run(&mut self) {
        if let Err(error) = turn::gives_way() {
            tracing::warn!(%error, "the search index is not kept at low priority");
        }
        let mut retry_after = RETRY_AFTER.0;
        loop {
            let worked = std::panic::catch_unwind(AssertUnwindSafe(|| self.work()));
            match worked {
                Ok(Err(Failure::Stopped) | Ok(())) => return,
                Ok(Err(Failure::Log(error))) => {
                    tracing::error!(%error, "the search index cannot read the log")
                }
                Ok(Err(Failure::Index(error))) => {
                    tracing::warn!(%error, "the search index cannot be used: making it anew");
                    self.throw_away();
                }
                Ok(Err(Failure::Unfit(why))) => {
                    tracing::warn!(why, "the search index does not fit the log: making it anew");
                    self.throw_away();
                    continue;
                }
                Ok(Err(Failure::Full)) => {
                    tracing::error!("the disk is nearly full: the search index stays as it is");
                }
                Err(_) => {
                    tracing::error!("the search index panicked, see standard error: making it anew");
                    self.throw_away();
                }
            }
            if self.wait(retry_after).is_err() {
                return;
            }
            retry_after = (retry_after * 2).min(RETRY_AFTER.1);
        }
    }

    fn throw_away(&mut self) {
        self.segments.clear();
        self.search.prepare(Preparing::default());
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "the search index cannot be removed");
        }
    }

    /// Waits, or is told to end.
    fn wait(&self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Err(Failure::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(left);
        }
    }

    fn work(&mut self) -> Result<(), Failure> {
        let head = self.source.journal.head();
        let new = Mark { head, scanned: Some(Place::from_bytes([u8::MAX; 16])) };
        self.has_room()?;
        let mut store = Store::open(&self.dir, self.options.memory_bytes, new)?;
        let Head { position, digest } = store.mark.head;
        if self.source.journal.digest_at(position)? != Some(digest) {
            return Err(Failure::Unfit("it is of another log, or older than the journal"));
        }
        if store.mark.scanned.is_some() {
            self.scan(&mut store)?;
        }
        let head = self.source.journal.head().position.seq;
        self.catch_up(&mut store, head)?;
        store.mark.scanned = None;
        self.upserts_to = Seq::ZERO;
        let mut reached_ms = clock::now_ms();
        self.clicked.refresh(&self.source.clicks, reached_ms)?;
        self.commit(&mut store, reached_ms)?;
        self.follow(&mut store, &mut reached_ms)
    }

    /// Follows the log until told to end.
    fn follow(&mut self, store: &mut Store, reached_ms: &mut u64) -> Result<(), Failure> {
        let mut commit_due: Option<Instant> = None;
        let mut rush = Rush::new(Instant::now(), self.source.journal.head().position.seq);
        let mut idle = TICK;
        loop {
            self.wait(idle)?;
            idle = TICK;
            if self.search.take_damaged() {
                return Err(Failure::Unfit("a question found it damaged"));
            }
            let (now_ms, head) = (clock::now_ms(), self.source.journal.head().position.seq);
            let done = store.mark.head.position.seq;
            if done < head && !rush.waits(Instant::now(), done, self.source.journal.first_retained(), head) {
                commit_due.get_or_insert(Instant::now() + self.options.commit_every);
                *reached_ms = self.step(store, head)?.unwrap_or(*reached_ms);
                idle = Duration::ZERO;
            }
            if store.mark.head.position.seq >= head {
                *reached_ms = now_ms;
                idle = TICK;
            }
            if commit_due.is_some_and(|due| due <= Instant::now()) {
                self.has_room()?;
                self.commit(store, *reached_ms)?;
                commit_due = None;
            }
            if self.clicks_due <= Instant::now() {
                self.clicked.refresh(&self.source.clicks, now_ms)?;
                self.clicks_due = Instant::now() + self.options.clicks_every;
                self.segments.iter_mut().for_each(|segment| segment.count(&self.clicked));
                self.search.recounted(&self.segments, self.clicked.at_ms());
            }
        }
    }

    /// Makes the index from the state, as far as that was not done.
    fn scan(&mut self, store: &mut Store) -> Result<(), Failure> {
        let mut commit_at = Instant::now() + SCAN_COMMIT_EVERY;
        let at_most = self.source.journal.head().position.seq.0;
        let mut done = store.searcher().num_docs();
        while let Some(after) = store.mark.scanned {
            self.wait(Duration::ZERO)?;
            self.search.prepare(Preparing { done, at_most });
            let what = Find {
                all_of: Vec::new(),
                none_of: Vec::new(),
                within: Within::default(),
                created_from_ms: None,
                created_before_ms: None,
                order: Order::OldestFirst,
                after: Some(after),
                limit: SCANNED_AT_ONCE,
                steps_max: usize::MAX,
            };
            let found = self.source.reader.find(&what)?;
            for (key, link) in &found.links {
                let created = link.stamp.created.seq;
                store.add(document::of_link(&store.fields, key, &link.link, &link.manage, created))?;
            }
            done += found.links.len() as u64;
            // What has a place beyond the last one was made meanwhile, and comes with its record.
            store.mark.scanned = Some(found.next.unwrap_or(Place::from_bytes([0; 16])));
            if commit_at <= Instant::now() {
                self.has_room()?;
                store.commit()?;
                commit_at = Instant::now() + SCAN_COMMIT_EVERY;
            }
            if found.next.is_none() {
                break;
            }
        }
        self.upserts_to = self.source.journal.head().position.seq;
        tracing::info!(links = done, "made the search index from the state");
        Ok(())
    }

    fn catch_up(&mut self, store: &mut Store, until: Seq) -> Result<(), Failure> {
        let mut commit_at = Instant::now() + SCAN_COMMIT_EVERY;
        let begun = store.mark.head.position.seq.0;
        while store.mark.head.position.seq < until {
            self.wait(Duration::ZERO)?;
            let done = store.mark.head.position.seq.0 - begun;
            self.search.prepare(Preparing { done, at_most: until.0 - begun });
            self.step(store, until)?;
            if commit_at <= Instant::now() {
                self.has_room()?;
                store.commit()?;
                commit_at = Instant::now() + SCAN_COMMIT_EVERY;
            }
        }
        Ok(())
    }

    /// Takes the next records in, none behind `until`; returns when the last of them was written, milliseconds since the Unix epoch.
    fn step(&mut self, store: &mut Store, until: Seq) -> Result<Option<u64>, Failure> {
        let entries = self.source.journal.read(store.mark.head.position.seq.next(), READ_BYTES)?;
        let (mut changed, mut at_ms) = (BTreeSet::new(), None);
        for entry in &entries {
            let view = entry.view().map_err(damaged)?;
            if view.position.seq > until {
                break;
            }
            at_ms = Some(self.take_in(store, entry, &view, &mut changed)?);
            store.mark.head = Head { position: view.position, digest: entry.digest };
        }
        // As they are now: what became of them since comes with its own record.
        for encoded in changed {
            let Ok(StateKey::Link(key)) = StateKey::decode(&encoded) else { continue };
            store.take_out(&key);
            if let Some(link) = self.source.reader.link(&key)? {
                let created = link.stamp.created.seq;
                store.add(document::of_link(&store.fields, &key, &link.link, &link.manage, created))?;
            }
        }
        Ok(at_ms)
    }

    /// Takes a record in: at once what it creates or deletes; what it changes is noted.
    fn take_in(
        &self,
        store: &Store,
        entry: &Entry,
        view: &RecordView<'_>,
        changed: &mut BTreeSet<Vec<u8>>,
    ) -> Result<u64, Failure> {
        let serve = record::read_serve(view.header, view.serve).map_err(damaged)?;
        if entry.conflict || view.header.kind != Kind::Change {
            return Ok(serve.at_ms);
        }
        let links = serve.parts.iter().filter_map(|part| match StateKey::decode(part.key) {
            Ok(StateKey::Link(key)) => Some((part, key)),
            _ => None,
        });
        let mut manage = None;
        for (part, key) in links {
            let is_create = matches!(part.precondition, Precondition::Absent | Precondition::NeverUsed);
            if !part.is_put {
                store.take_out(&key);
                changed.remove(part.key);
            } else if is_create && view.position.seq > self.upserts_to {
                let manage = match &mut manage {
                    Some(manage) => manage,
                    none => none.insert(record::read_manage(&serve, view.manage).map_err(damaged)?),
                };
                let body = manage.parts.iter().find(|managed| managed.index == part.index);
                self.add_new(store, &key, part.body, body.map_or(&[], |part| part.body), view.position.seq)?;
            } else {
                changed.insert(part.key.to_vec());
            }
        }
        Ok(serve.at_ms)
    }

    fn add_new(
        &self,
        store: &Store,
        key: &Key,
        serve: &[u8],
        manage: &[u8],
        seq: Seq,
    ) -> Result<(), Failure> {
        let link = Link::decode(serve).map_err(damaged)?;
        let manage = LinkManage::decode(manage).map_err(damaged)?;
        Ok(store.add(document::of_link(&store.fields, key, &link, &manage, seq))?)
    }

    /// Commits and shows what was committed.
    fn commit(&mut self, store: &mut Store, reached_ms: u64) -> Result<(), Failure> {
        store.commit()?;
        let searcher = store.searcher();
        let mut segments = Vec::with_capacity(searcher.segment_readers().len());
        for reader in searcher.segment_readers() {
            let known = self.segments.iter().find(|segment| segment.id() == reader.segment_id());
            segments.push(Segment::open(reader.clone(), known, &self.clicked)?);
        }
        self.segments.clone_from(&segments);
        self.search.show(Snapshot {
            segments,
            searcher,
            fields: store.fields,
            seq: store.mark.head.position.seq,
            reached_ms,
            clicks_at_ms: self.clicked.at_ms(),
            damaged: self.search.damaged.clone(),
        });
        Ok(())
    }

    /// Checks that what the log keeps free is not what the index takes.
    fn has_room(&self) -> Result<(), Failure> {
        let beside = self.dir.parent().unwrap_or(&self.dir);
        match daemon::disk::free_bytes(beside) {
            Ok(free) if free < self.options.free_bytes_min => Err(Failure::Full),
            // Whether there is room is not known: what is written will say.
            _ => Ok(()),
        }
    }
}
