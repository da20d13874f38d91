//! Measures the parts of a redirect one by one, in nanoseconds of processor time, without sockets: parsing, lookup, the answer,
//! limits, recording.
//!
//! `cargo run --release -p signpost-proxy --example redirect_steps -- [LINKS]` prints one line per measurement: the median of nine rounds and
//! their spread. LINKS are in memory; 1,000,000 unless said otherwise. Best pinned to a core (`taskset -c 0`) of a quiet machine.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use linklog::{Code7, DomainId, LinkState, LinkView, Position, RedirectStatus, Stamp};
use nix::time::{ClockId, clock_gettime};
use signpost_proxy::answer::{Answer, Facts};
use signpost_proxy::clicks::ClickRing;
use signpost_proxy::clicks::record::{Asker, Click};
use signpost_proxy::clicks::ring::Reader;
use signpost_proxy::clicks::ring_dir::RingDir;
use signpost_proxy::hot_map::{HotMap, Mark};
use signpost_proxy::http::clock::{DateTail, now_ms};
use signpost_proxy::http::parse::{Parsed, Request, parse};
use signpost_proxy::http::render::{Form, Pieces};
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::network::{Network, Prefixes};
use signpost_proxy::quota::{QuotaOptions, Quotas, Rule, Verdict};
use signpost_proxy::route::{Route, route};

const ROUNDS: usize = 9;
/// Of one round.
const TURNS: u64 = 1_000_000;
const TARGET: &[u8] = b"https://www.example.org/articles/2026/a-title-of-common-length?ref=feed";

fn main() {
    let links: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    let map = hot_map(links);
    parsing();
    lookups(&map, links);
    whole(&map, links);
    limits();
    clicks();
}

fn code(n: u64) -> Code7 {
    Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Code7::COUNT).unwrap()
}

fn key(n: u64) -> LinkKey {
    LinkKey::of_code7(DomainId::DEFAULT, code(n))
}

/// A sequence without a pattern the processor could foresee (xorshift64*, Vigna 2016).
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

fn hot_map(links: u64) -> HotMap {
    let map = HotMap::new(links as usize * 512 + (64 << 20), 2);
    for n in 0..links {
        let mark = Mark { generation: 0, applied_seq: 0 };
        assert!(map.fill(mark, &key(n), facts()));
    }
    println!("{links} links in the hot map: {} bytes each", map.fill_level().bytes as u64 / links.max(1));
    map
}

fn facts() -> Facts<'static> {
    let stamp = Stamp { live: true, version: 1, created: Position::new(1, 1) };
    let (status, state) = (RedirectStatus::Found, LinkState::Active);
    Facts::from(LinkView { stamp, target: TARGET, status, state, expires_at_ms: None, extras: &[] })
}

fn parsing() {
    let bare = "GET /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\n\r\n".to_owned();
    report("parse: a bare request", &mut || time(TURNS, |_| assert_fast(bare.as_bytes()).consumed as u64));
    let recorded = recorded_browsers();
    let bytes = recorded.iter().map(String::len).sum::<usize>() / recorded.len().max(1);
    report(&format!("parse: {} recorded browsers, {bytes} bytes on average", recorded.len()), &mut || {
        time(TURNS, |n| assert_fast(recorded[n as usize % recorded.len()].as_bytes()).consumed as u64)
    });
}

fn assert_fast(request: &[u8]) -> Request<'_> {
    match parse(black_box(request)) {
        Parsed::Fast(request) => request,
        _ => panic!("not for the fast path: {}", request.escape_ascii()),
    }
}

/// Requests of the browsers beside the load tool's data.
fn recorded_browsers() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/data/headers");
    let mut requests = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("browser-") {
            let lines = std::fs::read_to_string(path).unwrap();
            let lines: String = lines.lines().map(|line| format!("{line}\r\n")).collect();
            requests.push(format!("GET /Ab3xY9z HTTP/1.1\r\n{lines}\r\n"));
        }
    }
    requests
}

fn lookups(map: &HotMap, links: u64) {
    for threads in [1, 2] {
        report(&format!("lookup: one hot key, {threads} at once"), &mut || {
            at_once(threads, |_| {
                let key = key(7 % links);
                time(TURNS, |_| map.get(black_box(&key), |facts| facts.target.len() as u64).unwrap())
            })
        });
        report(&format!("lookup: random keys, {threads} at once"), &mut || {
            at_once(threads, |thread| {
                let mut state = 0x9e37_79b9 + thread;
                time(TURNS, |_| {
                    map.get(&key(random(&mut state) % links), |facts| facts.target.len() as u64).unwrap()
                })
            })
        });
    }
}

/// From the bytes of a request to the bytes of its answer.
fn whole(map: &HotMap, links: u64) {
    let head = recorded_browsers();
    let browsers: Vec<&str> =
        head.iter().map(|text| text.split_once(' ').unwrap().1.split_once(' ').unwrap().1).collect();
    for (what, rest) in
        [("bare", vec!["HTTP/1.1\r\nHost: go.example\r\n\r\n"]), ("recorded browsers", browsers)]
    {
        let mut state = 0x9e37_79b9;
        let requests: Vec<String> = (0..10_000)
            .map(|n| {
                let code = code(random(&mut state) % links).to_code();
                format!("GET /{code} {}", rest[n % rest.len()])
            })
            .collect();
        let find = |request: &Request<'_>| match route(DomainId::DEFAULT, request.path) {
            Route::Link(key) => key,
            _ => unreachable!("every one is a code"),
        };
        report(&format!("parse and lookup: {what}, random keys"), &mut || {
            time(TURNS, |n| {
                let request = assert_fast(requests[n as usize % requests.len()].as_bytes());
                map.get(&find(&request), |facts| facts.target.len() as u64).unwrap()
            })
        });
        let (pieces, tail) = (Pieces::new(), DateTail::default());
        let form = Form { head_only: false, close: false };
        let mut out = Vec::with_capacity(4_096);
        report(&format!("parse, lookup and answer: {what}, random keys"), &mut || {
            time(TURNS, |n| {
                let request = assert_fast(requests[n as usize % requests.len()].as_bytes());
                out.clear();
                map.get(&find(&request), |facts| {
                    let answer = Answer::of_link(Some(facts), 1);
                    pieces.append(&mut out, answer, form, &tail);
                });
                black_box(out.len()) as u64
            })
        });
    }
}

fn limits() {
    let networks = 1 << 16;
    let rule = |count| Some(Rule { count, window: Duration::from_secs(3_600) });
    let options = QuotaOptions {
        requests: rule(u32::MAX),
        not_found: rule(u32::MAX),
        strict: true,
        scan_alarm: Some(1_000_000_000),
        scan_block: Duration::from_secs(60),
        networks_max: networks * 2,
    };
    let network = |n: u64| {
        let address = Ipv4Addr::from(0x0a00_0000 + (n % networks as u64) as u32);
        Network::of(address.into(), Prefixes::default())
    };
    let now = now_ms();
    let ask = |quotas: &Quotas, n: u64| match quotas.request(black_box(network(n)), now) {
        Verdict::Free => 0,
        Verdict::LinksOnly(_) | Verdict::Nothing(_) => 1,
    };
    let quotas = Quotas::new(options).unwrap();
    for threads in [1, 2] {
        report(&format!("limits: one network, {threads} at once"), &mut || {
            at_once(threads, |_| time(TURNS, |_| ask(&quotas, 7)))
        });
        report(&format!("limits: {networks} networks at random, {threads} at once"), &mut || {
            at_once(threads, |thread| {
                let mut state = 0x9e37_79b9 + thread;
                time(TURNS, |_| ask(&quotas, random(&mut state)))
            })
        });
    }
    report("limits: an unknown code, one network", &mut || {
        time(TURNS, |_| u64::from(quotas.not_found(black_box(network(7)), now).is_some()))
    });
    let over = Quotas::new(QuotaOptions { requests: rule(1), ..options }).unwrap();
    report("limits: a network over its limit", &mut || time(TURNS, |_| ask(&over, 7)));
}

/// Nanoseconds a turn.
fn time(turns: u64, mut turn: impl FnMut(u64) -> u64) -> f64 {
    let started = cpu_ns();
    let mut sum = 0u64;
    for n in 0..turns {
        sum = sum.wrapping_add(turn(n));
    }
    black_box(sum);
    (cpu_ns() - started) as f64 / turns as f64
}

/// Processor time of this thread (clock_gettime(2)): neighbours slow it down by the caches they take, not by the time.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Runs the same on several threads at once; the mean of what each took.
fn at_once(threads: u64, run: impl Fn(u64) -> f64 + Sync) -> f64 {
    let barrier = Barrier::new(threads as usize);
    let total: f64 = std::thread::scope(|scope| {
        let (barrier, run) = (&barrier, &run);
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    barrier.wait();
                    run(thread)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    total / threads as f64
}

fn report(what: &str, round: &mut dyn FnMut() -> f64) {
    // The first one warms up.
    round();
    let mut took: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    took.sort_by(f64::total_cmp);
    println!("{what}: {:.1} ns ({:.1} to {:.1})", took[ROUNDS / 2], took[0], took[ROUNDS - 1]);
}

/// Recording a redirect, on tmpfs; what is recorded is taken over before the ring is full.
fn clicks() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let rings = RingDir::open(&dir.path().join("rings"), false).unwrap();
    let browsers = recorded_browsers();
    let asker = |text| {
        let address = Some(Ipv4Addr::new(192, 0, 2, 1).into());
        Asker { address, head: false, says: assert_fast(text).says }
    };
    let bare = vec![asker(b"GET /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\n\r\n")];
    let browsers = browsers.iter().map(|text| asker(text.as_bytes())).collect();
    for (n, (what, askers)) in [("bare", bare), ("recorded browsers", browsers)].into_iter().enumerate() {
        let ring = rings.create(16 << 20, [n as u8; 16], 1).unwrap();
        let mut reader = Reader::new(ring.clone(), ring.header().secret, 0);
        let writer = ClickRing::new(ring);
        let created = Position::new(1, 1);
        let bytes = |asker| {
            Click { at_ms: 0, key: key(0).bytes(), created, status: 302, asker }.record().bytes().len()
        };
        let bytes = askers.iter().map(|asker| bytes(*asker)).sum::<usize>() / askers.len();
        report(&format!("record: {what}, {bytes} bytes on average"), &mut || {
            time(TURNS, |n| {
                let asker = askers[n as usize % askers.len()];
                writer.record(black_box(&Click {
                    at_ms: n,
                    key: key(n).bytes(),
                    created,
                    status: 302,
                    asker,
                }));
                if n % 8_192 == 0 {
                    reader.skip_to_written();
                    reader.take_over(reader.place());
                }
                n
            })
        });
        assert_eq!(reader.dropped(), 0);
    }
}
