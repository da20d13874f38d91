//! Who writes next: what writers and standbys answer each other, and how they are asked.
//!
//! Owned here: an epoch is accepted on disk before anybody hears that it was, and the head that is told with it is final: nothing of a
//! lower epoch is written or followed here afterwards. Only holders of a certificate of role writer are answered.
//!
//! - `service`: the answering side, on the writer and on standbys · `peer`: the asking side
//! - Deciding whom to ask, and what their answers mean, is [`crate::standby`]'s.

pub(crate) mod peer;
mod service;

pub(crate) use service::{Side, SuccessionService, WriterSide};

use linklog::{Epoch, Head};

/// How a log that was asked stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether the epoch asked about was accepted by this question.
    pub accepted: bool,
    /// The member's name; empty on a writer.
    pub member: String,
    /// Whether it is, or was until now, a writer.
    pub writes: bool,
    /// The highest epoch accepted there.
    pub highest_epoch: Epoch,
    /// The highest epoch that was accepted there before this question; `None`: it does not say.
    pub accepted_before: Option<Epoch>,
    /// The last durable record there.
    pub head: Head,
}
