//! Proxies need nobody: not the writer, not the key pools, not each other.

use super::{all_in_sync, create, eventually, fleet, real_links, verify};

#[test]
fn redirects_go_on_with_everything_else_killed_and_a_cold_proxy_serves_from_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 2);
    let out = dir.path().join("created.tsv");
    create(&fleet, &real_links(), &out, &["--concurrency", "8"]);
    for part in ["admin", "keypool-0"] {
        fleet.must(&format!("kill {part} 9"));
    }
    assert_eq!(verify(&fleet, &out)["checked"]["right"], 1_000, "with the writer dead");
    fleet.must("kill proxy-0 9");
    fleet.must("start proxy-0");
    assert_eq!(verify(&fleet, &out)["checked"]["right"], 1_000, "after a cold start without the writer");

    // The writer comes back; new links reach the proxy that was started without it.
    fleet.must("start keypool-0");
    fleet.must("start admin");
    let proxies = fleet.ready().proxies.join(",");
    eventually("both proxies follow again", || all_in_sync(&fleet));
    let later = dir.path().join("later.tsv");
    let more = ["--concurrency", "8", "--follow", "--proxies", &proxies];
    let results = create(&fleet, &real_links(), &later, &more);
    assert_eq!(results["followed"]["right"], 1_000, "{results}");
    assert_eq!(verify(&fleet, &out)["checked"]["right"], 1_000, "the old links afterwards");
}

#[test]
fn a_proxy_that_was_away_catches_up_with_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 2);
    let before = dir.path().join("before.tsv");
    create(&fleet, &real_links(), &before, &["--concurrency", "8"]);
    fleet.must("kill proxy-1 9");
    let missed = dir.path().join("missed.tsv");
    create(&fleet, &real_links(), &missed, &["--concurrency", "8"]);
    fleet.must("start proxy-1");
    for expect in [&before, &missed] {
        assert_eq!(verify(&fleet, expect)["checked"]["right"], 1_000);
    }
}
