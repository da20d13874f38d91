//! The real binary from its start to its end.

use nix::sys::signal::Signal;

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::process::Home;

fn nobody() -> Vec<String> {
    vec!["http://127.0.0.1:9".to_owned()]
}

#[test]
fn term_drains_and_ends_with_code_0() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]);
    let mut proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    let mut idle = Visitor::new(proxy.listen);
    assert_eq!(idle.get("/Ab3xY9z").status, 302);
    let mut half = Visitor::new(proxy.listen);
    half.send("GET /Ab3xY9z HTTP/1.1\r\nHost: a");
    eventually("both are served", || (proxy.stats()["connections"]["opened"] == 2).then_some(()));
    proxy.signal(Signal::SIGTERM);
    assert!(idle.is_closed());
    half.send("\r\n\r\n");
    assert_eq!(half.answer().status, 302);
    assert!(half.is_closed());
    let (status, body) = proxy.readyz();
    assert_eq!((status, &body["reason"]), (503, &"stopping".into()));
    // Each worker closes its own socket.
    eventually("closed ports", || std::net::TcpStream::connect(proxy.listen).err());
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(proxy.logged("outlived").is_empty());
    assert_eq!(proxy.logged("stopped").len(), 1);
}

#[test]
fn it_can_be_unready_for_a_while_before_it_stops() {
    let home = Home::new(&nobody()).with("[ready]\nunready_before_stop_ms = 700\n");
    let mut proxy = home.start();
    proxy.signal(Signal::SIGTERM);
    eventually("unreadiness", || (proxy.readyz().1["reason"] == "stopping").then_some(()));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn what_was_applied_is_there_after_a_stop_and_after_a_kill() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let home = Home::new(&[writer.url()]);
    for round in 0..4 {
        let proxy = home.start();
        for earlier in 0..round {
            let location = format!("https://r{earlier}.example/");
            assert_eq!(proxy.get(&format!("/round{earlier}x")).location(), location);
        }
        author.link(&format!("round{round}x"), &format!("https://r{round}.example/"));
        // Kept to the end: a proxy that loses its stream would open another one.
        let mut stream = writer.welcome(&author);
        stream.catch_up(&author);
        if round % 2 == 0 {
            proxy.kill();
        } else {
            assert_eq!(proxy.stop().code(), Some(0));
        }
    }
}

#[test]
fn nothing_is_logged_for_a_request_however_odd() {
    let home = Home::new(&nobody());
    let proxy = home.start();
    eventually("the first try", || (!proxy.logged("cannot reach the writer").is_empty()).then_some(()));
    let before = proxy.logged("").len();
    for n in 0..200 {
        let mut visitor = Visitor::new(proxy.listen);
        let _ = visitor.get("/favicon.ico");
        let _ = visitor.get("/unknown");
        visitor.send(match n % 4 {
            0 => "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            1 => "\0\0\0\0\r\n\r\n",
            2 => "GET http://[bad/ HTTP/1.1\r\nHost: a\r\n\r\n",
            _ => "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        });
    }
    eventually("all gone", || (proxy.stats()["connections"]["closed"] == 200).then_some(()));
    assert_eq!(proxy.logged("").len(), before, "{:?}", proxy.logged(""));
}

#[test]
fn a_port_in_use_a_wrong_file_and_a_second_instance_are_explained() {
    let home = Home::new(&nobody());
    let proxy = home.start();
    let other = Home::new(&nobody());
    let text = std::fs::read_to_string(other.config()).unwrap();
    let config = other.path("busy.toml");
    std::fs::write(&config, text.replacen("127.0.0.1:0", &proxy.listen.to_string(), 1)).unwrap();
    let (code, _, error) = Home::run(&["--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("cannot listen on {}", proxy.listen)), "{error}");
    let same_data = home.config();
    let (code, _, error) = Home::run(&["--config", same_data.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.to_lowercase().contains("lock"), "{error}");
    std::fs::write(&config, "[writers]\nurl = 'x'\n").unwrap();
    let (code, _, error) = Home::run(&["--config", config.to_str().unwrap(), "--check"]);
    assert_eq!(code, Some(78));
    assert!(error.contains("did you mean urls?") && error.contains("missing"), "{error}");
    assert_eq!(Home::run(&[]).0, Some(2));
    assert_eq!(Home::run(&["--config", "x", "nonsense"]).0, Some(2));
}

#[test]
fn check_prints_what_is_in_force_and_stats_what_is_going_on() {
    let home = Home::new(&nobody());
    let config = home.config();
    let (code, out, _) = Home::run(&["--config", config.to_str().unwrap(), "--check"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("disk_deadline_ms = 250"), "{out}");
    let proxy = home.start();
    proxy.get("/");
    let (code, out, _) = Home::run(&["stats", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    let stats: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&stats["answers"]["200"], &stats["requests"]["fast"]), (&1.into(), &1.into()));
    let metrics = proxy.metrics();
    assert!(metrics.contains("signpost_proxy_answers_total{status=\"200\"} 1"), "{metrics}");
    let (code, _, error) = Home::run(&["stats", "--socket", "/nonexistent/control.sock"]);
    assert_eq!((code, error.contains("is it running")), (Some(1), true), "{error}");
}
