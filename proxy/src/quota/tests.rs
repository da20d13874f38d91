//! Limits by the clock of the test.

use super::*;
use crate::network::Prefixes;

const NOW: u64 = 1_800_000_000_000;

const NO_LIMITS: QuotaOptions = QuotaOptions {
    requests: None,
    not_found: None,
    strict: false,
    scan_alarm: None,
    scan_block: Duration::ZERO,
    networks_max: 1_024,
};

fn over(limit: Limit, retry_after_s: u32) -> Over {
    Over { limit, retry_after_s }
}

fn rule(count: u32, seconds: u64) -> Option<Rule> {
    Some(Rule { count, window: Duration::from_secs(seconds) })
}

fn quotas(options: QuotaOptions) -> Quotas {
    Quotas::new(options).expect("some limit is set")
}

fn network(n: u32) -> Network {
    Network::of(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), Prefixes::default())
}

/// How many of `count` requests at once get what.
fn ask(quotas: &Quotas, network: Network, count: u32, now_ms: u64) -> (u32, Option<Verdict>) {
    let mut free = 0;
    let mut last = None;
    for _ in 0..count {
        match quotas.request(network, now_ms) {
            Verdict::Free => free += 1,
            other => last = Some(other),
        }
    }
    (free, last)
}

#[test]
fn without_a_limit_there_is_no_table() {
    assert!(Quotas::new(NO_LIMITS).is_none());
    assert!(Quotas::new(QuotaOptions { strict: true, ..NO_LIMITS }).is_none());
}

#[test]
fn a_network_gets_what_the_window_holds_and_again_after_it() {
    let quotas = quotas(QuotaOptions { requests: rule(100, 60), ..NO_LIMITS });
    assert_eq!(ask(&quotas, network(1), 100, NOW), (100, None));
    assert_eq!(
        ask(&quotas, network(1), 5, NOW + 20_000),
        (0, Some(Verdict::LinksOnly(over(Limit::Requests, 40))))
    );
    assert_eq!(ask(&quotas, network(2), 1, NOW + 20_000), (1, None), "another network is not concerned");
    assert_eq!(
        ask(&quotas, network(1), 1, NOW + 59_900),
        (0, Some(Verdict::LinksOnly(over(Limit::Requests, 1))))
    );
    assert_eq!(ask(&quotas, network(1), 101, NOW + 60_100).0, 100);
}

#[test]
fn strict_means_nothing_at_all() {
    let quotas = quotas(QuotaOptions { requests: rule(1, 10), strict: true, ..NO_LIMITS });
    assert_eq!(ask(&quotas, network(1), 2, NOW), (1, Some(Verdict::Nothing(over(Limit::Requests, 10)))));
}

#[test]
fn unknown_codes_have_a_limit_of_their_own() {
    let lenient = quotas(QuotaOptions { not_found: rule(3, 10), ..NO_LIMITS });
    let told: Vec<Option<Over>> = (0..5).map(|_| lenient.not_found(network(1), NOW)).collect();
    assert_eq!(told, [None, None, None, Some(over(Limit::NotFound, 10)), Some(over(Limit::NotFound, 10))]);
    assert_eq!(lenient.request(network(1), NOW), Verdict::Free, "links that exist are not withheld");
    assert_eq!(lenient.not_found(network(1), NOW + 10_000), None);
    let strict = quotas(QuotaOptions { not_found: rule(3, 10), strict: true, ..NO_LIMITS });
    (0..2).for_each(|_| assert_eq!(strict.not_found(network(1), NOW), None));
    assert_eq!(strict.request(network(1), NOW), Verdict::Free);
    assert_eq!(strict.not_found(network(1), NOW), None);
    assert_eq!(strict.request(network(1), NOW + 5_000), Verdict::Nothing(over(Limit::NotFound, 5)));
    assert_eq!(strict.request(network(2), NOW + 5_000), Verdict::Free);
}

#[test]
fn a_scan_is_reported_once_an_hour_and_blocked_if_wished() {
    let watching = quotas(QuotaOptions { scan_alarm: Some(1_000), ..NO_LIMITS });
    (0..1_000).for_each(|_| assert_eq!(watching.not_found(network(1), NOW), None));
    assert_eq!(watching.seen().scans, 0);
    (0..5_000).for_each(|_| assert_eq!(watching.not_found(network(1), NOW), None));
    assert_eq!(watching.seen().scans, 1);
    assert_eq!(watching.request(network(1), NOW), Verdict::Free);
    (0..1_001).for_each(|_| assert_eq!(watching.not_found(network(1), NOW + 3_700_000), None));
    assert_eq!(watching.seen().scans, 2);

    let block = Duration::from_secs(600);
    let blocking = quotas(QuotaOptions { scan_alarm: Some(10), scan_block: block, ..NO_LIMITS });
    (0..11).for_each(|_| assert_eq!(blocking.not_found(network(1), NOW), None));
    assert_eq!(blocking.request(network(1), NOW + 60_000), Verdict::Nothing(over(Limit::Block, 540)));
    assert_eq!(blocking.request(network(2), NOW + 60_000), Verdict::Free);
    assert_eq!(blocking.request(network(1), NOW + 600_100), Verdict::Free);
}

#[test]
fn a_clock_that_is_set_back_accuses_nobody() {
    let quotas = quotas(QuotaOptions { requests: rule(2, 3_600), ..NO_LIMITS });
    ask(&quotas, network(1), 3, NOW);
    assert_eq!(ask(&quotas, network(1), 1, NOW - 10_000), (1, None));
}

#[test]
fn a_flood_of_networks_is_forgotten_before_one_that_is_over_its_limit_just_now() {
    let block = Duration::from_secs(600);
    let options =
        QuotaOptions { requests: rule(10, 60), scan_alarm: Some(5), scan_block: block, ..NO_LIMITS };
    let quotas = quotas(options);
    (0..6).for_each(|_| assert_eq!(quotas.not_found(network(0), NOW), None));
    for n in 1..200_000 {
        assert_eq!(quotas.request(network(n), NOW + u64::from(n)), Verdict::Free, "nobody pays for others");
    }
    assert!(matches!(quotas.request(network(0), NOW + 200_000), Verdict::Nothing(_)));
    assert!(quotas.seen().forgotten > 100_000);
    let fresh: Vec<Verdict> = (0..11).map(|_| quotas.request(network(199_999), NOW + 200_000)).collect();
    assert!(matches!(fresh[10], Verdict::LinksOnly(_)), "the newest are remembered: {fresh:?}");
}

#[test]
fn windows_that_are_over_make_room_and_are_not_counted_as_forgotten() {
    let quotas = quotas(QuotaOptions { requests: rule(10, 1), networks_max: 8, ..NO_LIMITS });
    for n in 0..1_000 {
        assert_eq!(quotas.request(network(n), NOW + u64::from(n) * 2_000), Verdict::Free);
    }
    assert_eq!(quotas.seen().forgotten, 0);
}

#[test]
fn workers_that_count_at_once_count_exactly() {
    let quotas = quotas(QuotaOptions { requests: rule(150_000, 60), ..NO_LIMITS });
    (0..8).for_each(|n| assert_eq!(quotas.request(network(n), NOW), Verdict::Free));
    let free: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..8).map(|n| ask(&quotas, network(n), 50_000, NOW).0).sum::<u32>()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(free, 8 * (150_000 - 1));
}

#[test]
fn workers_that_fight_for_places_accuse_nobody() {
    let quotas = quotas(QuotaOptions { requests: rule(60_000, 60), networks_max: 8, ..NO_LIMITS });
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let quotas = &quotas;
            scope.spawn(move || {
                for n in 0..50_000 {
                    let network = network(thread * 50_000 + n);
                    assert_eq!(quotas.request(network, NOW + u64::from(n)), Verdict::Free);
                }
            });
        }
    });
    assert!(quotas.seen().forgotten > 0);
}
