//! The clicks of all links that were ever clicked on, in memory, as of the last refresh: 12 bytes a link.
//!
//! A link is named by the record that created it. What is counted since the last refresh is found in the journal of clicks; where that no
//! longer reaches back, and at the start, all totals are read. Numbers are the accounts' own, so nothing is ever added up here.

use std::collections::HashMap;

use clicklog::accounts::AccountsHandle;
use clicklog::entry::{self, Entry};
use clicklog::{Subject, account::Totals};
use linklog::Seq;
use linklog::codec::record::Kind;
use linklog::journal::{JournalRead, JournalReader, ReadError};
use linklog::store::StoreError;

/// How many bytes of entries are read in one go.
const READ_BYTES: usize = 4 << 20;
/// How many totals are looked up in one go.
const LOOKED_UP_AT_ONCE: usize = 4096;

/// Where clicks are counted.
#[derive(Clone)]
pub struct ClickSource {
    /// The totals.
    pub accounts: AccountsHandle,
    /// The entries that lead to them.
    pub journal: JournalReader,
}

/// Clicks by link.
#[derive(Debug, Default)]
pub struct Clicked {
    /// Rising.
    seqs: Vec<u64>,
    /// Of the link at the same place; a number that does not fit is as large as can be.
    clicks: Vec<u32>,
    generation: u64,
    /// The last entry that was looked at; `None`: never.
    read_to: Option<Seq>,
    at_ms: u64,
}

impl Clicked {
    /// Returns a number that rises with every refresh that changed something.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns as of when they are, milliseconds since the Unix epoch.
    pub const fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Returns the clicks of links that are given by the records that created them; nothing if none of them was ever clicked on. Quick where
    /// these rise.
    pub fn of_all(&self, seqs: impl Iterator<Item = u64>) -> Vec<u32> {
        let (mut at, mut before, mut any) = (0, 0, false);
        let clicks: Vec<u32> = seqs
            .map(|seq| {
                if seq < before {
                    at = self.seqs.partition_point(|known| *known < seq);
                } else {
                    at += self.seqs[at..].iter().take(32).take_while(|known| **known < seq).count();
                    if self.seqs.get(at).is_some_and(|known| *known < seq) {
                        at += self.seqs[at..].partition_point(|known| *known < seq);
                    }
                }
                before = seq;
                let found = self.seqs.get(at) == Some(&seq);
                any |= found;
                if found { self.clicks[at] } else { 0 }
            })
            .collect();
        if any { clicks } else { Vec::new() }
    }

    /// Brings them up to `now_ms`.
    ///
    /// # Errors
    /// The counts cannot be read.
    pub fn refresh(&mut self, source: &ClickSource, now_ms: u64) -> Result<(), ReadError> {
        let head = source.journal.head().position.seq;
        let changed = match self.read_to {
            Some(read_to) => self.changed_since(read_to, head, source)?,
            None => None,
        };
        match changed {
            Some(changed) if changed.is_empty() => {}
            Some(changed) => self.merge(changed),
            None => self.read_all(source)?,
        }
        (self.read_to, self.at_ms) = (Some(head), now_ms);
        Ok(())
    }

    /// Looks up what was counted between two entries; `None`: they are not all there any more.
    fn changed_since(
        &self,
        read_to: Seq,
        head: Seq,
        source: &ClickSource,
    ) -> Result<Option<HashMap<u64, u32>>, ReadError> {
        let mut changed = HashMap::new();
        let mut next = read_to.next();
        while next <= head {
            let entries = match source.journal.read(next, READ_BYTES) {
                Err(ReadError::NotRetained { .. }) => return Ok(None),
                entries => entries?,
            };
            let mut subjects: Vec<Subject> = Vec::new();
            for entry in &entries {
                let damaged =
                    |source| ReadError::Store(StoreError::Damaged { what: "entry of clicks", source });
                let view = entry.view().map_err(damaged)?;
                next = view.position.seq.next();
                if view.header.kind != Kind::Entry {
                    continue;
                }
                if let Entry::Batch(batch) = entry::decode(view.manage).map_err(damaged)? {
                    subjects.extend(batch.cells().iter().map(|cell| cell.subject));
                }
            }
            if entries.is_empty() {
                break;
            }
            subjects.sort_unstable_by_key(|subject| subject.created.seq);
            subjects.dedup();
            for subjects in subjects.chunks(LOOKED_UP_AT_ONCE) {
                let totals = source.accounts.totals(subjects).map_err(ReadError::Store)?;
                let clicks = subjects.iter().zip(&totals).map(|(subject, totals)| row(subject, totals));
                changed.extend(clicks.filter(|(_, clicks)| *clicks > 0));
            }
        }
        Ok(Some(changed))
    }

    fn read_all(&mut self, source: &ClickSource) -> Result<(), ReadError> {
        let mut rows: Vec<(u64, u32)> = Vec::new();
        let scanned = source.accounts.for_each_total(|subject, totals| {
            rows.extend(Some(row(subject, totals)).filter(|(_, clicks)| *clicks > 0));
        });
        scanned.map_err(ReadError::Store)?;
        rows.sort_unstable();
        // One record makes one link. Were it otherwise, the order of such links would be off and nothing else.
        rows.dedup_by_key(|(seq, _)| *seq);
        (self.seqs, self.clicks) = rows.into_iter().unzip();
        self.generation += 1;
        Ok(())
    }

    fn merge(&mut self, changed: HashMap<u64, u32>) {
        let mut new = Vec::new();
        for (seq, clicks) in changed {
            match self.seqs.binary_search(&seq) {
                Ok(at) => self.clicks[at] = clicks,
                Err(_) => new.push((seq, clicks)),
            }
        }
        if !new.is_empty() {
            new.sort_unstable();
            // Two runs in order, which a stable sort finds and merges.
            let mut rows: Vec<_> = self.seqs.drain(..).zip(self.clicks.drain(..)).chain(new).collect();
            rows.sort();
            (self.seqs, self.clicks) = rows.into_iter().unzip();
        }
        self.generation += 1;
    }
}

#[cfg(test)]
impl Clicked {
    /// Clicks by the records that created the links, as if they had been read.
    pub(super) fn of(clicks: HashMap<u64, u32>) -> Clicked {
        let mut clicked = Clicked::default();
        clicked.merge(clicks);
        clicked
    }
}

fn row(subject: &Subject, totals: &Totals) -> (u64, u32) {
    (subject.created.seq.0, u32::try_from(totals.clicks()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn clicks_are_found_in_whatever_order_links_are_asked_for(
            steps in proptest::collection::vec(proptest::collection::hash_map(0u64..200, 1u32..9, 0..40), 0..6),
            asked in proptest::collection::vec(0u64..210, 0..60),
        ) {
            let (mut clicked, mut model) = (Clicked::default(), BTreeMap::new());
            for step in steps {
                model.extend(step.clone());
                clicked.merge(step);
            }
            let expected: Vec<u32> = asked.iter().map(|seq| model.get(seq).copied().unwrap_or(0)).collect();
            let found = clicked.of_all(asked.iter().copied());
            let is_none = expected.iter().all(|clicks| *clicks == 0);
            prop_assert_eq!(found, if is_none { Vec::new() } else { expected });
        }
    }
}
