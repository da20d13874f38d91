//! The segments of the index as questions see them: cut into windows, each of which knows between which ranks its links stand.
//!
//! A segment's links lie in the order in which they were indexed, which is nearly that of their creation. A question for the newest, or the
//! most clicked, looks at the windows that can hold them and at no others ([`super::find`]), so it costs what is shown and not what is there.
//!
//! Invariant: a segment never changes but for links that are taken out of it, and a window that knows too wide a range only costs time.

use std::sync::Arc;

use tantivy::columnar::ColumnValues;
use tantivy::index::SegmentId;
use tantivy::{DocId, SegmentReader};

use super::clicked::Clicked;
use super::document::{CREATED, IMPORTED, SEQ};
use super::rank::{Rank, Sort, place};

/// Links of a window.
pub const WINDOW: u32 = 4096;

/// A part of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    low: Rank,
    high: Rank,
}

impl Window {
    /// Returns the greatest and the least rank that a link in it may have in an order.
    pub fn between(&self, sort: Sort) -> (Rank, Rank) {
        let rank = |of: &Rank| sort.rank(of.clicks, of.place);
        match sort {
            Sort::NewestFirst | Sort::MostClicked => (rank(&self.high), rank(&self.low)),
            Sort::OldestFirst | Sort::LeastClicked => (rank(&self.low), rank(&self.high)),
        }
    }
}

/// Clicks of the links of a segment.
#[derive(Debug, Default)]
pub struct Counted {
    /// By document; none: nobody ever clicked on any of them.
    of: Vec<u32>,
    /// Between which clicks, and among equals places, the links of each window are.
    windows: Vec<Window>,
}

/// An open segment.
#[derive(Clone)]
pub struct Segment {
    /// Terms, and which links were taken out.
    pub reader: SegmentReader,
    created: Arc<dyn ColumnValues<u64>>,
    seq: Arc<dyn ColumnValues<u64>>,
    windows: Arc<[Window]>,
    /// Clicks that links had before they were imported, which are in no count.
    imported: Arc<dyn ColumnValues<u64>>,
    counted: Arc<Counted>,
    /// Which state of the clicks `counted` is of.
    counted_at: Option<u64>,
}

impl Segment {
    /// Opens a segment; what is known of the same one is taken over.
    ///
    /// # Errors
    /// Its columns cannot be read.
    pub fn open(
        reader: SegmentReader,
        known: Option<&Segment>,
        clicked: &Clicked,
    ) -> tantivy::Result<Segment> {
        let mut segment = match known {
            Some(known) => Segment { reader, ..known.clone() },
            None => {
                let column = |name| reader.fast_fields().column_first_or_default::<u64>(name);
                let (created, seq, imported) = (column(CREATED)?, column(SEQ)?, column(IMPORTED)?);
                let mut segment = Segment {
                    reader,
                    created,
                    seq,
                    imported,
                    windows: Arc::default(),
                    counted: Arc::default(),
                    counted_at: None,
                };
                segment.windows = segment.cut(|_| 0).into();
                segment
            }
        };
        segment.count(clicked);
        Ok(segment)
    }

    /// Brings the clicks up to date.
    pub fn count(&mut self, clicked: &Clicked) {
        if self.counted_at == Some(clicked.generation()) {
            return;
        }
        let mut of = clicked.of_all(self.documents().map(|document| self.seq.get_val(document)));
        if self.imported.max_value() > 0 {
            of.resize(self.documents().len(), 0);
            for (document, clicks) in self.documents().zip(&mut of) {
                let imported = u32::try_from(self.imported.get_val(document)).unwrap_or(u32::MAX);
                *clicks = clicks.saturating_add(imported);
            }
        }
        let windows = if of.is_empty() { Vec::new() } else { self.cut(|document| of[document as usize]) };
        self.counted = Arc::new(Counted { of, windows });
        self.counted_at = Some(clicked.generation());
    }

    fn documents(&self) -> std::ops::Range<DocId> {
        0..self.reader.max_doc()
    }

    fn cut(&self, clicks: impl Fn(DocId) -> u32) -> Vec<Window> {
        let rank = |document| Rank { clicks: clicks(document).into(), place: self.place(document) };
        let starts = self.documents().step_by(WINDOW as usize);
        let window = |start: DocId| {
            let mut window = Window { low: rank(start), high: rank(start) };
            for document in start..self.reader.max_doc().min(start + WINDOW) {
                let rank = rank(document);
                window = Window { low: window.low.min(rank), high: window.high.max(rank) };
            }
            window
        };
        starts.map(window).collect()
    }

    /// Returns which segment it is.
    pub fn id(&self) -> SegmentId {
        self.reader.segment_id()
    }

    /// Returns the windows for an order.
    pub fn windows(&self, sort: Sort) -> &[Window] {
        if sort.is_by_clicks() && !self.counted.of.is_empty() { &self.counted.windows } else { &self.windows }
    }

    /// Returns the clicks of a link, as far as they matter in an order.
    pub fn clicks(&self, sort: Sort, document: DocId) -> u64 {
        if !sort.is_by_clicks() {
            return 0;
        }
        self.counted.of.get(document as usize).copied().unwrap_or(0).into()
    }

    /// Returns a link's place in the order of creation.
    pub fn place(&self, document: DocId) -> u128 {
        place(self.created.get_val(document), self.seq.get_val(document))
    }

    /// Returns when a link was created, milliseconds since the Unix epoch.
    pub fn created_at_ms(&self, document: DocId) -> u64 {
        self.created.get_val(document)
    }
}
