//! A standby: follows another writer with everything that one has, answers reads, and can be made the writer.
//!
//! Owned here:
//! - What is acknowledged to the writer is fsynced here, journal and state in one batch ([`linklog::standby`]).
//! - A promotion loses nothing that the old writer acknowledged: enough of its sync members, or it itself, accept the new epoch first and
//!   take nothing more from it; then the longest of their logs is adopted. With less than enough it is refused unless the operator accepts
//!   the loss, and then says what is at risk.
//! - A promotion is an operator's decision. Nothing here makes it.
//!
//! - `copy_clicks`: the counts, beside the log · `engine`: the log, one thing at a time · `follow`: the stream from the writer · `mend`: a log that is damaged is fetched anew · [`places`]: how one log takes the other's place ·
//!   `promote`: what happens in which order · [`quorum`]: how many have to be asked · `renew`: another log out of a snapshot · [`status`]: how it goes · `tell`: a new writer tells the old ones

pub mod ballot;
pub(crate) mod copy_clicks;
mod engine;
mod follow;
mod mend;
pub mod places;
mod promote;
pub mod quorum;
pub mod recover;
pub(crate) mod renew;
pub mod status;
pub(crate) mod tell;

pub(crate) use copy_clicks::CopyOptions;
pub(crate) use engine::Engine;
pub(crate) use follow::{FollowOptions, run as follow};
pub(crate) use mend::run as mend;
pub(crate) use promote::Promotion;
pub(crate) use renew::Renewal;
