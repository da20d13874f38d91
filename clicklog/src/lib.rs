//! What a click is and how it is counted once.
//!
//! A proxy adds the clicks it has answered up into [`cell::Cell`]s, one per link, and writes them, fsynced, as a numbered [`batch::Batch`]
//! into its ledger before anyone hears of them. The writer takes every batch of a ledger exactly once: number and counts are in one
//! transaction, and a number at or below the ledger's watermark has no effect. So a batch may be lost, repeated, delayed or
//! reordered on the way, and either side may be killed at any moment.
//!
//! - [`cell`] and [`batch`]: the vocabulary and its bytes
//! - [`ledger`]: the proxy's side, batches that the writer does not have yet
//! - [`accounts`]: the writer's side, a journal of [`entry::Entry`]s and the totals they lead to
//!
//! Deliberately not here: how a worker records a click without waiting (the proxy's), the wire, and what an API says about counts.

pub mod account;
pub mod accounts;
pub mod batch;
pub mod cell;
#[cfg(test)]
mod disk_picture;
pub mod entry;
pub mod ledger;

pub use batch::{Batch, BatchNumber, LedgerId};
pub use cell::{Cell, Counts, Kind, Subject};
pub use ledger::{Ledger, LedgerOptions};
