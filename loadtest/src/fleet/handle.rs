//! A fleet as a value: start it, command it, drop it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::options::Options;
use super::{refusal, supervisor};
use crate::pace::StopFlag;

/// A running fleet. Dropping it stops every part and waits for it.
///
/// ```no_run
/// use signpost_loadtest::fleet::{Fleet, Options};
///
/// # fn main() -> anyhow::Result<()> {
/// let fleet = Fleet::start(Options::new("/tmp/fleet", 2)?)?;
/// fleet.must("kill proxy-0 9");
/// fleet.must("start proxy-0");
/// println!("{} {}", fleet.ready().admin, fleet.ready().proxies[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fleet {
    ready: Ready,
    dir: PathBuf,
    requests: Sender<Request>,
    stop: StopFlag,
    /// The supervisor; joined on drop, when everything has ended.
    thread: Option<JoinHandle<()>>,
}

/// The addresses of a fleet, the token, the processes: the line that `fleet` prints when all of it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// The admin API, as http://HOST:PORT.
    pub admin: String,
    /// A token with every right.
    pub token: String,
    /// The APIs of the standbys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<String>,
    /// The proxies.
    pub proxies: Vec<String>,
    /// Their health ports, in the same order.
    pub proxy_health: Vec<String>,
    /// The HTTP ports of the key pools.
    pub keypools: Vec<String>,
    /// The processes.
    pub pids: Pids,
}

/// The process numbers at the start; `status` has the current ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    pub admin: u32,
    pub proxies: Vec<u32>,
    pub keypools: Vec<u32>,
}

/// A command on its way to the supervisor.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) answer: Sender<Value>,
}

impl Fleet {
    /// Starts a fleet and returns when all of it is ready.
    ///
    /// # Errors
    /// What is missing or did not start, with the end of the log of that part. Nothing is left running then.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        Self::start_stoppable(options, StopFlag::default())
    }

    /// As [`Fleet::start`]; setting `stop` ends the fleet, also while it starts.
    ///
    /// # Errors
    /// As [`Fleet::start`], and when stopped before it was ready.
    pub fn start_stoppable(options: Options, stop: StopFlag) -> anyhow::Result<Self> {
        let (requests, incoming) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let dir = options.dir.clone();
        let thread = {
            let stop = stop.clone();
            let run = move || supervisor::run(&options, stop, &started, &incoming);
            thread::Builder::new()
                .name("fleet".into())
                .spawn(run)
                .context("cannot start the thread of the fleet")?
        };
        match start.recv() {
            Ok(Ok(ready)) => Ok(Self { ready, dir, requests, stop, thread: Some(thread) }),
            Ok(Err(error)) => {
                // It ends by itself, and everything it started with it; a panic has been told on stderr.
                let _ = thread.join();
                Err(error)
            }
            Err(_) => anyhow::bail!("the thread of the fleet ended while starting"),
        }
    }

    /// The addresses, the token and the processes.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The folder of the fleet.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The codes of the preloaded links; that of link `n` (see [`crate::synthetic`]) at index `n`.
    ///
    /// # Errors
    /// When nothing was preloaded, or the file cannot be read.
    pub fn keys(&self) -> anyhow::Result<Vec<String>> {
        let path = self.dir.join("keys.txt");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Carries out a command (`kill proxy-0 9`, `stop admin`, `start proxy-0`, `status`, `quit`) and returns its answer:
    /// an object with `"ok": true`, or with `"error"`.
    pub fn command(&self, line: &str) -> Value {
        let (answer, answered) = mpsc::channel();
        let sent = self.requests.send(Request { line: line.to_owned(), answer });
        sent.ok().and_then(|()| answered.recv().ok()).unwrap_or_else(|| refusal("the fleet has ended"))
    }

    /// Carries out a command that has to work.
    ///
    /// # Panics
    /// When it does not: for tests, where that is the end anyway.
    #[track_caller]
    pub fn must(&self, line: &str) -> Value {
        let answer = self.command(line);
        assert!(answer["ok"] == true, "{line}: {answer}");
        answer
    }

    /// Whether the fleet has been told to end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.stop.is_set()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told on stderr, and the kernel has ended the parts.
            let _ = thread.join();
        }
    }
}
