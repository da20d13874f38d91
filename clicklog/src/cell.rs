//! Clicks added up: how many of which kind, on which link.

use linklog::{Key, Position};

/// What asked for a link. Only [`Kind::Person`] is a click; the others are counted apart, so that a number means people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A browser or an app, as far as its headers tell.
    Person = 0,
    /// A crawler, a link preview, a monitor: it says so in its User-Agent.
    Bot = 1,
    /// A `HEAD` request: somebody checks the link and does not go there.
    Head = 2,
    /// A browser that loads ahead of a click that may never come.
    Prefetch = 3,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 4] = [Kind::Person, Kind::Bot, Kind::Head, Kind::Prefetch];
}

/// What is counted: a link from its creation to its deletion. A code that is given away again begins at zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subject {
    /// The link's key.
    pub key: Key,
    /// The record that created it.
    pub created: Position,
}

/// How many of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    /// None of any kind.
    pub const ZERO: Counts = Counts([0; Kind::ALL.len()]);

    /// Takes one number a kind, in the order of [`Kind::ALL`].
    pub const fn new(counts: [u64; Kind::ALL.len()]) -> Counts {
        Counts(counts)
    }

    /// Returns how many of a kind.
    pub const fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Returns how many of any kind. Saturates.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds `n` of a kind. Saturates.
    pub fn add(&mut self, kind: Kind, n: u64) {
        let count = &mut self.0[kind as usize];
        *count = count.saturating_add(n);
    }

    /// Adds all of `other`. Saturates.
    pub fn merge(&mut self, other: &Counts) {
        for kind in Kind::ALL {
            self.add(kind, other.of(kind));
        }
    }
}

/// The clicks of one link in one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Which link.
    pub subject: Subject,
    /// How many.
    pub counts: Counts,
    /// When a person last clicked, milliseconds since the Unix epoch by the proxy's clock; 0: none did.
    pub last_click_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_kind_and_never_wrap() {
        let mut counts = Counts::new([1, 2, 3, u64::MAX]);
        counts.merge(&Counts::new([10, 20, 30, 40]));
        assert_eq!(counts, Counts::new([11, 22, 33, u64::MAX]));
        assert_eq!(counts.sum(), u64::MAX);
        counts.add(Kind::Bot, 5);
        assert_eq!(Kind::ALL.map(|kind| counts.of(kind)), [11, 27, 33, u64::MAX]);
    }
}
