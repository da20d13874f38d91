//! No file descriptors left: a process that cannot accept waits instead of asking again and again, and goes on when there are some.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::eventually;
use super::web::{Town, ask};

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
        assert!(works(address), "{address}");
        let before = limit(pid);
        let most = open_files(pid) + 8;
        set_limit(pid, most);
        let host = address.trim_start_matches("http://");
        // What is not accepted waits in the listener's queue.
        let held: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(host).unwrap()).collect();
        eventually("no descriptor is left", || open_files(pid) >= most);

        let (begun, before_it) = (Instant::now(), used(pid));
        std::thread::sleep(Duration::from_secs(2));
        let (took, spent) = (begun.elapsed(), used(pid) - before_it);
        assert!(spent < took / 2, "{address}: {spent:?} of {took:?} spent on a loop");

        drop(held);
        set_limit(pid, before);
        eventually("it goes on", || works(address));
    }
}
