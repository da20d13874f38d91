//! The short forms of the fault harness: everything that `make soak` does for hours, once and small. What a run that failed has left, its
//! history and the logs of its fleet, is kept.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{bin_dir, loadtest};

/// A folder that is removed at the end of a test that passes.
struct Folder(Option<TempDir>);

impl Folder {
    fn new() -> Folder {
        Folder(Some(tempfile::tempdir().unwrap()))
    }

    fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Folder {
    // The test runner shows it with the failure.
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if let Some(dir) = self.0.take().filter(|_| std::thread::panicking()) {
            eprintln!("what happened is kept in {}", dir.keep().display());
        }
    }
}

fn harness(dir: &Path, command: &str, more: &[&str]) -> Value {
    let (fleet, bin_dir) = (dir.join("fleet"), bin_dir());
    let mut arguments =
        vec![command, "--dir", fleet.to_str().unwrap(), "--bin-dir", bin_dir.to_str().unwrap()];
    arguments.extend_from_slice(more);
    loadtest(dir, &arguments)
}

#[test]
fn nothing_acknowledged_is_lost_when_parts_are_killed_at_named_points() {
    let dir = Folder::new();
    // From the last ones of the writer to the first ones of the key pool; `make soak` has them all.
    let points = ["--faults", "points", "--first-point", "22", "--seconds", "8", "--seed", "7"];
    let results = harness(dir.path(), "fault", &points);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert!(sum(&results["points"], "kill at") >= 5, "{results}");
}

#[test]
fn nothing_acknowledged_is_lost_when_a_proxy_is_killed_at_named_points_of_a_snapshot() {
    let dir = Folder::new();
    // The last ones, where the new replica gets its name; each takes seconds, as proxies wait a random time before they ask for a snapshot.
    let points = ["--faults", "points", "--first-point", "52", "--seconds", "4", "--seed", "7"];
    let results = harness(dir.path(), "fault", &points);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert!(sum(&results["points"], "kill at proxy") >= 2, "{results}");
}

#[test]
fn nothing_acknowledged_is_lost_and_no_limit_exceeded_while_clocks_are_stepped() {
    let dir = Folder::new();
    let results = harness(dir.path(), "fault", &["--faults", "clock", "--seconds", "5", "--seed", "7"]);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert!(sum(&results["faults"], "clock ") >= 2, "{results}");
    assert!(sum(&results["requests"], "create with a limit: done") > 10, "{results}");
}

#[test]
fn a_promotion_that_is_interrupted_at_a_named_point_is_made_by_the_next_command() {
    let dir = Folder::new();
    let results = harness(dir.path(), "promotions", &["--points", "--times", "2", "--seed", "5"]);
    assert_eq!(results["broken"], serde_json::json!([]));
    let promotions = results["promotions"].as_array().unwrap();
    assert!(promotions.iter().all(|promotion| promotion["interrupted"].is_string()), "{results}");
}

#[test]
fn a_writer_that_is_cut_off_while_it_runs_acknowledges_nothing_and_yields_when_the_cables_are_joined() {
    let dir = Folder::new();
    let losses = ["--losses", "silent,cut-off", "--times", "2", "--seed", "7"];
    let results = harness(dir.path(), "promotions", &losses);
    assert_eq!(results["broken"], serde_json::json!([]));
    let promotions = results["promotions"].as_array().unwrap();
    let hows: Vec<&str> = promotions.iter().map(|promotion| promotion["how"].as_str().unwrap()).collect();
    assert_eq!(hows, ["silent", "cut_off"]);
    for promotion in promotions {
        // It was asked, and said why not: alone at first, replaced at the end.
        let asked = &promotion["asked_alone"];
        assert!(sum(asked, "503 no_sync_replica") > 0 && sum(asked, "201") == 0, "{promotion}");
    }
}

#[test]
fn a_writer_whose_packets_vanish_while_it_runs_acknowledges_nothing_and_yields_when_they_come_through() {
    let dir = Folder::new();
    let losses = ["--losses", "unreachable", "--times", "2", "--seed", "7"];
    let results = harness(dir.path(), "promotions", &losses);
    assert_eq!(results["broken"], serde_json::json!([]));
    for promotion in results["promotions"].as_array().unwrap() {
        let asked = &promotion["asked_alone"];
        assert!(sum(asked, "") > 0 && sum(asked, "201") == 0, "{promotion}");
    }
}

fn sum(counts: &Value, name: &str) -> u64 {
    let counts = counts.as_object().unwrap().iter();
    counts.filter(|(key, _)| key.starts_with(name)).map(|(_, count)| count.as_u64().unwrap()).sum()
}

#[test]
fn nothing_acknowledged_is_lost_while_parts_and_cables_fail() {
    let dir = Folder::new();
    let results = harness(dir.path(), "fault", &["--proxies", "2", "--seconds", "14", "--seed", "7"]);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert!(sum(&results["faults"], "") >= 4, "{results}");
    assert!(sum(&results["requests"], "create") > 100, "{results}");
    assert!(sum(&results["requests"], "follow: done") > 500, "{results}");
    // What was recorded can be checked again.
    let history = dir.path().join("fleet").join("history.ndjson");
    loadtest(dir.path(), &["fault", "--check", history.to_str().unwrap()]);
}

#[test]
fn nothing_acknowledged_is_lost_while_packets_between_parts_vanish_or_are_refused() {
    let dir = Folder::new();
    let results = harness(dir.path(), "fault", &["--faults", "filter", "--seconds", "4", "--seed", "19"]);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert!(sum(&results["faults"], "filter ") >= 6, "{results}");
    assert!(sum(&results["packets"], "") > 20, "{results}");
    assert!(sum(&results["requests"], "create: done") > 10, "{results}");
}

#[test]
fn an_alias_that_sixteen_clients_claim_while_the_writer_is_killed_has_one_owner() {
    let dir = Folder::new();
    let results = harness(dir.path(), "contest", &["--claims", "32000", "--kills", "1", "--seed", "7"]);
    assert_eq!(results["broken"], serde_json::json!([]));
    assert_eq!(results["claims"], 32_000);
}

#[test]
fn a_file_call_that_fails_loses_nothing_whichever_it_is() {
    let dir = Folder::new();
    let parts = ["--parts", "admin,keypool-0,proxy-0", "--from", "7", "--to", "140", "--step", "66"];
    let results = harness(dir.path(), "fault-sweep", &parts);
    assert_eq!(results["objections"], serde_json::json!([]));
    let sweeps = results["sweeps"].as_array().unwrap();
    assert_eq!(sweeps.len(), 12, "three parts, four modes");
    assert!(sweeps.iter().all(|sweep| sweep["tried"].as_u64() > Some(0)), "{results}");
    // A proxy that is killed while it starts redirects nobody.
    let redirects = |sweep: &Value| sweep["mode"] == "kill" || sweep["redirects"].as_u64() > Some(0);
    assert!(sweeps.iter().all(redirects), "{results}");
    let failed: u64 = sweeps.iter().map(|sweep| sweep["failed"].as_u64().unwrap()).sum();
    assert!(failed > 5, "hardly a call failed: {results}");
}

#[test]
fn a_restore_whose_file_call_fails_or_that_is_killed_there_leaves_all_or_nothing() {
    let dir = Folder::new();
    let results =
        harness(dir.path(), "fault-sweep", &["--parts", "restore", "--from", "13", "--step", "131"]);
    assert_eq!(results["objections"], serde_json::json!([]));
    let sweeps = results["sweeps"].as_array().unwrap();
    assert_eq!(sweeps.len(), 4, "four modes");
    assert!(
        sweeps.iter().all(|sweep| sweep["failed"].as_u64() > Some(1) && sweep["whole"] == true),
        "{results}"
    );
}

#[test]
fn a_flipped_bit_changes_no_answer_in_any_kind_of_file() {
    let dir = Folder::new();
    let results = harness(dir.path(), "flips", &["--count", "68", "--seed", "7"]);
    assert_eq!(results["broken"], serde_json::json!([]));
    for part in ["admin", "keypool", "proxy", "standby", "backup"] {
        let kinds = results["kinds"].as_object().unwrap();
        assert!(kinds.keys().filter(|kind| kind.starts_with(part)).count() > 3, "{part}: {results}");
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let dir = Folder::new();
    let results = harness(dir.path(), "power-cuts", &["--count", "9", "--seed", "7"]);
    assert_eq!(results["objections"], serde_json::json!([]));
    assert_eq!(results["cuts"], serde_json::json!({ "admin": 3, "keypool-0": 3, "proxy-0": 3 }));
    assert!(
        results["acknowledged"].as_u64() > Some(0) && results["redirects"].as_u64() > Some(0),
        "{results}"
    );
}
