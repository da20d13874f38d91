//! Clicks of limited links on virtual time: never more than the limit, exactly the limit in the end, and planted bugs are found.

use simulation::escrow::{Plant, run};

#[test]
fn no_seed_answers_more_than_the_limit_and_in_the_end_only_burned_clicks_are_missing() {
    let (mut kills, mut burned, mut redirects) = (0, 0, 0);
    for seed in 0..300 {
        let outcome = run(seed, 600, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        kills += outcome.kills;
        burned += outcome.burned;
        redirects += outcome.redirects;
    }
    // Runs in which nothing happens find nothing.
    assert!(kills > 1_000 && burned > 100 && redirects > 1_000, "{kills} {burned} {redirects}");
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_of_budgets() {
    for seed in [3, 17, 40] {
        assert!(run(seed, 600, None).trace == run(seed, 600, None).trace, "seed {seed}");
    }
}

#[track_caller]
fn assert_found(plant: Plant) {
    assert!((0..100).any(|seed| run(seed, 600, Some(plant)).violation.is_some()), "{plant:?}");
}

#[test]
fn a_grant_of_what_others_have_is_found() {
    assert_found(Plant::GrantTwice);
}

#[test]
fn burned_clicks_that_are_given_back_are_found() {
    assert_found(Plant::GiveBurnedBack);
}

#[test]
fn a_proxy_that_forgets_what_it_spent_is_found() {
    assert_found(Plant::ForgetSpent);
}
