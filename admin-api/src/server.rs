//! The running service: what is started in which order, and how it ends.
//!
//! Start: health port, log, what the log must hold (`open`), tables in memory, stock of codes, ports. Stop, in the reverse order of
//! who needs whom: no new requests; requests that were accepted are answered, while followers still acknowledge; followers and reporters of
//! clicks; the counts and the writer, which answer everything they took; the databases. A failed write stops in the same order, with exit code 1.

mod alarms;
mod listen;
pub(crate) mod open;
mod ports;
mod probe;
mod runtime;
mod standby;
mod starters;
mod tables;
mod tasks;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wire::channel::ChannelError;
use wire::identity::IdentityError;

use crate::abuse::files::FileError;
use crate::codes::CodesError;
use crate::config::Config;
use crate::feed::FeedError;

pub use open::OpenLogError;
pub(crate) use open::recorded_fleet;
pub use standby::{Ended, RunningStandby};
pub use writer::Running;

/// How long requests that were accepted may take once the service is told to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port, a socket, the runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The credential bundle.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The stock of codes.
    #[error("cannot open the stock of codes")]
    Codes(#[from] CodesError),
    /// A key pool's address.
    #[error("key pool")]
    Pool(#[from] ChannelError),
    /// The feed.
    #[error("cannot serve followers")]
    Feed(#[from] FeedError),
    /// A blocklist.
    #[error(transparent)]
    Blocklist(#[from] FileError),
    /// A write failed while the service ran.
    #[error(
        "the log could not be written; the log of this process says why. What was acknowledged is safe: start again"
    )]
    Fatal,
}

/// Where a running service listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The API.
    pub http: SocketAddr,
    /// Health, readiness and metrics.
    pub health: SocketAddr,
    /// The feed.
    pub feed: SocketAddr,
}

/// Starts the service, runs it until `stop` or a failure, and ends it in order. A standby that is promoted goes on as the writer,
/// one that has fetched another log with that.
///
/// # Errors
/// It could not start, or the log failed.
pub fn run(config: &Config, stop: &CancellationToken) -> Result<(), ServerError> {
    while standby::is_meant(config)? {
        let running = RunningStandby::start(config)?;
        daemon::notify::ready();
        running.wait(stop);
        if running.stop()? == Ended::Stopped {
            return Ok(());
        }
    }
    let running = Running::start(config)?;
    daemon::notify::ready();
    running.wait(stop);
    daemon::notify::stopping();
    running.stop()
}
