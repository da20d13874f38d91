//! Who comes first on a core: the workers of the binary that ships, where the system allows it.

use std::process::Command;

use crate::author::Author;
use crate::client::eventually;
use crate::feed::FakeWriter;
use crate::process::{Home, Process};

/// Words that start a program which gets no real-time priority, whoever starts it.
const ORDINARY: [&str; 5] =
    ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", "prlimit", "--rtprio=0:0"];
/// As of `Home`.
const WORKERS: usize = 2;
/// `SCHED_RR`, sched(7).
const ROUND_ROBIN: &str = "2";

fn workers_that_come_first(proxy: &Process) -> usize {
    let metrics = proxy.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("signpost_proxy_workers_real_time "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

/// The names of a process's threads of real-time priority, in order.
fn threads_of_real_time(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let policies = stats.filter_map(|stat| {
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
        // Field 41 of proc_pid_stat(5); the first behind the name is 3.
        (fields.split(' ').nth(41 - 3)? == ROUND_ROBIN).then(|| name.to_owned())
    });
    let mut names: Vec<String> = policies.collect();
    names.sort_unstable();
    names
}

#[test]
fn workers_come_first_where_the_system_allows_it_and_nobody_else_does() {
    let allows = Command::new("chrt").args(["--rr", "1", "true"]).status().unwrap().success();
    let home = Home::new(&["http://127.0.0.1:9".to_owned()]);
    let proxy = home.start();
    let names: Vec<String> = (0..WORKERS).map(|worker| format!("worker-{worker}")).collect();
    let expected = if allows { names } else { Vec::new() };
    eventually("as many as expected", || (workers_that_come_first(&proxy) == expected.len()).then_some(()));
    assert_eq!(threads_of_real_time(proxy.id()), expected);
}

#[test]
fn where_the_system_does_not_allow_it_or_it_is_switched_off_all_are_alike_and_serve() {
    let off = |home: Home| home.with_replaced("workers = 2", "workers = 2\nreal_time = false");
    let refused = |home: Home| home.wrapped(ORDINARY.map(str::to_owned).to_vec());
    for is_refused in [false, true] {
        let (mut author, writer) = (Author::new(), FakeWriter::start());
        author.link("Ab3xY9z", "https://a.example/");
        let home = Home::new(&[writer.url()]);
        let home = if is_refused { refused(home) } else { off(home) };
        let proxy = home.start();
        let mut stream = writer.welcome(&author);
        stream.catch_up(&author);
        proxy.await_ready();
        assert_eq!(proxy.get("/Ab3xY9z").status, 302);
        assert_eq!((workers_that_come_first(&proxy), threads_of_real_time(proxy.id())), (0, Vec::new()));
        assert_eq!(proxy.logged("LimitRTPRIO").len(), if is_refused { WORKERS } else { 0 });
    }
}
