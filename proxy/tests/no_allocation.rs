//! A redirect from the hot map allocates nothing: counted by an allocator around the whole process.
//!
//! A test binary of its own, since it replaces the global allocator. Only the worker's thread is counted.

#![allow(clippy::unwrap_used)]

#[path = "it/author.rs"]
#[allow(dead_code)]
mod author;
#[path = "it/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "it/site.rs"]
#[allow(dead_code)]
mod site;

use std::alloc::System;
use std::time::Duration;

use author::Author;
use client::Visitor;
use signpost_proxy::allocations::{Counted, Role, count_as, counted};
use signpost_proxy::quota::{QuotaOptions, Rule};
use signpost_proxy::worker::Limits;
use site::Site;

#[global_allocator]
static ALLOCATOR: Counted<System> = Counted(System);

/// Requests of browsers: headers of some 700 bytes.
fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: go.example\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: {}\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\nReferer: https://www.example/{}\r\n\
         Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: {}\r\n\r\n",
        "x".repeat(110),
        "y".repeat(60),
        "z".repeat(200)
    )
}

#[test]
fn redirects_and_pages_from_memory_allocate_nothing() {
    let mut author = Author::new();
    for n in 0..100 {
        author.link(&format!("key{n:04}"), "https://www.example.com/some/path?and=a&query=string");
    }
    author.link("a-longer-alias", "https://www.example.com/alias");
    // Everything that may be counted per request is.
    let most = Some(Rule { count: 1_000_000_000, window: Duration::from_secs(60) });
    let quotas = QuotaOptions {
        requests: most,
        not_found: most,
        strict: true,
        scan_alarm: Some(1_000_000_000),
        scan_block: Duration::from_secs(1),
        networks_max: 1_024,
    };
    let site = Site::limited(&author, Limits::default(), None, Some(quotas));
    site.on_worker(|| count_as(Role::Worker));
    let paths: Vec<String> = (0..100).map(|n| format!("/key{n:04}")).collect();
    let extra = ["/a-longer-alias", "/", "/robots.txt", "/favicon.ico", "/no.code"].map(str::to_owned);
    let paths: Vec<String> = paths.into_iter().chain(extra).collect();
    let mut visitor = Visitor::new(site.address);
    let mut round = |paths: &[String], pipelined: usize| {
        for paths in paths.chunks(pipelined) {
            visitor.send(paths.iter().map(|path| request(path)).collect::<String>());
            paths.iter().for_each(|_| drop(visitor.answer()));
        }
    };
    // Buffers grow to their size and links come into the map.
    (0..3).for_each(|_| round(&paths, 5));
    let before = counted(Role::Worker);
    for _ in 0..50 {
        round(&paths, 1);
        round(&paths, 5);
    }
    let allocated = counted(Role::Worker) - before;
    assert_eq!(allocated, 0, "in {} requests", 100 * paths.len());
    // Every redirect is recorded, too.
    assert_eq!(site.recorded(), 101 * (3 + 100));
    assert!(before > 0, "the worker's thread is the one that is counted");
}
