//! A change: what somebody wants to be different, and under which conditions.

use crate::codec::DecodeError;
use crate::entity::check_bodies;
use crate::key::{StateKey, Visibility};
use crate::limits::{ACTOR_BYTES_MAX, BODY_BYTES_MAX, PARTS_MAX, STATE_KEY_BYTES_MAX};
use crate::slot::Slot;

/// Names one command for ever: the same command arriving twice has one effect and one outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CommandId(pub [u8; 16]);

/// What must hold for a part's key before the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// Nothing in particular.
    Any,
    /// The key is not live; it may have been deleted.
    Absent,
    /// The key was never there: generated codes, which must not come back to life for somebody else.
    NeverUsed,
    /// The key is live at this version.
    Version(u64),
}

/// What becomes of a part's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// It lives with these bodies. `serve` must be empty for keys that exist in the `manage` part only.
    Put {
        /// What every member that holds the key's slot gets.
        serve: Vec<u8>,
        /// What full replicas get.
        manage: Vec<u8>,
    },
    /// It becomes a tombstone; on a key that is not live, nothing.
    Delete,
}

/// One key of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which key.
    pub key: StateKey,
    /// On which condition.
    pub precondition: Precondition,
    /// What to do.
    pub operation: Operation,
}

/// Up to 8 parts that happen together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The command's id if the client gave one: its outcome is then kept for [`crate::limits::OUTCOME_KEPT_MS`], conflicts too.
    pub command: Option<CommandId>,
    /// A hash of the request the command came from, to tell a retry from a misused id. Kept only with a command id.
    pub request_hash: [u8; 16],
    /// Who asked: a token's public id, or a name of the system. At most 64 bytes.
    pub actor: String,
    /// 1 to 8 parts, each with another key.
    pub parts: Vec<Part>,
}

/// Why a change cannot be written down, whatever the state.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidChange {
    /// No part or more than 8.
    #[error("a change has 1 to {PARTS_MAX} parts, this one has {0}")]
    PartCount(usize),
    /// Two parts name the same key.
    #[error("parts {0} and {1} of the change have the same key")]
    SameKeyTwice(usize, usize),
    /// Links of two slots, or a link and another served key: members that hold only one of the slots could not apply them together.
    #[error("the served keys of a change must lie in one slot")]
    SpansSlots,
    /// A body is not what its key's kind has.
    #[error("the body of part {part} is not valid: {source}")]
    BadBody {
        /// In which part.
        part: usize,
        /// What is wrong with it, and at which byte of the body.
        source: DecodeError,
    },
    /// A body, a key or the actor's name is too long.
    #[error("{what} of part {part} is too long: {found} bytes, at most {max}")]
    TooLong {
        /// What.
        what: &'static str,
        /// In which part.
        part: usize,
        /// Its length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A `serve` body for a key that only full replicas hold.
    #[error("part {0} has a serve body for a key that is never served")]
    NotServed(usize),
    /// Something that the log's members cannot read yet.
    #[error("the change needs format level {needed}, the log is at level {level}")]
    NeedsLevel {
        /// What it needs ([`crate::codec::level`]).
        needed: u8,
        /// What the log's fleet record allows.
        level: u8,
    },
}

impl Change {
    /// Returns a change without command id by `actor`.
    pub fn new(actor: impl Into<String>, parts: Vec<Part>) -> Change {
        Change { command: None, request_hash: [0; 16], actor: actor.into(), parts }
    }

    /// Returns the slot of the record: that of its links, or [`Slot::EVERYWHERE`] if it has none.
    pub fn slot(&self) -> Slot {
        self.parts
            .iter()
            .map(|part| part.key.slot())
            .find(|slot| *slot != Slot::EVERYWHERE)
            .unwrap_or(Slot::EVERYWHERE)
    }

    /// Checks everything that can be checked without state.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), InvalidChange> {
        if self.parts.is_empty() || self.parts.len() > PARTS_MAX {
            return Err(InvalidChange::PartCount(self.parts.len()));
        }
        let slot = self.slot();
        let too_long = |what, part, found, max| Err(InvalidChange::TooLong { what, part, found, max });
        if self.actor.len() > ACTOR_BYTES_MAX {
            return too_long("the actor's name", 0, self.actor.len(), ACTOR_BYTES_MAX);
        }
        for (i, part) in self.parts.iter().enumerate() {
            if let Some(j) = self.parts[..i].iter().position(|other| other.key == part.key) {
                return Err(InvalidChange::SameKeyTwice(j, i));
            }
            let own = part.key.slot();
            if own != slot && part.key.visibility() == Visibility::Served {
                return Err(InvalidChange::SpansSlots);
            }
            let key_len = part.key.encode().len();
            if key_len > STATE_KEY_BYTES_MAX {
                return too_long("the key", i, key_len, STATE_KEY_BYTES_MAX);
            }
            if let Operation::Put { serve, manage } = &part.operation {
                if part.key.visibility() == Visibility::ManageOnly && !serve.is_empty() {
                    return Err(InvalidChange::NotServed(i));
                }
                let longest = serve.len().max(manage.len());
                if longest > BODY_BYTES_MAX {
                    return too_long("a body", i, longest, BODY_BYTES_MAX);
                }
                let body = check_bodies(&part.key, serve, Some(manage));
                body.map_err(|source| InvalidChange::BadBody { part: i, source })?;
            }
        }
        Ok(())
    }
}
