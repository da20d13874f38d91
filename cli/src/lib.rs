//! `signpost`: the client of the API. It knows the API from its description alone and stores nothing.
//!
//! - [`cli`] is the command line, [`settings`] where the API is and who asks, [`commands`] one file a command
//! - [`client`] sends requests, [`problem`] turns refusals into what to do, [`output`] shows answers
//! - [`convert`] reads the exports of other shorteners

pub mod cli;
pub mod client;
pub mod commands;
pub mod convert;
pub mod output;
pub mod problem;
pub mod settings;
