//! Measures lists with filters: `cargo run --release --example find -p linklog -- LINKS [DIRECTORY]`.
//!
//! Fills a log through its writer (what creates cost with the index is printed, too), then asks a mix of questions for pages of 100 links
//! each, one after the other, and prints how long they took. A directory that is filled already is used as it is.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linklog::entity::PersonId;
use linklog::store::{Find, Order, Place, StoreOptions, Term, Within};
use linklog::writer::{Writer, WriterOptions};
use linklog::{
    Change, Code7, DomainId, Key, Link, LinkManage, LinkState, Operation, Part, Precondition, Seq, StateKey,
};

const HOSTS: u64 = 50_000;
const TAGS: u64 = 1_000;
const USERS: u64 = 2_000;
const ROUNDS: u64 = 300;

/// Steele and others' mixer: the same links in every run.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number below `max`, small ones much more often: the square of a uniform one.
fn skewed(n: u64, max: u64) -> u64 {
    let x = mix(n) as f64 / u64::MAX as f64;
    ((x * x * max as f64) as u64).min(max - 1)
}

fn link(n: u64) -> Change {
    let link = Link {
        target: format!("https://host-{}.example/a/path/of/usual/length?id={}", skewed(n, HOSTS), mix(n)),
        state: if mix(n ^ 1).is_multiple_of(100) { LinkState::Disabled } else { LinkState::Active },
        ..Link::default()
    };
    let tags =
        (0..mix(n ^ 2) % 4).map(|t| format!("tag-{}", skewed(n ^ (t << 40), TAGS))).collect::<Vec<_>>();
    let manage = LinkManage {
        created_at_ms: 1_600_000_000_000 + n * 100,
        updated_at_ms: 1_600_000_000_000,
        created_by: "0123456789abcdef".into(),
        owner: Some(user(skewed(n ^ 3, USERS))),
        tags,
        ..LinkManage::default()
    };
    let key = Key::new(DomainId((mix(n ^ 4) % 3) as u16), Code7::new(n).unwrap().to_code());
    let operation = Operation::Put { serve: link.encode(), manage: manage.encode() };
    Change::new(
        "0123456789abcdef",
        vec![Part { key: StateKey::Link(key), precondition: Precondition::NeverUsed, operation }],
    )
}

fn user(n: u64) -> PersonId {
    PersonId((n + 1).to_be_bytes())
}

fn open(dir: &std::path::Path) -> Writer {
    let now_us = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let options = WriterOptions {
        store: StoreOptions::default(),
        journal_bytes_kept: 1 << 30,
        queue_max: 64,
        clock_us: Box::new(now_us),
        nonce: Box::new(|| [7; 16]),
        on_commit: Box::new(|_| {}),
        at_start: Box::new(|| {}),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    Writer::open(dir, options).unwrap()
}

fn question(kind: &str, n: u64, links: u64) -> Find {
    let mut find = Find {
        all_of: Vec::new(),
        none_of: vec![Term::Archived],
        within: Within::default(),
        created_from_ms: None,
        created_before_ms: None,
        order: Order::NewestFirst,
        after: None,
        limit: 100,
        steps_max: 10_000,
    };
    let host = || Term::Host(format!("host-{}.example", skewed(n, HOSTS)));
    let tag = |salt: u64| Term::Tag(format!("tag-{}", skewed(n ^ salt, TAGS)));
    match kind {
        "newest" => {}
        "far behind" => find.after = Some(Place::of(1_600_000_000_000 + mix(n) % links * 100, Seq(0))),
        "host" => find.all_of = vec![host()],
        "tag" => find.all_of = vec![tag(5)],
        "two tags" => find.all_of = vec![tag(5), tag(6)],
        "owner" => find.all_of = vec![Term::Owner(user(skewed(n, USERS)))],
        "owner, tag" => find.all_of = vec![tag(5), Term::Owner(user(skewed(n, USERS)))],
        "tag, host, domain" => find.all_of = vec![tag(5), host(), Term::Domain(DomainId(1))],
        "disabled, tag" => find.all_of = vec![tag(5), Term::State(LinkState::Disabled)],
        "tag, range, oldest first" => {
            find.all_of = vec![tag(5)];
            find.created_from_ms = Some(1_600_000_000_000 + mix(n) % links * 100);
            find.order = Order::OldestFirst;
        }
        _ => unreachable!("one of the kinds below"),
    }
    find
}

fn main() {
    let mut args = std::env::args().skip(1);
    let links: u64 = args.next().expect("how many links").parse().expect("a number");
    let temporary = tempfile::tempdir().unwrap();
    let dir = args.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let writer = open(&dir);
    let there = writer.reader().links_by_age(None, 1).unwrap().len();
    if there == 0 {
        let started = Instant::now();
        let handle = writer.handle();
        for first in (0..links).step_by(1000) {
            let changes = (first..(first + 1000).min(links)).map(link).collect();
            handle.propose_and_wait(changes).unwrap();
        }
        println!("filled {links} links, {:.0}/s", links as f64 / started.elapsed().as_secs_f64());
    }
    let reader = writer.reader();
    let mut all = Vec::new();
    println!("{:<26} {:>9} {:>9} {:>9} {:>7}", "question", "p50 us", "p99 us", "max us", "links");
    for kind in [
        "newest",
        "far behind",
        "host",
        "tag",
        "two tags",
        "owner",
        "owner, tag",
        "tag, host, domain",
        "disabled, tag",
        "tag, range, oldest first",
    ] {
        let mut took = Vec::new();
        let mut found = 0;
        for n in 0..ROUNDS {
            let find = question(kind, mix(n ^ 77), links);
            let started = Instant::now();
            found += reader.find(&find).unwrap().links.len();
            took.push(started.elapsed());
        }
        all.extend_from_slice(&took);
        row(kind, &mut took, found as f64 / ROUNDS as f64);
    }
    row("all", &mut all, 0.0);
}

fn row(kind: &str, took: &mut [Duration], links: f64) {
    took.sort_unstable();
    let us = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_micros();
    println!("{kind:<26} {:>9} {:>9} {:>9} {links:>7.1}", us(0.5), us(0.99), us(1.0));
}
