//! What has to be true in the end.

use std::collections::BTreeSet;

use super::ledger::BatchId;
use super::{Made, World};

impl World {
    /// In peace every batch is counted once, or known to be lost, and every click is in a batch, or known to be lost.
    pub(super) fn judge(&mut self) {
        if self.outcome.violation.is_some() {
            return;
        }
        let accounts = &self.writer.durable;
        self.outcome.counted = accounts.clicks;
        let times = |id: &BatchId| accounts.counted.get(id).copied().unwrap_or(0);
        let problem = if let Some((id, times)) = accounts.counted.iter().find(|(_, times)| **times > 1) {
            Some(format!("batch {id} is counted {times} times"))
        } else if let Some(id) = self.made.keys().find(|id| times(id) == 0 && !self.excused.contains(id)) {
            Some(format!("batch {id} is not counted"))
        } else if accounts.clicks > self.outcome.answered {
            Some(format!("{} clicks are counted of {}", accounts.clicks, self.outcome.answered))
        } else {
            let lost = |ids: &BTreeSet<BatchId>, of: fn(Made) -> u64| -> u64 {
                ids.iter().filter(|id| times(id) == 0).map(|id| of(self.made[id])).sum()
            };
            let told: u64 = accounts.ledgers.values().map(|account| account.dropped()).sum();
            // An old copy does not know what its successor had to throw away.
            let (thrown, missing) =
                (lost(&self.thrown_away, |made| made.clicks), self.outcome.answered - accounts.clicks);
            let excused = lost(&self.excused, |made| made.clicks + made.dropped);
            let unexplained = missing.saturating_sub(excused + self.without_power + told);
            if unexplained > 0 {
                Some(format!("{missing} clicks are missing, and nobody knows of {unexplained}"))
            } else if told < thrown && !self.was_restored && !self.faults.old_copies {
                Some(format!("{thrown} clicks were thrown away, and {told} are told of"))
            } else {
                None
            }
        };
        self.outcome.violation = problem;
    }
}
