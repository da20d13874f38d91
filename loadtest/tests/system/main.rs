//! The whole system from outside: the real binaries, started as a user would, and broken on purpose.
//!
//! | module | what it tests |
//! |---|---|
//! | `access` | private links, signed links and passwords let through who may follow, and nobody else |
//! | `allocations` | what is asked for often is answered without an allocation |
//! | `answers`, `domains`, `ends`, `where_to` | what a link can say about its answer and its life, through the API and a proxy |
//! | `bootstrap` | a replica that will not do is replaced by another one |
//! | `clicks` | clicks are counted once, and none is lost |
//! | `clocks` | wall clocks that are stepped |
//! | `faults` | nothing acknowledged is lost, whatever fails: the fault harness, small |
//! | `files` | no file descriptors left: nothing spins, and it goes on when there are some |
//! | `framing` | requests end where the strictest reader says |
//! | `follow` | a `201` means that every proxy redirects, at once |
//! | `followers` | a crowd of followers that comes at once gets through |
//! | `memory` | memory does not grow with how far a proxy is behind |
//! | `outage` | proxies need nobody |
//! | `full` | a disk that takes no more ends the writer in order |
//! | `kills` | nothing acknowledged is lost when the writer is killed |
//! | `leases` | no code is handed out twice |
//! | `limits` | links that end with a number of clicks end with exactly that |
//! | `small_disk` | a disk that fills up: refused in order, and taken again with room |
//! | `standby` | a lost writer is replaced, and a writer gets its lost end back |
//! | `quotas` | all links of a token answer no more redirects than it may |
//! | `restore` | proxies follow a writer back to a backup, and lose no click |
//! | `secrets` | no log holds a token, a target or what a visitor sent |
//! | `two_proxies` | limits, quotas and guesses are for the fleet, not for each proxy |
//! | `units` | the systemd units |
//! | `updates` | no old target after an acknowledged change |
//! | `ways_in` | what other shorteners' clients, importers and bulk changes make is followed |
//!
//! `SIGNPOST_BIN_DIR` names the folder of the binaries; `make test` builds them and sets it.
#![allow(clippy::unwrap_used)]

mod access;
mod allocations;
mod alone;
mod answers;
mod bootstrap;
mod bucket;
mod clicks;
mod clocks;
mod documents;
mod domains;
mod ends;
mod faults;
mod files;
mod follow;
mod followers;
mod framing;
mod full;
mod kills;
mod leases;
mod limits;
mod memory;
mod mmdb;
mod outage;
mod quotas;
mod restore;
mod secrets;
mod small_disk;
mod standby;
mod standby_bootstrap;
mod two_proxies;
mod units;
mod updates;
mod ways_in;
mod web;
mod where_to;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use signpost_loadtest::fleet::{Fleet, Options};

/// The real links every checkout has.
fn real_links() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/homepages-500.txt")
}

fn bin_dir() -> PathBuf {
    let dir = std::env::var_os("SIGNPOST_BIN_DIR")
        .expect("SIGNPOST_BIN_DIR is not set: run the tests with `make test`");
    let dir = PathBuf::from(dir);
    assert!(dir.join("signpost-proxy").exists(), "no signpost-proxy in {}: run `make build`", dir.display());
    dir
}

fn fleet(dir: &Path, proxies: u16) -> Fleet {
    let mut options = Options::new(dir, proxies).unwrap();
    options.bin_dir = bin_dir();
    Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs a command of the load tool to its end and returns the results of its report.
#[track_caller]
fn loadtest(dir: &Path, arguments: &[&str]) -> Value {
    let report = dir.join(format!("{}.json", arguments[0]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost-loadtest"));
    let output = command.args(arguments).arg("--json").arg(&report).stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    report["results"].clone()
}

/// Creates a link for each line of `urls` and notes what was acknowledged in `out`.
#[track_caller]
fn create(fleet: &Fleet, urls: &Path, out: &Path, more: &[&str]) -> Value {
    let ready = fleet.ready();
    let (urls, out) = (urls.to_str().unwrap(), out.to_str().unwrap());
    let mut arguments =
        vec!["create", "--admin", &ready.admin, "--token", &ready.token, "--urls", urls, "--out", out];
    arguments.extend_from_slice(more);
    loadtest(fleet.dir(), &arguments)
}

/// Asks every proxy for every link in `expect`: all must be right at the first try.
#[track_caller]
fn verify(fleet: &Fleet, expect: &Path) -> Value {
    let proxies = fleet.ready().proxies.join(",");
    let arguments = ["verify", "--expect", expect.to_str().unwrap(), "--proxies", &proxies];
    let results = loadtest(fleet.dir(), &arguments);
    assert_eq!(results["interrupted"], false, "{results}");
    results
}

/// Polls until something holds.
#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_in_time(holds), "{what}: not within {PATIENCE:?}");
}

/// How long something that has to happen may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something holds; false: it does not, however long one waits.
fn holds_in_time(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Reads a JSON document of a health port: `/readyz` or `/healthz`.
fn health(address: &str, path: &str) -> Value {
    let host = address.trim_start_matches("http://");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path} answered {answer:?}: {error}"))
}

/// Whether every proxy follows the writer and has everything it has.
fn all_in_sync(fleet: &Fleet) -> bool {
    fleet.ready().proxy_health.iter().all(|address| {
        let feed = &health(address, "/readyz")["feed"];
        feed["state"] == "following" && feed["lag_records"] == 0
    })
}
