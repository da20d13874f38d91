//! The links of a segment that have a term, and those that have several.

use daemon::turn::Pauses;
use linklog::Key;
use tantivy::index::{InvertedIndexReader, SegmentReader};
use tantivy::postings::SegmentPostings;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet, TERMINATED, Term};

use super::document::Fields;
use super::words::Words;

/// Up to so many lists are read side by side; more are put together first.
const SIDE_BY_SIDE_MAX: usize = 6;

/// What is left of what a question may cost.
#[derive(Debug)]
pub struct Budget {
    /// Steps in lists of links.
    pub steps: usize,
    /// Words that may be looked at because they begin with the last one.
    pub endings: usize,
    /// Whether there were more of these.
    pub is_short_of_endings: bool,
    /// Others get the core between steps.
    pauses: Pauses,
}

impl Budget {
    /// Begins with so many.
    pub fn new(steps: usize, endings: usize) -> Budget {
        Budget { steps, endings, is_short_of_endings: false, pauses: Pauses::begin() }
    }

    fn spend(&mut self, steps: usize) {
        self.pauses.step();
        self.steps = self.steps.saturating_sub(steps);
    }

    /// Takes the steps away that going to a window costs.
    pub fn spend_window(&mut self) {
        self.spend(WINDOW_STEPS);
    }
}

/// So many steps in one list are spent at once.
const STEPS_AT_ONCE: usize = 1_024;
/// Steps that finding a term's list costs.
const TERM_STEPS: usize = 20;
/// Steps that going to a window costs.
const WINDOW_STEPS: usize = 30;

/// What a question asks of links.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Words.
    pub words: Option<Words>,
    /// Facets ([`super::document::Facet::term`]); at least one.
    pub facets: Vec<Vec<u8>>,
    /// Facets of which one is enough; none: nothing more is asked.
    pub one_of: Vec<Vec<u8>>,
}

/// Links of a segment that have one of some terms.
enum Any {
    Lists(Vec<SegmentPostings>),
    Bits(Box<[u64]>, usize),
}

/// The links of a segment that have all that is asked, as lists to be read from anywhere.
pub struct All(Vec<Any>);

impl All {
    /// Looks the terms up; `None`: no link of the segment has them all.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub fn of(
        segment: &SegmentReader,
        fields: &Fields,
        asked: &Asked,
        budget: &mut Budget,
    ) -> tantivy::Result<Option<All>> {
        let mut all = Vec::new();
        let is = segment.inverted_index(fields.is)?;
        for facet in &asked.facets {
            budget.spend(TERM_STEPS);
            match exactly(&is, fields.is, facet)? {
                Some(list) => all.push(Any::Lists(vec![list])),
                None => return Ok(None),
            }
        }
        if !asked.one_of.is_empty() {
            let mut lists = Vec::new();
            for facet in &asked.one_of {
                budget.spend(TERM_STEPS);
                lists.extend(exactly(&is, fields.is, facet)?);
            }
            if lists.is_empty() {
                return Ok(None);
            }
            all.push(Any::of(lists, segment.max_doc(), budget));
        }
        for (word, begins, code_begins) in asked.words.iter().flat_map(Words::all) {
            let mut lists = Vec::new();
            for (field, begins) in [(fields.word, begins), (fields.code, code_begins)] {
                let terms = segment.inverted_index(field)?;
                if begins {
                    beginning(&terms, word.as_bytes(), &mut lists, budget)?;
                } else {
                    budget.spend(TERM_STEPS);
                    lists.extend(exactly(&terms, field, word.as_bytes())?);
                }
            }
            if lists.is_empty() {
                return Ok(None);
            }
            all.push(Any::of(lists, segment.max_doc(), budget));
        }
        // The rarest leads.
        all.sort_by_key(Any::len);
        Ok(Some(All(all)))
    }

    /// Returns what reads the links from document `from` on.
    pub fn read(&self, from: DocId) -> Reading<'_> {
        Reading { cursors: self.0.iter().map(Any::open).collect(), next: from }
    }
}

fn exactly(
    terms: &InvertedIndexReader,
    field: Field,
    term: &[u8],
) -> tantivy::Result<Option<SegmentPostings>> {
    Ok(terms.read_postings(&Term::from_field_bytes(field, term), IndexRecordOption::Basic)?)
}

/// Adds the lists of all words that begin with `beginning`.
fn beginning(
    terms: &InvertedIndexReader,
    beginning: &[u8],
    lists: &mut Vec<SegmentPostings>,
    budget: &mut Budget,
) -> tantivy::Result<()> {
    let mut stream = terms.terms().range().ge(beginning).into_stream()?;
    while stream.advance() && stream.key().starts_with(beginning) {
        if budget.endings == 0 {
            budget.is_short_of_endings = true;
            return Ok(());
        }
        budget.endings -= 1;
        budget.spend(TERM_STEPS);
        lists.push(terms.read_postings_from_terminfo(stream.value(), IndexRecordOption::Basic)?);
    }
    Ok(())
}

impl Any {
    fn of(lists: Vec<SegmentPostings>, documents: DocId, budget: &mut Budget) -> Any {
        if lists.len() <= SIDE_BY_SIDE_MAX {
            return Any::Lists(lists);
        }
        let mut bits = vec![0u64; documents as usize / 64 + 1].into_boxed_slice();
        let mut len = 0usize;
        for mut list in lists {
            let mut document = list.doc();
            while document < documents {
                bits[document as usize / 64] |= 1 << (document % 64);
                len += 1;
                if len.is_multiple_of(STEPS_AT_ONCE) {
                    budget.spend(STEPS_AT_ONCE);
                }
                document = list.advance();
            }
        }
        budget.spend(len % STEPS_AT_ONCE);
        Any::Bits(bits, len)
    }

    fn open(&self) -> Cursor<'_> {
        match self {
            Any::Lists(lists) => Cursor::Lists(lists.clone()),
            Any::Bits(bits, _) => Cursor::Bits(bits),
        }
    }

    fn len(&self) -> usize {
        match self {
            Any::Lists(lists) => lists.iter().map(|list| list.size_hint() as usize).sum(),
            Any::Bits(_, len) => *len,
        }
    }
}

enum Cursor<'a> {
    Lists(Vec<SegmentPostings>),
    Bits(&'a [u64]),
}

impl Cursor<'_> {
    /// Returns the first document that is not before `target`.
    fn seek(&mut self, target: DocId) -> DocId {
        match self {
            Cursor::Lists(lists) => {
                let seek = |list: &mut SegmentPostings| match list.doc() {
                    document if document >= target => document,
                    _ => list.seek(target),
                };
                lists.iter_mut().map(seek).min().unwrap_or(TERMINATED)
            }
            Cursor::Bits(bits) => {
                let (mut at, mut skip) = (target as usize / 64, target % 64);
                while let Some(word) = bits.get(at) {
                    let word = word >> skip << skip;
                    if word != 0 {
                        return (at * 64) as DocId + word.trailing_zeros();
                    }
                    (at, skip) = (at + 1, 0);
                }
                TERMINATED
            }
        }
    }
}

/// Reads links that have all terms.
pub struct Reading<'a> {
    cursors: Vec<Cursor<'a>>,
    next: DocId,
}

impl Reading<'_> {
    /// Returns the next one before document `end`.
    pub fn next(&mut self, end: DocId, budget: &mut Budget) -> Option<DocId> {
        'leaping: while self.next < end {
            for cursor in &mut self.cursors {
                budget.spend(1);
                let found = cursor.seek(self.next);
                if found > self.next {
                    self.next = found;
                    continue 'leaping;
                }
            }
            self.next += 1;
            return Some(self.next - 1);
        }
        None
    }
}

/// Returns the term by which a link is taken out.
pub fn id(fields: &Fields, key: &Key) -> Term {
    Term::from_field_bytes(fields.id, &key.encode())
}
