//! Who asks to follow, and from where: everything that is decided before the first record is sent. Pure but for journal reads.

use linklog::entity::{Member, MemberRole, MemberState};
use linklog::journal::{JournalRead, ReadError};
use linklog::{Digest, Position, Seq};
use wire::feed::refusal::Reason;
use wire::feed::{Hello, Refusal};
use wire::identity::{PeerIdentity, Role};

use super::FeedSource;
use crate::members::NotAdmitted;

/// The smallest and largest window of unacknowledged bytes a follower gets, whatever it asks for.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=64 * 1024 * 1024;

/// A follower that was let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Follower {
    /// Its name.
    pub name: String,
    /// Whether its acknowledgements count as fsynced copies.
    pub is_sync: bool,
    /// Whether it is waited for.
    pub is_active: bool,
    /// Its certificate's fingerprint.
    credential: Option<[u8; 32]>,
    /// Where it stands.
    pub applied: Position,
    /// The highest level of the byte format it reads.
    pub format_level: u32,
    /// Whether it gets the managed parts.
    pub with_manage: bool,
    /// How many unacknowledged bytes it takes.
    pub window_bytes: u64,
}

impl Follower {
    /// Says whether a member's record is still the one this follower was let in with, as far as following goes.
    pub(super) fn is_still(&self, member: &Member) -> bool {
        member.state != MemberState::Forgotten
            && member.credential == self.credential
            && (member.role == MemberRole::Sync) == self.is_sync
    }
}

/// Returns the last record a follower may be sent, of a log that ends at `head` and of which enough sync members have `confirmed`. Members
/// that would not survive a loss are shown nothing that a promotion may lose: it must never have been served, or spent from.
pub fn shown(head: Position, confirmed: u64, is_sync: bool) -> Position {
    match is_sync {
        true => head,
        // The epoch may be an earlier one there; nobody looks at it.
        false => Position { seq: head.seq.min(Seq(confirmed)), ..head },
    }
}

/// Says whether a follower may confirm `applied`: nothing it was not sent, and nothing before what it has confirmed.
pub fn may_confirm(applied: Position, confirmed: Position, sent: Position) -> bool {
    confirmed <= applied && applied <= sent
}

/// What a writer makes of a follower that knows more than its own log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beyond {
    /// A sync member has accepted a higher epoch: this writer was replaced, for good.
    Replaced,
    /// A proxy says so, which need not be believed for longer than this process lives.
    Claimed,
    /// A sync member has records that this writer has lost.
    Behind,
}

/// Compares what a follower knows with the writer's own head; `None`: nothing is beyond it.
pub fn beyond(head: Position, highest_epoch: u32, applied: Position, role: MemberRole) -> Option<Beyond> {
    match role {
        MemberRole::Sync if highest_epoch > head.epoch.0 => Some(Beyond::Replaced),
        MemberRole::Read if highest_epoch > head.epoch.0 => Some(Beyond::Claimed),
        // Records of an earlier epoch were left behind when this one began, however many there are.
        MemberRole::Sync if applied.epoch == head.epoch && applied.seq > head.seq => Some(Beyond::Behind),
        _ => None,
    }
}

/// Builds a refusal.
pub(super) fn refuse(reason: Reason, detail: impl Into<String>) -> Refusal {
    Refusal { reason: reason as i32, detail: detail.into(), first_retained_seq: 0 }
}

/// Builds the refusal of a writer that another one has taken over from.
pub(super) fn refuse_replaced() -> Refusal {
    refuse(Reason::StaleWriter, "another writer has taken over from this one: follow that one")
}

/// Builds the refusal of a follower that does not read what is written.
pub(super) fn refuse_level(level: u8) -> Refusal {
    refuse(Reason::FormatLevel, format!("the log is written at format level {level}; upgrade this follower"))
}

/// Decides about a Hello.
pub(super) fn admit(
    source: &FeedSource,
    peer: Option<&PeerIdentity>,
    hello: &Hello,
) -> Result<Result<Follower, Refusal>, ReadError> {
    let member = match known_member(source, peer, hello) {
        Ok(member) => member,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let applied = hello.applied.map_or(Position::ZERO, |at| Position::new(at.epoch, at.seq));
    let level = source.commits.borrow().format_level;
    match beyond(source.journal.head().position, hello.highest_epoch, applied, member.role) {
        Some(Beyond::Replaced) => (source.on_higher_epoch)(hello.highest_epoch),
        Some(Beyond::Claimed) => (source.on_claimed_epoch)(hello.highest_epoch),
        Some(Beyond::Behind) => (source.on_behind)(&hello.member, applied),
        None => {}
    }
    if source.replaced.is_cancelled() {
        return Ok(Err(refuse_replaced()));
    }
    if let Some(restored) = source.restored.filter(|restored| restored.discards(applied)) {
        let detail = format!(
            "this log was restored to record {}, and record {applied} is none of it: begin with a snapshot",
            restored.to
        );
        // Not merely behind: a snapshot that ends before its own record must do.
        return Ok(Err(refuse(Reason::Diverged, detail)));
    }
    if let Some(refusal) = check_place(&source.journal, hello, applied, level)? {
        return Ok(Err(refusal));
    }
    Ok(Ok(Follower {
        name: hello.member.clone(),
        is_sync: member.role == MemberRole::Sync,
        is_active: member.state == MemberState::Active,
        credential: member.credential,
        applied,
        format_level: hello.format_level,
        with_manage: hello.with_manage,
        window_bytes: hello.window_bytes.clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end()),
    }))
}

fn known_member(source: &FeedSource, peer: Option<&PeerIdentity>, hello: &Hello) -> Result<Member, Refusal> {
    let member = match source.members.admit(source.fleet, peer, &hello.fleet_id, &hello.member) {
        Ok(member) => member,
        Err(NotAdmitted::WrongFleet(detail)) => return Err(refuse(Reason::WrongFleet, detail)),
        Err(NotAdmitted::Unknown(detail)) => return Err(refuse(Reason::UnknownMember, detail)),
    };
    let may_have_manage =
        member.role == MemberRole::Sync && peer.is_none_or(|peer| peer.role == Role::Writer);
    if hello.with_manage && !may_have_manage {
        let detail = format!("member {:?} has role read and may not have the managed parts", hello.member);
        return Err(refuse(Reason::UnknownMember, detail));
    }
    Ok(member)
}

/// Decides whether a follower at `applied` may follow a log that is written at `level`; `None`: it may.
///
/// # Errors
/// As reading the journal.
pub fn check_place(
    journal: &dyn JournalRead,
    hello: &Hello,
    applied: Position,
    level: u8,
) -> Result<Option<Refusal>, ReadError> {
    let head = journal.head().position;
    if hello.highest_epoch > head.epoch.0 {
        let detail = format!(
            "this follower knows epoch {}, this writer is at epoch {}",
            hello.highest_epoch, head.epoch
        );
        return Ok(Some(refuse(Reason::StaleWriter, detail)));
    }
    if hello.format_level < u32::from(level) {
        return Ok(Some(refuse_level(level)));
    }
    let digest = match (applied.seq.0, <[u8; 16]>::try_from(&*hello.digest)) {
        (0, _) => Digest::ZERO,
        (_, Ok(bytes)) => Digest::from_bytes(bytes),
        (_, Err(_)) => return Ok(Some(refuse(Reason::BadRequest, "the digest must have 16 bytes"))),
    };
    let first_retained = journal.first_retained();
    if applied.seq.next() < first_retained {
        let detail =
            format!("record {} is no longer kept, the first one is {first_retained}", applied.seq.next());
        let refusal = refuse(Reason::SnapshotRequired, detail);
        return Ok(Some(Refusal { first_retained_seq: first_retained.0, ..refusal }));
    }
    if applied.seq > head.seq && applied.epoch < head.epoch {
        let detail = format!(
            "the follower's history ends at record {applied}, which this writer's epoch {} left behind",
            head.epoch
        );
        return Ok(Some(refuse(Reason::Diverged, detail)));
    }
    if applied.seq > head.seq {
        let detail = format!(
            "the follower is at record {applied}, beyond this writer's head {head}: the writer has lost records that this follower has"
        );
        return Ok(Some(refuse(Reason::WriterBehind, detail)));
    }
    let ours = journal.digest_at(applied)?;
    Ok((ours != Some(digest)).then(|| {
        refuse(
            Reason::Diverged,
            format!("the follower's history up to record {applied} is not this writer's"),
        )
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::journal::{Journal, MemoryJournal};

    #[test]
    fn a_writer_that_took_over_goes_on_when_one_with_a_longer_log_of_an_earlier_epoch_comes_back() {
        let (ours, theirs) = (Position::new(2, 11), Position::new(1, 16));
        assert_eq!(beyond(ours, 2, theirs, MemberRole::Sync), None);
        assert_eq!(beyond(ours, 2, Position::new(2, 16), MemberRole::Sync), Some(Beyond::Behind));
        assert_eq!(beyond(ours, 3, theirs, MemberRole::Sync), Some(Beyond::Replaced));
        assert_eq!(beyond(ours, 3, theirs, MemberRole::Read), Some(Beyond::Claimed));

        let mut journal = MemoryJournal::default();
        journal.start_epoch(1, 0).unwrap();
        journal.start_epoch(1, 0).unwrap();
        let hello = Hello { format_level: 1, highest_epoch: 2, digest: vec![7; 16], ..Hello::default() };
        let refusal = check_place(&*journal.reader(), &hello, theirs, 1).unwrap().unwrap();
        assert_eq!(refusal.reason(), Reason::Diverged);
        let refusal = check_place(&*journal.reader(), &hello, Position::new(2, 16), 1).unwrap().unwrap();
        assert_eq!(refusal.reason(), Reason::WriterBehind);
    }
}
