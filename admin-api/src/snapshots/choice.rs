//! Which of the snapshots that are kept will do, and who may have what is in one. Pure but for a look into the journal.

use linklog::Seq;
use linklog::entity::{Member, MemberRole, MemberState};
use linklog::journal::{JournalRead, ReadError};
use linklog::snapshot::Manifest;
use linklog::store::Contents;

/// What a follower asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// What it may hold.
    pub contents: Contents,
    /// The record it must have.
    pub at_least: Seq,
    /// The id of the one it has begun to read, if that is to be preferred.
    pub resume: Option<&'a [u8]>,
}

/// Returns the place of a snapshot from whose head a follower can go on with what the journal keeps: the one it has begun to read, or the last of
/// `kept` that will do. One made before the epoch of the journal's head began will not: a standby that has accepted the epoch refuses it, and
/// would be offered it again and again.
pub fn choose<'a>(
    kept: impl DoubleEndedIterator<Item = (&'a [u8], &'a Manifest)> + ExactSizeIterator + Clone,
    wanted: Wanted<'_>,
    journal: &dyn JournalRead,
) -> Option<usize> {
    let (first_retained, epoch) = (journal.first_retained(), journal.head().position.epoch);
    let mut fitting = kept.enumerate().filter(|(_, (_, manifest))| {
        let head = manifest.head.position.seq;
        manifest.contents == wanted.contents
            && manifest.highest_epoch >= epoch
            && head >= wanted.at_least
            && head.next() >= first_retained
    });
    let resumed = wanted.resume.and_then(|resume| fitting.clone().find(|(_, (id, _))| *id == resume));
    resumed.or_else(|| fitting.next_back()).map(|(place, _)| place)
}

/// Says whether a follower may have a snapshot that ends at record `head`, of a log of which enough sync members have `confirmed`. As on the feed,
/// members that would not survive a loss are shown nothing that a promotion may lose.
pub fn may_show(contents: Contents, head: Seq, confirmed: u64) -> bool {
    contents != Contents::Serve || head.0 <= confirmed
}

/// Says whether all that a standby has in its log is confirmed, given how many sync members have to have a record and what its own log says of it.
/// Of one record it knows that it has it itself; who else does only the writer knows.
pub fn is_confirmed_here(min_sync_replicas: usize, own: Option<&Member>) -> bool {
    let counts = own.is_some_and(|own| own.role == MemberRole::Sync && own.state == MemberState::Active);
    min_sync_replicas == 0 || min_sync_replicas == 1 && counts
}

/// Says whether a snapshot that an earlier process has left is of this log.
///
/// # Errors
/// As reading the journal.
pub fn is_ours(manifest: &Manifest, fleet: [u8; 16], journal: &dyn JournalRead) -> Result<bool, ReadError> {
    let head = manifest.head;
    Ok(manifest.fleet == fleet && journal.digest_at(head.position)? == Some(head.digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_shown_what_enough_sync_members_have_and_sync_members_everything() {
        let shown = |contents| [4, 5, 6].map(|head| may_show(contents, Seq(head), 5));
        assert_eq!(shown(Contents::Serve), [true, true, false]);
        assert_eq!(shown(Contents::Full), [true, true, true]);
    }

    #[test]
    fn a_standby_knows_what_is_confirmed_only_where_its_own_copy_is_enough() {
        let member = |state| Member {
            role: MemberRole::Sync,
            state,
            credential: None,
            created_at_ms: 1,
            announced_level: None,
        };
        let (own, joining) = (member(MemberState::Active), member(MemberState::Joining));
        assert_eq!([0, 1, 2].map(|min| is_confirmed_here(min, Some(&own))), [true, true, false]);
        assert_eq!([0, 1, 2].map(|min| is_confirmed_here(min, Some(&joining))), [true, false, false]);
        assert_eq!([0, 1, 2].map(|min| is_confirmed_here(min, None)), [true, false, false]);
    }
}
