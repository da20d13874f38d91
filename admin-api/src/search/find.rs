//! Finding links in the index: those that have all that is asked, in an order, a page at a time.
//!
//! All windows of all segments are taken in the order of the greatest rank that a link in them can have, and no further than where the
//! page is full of links that rank higher. Costs are bounded by [`STEPS_MAX`]: past it the page ends where everything before is known, with
//! a place to go on from. Pure but for reading the segments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tantivy::DocId;

use super::document::Fields;
use super::rank::{Rank, Sort};
use super::segments::{Segment, WINDOW};
use super::terms::{All, Asked, Budget};

/// Steps that a page may cost, roughly 10 ns each.
pub const STEPS_MAX: usize = 1_500_000;
/// Steps that counting may cost.
pub const COUNT_STEPS_MAX: usize = 1_000_000;
/// Words that are looked at because they begin with the last one.
const ENDINGS_MAX: usize = 10_000;

/// What is looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// What the links have.
    pub asked: Asked,
    /// Created at this time or later, milliseconds since the Unix epoch.
    pub created_from_ms: Option<u64>,
    /// Created before this time, milliseconds since the Unix epoch.
    pub created_before_ms: Option<u64>,
    /// In which order.
    pub sort: Sort,
    /// Behind which rank; nothing: from the first.
    pub behind: Option<Rank>,
    /// How many at most.
    pub limit: usize,
}

/// A link that was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hit {
    /// Where it stands.
    pub rank: Rank,
    /// In which segment, by its place among them.
    pub segment: usize,
    /// Which document of it.
    pub document: DocId,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hits {
    /// The links, in order.
    pub hits: Vec<Hit>,
    /// Behind which rank to go on; `None`: there are no more.
    pub next: Option<Rank>,
    /// False: the last word is the beginning of more words than were looked at.
    pub is_complete: bool,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// So many were seen.
    pub links: u64,
    /// Whether that is all of them.
    pub is_exact: bool,
}

/// The terms of a segment, once they were looked up.
enum Terms {
    NotYet,
    Nowhere,
    There(All),
}

struct Search<'a> {
    segments: &'a [Segment],
    fields: &'a Fields,
    question: &'a Question,
    terms: Vec<Terms>,
    budget: Budget,
}

struct Window {
    segment: usize,
    start: DocId,
    best: Rank,
}

impl<'a> Search<'a> {
    fn new(segments: &'a [Segment], fields: &'a Fields, question: &'a Question, steps: usize) -> Search<'a> {
        let terms = segments.iter().map(|_| Terms::NotYet).collect();
        let budget = Budget::new(steps, ENDINGS_MAX);
        Search { segments, fields, question, terms, budget }
    }

    /// Returns the windows that may hold what is looked for, the best first.
    fn windows(&self) -> Vec<Window> {
        let Question { sort, behind, .. } = *self.question;
        let mut windows = Vec::new();
        for (segment, open) in self.segments.iter().enumerate() {
            for (at, window) in open.windows(sort).iter().enumerate() {
                let (best, worst) = window.between(sort);
                // All of it was shown before.
                if behind.is_none_or(|behind| worst < behind) {
                    windows.push(Window { segment, start: at as DocId * WINDOW, best });
                }
            }
        }
        windows.sort_unstable_by_key(|window| Reverse(window.best));
        windows
    }

    /// Calls `each` with every link of a window that has what is asked.
    fn look_into(&mut self, window: &Window, mut each: impl FnMut(&Segment, DocId)) -> tantivy::Result<()> {
        let segment = &self.segments[window.segment];
        let reader = &segment.reader;
        let terms = &mut self.terms[window.segment];
        if matches!(terms, Terms::NotYet) {
            let all = All::of(reader, self.fields, &self.question.asked, &mut self.budget)?;
            *terms = all.map_or(Terms::Nowhere, Terms::There);
        }
        let Terms::There(all) = terms else { return Ok(()) };
        self.budget.spend_window();
        let end = reader.max_doc().min(window.start + WINDOW);
        let mut reading = all.read(window.start);
        let (from, before) = (self.question.created_from_ms, self.question.created_before_ms);
        while let Some(document) = reading.next(end, &mut self.budget) {
            if reader.alive_bitset().is_some_and(|alive| !alive.is_alive(document)) {
                continue;
            }
            if from.is_some() || before.is_some() {
                let at = segment.created_at_ms(document);
                if from.is_some_and(|from| at < from) || before.is_some_and(|before| at >= before) {
                    continue;
                }
            }
            each(segment, document);
        }
        Ok(())
    }
}

/// Finds a page.
///
/// # Errors
/// The index cannot be read.
pub fn find(segments: &[Segment], fields: &Fields, question: &Question) -> tantivy::Result<Hits> {
    find_within(segments, fields, question, STEPS_MAX)
}

fn find_within(
    segments: &[Segment],
    fields: &Fields,
    question: &Question,
    steps: usize,
) -> tantivy::Result<Hits> {
    let mut search = Search::new(segments, fields, question, steps);
    let Question { sort, behind, limit, .. } = *question;
    let is_behind = |rank: Rank| behind.is_none_or(|behind| rank < behind);
    // One more than asked for says whether there are more. The worst on top.
    let mut found: BinaryHeap<Reverse<Hit>> = BinaryHeap::with_capacity(limit + 2);
    // Links that rank lower are of no use any more.
    let mut least: Option<Rank> = None;
    let mut reached: Option<Rank> = None;
    let mut unknown_from: Option<Rank> = None;
    for window in &search.windows() {
        if least.is_some_and(|least| window.best <= least) {
            break;
        }
        // Not before the page is further than the one before it, or nobody would ever reach the end.
        if search.budget.steps == 0 && reached.is_some_and(|reached| window.best < reached) {
            unknown_from = Some(window.best);
            break;
        }
        search.look_into(window, |segment, document| {
            let clicks = segment.clicks(sort, document);
            // Clicks are at hand and places are not: most links go no further than this.
            if least.is_some_and(|least| sort.rank(clicks, 0).clicks < least.clicks) {
                return;
            }
            let rank = sort.rank(clicks, segment.place(document));
            if !is_behind(rank) || least.is_some_and(|least| rank < least) {
                return;
            }
            found.push(Reverse(Hit { rank, segment: window.segment, document }));
            if found.len() > limit + 1 {
                found.pop();
            }
            if found.len() > limit {
                least = found.peek().map(|Reverse(hit)| hit.rank);
            }
        })?;
        reached = Some(window.best).filter(|best| is_behind(*best)).or(reached);
    }
    let mut hits: Vec<Hit> = found.into_iter().map(|Reverse(hit)| hit).collect();
    hits.sort_unstable_by(|a, b| b.cmp(a));
    hits.retain(|hit| unknown_from.is_none_or(|rank| hit.rank > rank));
    let next = match hits.get(limit) {
        Some(_) => limit.checked_sub(1).map(|last| hits[last].rank),
        None => unknown_from.map(Rank::next_higher),
    };
    hits.truncate(limit);
    Ok(Hits { hits, next, is_complete: !search.budget.is_short_of_endings })
}

/// Counts what a question is about; `behind` and `limit` play no part.
///
/// # Errors
/// The index cannot be read.
pub fn count(segments: &[Segment], fields: &Fields, question: &Question) -> tantivy::Result<Counted> {
    let question = Question { behind: None, sort: Sort::NewestFirst, ..question.clone() };
    let mut search = Search::new(segments, fields, &question, COUNT_STEPS_MAX);
    let mut links = 0;
    for window in &search.windows() {
        if search.budget.steps == 0 {
            return Ok(Counted { links, is_exact: false });
        }
        search.look_into(window, |_, _| links += 1)?;
    }
    Ok(Counted { links, is_exact: !search.budget.is_short_of_endings })
}

#[cfg(test)]
mod tests;
