//! Fleets of fake parts: starting, commanding, ending.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;
use signpost_loadtest::fleet::{Fleet, Options};
use signpost_loadtest::http1::{Connection, get};

use crate::parts::binaries;
use crate::{eventually, loadtest};

/// Options for a fleet of fake parts in a folder, with `--set`s.
fn options(dir: &Path, proxies: u16, settings: &[&str]) -> Options {
    let settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    let bin_dir = if dir.join("bin").exists() { dir.join("bin") } else { binaries(dir) };
    Options { bin_dir, settings, ..Options::new(dir.join("fleet"), proxies).unwrap() }
}

/// The program `fleet` with its standard streams.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let bin_dir = binaries(dir);
        let fleet = dir.join("fleet");
        let mut command =
            loadtest(&["fleet", "--dir", fleet.to_str().unwrap(), "--bin-dir", bin_dir.to_str().unwrap()]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn command(&mut self, line: &str) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    fn signal(&self, signal: &str) {
        assert!(
            std::process::Command::new("kill")
                .args([signal, &self.child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// The processes of a ready line.
fn pids(ready: &Value) -> Vec<u64> {
    let lists = [&ready["pids"]["proxies"], &ready["pids"]["keypools"]];
    let listed = lists.into_iter().flat_map(|list| list.as_array().unwrap()).map(|pid| pid.as_u64().unwrap());
    listed.chain([ready["pids"]["admin"].as_u64().unwrap()]).collect()
}

fn exists(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended; it waits to be reaped by whoever inherited it.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn status_of(url: &str, path: &str) -> u16 {
    let endpoint: signpost_loadtest::http1::Endpoint = url.parse().unwrap();
    let mut connection = Connection::new(endpoint.clone(), std::time::Duration::from_secs(5));
    connection.exchange(&get(&endpoint, path, "")).unwrap().status
}

#[test]
fn the_ready_line_has_every_address_and_all_of_them_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &["--proxies", "2", "--keypools", "2"]);
    let line = program.line();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let keys = ["admin", "token", "proxies", "proxy_health", "keypools", "pids"];
    let places: Vec<usize> = keys.iter().map(|key| line.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted() && ready.as_object().unwrap().len() == keys.len(), "{line}");
    assert_eq!(status_of(ready["admin"].as_str().unwrap(), "/v1/replication"), 200);
    for (list, path, status) in
        [("proxies", "/none", 404), ("proxy_health", "/readyz", 200), ("keypools", "/readyz", 200)]
    {
        for url in ready[list].as_array().unwrap() {
            assert_eq!(status_of(url.as_str().unwrap(), path), status, "{url}");
        }
    }
    let token = dir.path().join("fleet/token");
    assert_eq!(fs::read_to_string(&token).unwrap().trim(), ready["token"]);
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(program.command("status")["parts"].as_array().unwrap().len(), 5);
    assert_eq!(program.command("quit")["ok"], true);
    assert!(program.child.wait().unwrap().success());
    assert!(!pids(&ready).into_iter().any(exists));
}

#[test]
fn nothing_is_left_behind_however_the_fleet_ends() {
    for end in ["-TERM", "-INT", "-KILL", "end of input"] {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Program::start(dir.path(), &["--proxies", "1"]);
        let ready: Value = serde_json::from_str(&program.line()).unwrap();
        assert!(pids(&ready).into_iter().all(exists));
        if end.starts_with('-') {
            program.signal(end)
        } else {
            drop(program.input.take())
        }
        let status = program.child.wait().unwrap();
        assert!(status.success() || end == "-KILL", "{end}: {status}");
        eventually(end, || !pids(&ready).into_iter().any(exists));
    }
}

#[test]
fn a_signal_ends_a_fleet_that_is_still_starting() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path(), &["--set", "proxy.fake.not_ready=true"]);
    let log = dir.path().join("fleet/logs/proxy-0.log");
    eventually("proxy-0 is started", || log.exists());
    program.signal("-TERM");
    assert!(program.child.wait().unwrap().success());
    assert_eq!(program.line(), "", "there is no ready line");
}

#[test]
fn a_part_is_killed_paused_stopped_and_started_on_command_with_its_port_and_data() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(Options { links: 3, ..options(dir.path(), 2, &[]) }).unwrap();
    let path = format!("/{}", fleet.keys().unwrap()[2]);
    let proxy = &fleet.ready().proxies[0];
    let state = |part: &str| {
        let status = fleet.must("status");
        let parts = status["parts"].as_array().unwrap();
        parts.iter().find(|candidate| candidate["name"] == part).unwrap().clone()
    };
    let killed = fleet.must("kill proxy-0 9");
    assert_eq!(
        (&killed["pid"], &killed["signal"]),
        (&fleet.ready().pids.proxies[0].into(), &"SIGKILL".into())
    );
    assert_eq!(
        (&state("proxy-0")["state"], &state("proxy-0")["ended"]),
        (&"ended".into(), &"signal 9".into())
    );
    let started = fleet.must("start proxy-0");
    assert_ne!(started["pid"], killed["pid"]);
    assert_eq!(status_of(proxy, &path), 302);

    fleet.must("kill proxy-1 STOP");
    eventually("proxy-1 is paused", || state("proxy-1")["state"] == "paused");
    fleet.must("kill proxy-1 cont");
    eventually("proxy-1 goes on", || state("proxy-1")["ready"] == true);

    assert_eq!(fleet.must("stop admin")["ended"], "signal 15");
    assert_eq!(status_of(proxy, &path), 302);
    fleet.must("start admin");
    assert_eq!(status_of(&fleet.ready().admin, "/v1/replication"), 200);
}

#[test]
fn a_command_that_cannot_be_done_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(options(dir.path(), 1, &[])).unwrap();
    let refused = |line: &str| fleet.command(line)["error"].as_str().unwrap().to_owned();
    assert!(refused("start proxy-0").contains("proxy-0 is running already"));
    assert!(refused("kill proxy-7 9").contains("there is no proxy-7: keypool-0, admin, proxy-0"));
    assert!(refused("dance").contains("is no command"));
    fleet.must("stop proxy-0");
    assert!(refused("stop proxy-0").contains("proxy-0 is not running"));
    fleet.must("quit");
    assert!(refused("status").contains("the fleet has ended"));
}

#[test]
fn a_second_start_keeps_ports_token_and_links_and_adds_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let first = Fleet::start(Options { links: 2500, ..options(dir.path(), 1, &[]) }).unwrap();
    let (ready, keys) = (first.ready().clone(), first.keys().unwrap());
    assert_eq!(keys.len(), 2500);
    drop(first);
    let second = Fleet::start(Options { links: 2600, ..options(dir.path(), 2, &[]) }).unwrap();
    assert_eq!((&second.ready().admin, &second.ready().token), (&ready.admin, &ready.token));
    assert_eq!(second.ready().proxies[0], ready.proxies[0]);
    let more = second.keys().unwrap();
    assert_eq!((&more[..2500], more.len()), (&keys[..], 2600));
    let links = fs::read_to_string(dir.path().join("fleet/links.tsv")).unwrap();
    let target =
        |index: u64| format!("{}\t{}", more[index as usize], signpost_loadtest::synthetic::long_url(index));
    for index in [0, 1234, 2599] {
        assert!(links.lines().any(|line| line == target(index)), "{index}");
    }
}

#[test]
fn a_part_that_does_not_start_is_told_with_its_log_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let error = Fleet::start(options(dir.path(), 2, &["proxy-1.fake.exit=78"])).unwrap_err().to_string();
    assert!(error.contains("proxy-1 ended with exit code 78"), "{error}");
    assert!(error.contains("told to end with 78") && error.contains("logs/proxy-1.log"), "{error}");
    // Ports and folder are free again.
    drop(Fleet::start(options(dir.path(), 2, &[])).unwrap());
}

#[test]
fn missing_binaries_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bin_dir = binaries(dir.path());
    fs::remove_file(bin_dir.join("signpost-proxy")).unwrap();
    let error = Fleet::start(options(dir.path(), 1, &[])).unwrap_err().to_string();
    assert!(error.contains("signpost-proxy not found") && error.contains("make build"), "{error}");
}
