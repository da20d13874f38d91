//! Clicks are counted once, and none is lost: the short form of `make clicks`.

use super::{bin_dir, loadtest};

/// Runs `clicks` in a folder of its own, which has to hold the contract.
fn clicks(more: &[&str]) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, bin_dir) = (dir.path().join("fleet"), bin_dir());
    let mut arguments = vec![
        "clicks",
        "--dir",
        fleet.to_str().unwrap(),
        "--bin-dir",
        bin_dir.to_str().unwrap(),
        "--links",
        "20",
        "--rate",
        "300",
        "--connections",
        "6",
    ];
    arguments.extend_from_slice(more);
    loadtest(dir.path(), &arguments)
}

fn sum(counts: &serde_json::Value) -> u64 {
    counts.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn counts_equal_what_was_sent_by_kind_and_link() {
    let results = clicks(&["--duration", "5", "--cuts", "4", "--delay", "50", "--seed", "11"]);
    let compared = &results["compared"];
    assert_eq!(compared["counted"], compared["received"], "{results}");
    assert_eq!(compared["counted"], compared["attempted"], "{results}");
    // How long each burst may take to be counted is the verdict of the command, which knows what the machine did meanwhile.
    let bursts = results["bursts"].as_array().unwrap();
    assert!(bursts.len() > 5 && bursts.iter().all(|burst| burst["counted_after_ms"].is_u64()), "{results}");
    assert!(sum(&compared["counted"]) > 500, "{results}");
    assert!(compared["counted"].as_array().unwrap().iter().all(|kind| kind.as_u64() > Some(0)), "{results}");
}

#[test]
fn kills_of_proxies_and_of_the_writer_lose_no_click_and_double_none() {
    let faults = ["--kills", "5", "--cuts", "3", "--delay", "20", "--admin-outage", "3s"];
    let results = clicks(&[&["--duration", "10", "--seed", "12"][..], &faults[..]].concat());
    let compared = &results["compared"];
    // Requests under way when a proxy was killed: one a connection and kill at most.
    let gap = sum(&compared["attempted"]) - sum(&compared["received"]);
    assert!(gap <= 5 * 6, "{results}");
    assert_eq!(results["dropped"], 0);
}

#[test]
fn batches_that_come_twice_late_or_from_an_old_stream_are_counted_once() {
    let tricks = ["--repeats", "4", "--late", "3", "--lost-answers", "3", "--replays", "3"];
    let results = clicks(&[&["--duration", "12", "--seed", "13"][..], &tricks[..]].concat());
    let (compared, relay) = (&results["compared"], &results["relay"]);
    assert_eq!(compared["counted"], compared["received"], "{results}");
    assert_eq!(compared["counted"], compared["attempted"], "{results}");
    assert_eq!((&relay["answers_lost"], &relay["streams_replayed"]), (&3.into(), &3.into()), "{results}");
    // Twice in a row and late ones are never the first of their number.
    assert!(results["batches_repeated"].as_u64().unwrap() >= 4 + 3, "{results}");
}
