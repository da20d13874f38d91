//! What a Signpost link is and how it changes.
//!
//! Everything that changes a link is a [`Change`] in an ordered log; everything that serves is a replay of it. This crate owns
//! the vocabulary (keys, links, changes, positions), the byte format, the pure rule [`apply::evaluate`] that decides what a
//! change does, the [`journal`] that keeps changes, the [`writer`] that orders them and the [`replica`] that follows;
//! a [`standby`] follows with everything a writer needs.
//!
//! Deliberately not here: HTTP, the wire between machines, configuration, clocks. Whoever needs the time passes it in.

pub mod apply;
pub mod change;
pub mod codec;
pub mod digest;
pub mod entity;
pub mod folders;
pub mod journal;
pub mod key;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod position;
pub mod replica;
pub mod scrub;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod slot;
pub mod snapshot;
pub mod stamp;
pub mod standby;
pub mod store;
pub mod writer;

pub use change::{Change, CommandId, Operation, Part, Precondition};
pub use codec::DecodeError;
pub use digest::{Digest, SlotSum};
pub use key::{Allowance, Code, Code7, DomainId, Key, StateKey};
pub use link::extras::{CachePolicy, Ended, Extras, ExtrasView, Forward};
pub use link::{Link, LinkManage, LinkState, LinkView, RedirectStatus};
pub use position::{Epoch, Head, Position, Seq};
pub use slot::{SLOTS, Slot};
pub use stamp::Stamp;
