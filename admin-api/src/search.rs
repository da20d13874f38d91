//! Finding links by words, and the most clicked ones: an index beside the log, made from it and never the truth.
//!
//! - [`words`]: what a word is · [`document`]: what of a link is in the index · [`mark`]: how far the index has come
//! - [`indexer`]: the thread that keeps it, behind the writer · [`store`]: its files
//! - [`segments`], [`terms`], [`rank`], [`find`]: questions · [`clicked`]: clicks, refreshed now and then
//!
//! Owned here: what is shown was committed, and says as of when. An index that is not there yet is no index: whoever asks is told how far
//! it is. One that fails a question, or panics over it, is made anew. What is found is a name, nothing else: whoever shows a link looks at the link itself, and at who is asking ([`crate::links`]).

pub mod clicked;
pub mod document;
pub mod find;
pub mod indexer;
pub mod mark;
pub mod rank;
mod rush;
pub mod segments;
pub mod store;
pub mod terms;
pub mod words;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linklog::journal::{JournalRead, JournalReader};
use linklog::{Key, Seq, StateKey};
use parking_lot::RwLock;
use tantivy::schema::Value;
use tantivy::{DocAddress, Searcher, TantivyDocument};

use self::document::Fields;
use self::find::{Counted, Hit, Hits, Question};
use self::segments::Segment;
use crate::clock;

/// How the index is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchOptions {
    /// Whether there is one.
    pub enabled: bool,
    /// Its folder.
    pub dir: PathBuf,
    /// Bytes of links that wait to be written.
    pub memory_bytes: usize,
    /// With less room than this on its disk it does not grow, in bytes: the log needs the room more.
    pub free_bytes_min: u64,
    /// How often what is new becomes visible.
    pub commit_every: Duration,
    /// How often clicks are brought up to date.
    pub clicks_every: Duration,
}

/// How far an index is that cannot be asked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Preparing {
    /// So many links or records are in it.
    pub done: u64,
    /// Of so many, or fewer.
    pub at_most: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The operator does not want an index.
    #[error("search and orders by clicks are switched off on this server")]
    Off,
    /// It is being made.
    #[error("the search index is being made: {} of at most {} links and changes are in it", .0.done, .0.at_most)]
    Preparing(Preparing),
    /// It cannot be read.
    #[error("the search index cannot be read")]
    Index(#[from] tantivy::TantivyError),
}

/// What was committed last.
#[derive(Clone)]
pub struct Snapshot {
    segments: Vec<Segment>,
    searcher: Searcher,
    fields: Fields,
    seq: Seq,
    reached_ms: u64,
    clicks_at_ms: u64,
    /// Whoever finds it damaged says so.
    damaged: Arc<AtomicBool>,
}

enum State {
    Off,
    Preparing(Preparing),
    Ready(Arc<Snapshot>),
}

/// The index, for those who ask and for the thread that keeps it; cheap to clone.
#[derive(Clone)]
pub struct Search {
    state: Arc<RwLock<State>>,
    journal: JournalReader,
    /// A question found what is shown to be damaged.
    damaged: Arc<AtomicBool>,
}

impl Search {
    /// Returns an index that is not there yet, or never will be.
    pub fn new(enabled: bool, journal: JournalReader) -> Search {
        let state = if enabled { State::Preparing(Preparing::default()) } else { State::Off };
        Search { state: Arc::new(RwLock::new(state)), journal, damaged: Arc::default() }
    }

    /// Says whether there is or will be an index.
    pub fn is_on(&self) -> bool {
        !matches!(*self.state.read(), State::Off)
    }

    /// Returns what can be asked now.
    ///
    /// # Errors
    /// There is nothing to ask.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, SearchError> {
        match &*self.state.read() {
            State::Off => Err(SearchError::Off),
            State::Preparing(preparing) => Err(SearchError::Preparing(*preparing)),
            State::Ready(snapshot) => Ok(snapshot.clone()),
        }
    }

    /// Returns as of when an answer of this snapshot is, milliseconds since the Unix epoch: every change made before is in it.
    pub fn as_of_ms(&self, snapshot: &Snapshot, by_clicks: bool) -> u64 {
        let links_ms = match self.journal.head().position.seq <= snapshot.seq {
            true => clock::now_ms(),
            false => snapshot.reached_ms,
        };
        if by_clicks { links_ms.min(snapshot.clicks_at_ms) } else { links_ms }
    }

    /// Returns how many records the index is behind, and how many links are in it; `None`: it cannot be asked.
    pub fn lag(&self) -> Option<(u64, u64)> {
        let snapshot = self.snapshot().ok()?;
        let head = self.journal.head().position.seq;
        Some((head.0.saturating_sub(snapshot.seq.0), snapshot.searcher.num_docs()))
    }

    /// Says, once, whether a question found what is shown to be damaged.
    fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::AcqRel)
    }

    fn prepare(&self, preparing: Preparing) {
        *self.state.write() = State::Preparing(preparing);
    }

    fn show(&self, snapshot: Snapshot) {
        *self.state.write() = State::Ready(Arc::new(snapshot));
    }

    fn recounted(&self, segments: &[Segment], clicks_at_ms: u64) {
        let Ok(snapshot) = self.snapshot() else { return };
        self.show(Snapshot { segments: segments.to_vec(), clicks_at_ms, ..Snapshot::clone(&snapshot) });
    }
}

impl Snapshot {
    /// Asks the index. The library panics over some kinds of damage.
    fn guarded<T>(&self, ask: impl FnOnce() -> tantivy::Result<T>) -> Result<T, SearchError> {
        let answer = std::panic::catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
            Err(tantivy::TantivyError::InternalError("a question panicked, see standard error".to_owned()))
        });
        if answer.is_err() {
            self.damaged.store(true, Ordering::Release);
        }
        Ok(answer?)
    }

    /// Finds a page of links.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn find(&self, question: &Question) -> Result<Hits, SearchError> {
        self.guarded(|| find::find(&self.segments, &self.fields, question))
    }

    /// Counts links.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn count(&self, question: &Question) -> Result<Counted, SearchError> {
        self.guarded(|| find::count(&self.segments, &self.fields, question))
    }

    /// Returns the key of a link that was found; `None`: the index is damaged there.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn key(&self, hit: &Hit) -> Result<Option<Key>, SearchError> {
        let address = DocAddress::new(hit.segment as u32, hit.document);
        let document: TantivyDocument = self.guarded(|| self.searcher.doc(address))?;
        let id = document.get_first(self.fields.id);
        Ok(id.and_then(|id| id.as_bytes()).and_then(|id| match StateKey::decode(id) {
            Ok(StateKey::Link(key)) => Some(key),
            _ => None,
        }))
    }
}
