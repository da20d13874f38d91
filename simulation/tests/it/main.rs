//! Runs of the simulation: none shows what must not happen, planted bugs are found, and the same seed twice is the same run.
#![allow(clippy::unwrap_used)]

mod clicks;
mod escrow;
mod snapshots;

use simulation::plan::{Plan, Plant};
use simulation::world;

/// How many seeds the short form runs.
const SEEDS: u64 = 400;
/// How many of those in which the operator is not careful.
const CONTESTED_SEEDS: u64 = 200;
/// Events of each.
const STEPS: u64 = 1_000;

#[test]
fn no_seed_of_the_short_form_shows_what_must_not_happen() {
    let (mut acknowledged, mut promotions, mut snapshots) = (0, 0, 0);
    for seed in 0..SEEDS {
        let outcome = world::run(&Plan::of_seed(seed, STEPS, None), false);
        assert_eq!(outcome.violation, None, "signpost-simulation run --seeds {seed} --steps {STEPS}");
        acknowledged += outcome.acknowledged;
        promotions += outcome.promotions;
        snapshots += outcome.snapshots;
    }
    // Runs in which nothing happens find nothing.
    assert!(
        acknowledged > 1_000 && promotions > 20 && snapshots > 200,
        "{acknowledged} acknowledged, {promotions} promotions, {snapshots} snapshots"
    );
}

#[test]
fn no_seed_shows_it_when_promotions_contend_and_sync_members_come_and_go() {
    let (mut acknowledged, mut promotions) = (0, 0);
    for seed in 0..CONTESTED_SEEDS {
        let outcome = world::run(&Plan::contested(seed, STEPS, None), false);
        assert_eq!(
            outcome.violation, None,
            "signpost-simulation run --seeds {seed} --steps {STEPS} --contests"
        );
        acknowledged += outcome.acknowledged;
        promotions += outcome.promotions;
    }
    assert!(acknowledged > 500 && promotions > 20, "{acknowledged} acknowledged, {promotions} promotions");
}

#[test]
fn seeds_that_showed_bugs_do_not_with_snapshots_or_without() {
    for plan in [25, 573, 3210].map(|seed| Plan::of_seed(seed, 2_500, None)) {
        assert_eq!(world::run(&plan, false).violation, None, "{plan:?}");
    }
    for seed in [369, 505, 1353, 1376] {
        for plan in
            [Plan::contested(seed, 2_500, None), Plan::contested(seed, 2_500, None).with_whole_journals()]
        {
            let outcome = world::run(&plan, false);
            assert_eq!(
                outcome.violation, None,
                "signpost-simulation run --seeds {seed} --contests, {plan:?}"
            );
        }
    }
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_to_the_byte() {
    for seed in [3, 17, 40] {
        let traced = || world::run(&Plan::of_seed(seed, STEPS, None), true);
        let (first, second) = (traced(), traced());
        assert!(first.trace.lines().count() > 500, "seed {seed}");
        assert!(first.trace == second.trace, "seed {seed}: the traces differ");
    }
}

/// Plans for bugs that have nothing to do with snapshots: they are found soonest where nobody needs one.
fn careful(seed: u64, steps: u64, plant: Option<Plant>) -> Plan {
    Plan::of_seed(seed, steps, plant).with_whole_journals()
}

/// The same with an operator who is not careful.
fn contested(seed: u64, steps: u64, plant: Option<Plant>) -> Plan {
    Plan::contested(seed, steps, plant).with_whole_journals()
}

/// Runs the plans of `plans` for seeds from `from` on with a bug planted until one shows it, and returns what it says.
fn found(plans: Plans, plant: Plant, from: u64) -> String {
    let shown =
        (from..from + 100).find_map(|seed| world::run(&plans(seed, 2_500, Some(plant)), false).violation);
    shown.unwrap_or_else(|| panic!("no seed shows {plant:?}"))
}

type Plans = fn(u64, u64, Option<Plant>) -> Plan;

#[track_caller]
fn assert_found(plant: Plant, from: u64, words: &[&str]) {
    assert_found_by(careful, plant, from, words);
}

#[track_caller]
fn assert_found_by(plans: Plans, plant: Plant, from: u64, words: &[&str]) {
    let found = found(plans, plant, from);
    assert!(words.iter().any(|words| found.contains(words)), "{plant:?} was found as: {found}");
}

const LOST: &[&str] = &["does not have it", "which the writer of the newest epoch does not have"];

#[test]
fn answering_before_sync_members_have_confirmed_loses_what_was_acknowledged() {
    assert_found(Plant::AnswerUnconfirmed, 0, &["does not have it"]);
}

#[test]
fn a_promotion_that_adopts_nothing_loses_what_was_acknowledged() {
    assert_found(Plant::AdoptNothing, 0, LOST);
}

#[test]
fn a_sync_member_that_counts_before_the_others_know_of_it_confirms_what_is_lost() {
    assert_found_by(contested, Plant::CountAtOnce, 0, LOST);
}

#[test]
fn a_promotion_with_too_few_loses_what_was_acknowledged() {
    assert_found(Plant::PromoteWithFew, 0, LOST);
}

#[test]
fn a_standby_that_forgets_what_it_accepted_lets_two_writers_acknowledge() {
    assert_found(Plant::ForgetEpoch, 700, &["does not have it", "two writers", "newest epoch does not have"]);
}

#[test]
fn a_writer_that_goes_on_when_replaced_acknowledges_what_is_lost() {
    assert_found(
        Plant::WriteWhenReplaced,
        0,
        &["does not have it", "two writers", "newest epoch does not have"],
    );
}

#[test]
fn a_proxy_that_is_shown_what_is_not_confirmed_applies_what_is_lost() {
    assert_found(Plant::ShowUnconfirmed, 0, &["which the writer of the newest epoch does not have"]);
}

#[test]
fn a_disk_that_lies_about_fsync_is_found_out() {
    assert_found(Plant::LieAboutSync, 0, &["acknowledged", "missing", "lost", "does not have"]);
}

#[test]
fn a_retry_under_another_command_takes_effect_twice() {
    assert_found(Plant::RetryAsNew, 0, &["and again at"]);
}

#[test]
fn a_standby_that_never_catches_up_after_a_promotion_is_noticed() {
    assert_found(Plant::StayBehind, 62, &["has not caught up in peace"]);
}

#[test]
fn a_row_that_a_proxy_has_lost_is_noticed() {
    assert_found(
        Plant::LoseRow,
        0,
        &["is not what the journal leads to", "differs from its writer", "cannot apply"],
    );
}
