//! A crowd of followers that comes all at once: everybody gets through, and creates go on. The short form of `signpost-loadtest followers`.

use super::{bin_dir, loadtest};

#[test]
fn a_hundred_followers_that_connect_at_once_all_get_everything_while_links_are_created() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, bin_dir) = (dir.path().join("fleet"), bin_dir());
    let results = loadtest(
        dir.path(),
        &[
            "followers",
            "--dir",
            fleet.to_str().unwrap(),
            "--bin-dir",
            bin_dir.to_str().unwrap(),
            "--followers",
            "100",
            "--turns",
            "1",
            "--seconds",
            "2",
            "--rate",
            "50",
        ],
    );
    let (one, many) = (&results["turns"][0], &results["turns"][1]);
    assert_eq!((&one["followers"], &many["followers"]), (&1.into(), &100.into()), "{results}");
    // Nobody was sent away or lost its connection, and no create failed.
    assert_eq!((&many["streams"], &results["failed"]), (&100.into(), &0.into()), "{results}");
    assert!(many["created_meanwhile"].as_u64() > Some(0), "{results}");
    assert_eq!(many["created"], 100, "{results}");
}
