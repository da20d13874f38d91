//! How many sync members have to accept a new epoch before it may begin. Pure.
//!
//! The old writer acknowledged a change when m of its S sync members had fsynced it. Any S − m + 1 of them include one that has it, and once
//! they have accepted a higher epoch at most m − 1 are left to the old writer, which is too few to acknowledge anything more.
//!
//! A sync member that is joining may count by now on the writer, so without the writer it is one of the S. Beside the writer it is not one of
//! the m: others that know nothing of it may have begun an epoch without it ([`crate::members::joining`]).

use linklog::Epoch;

/// What the old writer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterAnswer {
    /// Nothing.
    Silent,
    /// It answers, or has accepted: its log is the longest there is.
    Present,
    /// It answers, and has accepted an epoch before, for somebody else as far as is known.
    Replaced {
        /// Which.
        by: Epoch,
    },
}

/// What is known when an operator asks for a promotion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Poll {
    /// Names of the active sync members, as the log has them.
    pub members: Vec<String>,
    /// Names of those that are joining.
    pub joining: Vec<String>,
    /// How many of them the writer waits for.
    pub min_sync_replicas: usize,
    /// The members that answer, or have accepted: this standby first.
    pub present: Vec<String>,
    /// What the old writer itself says.
    pub writer: WriterAnswer,
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
    /// The writer waited for nobody, and was replaced.
    #[error(
        "the writer that answers was replaced by epoch {by} already, and it waited for no sync member (min_sync_replicas = 0): if a server was \
         promoted to that epoch, whatever it acknowledged is lost by this. Promote that one, or have it among those that are asked (`of`, \
         `peers`); if none was, because a promotion was begun and not ended, nothing after record {head_seq} is lost"
    )]
    WriterReplaced {
        /// The epoch.
        by: Epoch,
        /// The end of the longest log found.
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
            return match self.writer {
                WriterAnswer::Present => Ok(()),
                WriterAnswer::Replaced { by } => Err(TooFew::WriterReplaced { by, head_seq }),
                WriterAnswer::Silent => Err(TooFew::NoneWaitedFor { head_seq }),
            };
        }
        let (asked, needed): (Vec<&String>, usize) = match self.writer {
            WriterAnswer::Silent => {
                let asked: Vec<_> = self.members.iter().chain(&self.joining).collect();
                let needed = (asked.len() + 1).saturating_sub(self.min_sync_replicas).max(1);
                (asked, needed)
            }
            // Its log is the longest there is, unless a higher epoch was begun without it: any m members include one that would know.
            WriterAnswer::Present | WriterAnswer::Replaced { .. } => {
                (self.members.iter().collect(), self.min_sync_replicas)
            }
        };
        let (present, missing): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|name| self.present.contains(name));
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
        Poll {
            members: names(members),
            joining: Vec::new(),
            min_sync_replicas,
            present: names(present),
            writer: WriterAnswer::Silent,
        }
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
        assert_eq!(Poll { writer: WriterAnswer::Present, ..poll.clone() }.is_enough(7), Ok(()));
    }

    #[test]
    fn a_writer_that_waited_for_nobody_and_was_replaced_is_not_enough() {
        let replaced = Poll { writer: WriterAnswer::Replaced { by: Epoch(2) }, ..poll(1, 0, 1) };
        assert_eq!(replaced.is_enough(7), Err(TooFew::WriterReplaced { by: Epoch(2), head_seq: 7 }));
        let waited = Poll { min_sync_replicas: 1, ..replaced };
        assert_eq!(waited.is_enough(7), Ok(()), "the member would know");
    }

    #[test]
    fn a_member_that_is_joining_is_asked_without_the_writer_and_not_enough_beside_it() {
        let joining = Poll { joining: vec!["new".into()], ..poll(1, 1, 1) };
        assert!(joining.is_enough(7).is_err());
        let both = Poll { present: vec!["standby-0".into(), "new".into()], ..joining.clone() };
        assert_eq!(both.is_enough(7), Ok(()));
        let with_writer = Poll { writer: WriterAnswer::Present, ..joining };
        assert_eq!(with_writer.is_enough(7), Ok(()));
        let new_alone = Poll { present: vec!["new".into()], ..with_writer };
        assert!(new_alone.is_enough(7).is_err());
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
                    let with_writer =
                        Poll { writer: WriterAnswer::Present, ..poll(members, waited_for, present) };
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
