//! The thread for what neither serves nor follows: the control socket, and looking after certificates, countries, the disk and peers.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use daemon::control::ControlSocket;
use daemon::disk::DiskReserve;
use tokio_util::sync::CancellationToken;

use crate::control::ProxyCommands;
use crate::follow::status::Status;
use crate::peers::ask::ask;
use crate::watch::{self, Every};

/// What is looked after.
pub(super) struct Watched {
    /// How often files are.
    pub(super) files: Every,
    /// The room on the disk.
    pub(super) disk: DiskReserve,
    /// Who is asked about the writer.
    pub(super) peers: Vec<String>,
    /// How following goes.
    pub(super) status: Arc<Status>,
}

/// The thread.
pub(super) struct Side {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Side {
    /// Starts it; `commands` are answered on the socket at `path`.
    ///
    /// # Errors
    /// The socket, a signal handler or a thread cannot be had.
    pub(super) fn start(path: &Path, commands: ProxyCommands, watched: Watched) -> io::Result<Side> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangups = runtime.block_on(async { watch::hangups() })?;
        let stop = CancellationToken::new();
        // These end with the runtime.
        runtime.spawn(watch::watch(commands.tls.clone(), commands.geo.clone(), hangups, watched.files));
        runtime.spawn(watched.disk.watch(stop.clone(), |_| {}));
        runtime.spawn(ask(watched.peers, watched.status));
        let socket = runtime.block_on(async { ControlSocket::bind(path) })?;
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            runtime.block_on(socket.serve(Arc::new(commands), stopped));
        })?;
        Ok(Side { stop, thread })
    }

    pub(super) fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the control socket's thread panicked");
        }
    }
}
