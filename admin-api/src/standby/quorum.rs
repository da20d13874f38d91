//! How many sync members have to accept a new epoch before it may begin. Pure.
//!
//! The old writer acknowledged a change when m of its S sync members had fsynced it. Any S − m + 1 of them include one that has it, and once
//! they have accepted a higher epoch at most m − 1 are left to the old writer, which is too few to acknowledge anything more.

/// What is known when an operator asks for a promotion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// Names of the active sync members, as the log has them.
    pub members: Vec<String>,
    /// How many of them the writer waits for.
    pub min_sync_replicas: usize,
    /// The members that answer, or have accepted: this standby first.
    pub present: Vec<String>,
    /// Whether the old writer itself answers, or has accepted: then its log is the longest there is.
    pub writer_present: bool,
}

/// Why not enough is known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooFew {
    /// The writer acknowledged without waiting for anybody.
    #[error(
        "the writer does not answer, and it waited for no sync member (min_sync_replicas = 0): whatever it acknowledged after record \
         {head_seq} is lost by this, and proxies that have applied such records have to be made anew"
    )]
    NoneWaitedFor {
        /// The end of our log.
        head_seq: u64,
    },
    /// Some members that may have more do not answer.
    #[error(
        "{} of {} sync members answer and {needed} have to: changes that were acknowledged with the others alone ({}) may be missing from \
         the log, which ends at record {head_seq}", present.len(), present.len() + missing.len(), missing.join(", ")
    )]
    Members {
        /// How many have to.
        needed: usize,
        /// Who does.
        present: Vec<String>,
        /// Who does not.
        missing: Vec<String>,
        /// The end of the longest log found.
        head_seq: u64,
    },
}

impl Poll {
    /// Says whether every acknowledged change is in one of the logs that are present.
    ///
    /// # Errors
    /// What may be missing. `head_seq` is the end of the longest log found.
    pub fn is_enough(&self, head_seq: u64) -> Result<(), TooFew> {
        if self.min_sync_replicas == 0 {
            if self.writer_present {
                return Ok(());
            }
            return Err(TooFew::NoneWaitedFor { head_seq });
        }
        let is_present = |name: &&String| self.present.contains(name);
        let (present, missing): (Vec<_>, Vec<_>) = self.members.iter().partition(is_present);
        let needed = match self.writer_present {
            // Its log is the longest there is, unless a higher epoch was begun without it: any m members include one that would know.
            true => self.min_sync_replicas,
            false => (self.members.len() + 1).saturating_sub(self.min_sync_replicas).max(1),
        };
        if present.len() >= needed {
            return Ok(());
        }
        let names = |list: Vec<&String>| list.into_iter().cloned().collect();
        Err(TooFew::Members { needed, present: names(present), missing: names(missing), head_seq })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn poll(members: usize, min_sync_replicas: usize, present: usize) -> Poll {
        let names = |count| (0..count).map(|n| format!("standby-{n}")).collect();
        Poll { members: names(members), min_sync_replicas, present: names(present), writer_present: false }
    }

    #[test]
    fn any_set_that_is_enough_shares_a_member_with_every_set_that_acknowledged() {
        for members in 1usize..6 {
            for waited_for in 1..=members {
                for acknowledged in 0u32..1 << members {
                    if acknowledged.count_ones() as usize != waited_for {
                        continue;
                    }
                    for asked in 0u32..1 << members {
                        let names = (0..members).filter(|n| asked >> n & 1 == 1);
                        let present = names.map(|n| format!("standby-{n}")).collect();
                        let poll = Poll { present, ..poll(members, waited_for, 0) };
                        assert!(
                            poll.is_enough(1).is_err() || asked & acknowledged != 0,
                            "{members} members, {acknowledged:b} acknowledged, {asked:b} asked"
                        );
                    }
                }
                assert!(poll(members, waited_for, members).is_enough(1).is_ok());
            }
        }
    }

    #[test]
    fn without_sync_replicas_only_the_writer_itself_is_enough() {
        let poll = poll(1, 0, 1);
        assert_eq!(poll.is_enough(7), Err(TooFew::NoneWaitedFor { head_seq: 7 }));
        assert_eq!(Poll { writer_present: true, ..poll }.is_enough(7), Ok(()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = poll(2, 1, 1).is_enough(9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of 2 sync members answer and 2 have to: changes that were acknowledged with the others alone (standby-1) may be missing \
             from the log, which ends at record 9"
        );
    }

    #[test]
    fn an_epoch_begun_without_the_writer_is_known_to_any_who_are_enough_with_it() {
        for members in 1usize..6 {
            for waited_for in 1..=members {
                for present in 0..=members {
                    let with_writer = Poll { writer_present: true, ..poll(members, waited_for, present) };
                    // Any `members − waited_for + 1` of them may have begun it.
                    let shares_one = present + (members + 1 - waited_for) > members;
                    assert_eq!(
                        with_writer.is_enough(1).is_ok(),
                        shares_one,
                        "{members} {waited_for} {present}"
                    );
                }
            }
        }
    }

    #[test]
    fn strangers_do_not_count() {
        let poll = Poll { present: vec!["stranger".into()], ..poll(1, 1, 0) };
        assert!(poll.is_enough(1).is_err());
    }
}
