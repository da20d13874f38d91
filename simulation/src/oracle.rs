//! What was promised, and whether it is kept.

use std::collections::BTreeMap;

use linklog::journal::JournalRead;
use linklog::{Digest, Epoch, Head, Position};

use crate::archive::Archive;

/// Everything that anybody was told.
#[derive(Default)]
pub struct Oracle {
    /// Commands by where their record stands, as their clients were told.
    acknowledged: BTreeMap<u64, (Position, Digest)>,
    /// The chain's digest at every position that anybody has shown.
    digests: BTreeMap<Position, Digest>,
    /// Which command was told to have made a link under a code that is used once.
    codes: BTreeMap<u64, u64>,
    /// Which record was acknowledged at a place.
    places: BTreeMap<u64, (Position, Digest)>,
    /// Whether two promotions that see nothing of each other may begin the same epoch.
    may_fork: bool,
    /// How often an epoch was begun by a promotion.
    begun: BTreeMap<Epoch, u32>,
    /// What standbys have confirmed to writers, the last of it, and the highest epoch each has accepted.
    standbys: BTreeMap<String, (Head, Epoch)>,
    /// Every record there ever was.
    pub archive: Archive,
}

impl Oracle {
    /// Nothing was promised yet. With `min_sync_replicas` m above half of the S sync members, two sets of S − m + 1 of them can have no member in
    /// common: each of them may begin the same epoch, and two histories bear its number. That is accepted: whichever of the two writers finds m
    /// members that follow it has them diverge from the other one, so at most one can acknowledge, and a later promotion asks one that has it.
    /// What is checked of the two is that nobody acknowledged in both, and that what was acknowledged is there in every later epoch.
    pub fn new(min_sync_replicas: usize) -> Oracle {
        // With m = 1 every set is all of them, and no plan has enough members for another m to be half of them or less at all times.
        Oracle { may_fork: min_sync_replicas > 1, ..Oracle::default() }
    }

    /// Returns how many commands were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// A client is told that its command took effect at `head`; `code`: the code that it made a link under, if it is one that is used once.
    ///
    /// # Errors
    /// What contradicts what was told before.
    pub fn acknowledge(&mut self, command: u64, head: Head, code: Option<u64>) -> Result<(), String> {
        self.saw(head)?;
        let position = head.position;
        if let Some((before, _)) = self.acknowledged.insert(command, (position, head.digest))
            && before != position
        {
            return Err(format!("command {command} took effect at {before} and again at {position}"));
        }
        if let Some((before, digest)) = self.places.insert(position.seq.0, (position, head.digest))
            && (before, digest) != (position, head.digest)
        {
            return Err(format!("two writers have acknowledged records: {before} and {position}"));
        }
        if let Some(code) = code
            && let Some(other) = self.codes.insert(code, command)
            && other != command
        {
            return Err(format!("code {code} was given to commands {other} and {command}"));
        }
        Ok(())
    }

    /// Somebody stands at `head`.
    ///
    /// # Errors
    /// Somebody else stood there with another history.
    pub fn saw(&mut self, head: Head) -> Result<(), String> {
        if head.position.seq.0 == 0 {
            return Ok(());
        }
        let epoch = head.position.epoch;
        let before = *self.digests.entry(head.position).or_insert(head.digest);
        if before == head.digest {
            return Ok(());
        }
        match self.may_fork && self.begun.get(&epoch).is_some_and(|times| *times > 1) {
            true => Ok(()),
            false => Err(format!("two histories end at {}: {before} and {}", head.position, head.digest)),
        }
    }

    /// A promotion begins `epoch`.
    pub fn begins(&mut self, epoch: Epoch) {
        *self.begun.entry(epoch).or_default() += 1;
    }

    /// A writer begins, or goes on, with this journal: everything acknowledged is in it, or was before it was trimmed.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_journal(&self, who: &str, journal: &dyn JournalRead) -> Result<(), String> {
        let head = journal.head();
        let history = self.places_of(head)?;
        for (command, acknowledged) in &self.acknowledged {
            let (position, digest) = *acknowledged;
            let kept = position.seq >= journal.first_retained();
            let found = match kept {
                true => journal.digest_at(position).map_err(|error| error.to_string())?,
                false => Some(digest),
            };
            if found != Some(digest) || history.get(&position.seq.0) != Some(acknowledged) {
                return Err(format!(
                    "command {command} was acknowledged at {position}, and the log of {who}, which ends at {}, does not have it",
                    head.position
                ));
            }
        }
        Ok(())
    }

    /// All places of a history, by their numbers.
    fn places_of(&self, head: Head) -> Result<BTreeMap<u64, (Position, Digest)>, String> {
        let history = self.archive.history(head)?;
        Ok(history.into_iter().map(|(head, _)| (head.position.seq.0, (head.position, head.digest))).collect())
    }

    /// A standby confirms all records up to `head` to its writer, or has accepted an epoch.
    pub fn promises(&mut self, member: &str, head: Head, accepted: Epoch) {
        let (confirmed, highest) = self.standbys.entry(member.to_owned()).or_default();
        if head.position > confirmed.position {
            *confirmed = head;
        }
        *highest = (*highest).max(accepted);
    }

    /// A standby begins with a log that ends at `head` and has accepted an epoch: that is no less than it had promised. `is_another`: the log was
    /// fetched from somebody.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_promises(
        &self,
        member: &str,
        head: Head,
        accepted: Epoch,
        is_another: bool,
    ) -> Result<(), String> {
        let Some((confirmed, highest)) = self.standbys.get(member) else { return Ok(()) };
        if accepted < *highest {
            return Err(format!(
                "{member} had accepted epoch {highest} and has lost that: it knows {accepted}"
            ));
        }
        if !is_another && head.position >= confirmed.position {
            return Ok(());
        }
        let history = self.places_of(head)?;
        if confirmed.position.seq.0 == 0
            || history.get(&confirmed.position.seq.0) == Some(&(confirmed.position, confirmed.digest))
        {
            return Ok(());
        }
        // Of a history that another epoch has left behind only what was acknowledged has to be there.
        let before = self.places_of(*confirmed)?;
        let missing = self.acknowledged.values().find(|place| {
            let number = &place.0.seq.0;
            before.get(number) == Some(place) && history.get(number) != Some(place)
        });
        match missing {
            Some((position, _)) => Err(format!(
                "{member} had confirmed {}, and its log, which ends at {}, does not have it: acknowledged record {position} is missing",
                confirmed.position, head.position
            )),
            None if head.position < confirmed.position => Err(format!(
                "{member} had confirmed {}, and its log has lost that: it ends at {}",
                confirmed.position, head.position
            )),
            None => Ok(()),
        }
    }
}
