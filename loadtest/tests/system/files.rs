//! No file descriptors left: a process that cannot accept waits instead of asking again and again, and goes on when there are some.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signpost_loadtest::fleet::{Fleet, Options};

use super::web::{Town, ask};
use super::{all_in_sync, bin_dir, eventually};

fn open_files(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// The soft limit; the hard one stays.
fn limit(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn set_limit(pid: u32, files: u64) {
    let limit = format!("--nofile={files}:");
    let status = Command::new("prlimit").arg("--pid").arg(pid.to_string()).arg(limit).status();
    assert!(status.expect("prlimit of util-linux is there").success(), "no limit could be set on {pid}");
}

/// Processor time used so far.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second (proc_pid_stat(5)).
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Takes all descriptors of a process by connections to `host` that say nothing, gives them back, and returns what was seen `meanwhile`. It must
/// not ask again and again for what it cannot have.
fn starve<T>(pid: u32, host: &str, meanwhile: impl FnOnce() -> T) -> T {
    let before = limit(pid);
    let most = open_files(pid) + 8;
    set_limit(pid, most);
    // What is not accepted waits in the listener's queue.
    let held: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(host).unwrap()).collect();
    eventually("no descriptor is left", || open_files(pid) >= most);

    let (begun, before_it) = (Instant::now(), used(pid));
    std::thread::sleep(Duration::from_secs(2));
    let (took, spent) = (begun.elapsed(), used(pid) - before_it);
    assert!(spent < took / 2, "{host}: {spent:?} of {took:?} spent on a loop");

    let seen = meanwhile();
    drop(held);
    set_limit(pid, before);
    seen
}

#[test]
fn a_writer_and_a_proxy_without_file_descriptors_wait_and_go_on_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": "https://a.example/" }));
    let ready = town.fleet.ready().clone();
    let token = format!("Bearer {}", ready.token);
    let path = format!("/v1/links/{code}");
    let works = |address: &str| match address == ready.admin {
        true => ask(address, "GET", &path, &[("Authorization", &token)], "").status == 200,
        false => ask(address, "GET", &format!("/{code}"), &[], "").status == 302,
    };
    for (pid, address) in [(ready.pids.proxies[0], &ready.proxies[0]), (ready.pids.admin, &ready.admin)] {
        // On a busy machine a link is acknowledged before a proxy has it.
        eventually("it works", || works(address));
        starve(pid, address.trim_start_matches("http://"), || ());
        eventually("it goes on", || works(address));
    }
}

/// The process of a part that runs.
fn pid(fleet: &Fleet, part: &str) -> u32 {
    let status = fleet.must("status");
    let found = status["parts"].as_array().unwrap().iter().find(|found| found["name"] == part).unwrap();
    assert_eq!(found["state"], "running", "{found}");
    found["pid"].as_u64().unwrap() as u32
}

/// A port of the fleet, by its place in `fleet.json`.
fn port(fleet: &Fleet, place: &str) -> String {
    let text = std::fs::read_to_string(fleet.dir().join("fleet.json")).unwrap();
    let ports: Value = serde_json::from_str(&text).unwrap();
    format!("127.0.0.1:{}", ports.pointer(place).unwrap())
}

#[test]
fn a_key_pool_a_standby_and_the_feed_without_file_descriptors_stay_up_and_serve_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path(), 1).unwrap();
    (options.bin_dir, options.standbys) = (bin_dir(), 1);
    // A lease every ten links.
    let settings = ["admin.codes.block=10", "admin.codes.low_watermark=10"];
    options.settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    let town = Town { fleet: Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}")) };
    let fleet = &town.fleet;
    let ready = fleet.ready().clone();
    let create = || town.api("POST", "/v1/links", &json!({ "long_url": "https://a.example/" }));
    let path = format!("/v1/links/{}", create().json()["code"].as_str().unwrap());
    let parts = ["keypool-0", "standby-0", "admin"];
    let before = parts.map(|part| pid(fleet, part));

    // Links are made meanwhile as long as there are codes; which of them are refused is not the matter.
    starve(before[0], &port(fleet, "/keypools/0/grpc"), || (0..50).for_each(|_| drop(create())));
    eventually("codes are leased again", || (0..50).all(|_| create().status == 201));

    let token = format!("Bearer {}", ready.token);
    let standby = || ask(&ready.standbys[0], "GET", &path, &[("Authorization", &token)], "").status;
    assert_eq!(standby(), 200);
    starve(before[1], &port(fleet, "/standbys/0/http"), || ());
    eventually("the standby answers", || standby() == 200);
    // The writer waits for it.
    eventually("the standby confirms", || create().status == 201);

    // A proxy that comes back while the writer can take nobody.
    starve(before[2], &port(fleet, "/admin/feed"), || {
        fleet.must("kill proxy-0 9");
    });
    fleet.must("start proxy-0");
    eventually("the proxy follows", || all_in_sync(fleet));
    let code = town.code(&json!({ "long_url": "https://b.example/" }));
    assert_eq!(town.visit(&format!("/{code}")).location(), "https://b.example/");
    assert_eq!(parts.map(|part| pid(fleet, part)), before, "none of them has ended");
}
