//! The writer is lost: a standby takes its place, and nothing that was acknowledged is missing.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use signpost_loadtest::fleet::{Fleet, Options};

use super::web::ask;
use super::{all_in_sync, bin_dir, create, eventually, loadtest, real_links, verify};

/// A visitor who is taken for a person.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn fleet_with_standbys(dir: &Path, standbys: u16) -> Fleet {
    let mut options = Options::new(dir, 2).unwrap();
    options.bin_dir = bin_dir();
    options.standbys = standbys;
    Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"))
}

fn admin(arguments: &[&str]) -> Output {
    let mut command = Command::new(bin_dir().join("signpost-admin"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Addresses that `fleet` uses itself stand in `fleet.json`.
fn port(fleet: &Fleet, of: &str) -> u64 {
    let text = std::fs::read_to_string(fleet.dir().join("fleet.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap().pointer(of).unwrap().as_u64().unwrap()
}

#[test]
fn writers_killed_and_stopped_under_load_lose_nothing_and_give_no_code_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let bin_dir = bin_dir();
    let bin_dir = bin_dir.to_str().unwrap();
    let losses = ["promotions", "--times", "4", "--losses", "killed,stopped", "--seed", "5"];
    let arguments = [&losses[..], &["--dir", path, "--bin-dir", bin_dir]].concat();
    let results = loadtest(dir.path(), &arguments);
    assert_eq!(results["broken"], Value::Array(Vec::new()), "{results}");
    let promotions = results["promotions"].as_array().unwrap();
    assert_eq!(promotions.len(), 4);
    for how in ["killed", "stopped"] {
        assert!(promotions.iter().any(|promotion| promotion["how"] == how), "no writer was {how}: {results}");
    }
}

#[test]
fn a_standby_that_may_lack_something_is_not_promoted_unless_the_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet_with_standbys(dir.path(), 2);
    let out = dir.path().join("created.tsv");
    create(&fleet, &real_links(), &out, &["--concurrency", "8"]);
    for part in ["admin", "standby-1"] {
        fleet.must(&format!("kill {part} 9"));
    }
    let config = fleet.dir().join("standby-0/config.toml");
    let config = config.to_str().unwrap();
    let refused = admin(&["promote", "--config", config]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("standby-1") && said.contains("--accept-loss"),
        "{said}"
    );
    let accepted = admin(&["promote", "--config", config, "--accept-loss"]);
    let said = String::from_utf8(accepted.stderr).unwrap();
    assert!(accepted.status.success() && said.contains("at risk") && said.contains("standby-1"), "{said}");
    // Here both had everything.
    eventually("the proxies follow the new writer", || all_in_sync(&fleet));
    assert_eq!(verify(&fleet, &out)["checked"]["right"], 1_000);
}

#[test]
fn a_writer_that_has_lost_its_end_says_so_and_recovers_it_from_its_standby() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet_with_standbys(dir.path(), 1);
    let (before, after) = (dir.path().join("before.tsv"), dir.path().join("after.tsv"));
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    // A disk that goes back in time, as a careless restore of a machine's image does: database and HEAD file alike.
    let log = fleet.dir().join("admin/data/log");
    fleet.must("stop admin");
    let copy = fleet.dir().join("older");
    copy_folder(&log, &copy);
    fleet.must("start admin");
    let health = format!("http://127.0.0.1:{}", port(&fleet, "/admin/health"));
    let standby_follows = || {
        let ready = std::panic::catch_unwind(|| super::health(&health, "/readyz"));
        ready.is_ok_and(|ready| {
            ready["members"].as_array().is_some_and(|members| {
                members.iter().any(|member| member["id"] == "standby-0" && member["state"] == "in_sync")
            })
        })
    };
    eventually("the standby follows again", standby_follows);
    create(&fleet, &real_links(), &after, &["--concurrency", "8"]);
    fleet.must("stop admin");
    std::fs::remove_dir_all(&log).unwrap();
    copy_folder(&copy, &log);
    // It starts, meets its standby, and writes nothing.
    fleet.must("spawn admin");
    eventually("the writer knows that it is behind", || {
        let ready = std::panic::catch_unwind(|| super::health(&health, "/readyz"));
        ready.is_ok_and(|ready| {
            ready["why"].as_str().is_some_and(|why| why.contains("signpost-admin recover"))
        })
    });
    let token = format!("Bearer {}", fleet.ready().token);
    let headers = [("Authorization", &*token), ("Content-Type", "application/json")];
    let refused =
        ask(&fleet.ready().admin, "POST", "/v1/links", &headers, r#"{"long_url":"https://example.org/"}"#);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("writer_behind")));
    fleet.must("stop admin");
    let config = fleet.dir().join("admin/config.toml");
    let from = format!("https://127.0.0.1:{}", port(&fleet, "/standbys/0/feed"));
    let recovered = admin(&["recover", "--config", config.to_str().unwrap(), "--from", &from]);
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    fleet.must("start admin");
    eventually("the proxies follow the new epoch", || all_in_sync(&fleet));
    for expect in [&before, &after] {
        let links = std::fs::read_to_string(expect).unwrap().lines().count() as u64;
        assert_eq!(verify(&fleet, expect)["checked"]["right"].as_u64(), Some(links * 2));
    }
    let later = dir.path().join("later.tsv");
    eventually("the standby follows the new epoch", standby_follows);
    create(&fleet, &real_links(), &later, &["--concurrency", "8"]);
}

/// Visits a link again and again; every visit has to lead to its target.
fn visit(fleet: &Fleet, code: &str, times: usize) {
    std::thread::scope(|scope| {
        for proxy in &fleet.ready().proxies {
            scope.spawn(move || {
                for _ in 0..times {
                    let answer = ask(proxy, "GET", &format!("/{code}"), &[("User-Agent", BROWSER)], "");
                    assert_eq!((answer.status, answer.location()), (302, "https://example.org/counted"));
                }
            });
        }
    });
}

#[test]
fn clicks_are_counted_once_through_the_loss_of_writers() {
    const TIMES: usize = 150;
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet_with_standbys(dir.path(), 2);
    let (token, json) = (format!("Bearer {}", fleet.ready().token), "application/json");
    let headers = [("Authorization", &*token), ("Content-Type", json)];
    let body = serde_json::json!({ "long_url": "https://example.org/counted" }).to_string();
    let made = ask(&fleet.ready().admin, "POST", "/v1/links", &headers, &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let code = made.json()["code"].as_str().unwrap().to_owned();
    let total = |api: &str| {
        let clicks = ask(api, "GET", &format!("/v1/links/{code}/clicks"), &headers[..1], "");
        clicks.json()["total"].as_u64()
    };
    let mut visits = 0;
    let mut visit_all = || {
        visit(&fleet, &code, TIMES);
        visits += (TIMES * fleet.ready().proxies.len()) as u64;
        visits
    };

    let so_far = visit_all();
    eventually("all visits are counted", || total(&fleet.ready().admin) == Some(so_far));
    for (lost, promoted, api) in [
        ("admin", "standby-0", &fleet.ready().standbys[0]),
        ("standby-0", "standby-1", &fleet.ready().standbys[1]),
    ] {
        // Some of these are counted by a writer that is lost in the middle of it.
        let so_far = std::thread::scope(|scope| {
            let visiting = scope.spawn(&mut visit_all);
            fleet.must(&format!("kill {lost} 9"));
            visiting.join().unwrap()
        });
        fleet.must(&format!("promote {promoted}"));
        eventually("every visit is counted by the new writer, once", || total(api) == Some(so_far));
        let so_far = visit_all();
        eventually("and every later one", || total(api) == Some(so_far));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy_folder(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}
