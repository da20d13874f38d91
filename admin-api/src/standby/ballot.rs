//! What a promotion makes of the answers it gets. Pure.
//!
//! `super::promote` asks and does; here is decided which epoch is tried, whether it may begin, and whose log it begins with.

use linklog::entity::Member;
use linklog::{Epoch, Head};

use super::quorum::{Poll, WriterAnswer};
use crate::members::{MemberTable, joining};
use crate::succession::Standing;

/// A writer that accepted an epoch for a promotion of this process: its log is final, and it accepts no other epoch unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Yielded {
    /// The end of its log.
    pub head: Head,
    /// The epoch.
    pub to: Epoch,
}

/// Returns the writer of the newest epoch known, if it is among those that have accepted `tried` for us just now. To be kept until there is
/// another, so that a promotion that was not ended can be run again.
pub fn yielded<'a>(tried: Epoch, accepted: impl Iterator<Item = &'a Standing>) -> Option<Yielded> {
    let writers = accepted.filter(|standing| standing.accepted && standing.writes);
    let newest = writers.max_by_key(|standing| standing.head.position)?;
    Some(Yielded { head: newest.head, to: tried })
}

/// Returns who has to be asked for what: everything [`Poll::is_enough`] decides on. `own` is this standby's standing, `answers` those of the
/// others that answer, or have accepted; `ours`: the writer that had yielded to this process before they were asked.
pub fn poll<'a>(
    members: &MemberTable,
    min_sync_replicas: usize,
    own: &'a Standing,
    answers: impl Iterator<Item = &'a Standing> + Clone,
    ours: Option<Yielded>,
) -> Poll {
    let standings = || std::iter::once(own).chain(answers.clone());
    let newest = standings().map(|standing| standing.head.position.epoch).max();
    // One of an earlier epoch was replaced before, and knows nothing of what came after.
    let writers =
        answers.clone().filter(|standing| standing.writes && Some(standing.head.position.epoch) == newest);
    let replaced_by = |standing: &Standing| {
        let by = standing.accepted_before?;
        let is_ours = ours == Some(Yielded { head: standing.head, to: by });
        (by > standing.head.position.epoch && !is_ours).then_some(by)
    };
    let writer = match writers.clone().map(replaced_by).min() {
        None => WriterAnswer::Silent,
        Some(None) => WriterAnswer::Present,
        Some(Some(by)) => WriterAnswer::Replaced { by },
    };
    let names = |is: fn(&Member) -> bool| {
        members.iter().filter(|(_, member)| is(member)).map(|(name, _)| name.clone()).collect()
    };
    Poll {
        members: names(joining::counts),
        joining: names(joining::is_joining),
        min_sync_replicas,
        present: standings().map(|standing| standing.member.clone()).collect(),
        writer,
    }
}

/// Returns the end of the longest log among them.
pub fn longest_seq<'a>(standings: impl Iterator<Item = &'a Standing>) -> u64 {
    standings.map(|standing| standing.head.position.seq.0).max().unwrap_or_default()
}

/// Returns the epoch to try: after all that are known.
///
/// # Errors
/// There is none.
pub fn first_try<'a>(own: Epoch, answers: impl Iterator<Item = &'a Standing>) -> Result<Epoch, String> {
    let known = answers.map(|standing| standing.highest_epoch).max();
    after(known.unwrap_or_default().max(own))
}

/// Returns the epoch by which the one tried was outbid, if it was: `refused` are those that did not accept it.
pub fn outbid<'a>(tried: Epoch, refused: impl Iterator<Item = &'a Standing>) -> Option<Epoch> {
    refused.map(|standing| standing.highest_epoch).max().filter(|higher| *higher >= tried)
}

/// Returns whose log is adopted before the epoch begins; `None`: the own one is the longest.
pub fn to_adopt<T>(own: Head, accepted: &[T], of: impl Fn(&T) -> Head) -> Option<&T> {
    let longest = accepted.iter().max_by_key(|answer| of(answer).position);
    longest.filter(|longest| of(longest).position > own.position)
}

/// Returns the epoch after all that are known.
///
/// # Errors
/// There is none.
pub fn after(epoch: Epoch) -> Result<Epoch, String> {
    let next = epoch.0.checked_add(1).map(Epoch);
    next.ok_or_else(|| "somebody knows the highest epoch there can be, which no promotion makes".to_owned())
}

#[cfg(test)]
mod tests {
    use linklog::{Digest, Position};

    use super::*;

    fn head(epoch: u32, seq: u64) -> Head {
        Head { position: Position::new(epoch, seq), digest: Digest::from_bytes([seq as u8; 16]) }
    }

    fn standby() -> Standing {
        Standing {
            accepted: false,
            member: "standby-0".to_owned(),
            writes: false,
            highest_epoch: Epoch(1),
            accepted_before: Some(Epoch(1)),
            head: head(1, 5),
        }
    }

    fn writer(accepted_before: Option<u32>) -> Standing {
        let accepted_before = accepted_before.map(Epoch);
        Standing { member: String::new(), writes: true, accepted_before, head: head(1, 7), ..standby() }
    }

    fn answer(writer: &Standing, ours: Option<Yielded>) -> WriterAnswer {
        poll(&MemberTable::new(), 0, &standby(), std::iter::once(writer), ours).writer
    }

    #[test]
    fn a_writer_counts_unless_it_accepted_an_epoch_for_somebody_else_before() {
        assert_eq!(answer(&writer(Some(1)), None), WriterAnswer::Present);
        assert_eq!(answer(&writer(None), None), WriterAnswer::Present, "it does not say");
        let replaced = WriterAnswer::Replaced { by: Epoch(3) };
        assert_eq!(answer(&writer(Some(3)), None), replaced);
        let ours = Yielded { head: head(1, 7), to: Epoch(3) };
        assert_eq!(answer(&writer(Some(3)), Some(ours)), WriterAnswer::Present);
        // It has accepted another one since, or is another writer.
        assert_eq!(answer(&writer(Some(3)), Some(Yielded { to: Epoch(2), ..ours })), replaced);
        assert_eq!(answer(&writer(Some(3)), Some(Yielded { head: head(1, 6), ..ours })), replaced);
    }

    #[test]
    fn a_writer_yields_only_by_its_own_word() {
        let yes = Standing { accepted: true, ..writer(Some(1)) };
        let member = Standing { accepted: true, ..standby() };
        let ours = Yielded { head: head(1, 7), to: Epoch(2) };
        assert_eq!(yielded(Epoch(2), [&member, &yes].into_iter()), Some(ours));
        assert_eq!(yielded(Epoch(2), [&member, &writer(Some(2))].into_iter()), None);
    }
}
