//! The daemon under test: its own directory, free ports, killed at the latest when the test ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wire::keys::LeaseRequest;
use wire::keys::key_supply_client::KeySupplyClient;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_signpost-keypool");
/// How long anything may take that should take a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A place for one pool: its configuration and data, which outlive the daemons started there.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    /// The lines of `[pool]`.
    pub(crate) pool: String,
    /// The lines of `[grpc]` besides the port.
    pub(crate) grpc: String,
}

pub(crate) struct Daemon {
    child: Child,
    stderr: JoinHandle<()>,
    log: Arc<Log>,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Home {
    pub(crate) fn new(pool: &str) -> Home {
        Home { dir: tempfile::tempdir().unwrap(), pool: pool.to_owned(), grpc: String::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration file and returns its path.
    pub(crate) fn config(&self) -> PathBuf {
        let (data, socket) = (self.path("data"), self.path("control.sock"));
        let text = format!(
            "data_dir = {data:?}\n\
             [grpc]\nlisten = '127.0.0.1:0'\n{}\n\
             [http]\nlisten = '127.0.0.1:0'\n\
             [control]\nsocket = {socket:?}\n\
             [pool]\n{}\n\
             [log]\nformat = 'json'\n",
            self.grpc, self.pool
        );
        let path = self.path("keypool.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn start(&self) -> Daemon {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(self.config());
        Daemon::spawn(command).listening()
    }

    /// Runs one of the program's commands to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(BINARY).args(args).arg("--config").arg(self.config()).output().unwrap()
    }
}

impl Daemon {
    /// Starts it, and collects its log.
    pub(crate) fn spawn(mut command: Command) -> Daemon {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stderr = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in lines.map_while(Result::ok) {
                    log.lines.lock().unwrap().0.push(line);
                    log.changed.notify_all();
                }
                log.lines.lock().unwrap().1 = true;
                log.changed.notify_all();
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Daemon { child, stderr, log, grpc: nowhere, http: nowhere }
    }

    /// Waits until it listens and has codes.
    pub(crate) fn listening(mut self) -> Daemon {
        let line = self.logged("\"listening\"");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        self.grpc = line["grpc"].as_str().unwrap().parse().unwrap();
        self.http = line["http"].as_str().unwrap().parse().unwrap();
        until(|| self.get("/readyz").0 == 200);
        self
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn logged(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1 && !left.is_zero(), "no {text} in the log:\n{}", lines.0.join("\n"));
            lines = self.log.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn client(&self) -> KeySupplyClient<tonic::transport::Channel> {
        let url = format!("http://{}", self.grpc);
        let endpoint = wire::channel::endpoint(&url, None, wire::identity::Role::Keypool).unwrap();
        wire::channel::keys_client(endpoint.connect().await.unwrap())
    }

    /// Asks the health port; returns status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pool\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it at once, as a power cut would for the process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.stderr.join().unwrap();
    }

    /// Asks it to end; returns how it did, and its log.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        until(|| self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        self.stderr.join().unwrap();
        let log = self.log.lines.lock().unwrap().0.join("\n");
        (status, log)
    }
}

/// Polls until something is so.
pub(crate) fn until(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn request(id: u64, count: u32) -> LeaseRequest {
    let mut request_id = vec![0; 16];
    request_id[..8].copy_from_slice(&id.to_le_bytes());
    LeaseRequest { request_id, holder: "admin-0".to_owned(), epoch: 1, count }
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
