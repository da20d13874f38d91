//! What was promised, and whether it is kept.

use std::collections::BTreeMap;

use linklog::journal::JournalRead;
use linklog::{Digest, Head, Position};

/// Everything that anybody was told.
#[derive(Default)]
pub struct Oracle {
    /// Commands by where their record stands, as their clients were told.
    acknowledged: BTreeMap<u64, (Position, Digest)>,
    /// The chain's digest at every position that anybody has shown.
    digests: BTreeMap<Position, Digest>,
    /// Which command was told to have made a link under a code that is used once.
    codes: BTreeMap<u64, u64>,
    /// Which epoch's record was acknowledged at a place.
    places: BTreeMap<u64, Position>,
}

impl Oracle {
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
        if let Some(before) = self.places.insert(position.seq.0, position)
            && before != position
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
        match self.digests.insert(head.position, head.digest) {
            Some(before) if before != head.digest => {
                Err(format!("two histories end at {}: {before} and {}", head.position, head.digest))
            }
            _ => Ok(()),
        }
    }

    /// A writer begins, or goes on, with this journal: everything acknowledged is in it.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_journal(&self, who: &str, journal: &dyn JournalRead) -> Result<(), String> {
        for (command, (position, digest)) in &self.acknowledged {
            let found = journal.digest_at(*position).map_err(|error| error.to_string())?;
            if found != Some(*digest) {
                let head = journal.head().position;
                return Err(format!(
                    "command {command} was acknowledged at {position}, and the log of {who}, which ends at {head}, does not have it"
                ));
            }
        }
        Ok(())
    }
}
