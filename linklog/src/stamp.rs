//! What apply knows about a key: whether it lives, which version it is, and which record created it.

use crate::position::Position;

/// The part of a key's state that preconditions look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// False for a tombstone: the key was used once and is deleted.
    pub live: bool,
    /// Rises by one with every change of the key, deletions included; the first is 1 and it never repeats.
    pub version: u64,
    /// The record that created the key as it is now. With the key it names one link for ever: clicks are counted under it.
    pub created: Position,
}
