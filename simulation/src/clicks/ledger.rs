//! A model of a proxy's ledger: numbered batches, up to where nobody needs them any more, and room for so many.

use std::collections::BTreeMap;

use clicklog::entry::Introduction;
use clicklog::{BatchNumber, LedgerId};

/// One of all batches of a run, whatever its number: ledgers that were copied give numbers twice.
pub(super) type BatchId = u64;

/// Clicks under a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub id: BatchId,
    pub number: BatchNumber,
    pub clicks: u64,
    /// Clicks that there was no room for before they were in a batch.
    pub dropped: u64,
}

/// Batches that had to go.
#[derive(Default, Debug)]
pub(super) struct Gone {
    /// They were released.
    pub forgotten: Vec<Batch>,
    /// They were not.
    pub thrown_away: Vec<Batch>,
}

#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub id: LedgerId,
    pub last: BatchNumber,
    pub released: BatchNumber,
    /// As after a power cut: releases are not synced.
    released_synced: BatchNumber,
    batches: BTreeMap<BatchNumber, Batch>,
    thrown_away_clicks: u64,
    /// Of those, the ones made since it was opened.
    thrown_away_new: u64,
    /// Most batches that are not released.
    unreleased_max: u64,
    /// Batches that are kept though they are released.
    keep: u64,
    /// The last one when it was opened, until somebody says how far it is counted.
    unheard: Option<BatchNumber>,
}

impl Ledger {
    pub(super) fn new(id: LedgerId, unreleased_max: u64, keep: u64) -> Ledger {
        Ledger {
            id,
            last: BatchNumber(0),
            released: BatchNumber(0),
            released_synced: BatchNumber(0),
            batches: BTreeMap::new(),
            thrown_away_clicks: 0,
            thrown_away_new: 0,
            unreleased_max,
            keep,
            unheard: Some(BatchNumber(0)),
        }
    }

    /// Its process was started.
    pub(super) fn open(&mut self) {
        (self.unheard, self.thrown_away_new) = (Some(self.last), 0);
    }

    pub(super) fn first_kept(&self) -> BatchNumber {
        self.batches.first_key_value().map_or(self.last.next(), |(first, _)| *first)
    }

    pub(super) fn read(&self, number: BatchNumber) -> Option<Batch> {
        self.batches.get(&number).copied()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.values()
    }

    pub(super) fn introduction(&self, proxy: usize) -> Introduction {
        Introduction {
            ledger: self.id,
            member: format!("proxy-{proxy}"),
            given_up: BatchNumber(self.first_kept().0 - 1),
            thrown_away: self.thrown_away_clicks,
        }
    }

    pub(super) fn commit(&mut self, id: BatchId, clicks: u64, dropped: u64) -> Gone {
        let mut gone = Gone::default();
        self.make_room(1, &mut gone);
        self.last = self.last.next();
        self.batches.insert(self.last, Batch { id, number: self.last, clicks, dropped });
        self.released_synced = self.released;
        gone
    }

    pub(super) fn release(&mut self, upto: BatchNumber) -> Gone {
        let mut gone = Gone::default();
        self.released = self.released.max(upto.min(self.last));
        self.make_room(0, &mut gone);
        if !gone.forgotten.is_empty() {
            self.released_synced = self.released;
        }
        gone
    }

    /// As [`clicklog::Ledger::is_old_copy`].
    pub(super) fn is_old_copy(&self, counted: BatchNumber) -> bool {
        let known = self.unheard.map_or(self.last, |opened| opened.max(BatchNumber(self.first_kept().0 - 1)));
        counted > known
    }

    /// As [`clicklog::Ledger::take_back`].
    pub(super) fn take_back(&mut self, upto: BatchNumber) -> BatchNumber {
        (self.unheard, self.thrown_away_new) = (None, 0);
        let first = self.first_kept();
        if upto < self.released {
            self.released = upto.max(BatchNumber(first.0 - 1));
            self.released_synced = self.released;
        }
        first.max(upto.next())
    }

    /// As [`clicklog::Ledger::begin_anew`], but may take along what it was opened with.
    pub(super) fn begin_anew(&mut self, id: LedgerId, with_all: bool) -> Gone {
        let mut gone = Gone::default();
        let opened = if with_all { BatchNumber(0) } else { self.unheard.unwrap_or(self.last) };
        let mut next = Ledger::new(id, self.unreleased_max, self.keep);
        next.last = BatchNumber(self.last.0 - opened.0);
        let before_new = opened.max(BatchNumber(self.first_kept().0 - 1));
        next.released = BatchNumber(before_new.0 - opened.0);
        next.released_synced = next.released;
        next.unheard = None;
        for (number, batch) in std::mem::take(&mut self.batches) {
            if number > opened {
                let number = BatchNumber(number.0 - opened.0);
                next.batches.insert(number, Batch { number, ..batch });
            } else if self.unheard.is_none() && number > self.released {
                next.thrown_away_clicks += batch.clicks;
                gone.thrown_away.push(batch);
            } else {
                gone.forgotten.push(batch);
            }
        }
        next.thrown_away_clicks += self.thrown_away_new;
        *self = next;
        gone
    }

    pub(super) fn lose_power(&mut self) {
        self.released = self.released_synced;
    }

    fn make_room(&mut self, wanted: u64, gone: &mut Gone) {
        loop {
            let unreleased = self.last.0 - self.released.0;
            let drops = unreleased + wanted > self.unreleased_max && self.released < self.last;
            let first = self.first_kept();
            let kept = (self.released.0 + 1).saturating_sub(first.0);
            if !drops && kept <= self.keep {
                return;
            }
            let Some(batch) = self.batches.remove(&first) else { return };
            if batch.number > self.released {
                self.thrown_away_clicks += batch.clicks;
                if self.unheard.is_some_and(|opened| batch.number > opened) {
                    self.thrown_away_new += batch.clicks;
                }
                self.released = batch.number;
                gone.thrown_away.push(batch);
            } else {
                gone.forgotten.push(batch);
            }
        }
    }
}
