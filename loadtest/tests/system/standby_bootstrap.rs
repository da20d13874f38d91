//! Snapshots for standbys, and from them: nobody has to copy a writer's folder by hand, and no writer is needed to begin with one.

use std::fs;

use serde_json::Value;
use signpost_loadtest::fleet::Fleet;

use super::bootstrap::{Unready, all_right, bootstraps, data_dir, forgetful_with_standbys, log, outgrow};
use super::{all_in_sync, create, eventually, health, real_links, verify};

/// `/readyz` of the `index`th standby.
fn readyz(fleet: &Fleet, index: usize) -> Option<Value> {
    let ports = fs::read_to_string(fleet.dir().join("fleet.json")).unwrap();
    let ports: Value = serde_json::from_str(&ports).unwrap();
    let port = ports.pointer(&format!("/standbys/{index}/health")).unwrap();
    // It is started anew now and then.
    std::panic::catch_unwind(|| health(&format!("http://127.0.0.1:{port}"), "/readyz")).ok()
}

fn follows(fleet: &Fleet, index: usize) -> bool {
    readyz(fleet, index)
        .is_some_and(|ready| ready["standby"]["state"] == "following" && ready["standby"]["lag_records"] == 0)
}

fn fetched(fleet: &Fleet, part: &str) -> usize {
    log(fleet, part).lines().filter(|line| line.contains("what was fetched is whole")).count()
}

#[test]
fn standbys_that_the_journal_has_left_behind_fetch_a_log_and_one_of_them_takes_over_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_with_standbys(dir.path(), 2, &[]);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    fleet.must("kill standby-0 9");
    let missed = outgrow(&fleet, "missed.tsv");
    fleet.must("start standby-0");
    eventually("it follows with another log", || follows(&fleet, 0));
    assert_eq!([fetched(&fleet, "standby-0"), fetched(&fleet, "standby-1")], [1, 0]);
    eventually("nothing is left of the old one", || {
        let left = ["bootstrap", "log-made", "log-next", "log-before"];
        left.iter().all(|name| !data_dir(&fleet, "standby-0").join(name).exists())
    });
    // A machine that is new.
    fleet.must("kill standby-1 9");
    fs::remove_dir_all(data_dir(&fleet, "standby-1")).unwrap();
    fleet.must("start standby-1");
    eventually("it follows with a log", || follows(&fleet, 1));
    assert_eq!(fetched(&fleet, "standby-1"), 1);
    let later = dir.path().join("later.tsv");
    create(&fleet, &real_links(), &later, &["--concurrency", "8"]);
    fleet.must("kill admin 9");
    fleet.must("promote standby-1");
    eventually("the proxies follow the new writer", || all_in_sync(&fleet));
    for expect in [&before, &missed, &later] {
        all_right(&fleet, expect);
    }
    eventually("the other standby follows the new writer", || follows(&fleet, 0));
}

#[test]
fn a_log_that_is_being_fetched_is_gone_on_with_after_a_kill_and_the_old_one_answers_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_with_standbys(dir.path(), 2, &["admin.feed.snapshot_bytes_per_s=3000000"]);
    create(&fleet, &real_links(), &dir.path().join("before.tsv"), &["--concurrency", "8"]);
    fleet.must("kill standby-0 9");
    let missed = outgrow(&fleet, "missed.tsv");
    for kill in 1..=2 {
        fleet.must("spawn standby-0");
        eventually("some of the snapshot is received", || {
            let ready = readyz(&fleet, 0).unwrap_or_default();
            let bootstrap = &ready["standby"]["bootstrap"];
            bootstrap["of"].as_u64() > Some(0) && bootstrap["bytes"].as_u64() > Some(3_000_000 * kill)
        });
        fleet.must("kill standby-0 9");
    }
    fleet.must("start standby-0");
    eventually("it follows with another log", || follows(&fleet, 0));
    let log = log(&fleet, "standby-0");
    let tries: Vec<&str> = log.lines().filter(|line| line.contains("receiving a snapshot")).collect();
    let anew = tries.iter().filter(|line| line.contains("already=0")).count();
    assert_eq!((tries.len(), anew), (3, 1), "every try but the first goes on: {tries:?}");
    fleet.must("kill admin 9");
    fleet.must("promote standby-0");
    eventually("the proxies follow the new writer", || all_in_sync(&fleet));
    all_right(&fleet, &missed);
}

#[test]
fn without_a_writer_an_empty_proxy_begins_with_the_snapshot_of_a_standby() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = forgetful_with_standbys(dir.path(), 1, &[]);
    let links = dir.path().join("links.tsv");
    create(&fleet, &real_links(), &links, &["--concurrency", "8"]);
    eventually("the standby has everything", || follows(&fleet, 0));
    fleet.must("kill admin 9");
    fleet.must("kill proxy-1 9");
    fs::remove_dir_all(data_dir(&fleet, "proxy-1")).unwrap();
    let _proxy = Unready::start(&fleet, "proxy-1");
    let address = fleet.ready().proxy_health[1].trim_start_matches("http://").to_owned();
    eventually("it answers", || std::net::TcpStream::connect(&address).is_ok());
    eventually("it has a replica", || bootstraps(&fleet, 1) == 1);
    all_right(&fleet, &links);
    // Promoted, it is the writer that this proxy goes on with.
    fleet.must("promote standby-0");
    eventually("the proxies follow the new writer", || all_in_sync(&fleet));
    assert_eq!(bootstraps(&fleet, 1), 1);
    assert_eq!(verify(&fleet, &links)["checked"]["right"], 1_000);
}
