//! Snapshots: fetched through cuts and kills, and planted bugs of theirs are found.

use simulation::plan::{Plan, Plant};
use simulation::world;

use super::assert_found_by;

#[test]
fn the_same_seed_twice_gives_the_same_trace_with_snapshots_in_it() {
    let with_snapshots = |seed: &u64| {
        let plan = Plan::contested(*seed, 1_500, None);
        plan.snapshots.is_some() && world::run(&plan, false).snapshots > 3
    };
    for seed in (0..20).filter(with_snapshots).take(3) {
        let traced = || world::run(&Plan::contested(seed, 1_500, None), true);
        let (first, second) = (traced(), traced());
        assert!(first.trace.contains("fetches a snapshot"), "seed {seed}");
        assert!(first.trace == second.trace, "seed {seed}: the traces differ");
    }
}

const OTHER_STATE: &[&str] =
    &["is not what the journal leads to", "differs from its writer", "cannot apply", "was written by nobody"];

#[test]
fn a_follower_that_switches_before_a_snapshot_is_whole_is_found() {
    assert_found_by(Plan::of_seed, Plant::SwitchTooSoon, 0, OTHER_STATE);
}

#[test]
fn pieces_of_two_snapshots_in_one_replica_are_found() {
    assert_found_by(Plan::contested, Plant::MixSnapshots, 60, OTHER_STATE);
}

#[test]
fn a_snapshot_that_says_it_ends_one_record_earlier_is_found() {
    assert_found_by(Plan::of_seed, Plant::SnapshotOffByOne, 0, OTHER_STATE);
}

#[test]
fn a_proxy_that_gets_a_snapshot_of_what_is_not_confirmed_applies_what_is_lost() {
    assert_found_by(
        Plan::of_seed,
        Plant::ShowSnapshots,
        20,
        &["which the writer of the newest epoch does not have"],
    );
}

#[test]
fn a_standby_that_forgets_with_its_old_log_which_epoch_it_had_accepted_is_found() {
    assert_found_by(Plan::contested, Plant::RenewForgetsEpoch, 110, &["had accepted epoch"]);
}

#[test]
fn a_standby_that_loses_with_its_old_log_what_it_had_confirmed_is_found() {
    assert_found_by(Plan::contested, Plant::RenewDropsRecords, 20, &["had confirmed"]);
}
