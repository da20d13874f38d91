//! The real binary, started with a configuration of its own and asked through its own control socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::{Answer, eventually, get};

const BINARY: &str = env!("CARGO_BIN_EXE_signpost-proxy");

/// A data directory, and the configuration that goes with it.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    writers: Vec<String>,
    listen: String,
    extra: String,
    wrapper: Vec<String>,
    replaced: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new(writers: &[String]) -> Home {
        let dir = tempfile::tempdir().unwrap();
        let listen = "addresses = ['127.0.0.1:0']".to_owned();
        let (extra, wrapper, replaced) = (String::new(), Vec::new(), Vec::new());
        Home { dir, writers: writers.to_vec(), listen, extra, wrapper, replaced }
    }

    /// Adds lines to the end of the configuration.
    pub(crate) fn with(mut self, extra: &str) -> Home {
        self.extra.push_str(extra);
        self
    }

    /// Listens only where the `[[listener]]` tables say.
    pub(crate) fn with_listeners(mut self, tables: &str) -> Home {
        self.listen.clear();
        self.extra.clear();
        self.with(tables)
    }

    /// Starts the binary through another command, whose words stand in front of it.
    pub(crate) fn wrapped(mut self, wrapper: Vec<String>) -> Home {
        self.wrapper = wrapper;
        self
    }

    /// Changes a text of the configuration.
    pub(crate) fn with_replaced(mut self, from: &str, to: &str) -> Home {
        self.replaced.push((from.to_owned(), to.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        let (path, dir) = (self.path("proxy.toml"), self.dir.path().display());
        let text = format!(
            "data_dir = '{dir}/data'\n[listen]\n{}\nworkers = 2\n[health]\nlisten = '127.0.0.1:0'\n\
             [writers]\nurls = {:?}\nname = 'proxy-0'\n[control]\nsocket = '{dir}/control.sock'\n\
             [clicks]\nring_dir = '{dir}/rings'\nallow_disk = true\nring_bytes = 1048576\nsync_ms = 50\n\
             [cache]\nhot_map_bytes = 1048576\nblock_cache_bytes = 8388608\n{}\n",
            self.listen, self.writers, self.extra
        );
        let replace = |text: String, (from, to): &(String, String)| {
            assert!(text.contains(from), "{from} in {text}");
            text.replace(from, to)
        };
        let text = self.replaced.iter().fold(text, replace);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the binary; it listens when this returns.
    pub(crate) fn start(&self) -> Process {
        self.start_with(&self.config())
    }

    pub(crate) fn start_with(&self, config: &Path) -> Process {
        let log = self.path("log");
        let stderr = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut words = self.wrapper.iter().map(String::as_str).chain([BINARY]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command
            .args(words)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(stderr)
            .stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let socket = self.path("control.sock");
        let stats = eventually("the proxy's start", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {}", std::fs::read_to_string(&log).unwrap());
            }
            daemon::control::call(&socket, "stats", Value::Null).ok()
        });
        let listeners: Vec<SocketAddr> = stats["listen"]
            .as_array()
            .unwrap()
            .iter()
            .map(|address| address.as_str().unwrap().parse().unwrap())
            .collect();
        let health = stats["health"].as_str().unwrap().parse().unwrap();
        Process { child, socket, log, listen: listeners[0], listeners, health }
    }

    /// Runs the binary to its end, with other arguments.
    pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

/// A running proxy. Killed if it is still there when the test ends.
pub(crate) struct Process {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    /// The first listener, plain HTTP unless said otherwise.
    pub(crate) listen: SocketAddr,
    /// All of them, in the order of the configuration.
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) health: SocketAddr,
}

impl Process {
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.listen, path)
    }

    pub(crate) fn readyz(&self) -> (u16, Value) {
        let answer = get(self.health, "/readyz");
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.health, "/metrics").body
    }

    pub(crate) fn command(&self, command: &str) -> Result<Value, String> {
        daemon::control::call(&self.socket, command, Value::Null).map_err(|error| error.to_string())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stats(&self) -> Value {
        daemon::control::call(&self.socket, "stats", Value::Null).unwrap()
    }

    /// Waits until the feed is in a state.
    pub(crate) fn await_feed(&self, state: &str) -> Value {
        eventually(&format!("feed {state}"), || {
            let (_, body) = self.readyz();
            (body["feed"]["state"] == state).then_some(body)
        })
    }

    pub(crate) fn await_ready(&self) -> Value {
        eventually("readiness", || {
            let (status, body) = self.readyz();
            (status == 200).then_some(body)
        })
    }

    /// Lines of the log that contain a text.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
