//! Finding links that have several things in common, in the order of creation, a page at a time.
//!
//! Each term has its rows in the same order ([`super::index`]), so links that have all of them are found by leaping: whoever is
//! behind seeks to where the foremost is. Costs depend on the rarest term and on how they interleave, never on how many links there are
//! or how far from the first a page is; and they are bounded: after [`Find::steps_max`] seeks a page ends early and says where to go on.
//!
//! Rows and links are read in one snapshot: a page is a moment's truth.

mod within;

use rocksdb::{DBRawIteratorWithThreadMode, PrefixRange, ReadOptions, SnapshotWithThreadMode};

use super::index::{PLACE_BYTES, TERM_BYTES, Term, place};
use super::reader::{StoredLink, damaged, link_in, read_error};
use super::{INDEX, Store, StoreError};
use crate::key::{Key, StateKey};
use crate::position::{Position, Seq};

pub use within::Within;

/// Most terms of one question.
pub const TERMS_MAX: usize = 16;

/// In which order links are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The latest first.
    #[default]
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// A place in the order of creation: of a link, or between two. It stays where it is, whatever becomes of the links around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place(u128);

impl Place {
    /// Returns the bytes of the place, for cursors.
    pub const fn to_bytes(self) -> [u8; PLACE_BYTES] {
        self.0.to_be_bytes()
    }

    /// Returns the place of bytes from [`Place::to_bytes`]; every sixteen bytes are some place.
    pub const fn from_bytes(bytes: [u8; PLACE_BYTES]) -> Place {
        Place(u128::from_be_bytes(bytes))
    }

    /// Returns the place of the link that record `created` made at `created_at_ms`.
    pub fn of(created_at_ms: u64, created: Seq) -> Place {
        Place(place(created_at_ms, Position::new(0, created.0)))
    }
}

/// What is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// What the links have; nothing: all links.
    pub all_of: Vec<Term>,
    /// What they do not have.
    pub none_of: Vec<Term>,
    /// Where they are.
    pub within: Within,
    /// Created at this time or later, milliseconds since the Unix epoch.
    pub created_from_ms: Option<u64>,
    /// Created before this time, milliseconds since the Unix epoch.
    pub created_before_ms: Option<u64>,
    /// In which order.
    pub order: Order,
    /// Behind which place in that order; nothing: from the first.
    pub after: Option<Place>,
    /// How many links at most.
    pub limit: usize,
    /// How many seeks in the index at most, roughly.
    pub steps_max: usize,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The links.
    pub links: Vec<(Key, StoredLink)>,
    /// Behind which place to go on; `None`: there are no more. There may be fewer links than asked for, even none, and a place.
    pub next: Option<Place>,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// So many were seen.
    pub links: u64,
    /// Whether that is all of them.
    pub is_exact: bool,
}

/// One step towards the next link.
enum Step {
    /// There is one at this place; its key is [`Leap::encoded`].
    At(u128),
    /// There are no more.
    End,
    /// The steps are used up; everything before this place was looked at.
    UsedUp(u128),
}

pub(super) fn find(store: &Store, what: &Find, between: &mut dyn FnMut()) -> Result<Found, StoreError> {
    let snapshot = store.db().snapshot();
    let mut leap = Leap::new(store, &snapshot, what);
    let mut found = Found::default();
    let mut last = None;
    loop {
        match leap.next(between)? {
            Step::End => return Ok(found),
            Step::UsedUp(at) => {
                // Just before it, in the direction of reading: it was not looked at yet.
                found.next =
                    Some(Place(if leap.forward { at.saturating_sub(1) } else { at.saturating_add(1) }));
                return Ok(found);
            }
            Step::At(_) if found.links.len() >= what.limit => {
                found.next = last.map(Place);
                return Ok(found);
            }
            Step::At(at) => {
                last = Some(at);
                let encoded = leap.encoded();
                let invalid = || damaged("index row")(crate::DecodeError::invalid(0, "index row"));
                let Ok(StateKey::Link(key)) = StateKey::decode(encoded) else { return Err(invalid()) };
                let link = link_in(store, &snapshot, encoded, |view, manage| {
                    what.all_of.iter().all(|term| term.is_of(&key, view, manage))
                })?;
                found.links.extend(link.map(|link| (key, link)));
            }
        }
    }
}

pub(super) fn count(store: &Store, what: &Find, between: &mut dyn FnMut()) -> Result<Count, StoreError> {
    let snapshot = store.db().snapshot();
    let mut leap = Leap::new(store, &snapshot, what);
    let mut count = Count::default();
    loop {
        match leap.next(between)? {
            Step::End => return Ok(Count { is_exact: true, ..count }),
            Step::UsedUp(_) => return Ok(count),
            Step::At(_) => count.links += 1,
        }
    }
}

/// The rows of one term.
struct Rows<'a> {
    prefix: [u8; TERM_BYTES],
    rows: DBRawIteratorWithThreadMode<'a, rocksdb::DB>,
    /// Prefix and what was sought last; empty: it is nowhere yet.
    sought: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn of(term: &Term, store: &'a Store, snapshot: &'a SnapshotWithThreadMode<'a, rocksdb::DB>) -> Rows<'a> {
        let prefix = term.prefix();
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        let rows = snapshot.raw_iterator_cf_opt(store.table(INDEX), options);
        Rows { prefix, rows, sought: Vec::new() }
    }

    /// Says whether it has to seek for the first row that is not before `to` in the direction of reading: it is before that.
    fn is_behind(&self, forward: bool, to: &[u8]) -> Result<bool, StoreError> {
        if self.sought.is_empty() {
            return Ok(true);
        }
        let before = |rest: &[u8]| if forward { rest < to } else { rest > to };
        Ok(self.at()?.is_some_and(before))
    }

    /// Moves to the first row that is not before `to` in the direction of reading.
    fn seek(&mut self, forward: bool, to: &[u8]) {
        self.sought.clear();
        self.sought.extend_from_slice(&self.prefix);
        self.sought.extend_from_slice(to);
        if forward { self.rows.seek(&self.sought) } else { self.rows.seek_for_prev(&self.sought) }
    }

    fn advance(&mut self, forward: bool) {
        if forward { self.rows.next() } else { self.rows.prev() }
    }

    /// Returns place and key of the row it is at.
    fn at(&self) -> Result<Option<&[u8]>, StoreError> {
        let Some(row) = self.rows.key() else { return self.rows.status().map(|()| None).map_err(read_error) };
        Ok(row.strip_prefix(&self.prefix).filter(|rest| rest.len() > PLACE_BYTES))
    }
}

struct Leap<'a> {
    forward: bool,
    /// Of the terms that are wanted; the first leads.
    wanted: Vec<Rows<'a>>,
    unwanted: Vec<Rows<'a>>,
    within: Within,
    /// Where the next link is looked for, or the last was given: place and key, or the beginning of them.
    target: Vec<u8>,
    low: u128,
    high: u128,
    steps_left: usize,
    /// Whether the leading rows have to go on from the link that was given last.
    given: bool,
}

fn place_in(rest: &[u8]) -> u128 {
    rest.first_chunk::<PLACE_BYTES>().map_or(0, |place| u128::from_be_bytes(*place))
}

impl<'a> Leap<'a> {
    fn new(store: &'a Store, snapshot: &'a SnapshotWithThreadMode<'a, rocksdb::DB>, what: &Find) -> Leap<'a> {
        let forward = what.order == Order::NewestFirst;
        let open = |term: &Term| Rows::of(term, store, snapshot);
        let mut wanted: Vec<_> = what.all_of.iter().take(TERMS_MAX).map(open).collect();
        if wanted.is_empty() {
            wanted.push(open(&Term::All));
        }
        let unwanted = what.none_of.iter().take(TERMS_MAX).map(open).collect();
        // Places fall as times rise.
        let mut low = what.created_before_ms.map_or(0, |before| match before {
            0 => u128::MAX,
            before => u128::from(!(before - 1)) << 64,
        });
        let mut high =
            what.created_from_ms.map_or(u128::MAX, |from| u128::from(!from) << 64 | u128::from(u64::MAX));
        match (what.after, forward) {
            (Some(Place(after)), true) => low = low.max(after.saturating_add(1)),
            (Some(Place(after)), false) => high = high.min(after.saturating_sub(1)),
            (None, _) => {}
        }
        let target = if forward {
            low.to_be_bytes().to_vec()
        } else {
            // Behind every key at that place: no key begins with this byte.
            [high.to_be_bytes().as_slice(), &[u8::MAX]].concat()
        };
        let within = what.within.clone();
        Leap {
            forward,
            wanted,
            unwanted,
            within,
            target,
            low,
            high,
            steps_left: what.steps_max,
            given: false,
        }
    }

    fn next(&mut self, between: &mut dyn FnMut()) -> Result<Step, StoreError> {
        let forward = self.forward;
        if std::mem::take(&mut self.given) && !self.advance()? {
            return Ok(Step::End);
        }
        'leaping: loop {
            between();
            if self.low > self.high {
                return Ok(Step::End);
            }
            for rows in &mut self.wanted {
                if rows.is_behind(forward, &self.target)? {
                    let Some(left) = self.steps_left.checked_sub(1) else {
                        return Ok(Step::UsedUp(place_in(&self.target)));
                    };
                    self.steps_left = left;
                    rows.seek(forward, &self.target);
                }
                let Some(rest) = rows.at()? else { return Ok(Step::End) };
                if rest != self.target {
                    self.target.clear();
                    self.target.extend_from_slice(rest);
                    if !(self.low..=self.high).contains(&place_in(rest)) {
                        return Ok(Step::End);
                    }
                    continue 'leaping;
                }
            }
            let Some(left) = self.steps_left.checked_sub(1) else {
                return Ok(Step::UsedUp(place_in(&self.target)));
            };
            self.steps_left = left;
            if !(self.low..=self.high).contains(&place_in(&self.target)) {
                return Ok(Step::End);
            }
            let mut is_out = !self.within.is_anywhere() && !self.is_within();
            for rows in &mut self.unwanted {
                if is_out {
                    break;
                }
                if rows.is_behind(forward, &self.target)? {
                    self.steps_left = self.steps_left.saturating_sub(1);
                    rows.seek(forward, &self.target);
                }
                is_out = rows.at()?.is_some_and(|rest| rest == self.target);
            }
            if is_out {
                if !self.advance()? {
                    return Ok(Step::End);
                }
                continue 'leaping;
            }
            self.given = true;
            return Ok(Step::At(place_in(&self.target)));
        }
    }

    /// Goes on to the next of the leading rows; false if there is none.
    fn advance(&mut self) -> Result<bool, StoreError> {
        let leading = &mut self.wanted[0];
        leading.advance(self.forward);
        let Some(rest) = leading.at()? else { return Ok(false) };
        self.target.clear();
        self.target.extend_from_slice(rest);
        Ok(true)
    }

    /// The encoded key of the link that was given last.
    fn encoded(&self) -> &[u8] {
        &self.target[PLACE_BYTES..]
    }

    /// Says whether the link that the leap is at is where it may be. A damaged row is for whoever reads the link to find out.
    fn is_within(&self) -> bool {
        match StateKey::decode(self.encoded()) {
            Ok(StateKey::Link(key)) => self.within.has(&key),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
