//! A `201` means that every proxy redirects, at once.

use super::{create, fleet, real_links, verify};

#[test]
fn every_link_is_followed_on_every_proxy_right_after_its_201() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 2);
    let proxies = fleet.ready().proxies.join(",");
    let out = dir.path().join("created.tsv");
    let results =
        create(&fleet, &real_links(), &out, &["--concurrency", "8", "--follow", "--proxies", &proxies]);
    assert_eq!((&results["created"], &results["duplicate_codes"]), (&500.into(), &0.into()), "{results}");
    assert_eq!(results["followed"]["right"], 1_000, "{results}");
    assert_eq!(verify(&fleet, &out)["checked"]["right"], 1_000);
}

#[test]
fn batches_are_followed_like_single_links() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path(), 2);
    let proxies = fleet.ready().proxies.join(",");
    let out = dir.path().join("created.tsv");
    let more = ["--concurrency", "4", "--batch", "50", "--follow", "--proxies", &proxies];
    let results = create(&fleet, &real_links(), &out, &more);
    assert_eq!(results["followed"]["right"], 1_000, "{results}");
}
