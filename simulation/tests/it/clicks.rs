//! Batches of clicks on virtual time: each is counted once or known to be lost, and planted bugs are found.

use simulation::clicks::{Plant, run};

#[test]
fn no_seed_counts_a_batch_twice_or_loses_one_that_nobody_knows_of() {
    let (mut faults, mut answered, mut counted) = (0, 0, 0);
    for seed in 0..300 {
        let outcome = run(seed, 1_000, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
        faults += outcome.faults;
        answered += outcome.answered;
        counted += outcome.counted;
    }
    // Runs in which nothing happens find nothing.
    assert!(faults > 5_000 && answered > 100_000 && counted > answered / 2, "{faults} {answered} {counted}");
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_of_batches() {
    for seed in [3, 17, 40] {
        assert!(run(seed, 1_000, None).trace == run(seed, 1_000, None).trace, "seed {seed}");
    }
}

#[track_caller]
fn assert_found(plant: Plant) {
    assert!((0..300).any(|seed| run(seed, 1_000, Some(plant)).violation.is_some()), "{plant:?}");
}

#[test]
fn a_writer_that_counts_whatever_comes_is_found() {
    assert_found(Plant::CountDuplicates);
}

#[test]
fn clicks_that_are_taken_over_twice_are_found() {
    assert_found(Plant::TakeOverLater);
}

#[test]
fn a_proxy_that_does_not_send_again_is_found() {
    assert_found(Plant::ForgetTakeBack);
}

#[test]
fn a_release_of_what_the_standby_lacks_is_found() {
    assert_found(Plant::ReleaseTooEarly);
}

#[test]
fn an_old_copy_that_keeps_its_name_is_found() {
    assert_found(Plant::KeepOldName);
}

#[test]
fn an_old_copy_that_sends_again_what_it_was_opened_with_is_found() {
    assert_found(Plant::SendAllAnew);
}
