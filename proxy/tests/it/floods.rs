//! Visitors who mean ill may fill a connection, and not our log: what a stranger does on a connection is counted, never told line by line.

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::http2_frames::*;
use crate::process::Home;
use crate::tls_visitor::Pair;

/// Connections of each kind.
const EACH: usize = 20;

/// What is sent on a connection that speaks HTTP/2 already.
fn floods() -> [(&'static str, Vec<u8>); 6] {
    let request = request("/unknown", &[]);
    let bad = crate::http2_frames::request("/", &[("connection", "close")]);
    let odd = |n: u32| 2 * n + 1;
    let open = |n| frame(HEADERS, END_STREAM | END_HEADERS, odd(n), &request);
    let reset = |n| frame(RST_STREAM, 0, odd(n), &8_u32.to_be_bytes());
    let endless = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(1_000))]));
    [
        ("rapid reset", (0..2_000).flat_map(|n| [open(n), reset(n)].concat()).collect()),
        ("CONTINUATION", [frame(HEADERS, END_STREAM, 1, &request), endless.repeat(1_000)].concat()),
        (
            "malformed streams",
            (0..500).flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, odd(n), &bad)).collect(),
        ),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(5_000)),
        ("settings", frame(SETTINGS, 0, 0, b"").repeat(5_000)),
        ("no frames", (0..64_u32 << 10).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
    ]
}

#[test]
fn floods_of_http_2_and_garbage_leave_no_line_in_the_log() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let home = Home::new(&[writer.url()]).with_listeners(&format!(
        "[[listener]]\naddress = '127.0.0.1:0'\nh2c = true\n\
         [[listener]]\naddress = '127.0.0.1:0'\ntls = true\n{}",
        pair.config()
    ));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_ready();
    // The last line of its start: this writer has no limited links.
    eventually("the start is over", || {
        (proxy.logged("cannot get clicks of limited links").len() == 1).then_some(())
    });
    let lines = || proxy.logged("");
    let before = lines();
    let closed = || proxy.stats()["connections"]["closed"].as_u64().unwrap();
    let mut opened = closed();
    for (what, bytes) in floods() {
        for _ in 0..EACH {
            let mut frames = Frames::connect(proxy.listeners[0]);
            // Whether all of it is taken is up to the proxy.
            frames.send(&bytes);
        }
        opened += EACH as u64;
        eventually(what, || (closed() == opened).then_some(()));
    }
    // The same bytes where HTTP/1 and TLS are expected.
    for (what, bytes) in floods() {
        for listener in &proxy.listeners {
            for _ in 0..EACH {
                Visitor::new(*listener).try_send(&bytes);
            }
        }
        opened += 2 * EACH as u64;
        eventually(what, || (closed() == opened).then_some(()));
    }
    assert_eq!(proxy.get("/Ab3xY9z").status, 302);
    assert_eq!(lines(), before);
}
