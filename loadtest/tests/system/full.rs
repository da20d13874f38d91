//! A disk that takes no more: the writer stops instead of acknowledging what it cannot keep.

use std::process::Command;

use super::{all_in_sync, create, eventually, fleet, real_links, verify};

/// Above what one start and the first links write into one file, below what the load then writes.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Every file of the writer may grow to this size and no further: its next write beyond fails, as on a full disk (setrlimit(2), EFBIG).
/// The journal is where that happens first; nothing else grows as fast.
fn limit_files(pid: u32, bytes: u64) {
    let limit = format!("--fsize={bytes}:{bytes}");
    let status = Command::new("prlimit").arg("--pid").arg(pid.to_string()).arg(limit).status();
    assert!(status.expect("prlimit of util-linux is there").success(), "no limit could be set on {pid}");
}

#[test]
fn a_failed_write_ends_the_writer_in_order_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 1);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    limit_files(fleet.ready().pids.admin, FILE_BYTES_MAX);

    let urls = dir.path().join("urls.txt");
    std::fs::write(&urls, std::fs::read_to_string(real_links()).unwrap().repeat(200)).unwrap();
    let until = dir.path().join("until.tsv");
    let results = create(
        &fleet,
        &urls,
        &until,
        &["--concurrency", "8", "--duration", "5", "--warm-up", "0", "--allow-errors"],
    );
    let acknowledged = results["created"].as_u64().unwrap();
    assert!(!results["errors"].as_object().unwrap().is_empty(), "the limit was never reached: {results}");

    // It ended by itself, with the code for a failure, after saying what failed.
    let admin = || {
        let parts = fleet.must("status")["parts"].as_array().unwrap().clone();
        parts.into_iter().find(|part| part["name"] == "admin").unwrap()
    };
    eventually("the writer has ended", || admin()["state"] == "ended");
    assert_eq!(admin()["ended"], "exit code 1", "{}", admin());
    let log = std::fs::read_to_string(dir.path().join("logs/admin.log")).unwrap();
    assert!(log.contains("File too large"), "the log does not say what failed:\n{log}");

    // Redirects go on, and with room again everything that was acknowledged is there.
    assert_eq!(verify(&fleet, &before)["checked"]["right"], 500, "without the writer");
    fleet.must("start admin");
    eventually("the proxy has caught up", || all_in_sync(&fleet));
    assert_eq!(verify(&fleet, &until)["checked"]["right"].as_u64(), Some(acknowledged));
    create(&fleet, &real_links(), &dir.path().join("after.tsv"), &["--concurrency", "8"]);
}
