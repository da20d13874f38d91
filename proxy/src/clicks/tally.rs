//! Clicks added up by link and kind until they are written down.
//!
//! Adding one costs a hash and a place in a table whose memory is kept from one commit to the next. Links with generated codes, nearly
//! all of them, are known by one word and never turned into text; what becomes of them is sorted as words.

use std::collections::HashMap;
use std::hash::Hash;

use clicklog::batch::CELLS_MAX;
use clicklog::{Cell, Counts, Kind, Subject};
use linklog::{Key, Position, StateKey};

use super::record::Click;
use crate::hash::SeededXxh3;

/// What is added up for one link.
struct Sum {
    counts: Counts,
    last_click_ms: u64,
}

/// Clicks added up.
pub(super) struct Tally {
    /// By packed key and creation.
    generated: HashMap<(u64, Position), Sum, SeededXxh3>,
    /// Links with codes of other shapes.
    others: HashMap<Subject, Sum, SeededXxh3>,
    kinds: [u64; Kind::ALL.len()],
    damaged: u64,
}

impl Tally {
    /// Nothing yet, with room for a batch.
    pub(super) fn new() -> Tally {
        let hash = SeededXxh3::random();
        Tally {
            generated: HashMap::with_capacity_and_hasher(CELLS_MAX, hash),
            others: HashMap::with_hasher(hash),
            kinds: [0; Kind::ALL.len()],
            damaged: 0,
        }
    }

    /// Counts a click; one that makes no sense as damaged.
    pub(super) fn add(&mut self, click: &Click<'_>, kind: Kind) {
        let created = click.created;
        let word = click.key.try_into().ok().map(u64::from_be_bytes).filter(|word| Key::is_packed(*word));
        if let Some(word) = word {
            count(&mut self.generated, (word, created), kind, click.at_ms);
        } else if let Ok(StateKey::Link(key)) = StateKey::decode(click.key) {
            count(&mut self.others, Subject { key, created }, kind, click.at_ms);
        } else {
            return self.add_damaged();
        }
        self.kinds[kind as usize] += 1;
    }

    /// Counts a click that nobody can tell anything about.
    pub(super) fn add_damaged(&mut self) {
        self.damaged += 1;
    }

    /// Links in it.
    pub(super) fn links(&self) -> usize {
        self.generated.len() + self.others.len()
    }

    /// Clicks by kind.
    pub(super) fn kinds(&self) -> [u64; Kind::ALL.len()] {
        self.kinds
    }

    /// Clicks nobody can tell anything about.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Its links in the order of their keys; it is empty afterwards.
    pub(super) fn take(&mut self) -> Vec<Cell> {
        let mut generated: Vec<_> = self.generated.drain().collect();
        generated.sort_unstable_by_key(|(link, _)| *link);
        let mut others: Vec<_> = self.others.drain().collect();
        others.sort_unstable_by_key(|(subject, _)| (subject.key, subject.created));
        (self.kinds, self.damaged) = ([0; Kind::ALL.len()], 0);
        let named = generated.into_iter().map(|((word, created), sum)| {
            let key = Key::unpack(word).expect("checked when it was added");
            (Subject { key, created }, sum)
        });
        let cell = |(subject, Sum { counts, last_click_ms })| Cell { subject, counts, last_click_ms };
        named.chain(others).map(cell).collect()
    }
}

fn count<K: Hash + Eq>(sums: &mut HashMap<K, Sum, SeededXxh3>, link: K, kind: Kind, at_ms: u64) {
    let sum = sums.entry(link).or_insert(Sum { counts: Counts::ZERO, last_click_ms: 0 });
    sum.counts.add(kind, 1);
    if kind == Kind::Person {
        sum.last_click_ms = sum.last_click_ms.max(at_ms);
    }
}
