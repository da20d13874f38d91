//! Why a replica refuses a frame, and how it notices that it differs from the writer.

use crate::codec::DecodeError;
use crate::digest::{Digest, SlotSum};
use crate::position::{Epoch, Head, Position, Seq};
use crate::store::StoreError;

/// Why a frame was refused. Except after [`ApplyError::Store`] the replica is unchanged and goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The frame's bytes are damaged or of a newer format.
    #[error("the frame cannot be read: {0}")]
    BadFrame(#[from] DecodeError),
    /// A record's section is damaged or holds something this version does not know.
    #[error("record {at} cannot be read: {source}")]
    BadSection {
        /// Which record.
        at: Position,
        /// What is wrong in its section.
        source: DecodeError,
    },
    /// Records are missing between the head and this one.
    #[error("record {expected} is missing: the frame continues with {found}")]
    Gap {
        /// The next record needed.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// The record has been applied already, or comes out of order.
    #[error("record {found} came again or out of order; {expected} is next")]
    Repeated {
        /// The next record needed.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// The record is from a writer that has been replaced.
    #[error("record {at} is of an old epoch; epoch {accepted} has been accepted")]
    OldEpoch {
        /// The record.
        at: Position,
        /// The highest epoch accepted so far.
        accepted: Epoch,
    },
    /// An epoch begins without the record that starts it, or starts twice.
    #[error("record {at} does not start its epoch properly")]
    EpochWithoutStart {
        /// The record.
        at: Position,
    },
    /// The record belongs into another journal than the links'.
    #[error("record {at} is no change of links: the frame is of another journal")]
    NoChange {
        /// The record.
        at: Position,
    },
    /// A new epoch continues another history than ours.
    #[error("the epoch that starts with record {at} does not continue our record {}", ours.position)]
    WrongPrevious {
        /// The first record of the epoch.
        at: Position,
        /// Where we are.
        ours: Head,
    },
    /// The records do not lead to the digest the writer has.
    #[error("the digest after record {at} is {ours} here and {theirs} on the writer: the histories differ")]
    WrongDigest {
        /// The frame's last record.
        at: Position,
        /// What we computed.
        ours: Digest,
        /// What the frame says.
        theirs: Digest,
    },
    /// The writer's outcome does not follow from our state.
    #[error("record {at} has another outcome here than on the writer: the states differ")]
    WrongOutcome {
        /// The record.
        at: Position,
    },
    /// The writer left out a section this member needs.
    #[error("record {at} lacks a section that this member holds")]
    MissingSection {
        /// The record.
        at: Position,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApplyError {
    /// Says whether the replica's own history or state is in doubt: it should be made anew from a snapshot. The others are faults
    /// of a connection, a writer or a version, and pass.
    pub const fn is_divergence(&self) -> bool {
        matches!(
            self,
            ApplyError::WrongPrevious { .. }
                | ApplyError::WrongDigest { .. }
                | ApplyError::WrongOutcome { .. }
        )
    }
}

/// The replica differs from the writer at the same position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// Another history led here.
    #[error("the digest after record {at} is {} here and {theirs} on the writer", ours.digest)]
    Chain {
        /// Where.
        at: Position,
        /// Our head.
        ours: Head,
        /// The writer's digest.
        theirs: Digest,
    },
    /// The same history led to another state.
    #[error("the state after record {at} sums to {ours:?} here and to {theirs:?} on the writer")]
    State {
        /// Where.
        at: Position,
        /// Our sum.
        ours: SlotSum,
        /// The writer's sum.
        theirs: SlotSum,
    },
}
