//! The signals that end a daemon: the first asks, the second insists.
//!
//! They are heard on a thread of its own, so that the second one works although every runtime of the process is stuck;
//! that is when it is needed. Deliberately not here: what draining means (each service knows) and a deadline for it
//! (`TimeoutStopSec=` of the unit).

use std::io;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::FAILURE;

/// Gives the token that SIGTERM or SIGINT cancels; a second signal ends the process at once with code 1.
///
/// From here on these signals no longer end the process by themselves; neither does SIGXFSZ, so that a write beyond a limit
/// on file sizes (`LimitFSIZE=`, setrlimit(2)) fails like one on a full disk, and the service can end in order. To be called
/// once, from anywhere: it needs no runtime.
///
/// # Errors
/// No thread or no signal handler to be had.
pub fn on_signals() -> io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut term, mut int) = {
        let _inside = runtime.enter();
        // Once handled, a signal stays handled for the life of the process, whatever becomes of what is returned here.
        let _ = signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?;
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let asked = CancellationToken::new();
    let token = asked.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let name = next(&mut term, &mut int).await;
            tracing::info!(signal = name, "stopping, a second signal ends the process at once");
            asked.cancel();
            let name = next(&mut term, &mut int).await;
            tracing::warn!(signal = name, "ended by a second signal, without finishing");
            // The one exit that skips every destructor: what is durable was synced before it was acknowledged.
            std::process::exit(i32::from(FAILURE));
        });
    })?;
    Ok(token)
}

async fn next(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}
