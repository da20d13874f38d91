//! The program from outside: its commands as processes, against small fake servers and fake parts.
//!
//! | module | what it tests |
//! |---|---|
//! | `fleet` | starting, commanding and ending a fleet, with fake binaries |
//! | `load` | create, redirect and verify against servers that misbehave on purpose |
//! | `handshakes` | TLS connections, whole and resumed |
//! | `server` | the fake HTTP server |
//! | `parts` | fake `signpost-admin`, `signpost-keypool`, `signpost-proxy` |
#![allow(clippy::unwrap_used)]

mod fleet;
mod handshakes;
mod load;
mod parts;
mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program under test.
fn loadtest(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost-loadtest"));
    command.args(arguments).env_remove("SIGNPOST_TOKEN").env_remove("SIGNPOST_BIN_DIR").stdin(Stdio::null());
    command
}

/// Runs the program to its end, with its report in `dir`.
fn run(dir: &Path, arguments: &[&str]) -> Run {
    let report = dir.join("run.json");
    let mut command = loadtest(arguments);
    let output = command.args(["--json", report.to_str().unwrap()]).output().unwrap();
    let report =
        std::fs::read_to_string(report).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
    Run { results: report["results"].clone(), report, output }
}

/// What a run left.
struct Run {
    output: Output,
    report: Value,
    results: Value,
}

impl Run {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Polls until something holds.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
