//! What clients may not do, over loopback sockets, with short limits: nobody waits for a real minute.

use std::time::Duration;

use signpost_proxy::limits::Limit;
use signpost_proxy::quota::{QuotaOptions, Rule};
use signpost_proxy::worker::Limits;

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::process::Home;
use crate::site::Site;

const NO_QUOTAS: QuotaOptions = QuotaOptions {
    requests: None,
    not_found: None,
    strict: false,
    scan_alarm: None,
    scan_block: Duration::ZERO,
    networks_max: 1_024,
};

/// No window ends during a test.
fn at_most(count: u32) -> Option<Rule> {
    Some(Rule { count, window: Duration::from_secs(3_600) })
}

fn site(quotas: QuotaOptions) -> Site {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    author.link("spring-sale", "https://b.example/");
    Site::limited(&author, Limits::default(), None, Some(quotas))
}

/// Both parsers: the answer to a path, plain and with an escape in it.
fn statuses(visitor: &mut Visitor, path: &str) -> [u16; 2] {
    let escaped = path.replacen("/s", "/%73", 1).replacen("/A", "/%41", 1).replacen("/u", "/%75", 1);
    [visitor.get(path).status, visitor.get(&escaped).status]
}

#[test]
fn over_its_requests_a_network_still_gets_links_but_nothing_else() {
    let site = site(QuotaOptions { requests: at_most(6), ..NO_QUOTAS });
    let mut visitor = Visitor::new(site.address);
    for _ in 0..2 {
        assert_eq!(visitor.get("/Ab3xY9z").status, 302);
        assert_eq!(statuses(&mut visitor, "/unknown"), [404, 404]);
    }
    // Another connection of the same network.
    let mut visitor = Visitor::new(site.address);
    assert_eq!(statuses(&mut visitor, "/Ab3xY9z"), [302, 302]);
    assert_eq!(statuses(&mut visitor, "/spring-sale"), [302, 302]);
    assert_eq!(statuses(&mut visitor, "/unknown"), [429, 429]);
    assert_eq!((visitor.get("/").status, visitor.get("/robots.txt").status), (429, 429));
    let limited = visitor.get("/unknown");
    let seconds: u32 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(limited.header("cache-control"), Some("no-store"));
    assert_eq!(site.worker.counters.limited(Limit::Requests), 5);
    assert_eq!(site.answered(429), 5);
}

#[test]
fn strict_refuses_links_too_and_keeps_the_connection() {
    let site = site(QuotaOptions { requests: at_most(2), strict: true, ..NO_QUOTAS });
    let mut visitor = Visitor::new(site.address);
    assert_eq!(statuses(&mut visitor, "/Ab3xY9z"), [302, 302]);
    assert_eq!(statuses(&mut visitor, "/Ab3xY9z"), [429, 429]);
    visitor.send("HEAD /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = visitor.answer_to_head();
    assert_eq!((head.status, head.header("retry-after").is_some()), (429, true));
}

#[test]
fn who_guesses_codes_is_told_nothing_more_after_a_while() {
    let site = site(QuotaOptions { not_found: at_most(4), ..NO_QUOTAS });
    let mut visitor = Visitor::new(site.address);
    for _ in 0..2 {
        assert_eq!(statuses(&mut visitor, "/unknown"), [404, 404]);
        // What browsers ask for by themselves is no guess.
        assert_eq!(visitor.get("/favicon.ico").status, 404);
    }
    assert_eq!(statuses(&mut visitor, "/unknown"), [429, 429]);
    assert_eq!(statuses(&mut visitor, "/Ab3xY9z"), [302, 302]);
    assert_eq!(visitor.get("/favicon.ico").status, 404);
    assert_eq!(site.worker.counters.limited(Limit::NotFound), 2);
}

#[test]
fn a_scan_is_seen_and_blocked() {
    let block = Duration::from_secs(600);
    let site = site(QuotaOptions { scan_alarm: Some(10), scan_block: block, ..NO_QUOTAS });
    let mut visitor = Visitor::new(site.address);
    for n in 0..11 {
        assert_eq!(visitor.get(&format!("/scan{n:03}")).status, 404);
    }
    assert_eq!(statuses(&mut visitor, "/Ab3xY9z"), [429, 429]);
    assert_eq!(site.worker.shared.quotas.as_ref().unwrap().seen().scans, 1);
    assert_eq!(site.worker.counters.limited(Limit::Block), 2);
}

#[test]
fn a_connection_ends_after_its_last_request_on_both_paths() {
    let limits = Limits { requests_per_connection: 3, ..Limits::default() };
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let site = Site::with(&author, limits, None);
    for last in ["/Ab3xY9z", "/%41b3xY9z"] {
        let mut visitor = Visitor::new(site.address);
        for path in ["/Ab3xY9z", "/%41b3xY9z"] {
            assert_eq!(visitor.get(path).header("connection").unwrap_or("keep-alive"), "keep-alive");
        }
        let answer = visitor.get(last);
        assert_eq!((answer.status, answer.header("connection")), (302, Some("close")));
        assert!(visitor.is_closed());
    }
    assert_eq!(site.worker.counters.limited(Limit::RequestsPerConnection), 2);
}

#[test]
fn the_size_of_heads_can_be_set() {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let with = |head_bytes| Site::with(&author, Limits { head_bytes, ..Limits::default() }, None);
    let request = |bytes: usize| {
        let start = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nCookie: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    for head_bytes in [1 << 10, 16 << 10] {
        let site = with(head_bytes);
        let mut visitor = Visitor::new(site.address);
        visitor.send(request(head_bytes));
        assert_eq!(visitor.answer().status, 302, "{head_bytes}");
        visitor.try_send(request(head_bytes + 1));
        assert_eq!(visitor.answer().status, 431, "{head_bytes}");
        assert_eq!(site.worker.counters.limited(Limit::HeadBytes), 1);
    }
}

#[test]
fn two_hundred_slow_clients_are_sent_away_while_others_are_served() {
    let limits = Limits { head: Duration::from_millis(700), ..Limits::default() };
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let site = Site::with(&author, limits, None);
    let mut slow: Vec<Visitor> = (0..200).map(|_| Visitor::new(site.address)).collect();
    let head = b"GET /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\nX-Slow: ";
    let mut served = 0;
    // Each of them says a byte a round, for as long as it takes.
    for round in 0.. {
        let byte = head.get(round).copied().unwrap_or(b'x');
        let open = slow.iter_mut().map(|visitor| visitor.try_send([byte])).filter(|sent| *sent).count();
        assert_eq!(Visitor::new(site.address).get("/Ab3xY9z").status, 302);
        served += 1;
        if open == 0 || site.answered(408) == 200 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(served > 10, "others were served all the time");
    let answered = slow.iter_mut().filter_map(|visitor| visitor.read_answer(false));
    let late = answered.filter(|answer| answer.status == 408).count();
    // Who writes on after the end may lose the answer to the reset; most do not.
    assert!(late >= 150, "{late} saw their 408");
    eventually("all are gone", || (site.answered(408) == 200).then_some(()));
    assert_eq!(site.worker.counters.limited(Limit::HeadTime), 200);
}

/// Asks for more than any buffer holds the answers to, and reads none of them; the connection is closed before all of it is sent.
fn ask_and_never_read(visitor: &mut Visitor, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!visitor.try_send(request.repeat(1 << 20)), "whoever takes no answer is sent away");
}

#[test]
fn whoever_takes_no_answer_is_sent_away_on_both_paths() {
    let limits = Limits { write: Duration::from_millis(300), ..Limits::default() };
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let site = Site::with(&author, limits, None);
    for (path, gone) in [("/Ab3xY9z", 1), ("/%41b3xY9z", 2), ("/unknown", 3), ("/%75nknown", 4)] {
        ask_and_never_read(&mut Visitor::new(site.address), path);
        eventually(path, || (site.worker.counters.limited(Limit::Write) == gone).then_some(()));
    }
    assert_eq!(Visitor::new(site.address).get("/Ab3xY9z").status, 302);
}

#[test]
fn every_limit_of_a_connection_is_a_metric_and_a_count_in_it() {
    let short = "head_ms = 300\nidle_ms = 300\nwrite_ms = 300\nbody_ms = 300\nlinger_ms = 50";
    let home = Home::new(&["http://127.0.0.1:9".to_owned()])
        .with(&format!("[limits]\n{short}\nrequests_per_connection_max = 1000000\n"));
    let proxy = home.start();
    let metric = |limit: &str| -> u64 {
        let line = format!("signpost_proxy_limited_total{{limit=\"{limit}\"}} ");
        let count = proxy.metrics().lines().find_map(|found| found.strip_prefix(&line)?.parse().ok());
        count.unwrap_or_else(|| panic!("no {line}"))
    };
    let reached = |limit: &str, count: u64| {
        eventually(&format!("{limit} counted"), || (metric(limit) == count).then_some(()));
    };
    assert_eq!(["head_time", "head_bytes", "idle", "write", "body"].map(metric), [0; 5]);
    assert!(Visitor::new(proxy.listen).is_closed());
    reached("idle", 1);
    let mut slow = Visitor::new(proxy.listen);
    slow.send("GET / HTTP/1.1\r\n");
    assert_eq!(slow.answer().status, 408);
    reached("head_time", 1);
    let mut large = Visitor::new(proxy.listen);
    large.try_send(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9 << 10)));
    assert_eq!(large.answer().status, 431);
    reached("head_bytes", 1);
    let mut stuck = Visitor::new(proxy.listen);
    stuck.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(stuck.answer().status, 408);
    reached("body", 1);
    ask_and_never_read(&mut Visitor::new(proxy.listen), "/");
    reached("write", 1);
    assert_eq!(["head_time", "head_bytes", "idle", "write", "body"].map(metric), [1; 5]);
}
