//! What can only be seen from outside of a process: signals, what systemd is told, what is logged.
//!
//! Each test starts this test binary again, as the daemon, with the one test named `play` and the part to play in
//! [`PART`]; without it `play` has nothing to do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

mod notify;
mod shutdown;
mod telemetry;

const PART: &str = "SIGNPOST_TEST_PART";

/// How long a part may take before it ends itself: nothing is left behind by a test that failed.
const PART_TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn play() {
    let Ok(part) = std::env::var(PART) else { return };
    std::thread::spawn(|| {
        std::thread::sleep(PART_TIME_MAX);
        std::process::exit(3);
    });
    match part.as_str() {
        "shutdown" => shutdown::part(),
        "notify" => notify::part(),
        "telemetry" => telemetry::part(),
        other => panic!("no part {other}"),
    }
}

/// This binary, about to play a part.
fn part(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "play", "--nocapture"]).env(PART, name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A part being played, line by line.
struct Playing {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Playing {
    fn start(name: &str) -> Self {
        let mut child = part(name).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until the part says so; the test harness puts its own words before the first line.
    fn until(&mut self, said: &str) {
        let found = self.lines.by_ref().any(|line| line.unwrap().ends_with(said));
        assert!(found, "it ended without saying {said}");
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}
