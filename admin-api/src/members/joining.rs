//! When a sync member begins to count towards `min_sync_replicas`, and when one may stop. Pure.
//!
//! A promotion asks S − m + 1 of the S sync members that its own log knows of; that includes one that has every acknowledged change, as long as
//! nobody else confirmed any. So a new sync member counts in two steps. It *joins*: it follows and has to be asked, and counts for nothing. When
//! min(m, S) of the S others that count have fsynced the record of that, it becomes active. Whoever knows of no more than the S asks S − m + 1
//! of them, which include one that has the record; its log is adopted, and the promotion finds that it has to ask the new member too
//! (`standby::promote` counts again after adopting).
//!
//! Taking a member away needs no second step: any m of the fewer are m of the more. But at least m have to stay, or else nobody could confirm
//! a change, and the next one to be added would find too few to know of it.

use std::collections::BTreeMap;

use linklog::entity::{Member, MemberRole, MemberState};

use super::{MemberTable, MemberVersions};

/// The format level that knows of joining members. At a lower one a member counts at once, as it always did there.
const FORMAT_LEVEL_MIN: u8 = 2;

/// Says whether a member's confirmations count towards `min_sync_replicas`.
pub fn counts(member: &Member) -> bool {
    member.role == MemberRole::Sync && member.state == MemberState::Active
}

/// Says whether a member is about to count.
pub fn is_joining(member: &Member) -> bool {
    member.role == MemberRole::Sync && member.state == MemberState::Joining
}

/// Returns the state in which the member `name`, added or activated again, begins: joining if there are others that count, or soon will, and
/// changes wait for any.
pub fn state_to_begin_in(
    members: &MemberTable,
    name: &str,
    role: MemberRole,
    min_sync_replicas: usize,
    format_level: u8,
) -> MemberState {
    let joins = role == MemberRole::Sync
        && min_sync_replicas > 0
        && format_level >= FORMAT_LEVEL_MIN
        && members.iter().any(|(other, member)| other != name && (counts(member) || is_joining(member)));
    if joins { MemberState::Joining } else { MemberState::Active }
}

/// Too few sync members would be left to confirm a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{left} active sync members would be left and min_sync_replicas is {min_sync_replicas}: no change could be acknowledged. Add another \
     standby first and wait until `signpost-admin proxy list` shows it as active, or lower min_sync_replicas; `proxy forget` is for a machine \
     that is gone for good"
)]
pub struct TooFewLeft {
    /// How many would be left.
    pub left: usize,
    /// How many have to confirm a change.
    pub min_sync_replicas: usize,
}

/// Says whether the member `name` may be drained.
///
/// # Errors
/// It counts, and too few of the others do.
pub fn may_drain(members: &MemberTable, name: &str, min_sync_replicas: usize) -> Result<(), TooFewLeft> {
    let left = members.iter().filter(|(other, member)| *other != name && counts(member)).count();
    match members.get(name).is_some_and(counts) && left < min_sync_replicas {
        true => Err(TooFewLeft { left, min_sync_replicas }),
        false => Ok(()),
    }
}

/// The members that are joining, as their writer has seen them.
#[derive(Default)]
pub struct Joiners {
    /// By name: the version of the record, and the end of a log that has it.
    since: BTreeMap<String, (u64, u64)>,
}

impl Joiners {
    /// Takes note of who is joining. `head_seq`: the end of the log, read after `members` were.
    pub fn note(&mut self, members: &MemberVersions, head_seq: u64) {
        self.since.retain(|name, _| members.get(name).is_some_and(|(member, _)| is_joining(member)));
        for (name, (_, version)) in members.iter().filter(|(_, (member, _))| is_joining(member)) {
            let since = self.since.entry(name.clone()).or_insert((*version, head_seq));
            if since.0 != *version {
                *since = (*version, head_seq);
            }
        }
    }

    /// Returns who may count from now on, with the version of the record that says it is joining. One at a time: it is one of those that have
    /// to know of the next. `synced_seq`: what a member has fsynced of this log.
    pub fn ready(
        &self,
        members: &MemberVersions,
        min_sync_replicas: usize,
        synced_seq: impl Fn(&str) -> u64,
    ) -> Option<(String, u64)> {
        let is_ready = |name: &str, since: u64| {
            let others = members.iter().filter(|(other, (member, _))| *other != name && counts(member));
            let seqs: Vec<u64> = others.map(|(other, _)| synced_seq(other)).collect();
            let knowing = seqs.iter().filter(|seq| **seq >= since).count();
            knowing >= min_sync_replicas.min(seqs.len())
        };
        let ready = self.since.iter().find(|(name, (_, since))| is_ready(name, *since));
        ready.map(|(name, (version, _))| (name.clone(), *version))
    }
}

#[cfg(test)]
mod tests;
