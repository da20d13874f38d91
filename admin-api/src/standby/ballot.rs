//! What a promotion makes of the answers it gets. Pure.
//!
//! `super::promote` asks and does; here is decided which epoch is tried, whether it may begin, and whose log it begins with.

use linklog::entity::{Member, MemberRole, MemberState};
use linklog::{Epoch, Head};

use super::quorum::Poll;
use crate::members::MemberTable;
use crate::succession::Standing;

/// Returns who has to be asked for what: everything [`Poll::is_enough`] decides on. `own` is this standby's standing, `answers` those of the
/// others that answer, or have accepted.
pub fn poll<'a>(
    members: &MemberTable,
    min_sync_replicas: usize,
    own: &'a Standing,
    answers: impl Iterator<Item = &'a Standing> + Clone,
) -> Poll {
    let is_sync = |member: &Member| member.role == MemberRole::Sync && member.state == MemberState::Active;
    let standings = || std::iter::once(own).chain(answers.clone());
    let newest = standings().map(|standing| standing.head.position.epoch).max();
    Poll {
        members: members.iter().filter(|(_, member)| is_sync(member)).map(|(name, _)| name.clone()).collect(),
        min_sync_replicas,
        present: standings().map(|standing| standing.member.clone()).collect(),
        // One of an earlier epoch was replaced before, and knows nothing of what came after.
        writer_present: answers
            .clone()
            .any(|standing| standing.writes && Some(standing.head.position.epoch) == newest),
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
