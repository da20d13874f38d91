//! Finding a link: the hot map, then what the database has in memory, then the disk on another thread.
//!
//! A worker never waits for the disk: what memory cannot answer goes to the [`DiskPool`], with a deadline. Whatever is found goes
//! into the hot map under the rule of [`crate::hot_map::floor`]. What does not exist is not remembered here; the database's filters
//! answer that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use linklog::LinkView;
use linklog::store::{Cached, Reader, StoreError};

use crate::answer::Facts;
use crate::disk::{DiskPool, Unsure};
use crate::hot_map::floor::{self, note_then_read};
use crate::hot_map::{Block, HotMap, Mark};
use crate::link_key::LinkKey;

/// A replica that is read from.
pub struct Source {
    generation: u64,
    reader: Reader,
}

impl Source {
    /// Wraps the reader of the `generation`th replica of this process.
    pub fn new(generation: u64, reader: Reader) -> Source {
        Source { generation, reader }
    }

    /// Its reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl floor::Source for Source {
    fn mark(&self) -> Mark {
        Mark { generation: self.generation, applied_seq: self.reader.applied_seq().0 }
    }
}

/// Where a link was found, or found missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// In the hot map.
    Hot,
    /// In the database's memory: memtables, filters, cached blocks.
    Cache,
    /// On the disk.
    Disk,
}

/// What memory knows.
#[derive(Debug)]
pub enum InMemory<R> {
    /// The answer, and where it came from.
    Known(Tier, R),
    /// Ask the disk.
    NeedsDisk,
    /// The database failed.
    Failed(StoreError),
    /// It is not here, and the replica has never been whole: the link may well exist.
    Incomplete,
}

/// Everything a link can be found in.
pub struct Lookups {
    hot: Arc<HotMap>,
    source: ArcSwap<Source>,
    disk: DiskPool,
    whole: Arc<Whole>,
}

/// Whether the replica has ever held everything. Until then, what is missing here may exist elsewhere.
#[derive(Debug, Default)]
pub struct Whole(AtomicBool);

impl Whole {
    /// Starts with what is known about a replica that was there before.
    pub fn new(whole: bool) -> Whole {
        Whole(AtomicBool::new(whole))
    }

    /// From now on it is.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Lookups {
    /// Looks things up in `source`, through `hot` and `disk`.
    pub fn new(hot: Arc<HotMap>, source: Source, disk: DiskPool, whole: Arc<Whole>) -> Lookups {
        Lookups { hot, source: ArcSwap::from_pointee(source), disk, whole }
    }

    /// Looks a link up without waiting; `answer` is called once, with its facts if it exists, if memory knows.
    #[inline]
    pub fn in_memory<R>(&self, key: &LinkKey, mut answer: impl FnMut(Option<Facts<'_>>) -> R) -> InMemory<R> {
        match self.hot.get(key, |facts| answer(Some(facts))) {
            Some(found) => InMemory::Known(Tier::Hot, found),
            None => self.in_database(key, answer),
        }
    }

    fn in_database<R>(&self, key: &LinkKey, mut answer: impl FnMut(Option<Facts<'_>>) -> R) -> InMemory<R> {
        let source = self.source.load();
        let found = note_then_read(&**source, |source, mark| {
            source.reader.serve_value_cached(key.bytes(), |value| {
                let facts = facts_of(value)?;
                if facts.is_none() && !self.whole.get() {
                    return Ok(None);
                }
                let found = answer(facts);
                if let Some(facts) = facts {
                    self.hot.fill(mark, key, facts);
                }
                Ok(Some(found))
            })
        });
        match found {
            Ok(Cached::Known(Ok(Some(found)))) => InMemory::Known(Tier::Cache, found),
            Ok(Cached::Known(Ok(None))) => InMemory::Incomplete,
            Ok(Cached::NeedsDisk) => InMemory::NeedsDisk,
            Ok(Cached::Known(Err(error))) | Err(error) => InMemory::Failed(error),
        }
    }

    /// Looks a link up on the disk.
    ///
    /// # Errors
    /// Whether there is such a link cannot be told now.
    ///
    /// # Cancel safety
    /// The read is done all the same and its result kept in the hot map.
    pub async fn on_disk(&self, key: LinkKey) -> Result<Option<Block>, Unsure> {
        match self.disk.look_up(key, self.source.load_full()).await {
            Ok(None) if !self.whole.get() => Err(Unsure::Incomplete),
            found => found,
        }
    }

    /// The hot map.
    pub fn hot_map(&self) -> &HotMap {
        &self.hot
    }

    /// Reads from another replica from now on.
    pub fn switch(&self, source: Source) {
        let generation = source.generation;
        self.hot.switch(generation, || self.source.store(Arc::new(source)));
    }
}

/// Reads a stored value: `None` for what was never there and for what was deleted.
///
/// # Errors
/// The value is damaged.
pub fn facts_of(value: Option<&[u8]>) -> Result<Option<Facts<'_>>, StoreError> {
    let Some(value) = value else { return Ok(None) };
    let view = LinkView::of_value(value).map_err(|source| StoreError::Damaged { what: "link", source })?;
    Ok(view.map(Facts::from))
}
