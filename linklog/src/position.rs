//! Places in the log.

use std::fmt;

use crate::digest::Digest;

/// The reign of one writer. It rises when a writer takes over; the first epoch is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

/// A record's number, dense over all epochs: the first record is 1, and 0 means "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Seq = Seq(0);

    /// Returns the number after this one.
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's identity: two histories may use a number twice, never with the same epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The writer's reign.
    pub epoch: Epoch,
    /// The record's number.
    pub seq: Seq,
}

impl Position {
    /// Before the first record of the first epoch.
    pub const ZERO: Position = Position { epoch: Epoch(0), seq: Seq(0) };

    /// Returns the position `(epoch, seq)`.
    pub const fn new(epoch: u32, seq: u64) -> Position {
        Position { epoch: Epoch(epoch), seq: Seq(seq) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// The last record of a log or of a replica's history: where it is and what the chain's digest is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The last record.
    pub position: Position,
    /// The chain's digest after it.
    pub digest: Digest,
}

impl Head {
    /// An empty log.
    pub const EMPTY: Head = Head { position: Position::ZERO, digest: Digest::ZERO };
}
