//! The real binary without its writer, with peers to ask: what `/readyz` says of whose trouble it is.

use serde_json::json;

use crate::author::Author;
use crate::client::{eventually, get};
use crate::feed::{FakeWriter, Stream};
use crate::process::{Home, Process};

fn follows(home: &Home, author: &Author, writer: &FakeWriter) -> (Process, Stream) {
    let proxy = home.start();
    let mut stream = writer.welcome(author);
    stream.catch_up(author);
    proxy.await_ready();
    (proxy, stream)
}

/// Waits until the proxy says that this is the cause; it is ready all the while.
fn await_cause(proxy: &Process, cause: &str, meanwhile: impl Fn()) {
    eventually(cause, || {
        meanwhile();
        let (status, body) = proxy.readyz();
        assert_eq!(status, 200, "{body}");
        (body["feed"]["outage"]["cause"] == cause).then_some(())
    });
    let line = format!("signpost_proxy_feed_outage{{cause=\"{cause}\"}} 1");
    assert!(proxy.metrics().lines().any(|found| found == line), "no {line}");
    assert_eq!(proxy.get("/Ab3xY9z").location(), "https://a.example/");
}

#[test]
fn a_proxy_that_lost_its_writer_learns_from_a_peer_whether_it_alone_did() {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let (peers_writer, writer) = (FakeWriter::start(), FakeWriter::start());
    let peers_home = Home::new(&[peers_writer.url()]);
    let (peer, peers_stream) = follows(&peers_home, &author, &peers_writer);
    let home = Home::new(&[writer.url()]).with(&format!("[ready]\npeers = ['{}']\n", peer.health));
    let (proxy, stream) = follows(&home, &author, &writer);
    assert_eq!(proxy.readyz().1["feed"]["outage"], json!(null));

    let address = writer.address;
    drop((stream, writer));
    await_cause(&proxy, "cut_off", || peers_stream.heartbeat(&author));
    let said = &proxy.readyz().1["feed"]["outage"]["peers"][0];
    assert_eq!((&said["peer"], &said["says"]), (&json!(peer.health.to_string()), &json!("follows")));

    drop((peers_stream, peers_writer));
    await_cause(&proxy, "writer_away", || {});

    peer.kill();
    await_cause(&proxy, "alone", || {});

    let writer = FakeWriter::start_at(address, None);
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    let body = proxy.await_feed("following");
    assert_eq!((&body["ready"], &body["feed"]["outage"]), (&json!(true), &json!(null)));
}

#[test]
fn a_peer_that_says_anything_at_all_or_nothing_changes_no_redirect() {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let writer = FakeWriter::start();
    // It takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home =
        Home::new(&[writer.url()]).with(&format!("[ready]\npeers = ['{}']\n", silent.local_addr().unwrap()));
    let (proxy, stream) = follows(&home, &author, &writer);
    drop((stream, writer));
    await_cause(&proxy, "unknown", || {});
    let (mut question, _) = silent.accept().unwrap();
    await_cause(&proxy, "alone", || {});
    let mut asked = String::new();
    std::io::Read::read_to_string(&mut question, &mut asked).unwrap();
    assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n") && asked.ends_with("\r\n\r\n"), "{asked}");
    assert_eq!(get(proxy.listen, "/Ab3xY9z").location(), "https://a.example/");
}
