//! The daemon's side: binding the socket, who may come in, one line after the other.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::geteuid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{CONNECTIONS_MAX, Commands, Outcome, REQUEST_BYTES_MAX, Request, SILENCE_MAX, STOP_TIME_MAX};

/// The pause after a failed accept: it is most often a lack of file descriptors, which does not pass by asking again.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// A bound control socket. Dropping it removes its file.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    /// Removes the file; after the listener is closed, so the fields stand in this order.
    _file: SocketFile,
}

/// Binds the socket and answers on it until `stop` is cancelled: [`ControlSocket::bind`] and [`ControlSocket::serve`]
/// in one, for those who need not know when it is bound.
///
/// # Errors
/// Those of [`ControlSocket::bind`].
///
/// # Cancel safety
/// Dropping the future closes the socket and removes its file; a command that has begun ends where it is.
pub async fn serve(path: &Path, commands: Arc<dyn Commands>, stop: CancellationToken) -> io::Result<()> {
    ControlSocket::bind(path)?.serve(commands, stop).await;
    Ok(())
}

impl ControlSocket {
    /// Binds the socket, with mode 0600. A socket file on which nobody answers, left by a daemon that was killed, is
    /// replaced. To be called inside a runtime.
    ///
    /// Two daemons that start in the same instant can both find the file stale; which of them goes on is decided by the
    /// lock on their data directory, not here.
    ///
    /// # Errors
    /// Somebody answers there, something that is not a socket is there, or the system refuses; the message names the
    /// path and says what to do.
    pub fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => refused(path, error.kind(), "its directory does not exist"),
            kind => refused(path, kind, &error.to_string()),
        })?;
        let file = SocketFile::at(path)?;
        // Between bind and this the umask decides; who connects in between is still asked who they are.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, _file: file })
    }

    /// Answers until `stop` is cancelled; then removes the file and lets the commands that have begun end, for at most
    /// [`STOP_TIME_MAX`].
    pub async fn serve(self, commands: Arc<dyn Commands>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(self.accept(&places)).await {
            match accepted {
                Ok((stream, place)) => {
                    let (commands, stop) = (Arc::clone(&commands), stop.clone());
                    connections.spawn(async move {
                        converse(stream, commands.as_ref(), &stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control socket");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while let Some(ended) = connections.try_join_next() {
                report(ended);
            }
        }
        // Whoever comes now is told at once that nobody is there, instead of waiting in the backlog for the end.
        drop(self);
        let drained = timeout(STOP_TIME_MAX, async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                commands = connections.len(),
                "control commands were cut off by the end of the daemon"
            );
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, place))
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a control command panicked");
    }
}

/// Answers one connection: until it ends or is silent for too long, or the daemon stops.
async fn converse(stream: UnixStream, commands: &dyn Commands, stop: &CancellationToken) {
    let peer = stream.peer_cred();
    let (reader, mut writer) = stream.into_split();
    match peer {
        Ok(peer) if may_command(peer.uid(), geteuid().as_raw()) => {}
        peer => {
            let uid = peer.ok().map(|peer| peer.uid());
            tracing::warn!(?uid, "refused a caller on the control socket");
            let message = "only root and the daemon's own user may give commands here".to_owned();
            return drop(send(&mut writer, Err(message)).await);
        }
    }
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        // One byte more than allowed, to tell a full line from one that is too long.
        let mut bounded = (&mut reader).take(REQUEST_BYTES_MAX as u64 + 1);
        let read = timeout(SILENCE_MAX, bounded.read_until(b'\n', &mut line));
        match stop.run_until_cancelled(read).await {
            Some(Ok(Ok(1..))) => {}
            // The end of the connection, an error on it, silence, or the end of the daemon.
            _ => return,
        }
        let too_long = line.len() > REQUEST_BYTES_MAX;
        let outcome = if too_long { Err(too_long_message()) } else { run(commands, &line).await };
        // After a line that was not read to its end, the rest of it is not a request.
        if send(&mut writer, outcome).await.is_err() || too_long {
            return;
        }
    }
}

fn too_long_message() -> String {
    format!("a request may have {REQUEST_BYTES_MAX} bytes, this one is longer: give it in parts")
}

async fn run(commands: &dyn Commands, line: &[u8]) -> Result<Value, String> {
    let Request { command, args } = serde_json::from_slice(line).map_err(|error| {
        format!("not a request: {error}; expected one line as {{\"command\":\"…\",\"args\":{{…}}}}")
    })?;
    commands.run(command, args).await
}

/// Whether a caller of that user may give commands to a daemon of user `own`.
pub(super) fn may_command(caller: u32, own: u32) -> bool {
    caller == 0 || caller == own
}

/// Sends one answer; a caller that does not read it is given up after [`SILENCE_MAX`].
async fn send(writer: &mut OwnedWriteHalf, outcome: Result<Value, String>) -> io::Result<()> {
    let outcome = match outcome {
        Ok(value) => Outcome::Ok(value),
        Err(message) => Outcome::Error(message),
    };
    let mut line = serde_json::to_vec(&outcome).expect("keys of JSON values are strings");
    line.push(b'\n');
    timeout(SILENCE_MAX, writer.write_all(&line)).await?
}

/// Makes room for the socket: nothing there, or a socket on which nobody answers.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let why = "there is something else, not a socket: move it away or choose another path";
            return Err(refused(path, ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(path, error.kind(), &error.to_string())),
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(refused(path, ErrorKind::AddrInUse, "another daemon answers there: stop it first")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a control socket nobody answers on");
            fs::remove_file(path).map_err(|error| refused(path, error.kind(), &error.to_string()))
        }
        Err(error) => Err(refused(path, error.kind(), &error.to_string())),
    }
}

fn refused(path: &Path, kind: ErrorKind, why: &str) -> io::Error {
    io::Error::new(kind, format!("cannot open the control socket {}: {why}", path.display()))
}

/// The file of a bound socket. Removed on drop if it is still the same file: another daemon may have replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // It is only tidiness: the next start replaces what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
