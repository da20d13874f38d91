//! The life of a connection, over loopback sockets, with a replica on disk behind it and short limits.

mod answers;

use std::time::Duration;

use linklog::{Link, LinkState, RedirectStatus};
use signpost_proxy::client::Client;
use signpost_proxy::limits::Limit;
use signpost_proxy::worker::{Event, Limits};

use crate::author::{Author, now_ms};
use crate::client::{Visitor, eventually};
use crate::site::Site;

const SHORT: Limits = Limits {
    handshake: Duration::from_millis(300),
    head: Duration::from_millis(300),
    idle: Duration::from_millis(600),
    write: Duration::from_secs(5),
    body: Duration::from_millis(500),
    linger: Duration::from_millis(500),
    head_bytes: 8 << 10,
    proxy_header: Duration::from_secs(5),
    requests_per_connection: 100_000,
};

fn some_links() -> Author {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/?q=%20x&y=\"'<>");
    author.link("spring-sale", "https://b.example/spring");
    let mut special = |code: &str, link: Link| {
        author.link_on(0, code, &Link { target: format!("https://{code}.example/"), ..link });
    };
    special("moved", Link { status: RedirectStatus::MovedPermanently, ..Link::default() });
    special("kept307", Link { status: RedirectStatus::TemporaryRedirect, ..Link::default() });
    special("kept308", Link { status: RedirectStatus::PermanentRedirect, ..Link::default() });
    special("off", Link { state: LinkState::Disabled, ..Link::default() });
    special("banned", Link { state: LinkState::Banned, ..Link::default() });
    special("ended", Link { expires_at_ms: Some(now_ms() - 1), ..Link::default() });
    special("ending", Link { expires_at_ms: Some(now_ms() + 3_600_000), ..Link::default() });
    author.link("deleted", "https://deleted.example/");
    author.delete("deleted");
    author.host("other.example", 7);
    author.link_on(7, "Ab3xY9z", &Link { target: "https://seven.example/".into(), ..Link::default() });
    author
}

#[test]
fn head_is_get_without_the_body_on_both_paths() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for path in ["/Ab3xY9z", "/unknown", "/banned", "/", "/%41b3xY9z", "/%75nknown"] {
        visitor.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = visitor.answer_to_head();
        let get = visitor.get(path);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        assert_eq!(head.header("location"), get.header("location"), "{path}");
    }
}

#[test]
fn both_paths_write_the_same_headers() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for code in ["Ab3xY9z", "moved", "kept307", "kept308", "banned", "ended", "unknown", "favicon.ico", ""] {
        let fast = visitor.get(&format!("/{code}"));
        visitor.send(format!("GET http://go.example/{code} HTTP/1.1\r\nHost: go.example\r\n\r\n"));
        let slow = visitor.answer();
        let sorted = |mut answer: crate::client::Answer| {
            answer
                .headers
                .retain(|(name, value)| (name.as_str(), value.as_str()) != ("connection", "keep-alive"));
            answer.headers.retain(|(name, _)| name != "date");
            answer.headers.sort();
            answer
        };
        assert_eq!(sorted(fast), sorted(slow), "{code}");
    }
    assert_eq!(site.events(Event::Session), 9);
}

#[test]
fn a_pipelined_mix_of_fast_and_slow_is_answered_in_order_on_one_connection() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    let round = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n\
                 POST /Ab3xY9z HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\
                 GET /moved HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /kept307 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                 HEAD /unknown HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET /%6doved HTTP/1.1\r\nHost: a\r\n\r\n\
                 GET http://other.example/Ab3xY9z HTTP/1.1\r\nHost: other.example\r\n\r\n\
                 GET /banned HTTP/1.1\r\nHost: a\r\n\r\n";
    const ROUNDS: usize = 20;
    visitor.send(round.repeat(ROUNDS));
    for _ in 0..ROUNDS {
        let mut statuses = Vec::new();
        for is_head in [false, false, false, false, true, false, false, false] {
            statuses.push(visitor.read_answer(is_head).expect("the connection goes on").status);
        }
        assert_eq!(statuses, [302, 405, 301, 307, 404, 301, 302, 451]);
    }
    assert_eq!(site.events(Event::Session), 4 * ROUNDS as u64);
    assert_eq!(site.events(Event::Opened), 1);
}

#[test]
fn requests_that_come_in_pieces_are_answered_when_they_are_whole() {
    let site = Site::new(&some_links());
    for pieces in [1, 2, 3, 7, 50] {
        let mut visitor = Visitor::new(site.address);
        let text = "GET /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\nX: y\r\n\r\n".repeat(3);
        for piece in text.as_bytes().chunks(pieces) {
            visitor.send(piece);
        }
        (0..3).for_each(|_| assert_eq!(visitor.answer().status, 302));
    }
}

#[test]
fn a_long_pipeline_is_answered_whole_although_nobody_reads_at_first() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    const COUNT: usize = 20_000;
    let text = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n".repeat(COUNT);
    let mut writer = visitor.split();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap());
    for n in 0..COUNT {
        assert_eq!(visitor.answer().status, 302, "answer {n}");
    }
    sender.join().unwrap();
}

#[test]
fn the_connection_ends_when_the_visitor_says_so() {
    let site = Site::new(&some_links());
    for request in [
        "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /Ab3xY9z HTTP/1.0\r\n\r\n",
        "GET /Ab3xY9z HTTP/1.0\r\nHost: other\r\n\r\n",
        "GET /%41b3xY9z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!("{request}GET /moved HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("connection")), (302, Some("close")), "{request:?}");
        assert!(visitor.is_closed(), "{request:?}");
    }
    let mut kept = Visitor::new(site.address);
    for _ in 0..2 {
        kept.send("GET /Ab3xY9z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(kept.answer().header("connection"), Some("keep-alive"));
    }
    let mut half = Visitor::new(site.address);
    half.send("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n");
    half.finish();
    assert_eq!(half.answer().status, 302);
    assert!(half.is_closed());
}

#[test]
fn what_makes_no_sense_is_answered_400_and_ends_the_connection() {
    let site = Site::new(&some_links());
    for (request, status) in [
        ("GET /Ab3xY9z HTTP/1.1\r\n\r\n", 400),
        ("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /Ab3xY9z HTTP/1.1\nHost: a\n\n", 400),
        ("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}", 400),
        ("GET /Ab3xY9z\r\n\r\n", 400),
    ] {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!(
            "GET /moved HTTP/1.1\r\nHost: a\r\n\r\n{request}GET /moved HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        assert_eq!(visitor.answer().status, 301, "{request:?}");
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{request:?}");
        assert!(visitor.is_closed(), "{request:?}");
    }
    assert_eq!((site.answered(400), site.answered(505)), (6, 1));
}

#[test]
fn other_methods_are_refused_with_what_is_allowed_and_the_connection_goes_on() {
    let site = Site::new(&some_links());
    let mut visitor = Visitor::new(site.address);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"] {
        visitor.send(format!("{method} /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    visitor.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(visitor.answer().status, 405);
}

#[test]
fn a_head_that_is_too_large_is_answered_431_and_one_that_just_fits_is_not() {
    let site = Site::new(&some_links());
    let request = |len: usize| {
        let start = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nCookie: ";
        format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4))
    };
    let mut visitor = Visitor::new(site.address);
    for _ in 0..3 {
        visitor.send(request(8 << 10));
        assert_eq!(visitor.answer().status, 302);
    }
    visitor.try_send(request(64 << 10));
    assert_eq!(visitor.answer().status, 431);
    assert!(visitor.is_closed());
    let mut many = Visitor::new(site.address);
    many.send(format!("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(64)));
    assert_eq!(many.answer().status, 431);
    assert!(many.is_closed());
}

#[test]
fn whoever_takes_too_long_for_a_head_is_sent_away_however_busy_it_looks() {
    let site = Site::with(&some_links(), SHORT, None);
    let mut visitor = Visitor::new(site.address);
    visitor.send("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\nGET /Ab3xY9z HTTP/1.1\r\n");
    assert_eq!(visitor.answer().status, 302);
    // A header every now and then does not buy time.
    while visitor.try_send("X: y\r\n") && site.answered(408) == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(visitor.answer().status, 408);
    assert!(visitor.is_closed());
    let mut silent = Visitor::new(site.address);
    silent.send("G");
    assert_eq!(silent.answer().status, 408);
}

#[test]
fn idle_connections_are_closed_and_used_ones_are_not() {
    let site = Site::with(&some_links(), SHORT, None);
    let mut never = Visitor::new(site.address);
    let mut used = Visitor::new(site.address);
    for _ in 0..10 {
        assert_eq!(used.get("/Ab3xY9z").status, 302);
        std::thread::sleep(SHORT.idle / 5);
    }
    assert!(never.is_closed());
    assert!(used.is_closed());
    eventually("all connections counted out", || (site.events(Event::Closed) == 2).then_some(()));
    assert_eq!((site.answered(408), site.worker.counters.limited(Limit::Idle)), (0, 2));
}

#[test]
fn a_body_that_does_not_come_or_does_not_end_costs_only_its_own_connection() {
    let site = Site::with(&some_links(), SHORT, None);
    let mut stuck = Visitor::new(site.address);
    stuck.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let mut endless = Visitor::new(site.address);
    endless.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    while endless.try_send(format!("1000\r\n{}\r\n", "x".repeat(0x1000))) && site.answered(405) == 0 {}
    assert_eq!(Visitor::new(site.address).get("/Ab3xY9z").status, 302);
    let answer = stuck.answer();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert!(stuck.is_closed());
    assert_eq!(endless.answer().status, 405);
    eventually("both gone", || (site.events(Event::Closed) >= 2).then_some(()));
    assert_eq!(site.worker.counters.limited(Limit::Body), 2);
}

#[test]
fn what_is_no_body_as_announced_is_not_acted_on() {
    let site = Site::new(&some_links());
    let head = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0\r\nno trailer\r\n\r\n",
    ] {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!("{head}{body}GET /moved HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{body:?}");
        assert!(visitor.is_closed(), "{body:?}");
    }
    let mut cut_off = Visitor::new(site.address);
    cut_off.send(format!("{head}3\r\nab"));
    cut_off.finish();
    assert!(cut_off.is_closed());
}

#[test]
fn expect_and_upgrade_are_answered_finally_and_end_the_connection() {
    let site = Site::new(&some_links());
    for header in [
        "Expect: 100-continue\r\nContent-Length: 4",
        "Upgrade: websocket\r\nConnection: upgrade",
        "Expect: x",
    ] {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!("GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.header("connection")), (302, Some("close")), "{header}");
        assert!(visitor.is_closed());
    }
    let mut tunnel = Visitor::new(site.address);
    tunnel.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(tunnel.answer().status, 405);
    assert!(tunnel.is_closed());
}

#[test]
fn no_stored_target_can_break_out_of_its_header() {
    for bad in ["https://a/\r\nSet-Cookie: x", "https://a/\n", "https://a/ b", "https://ä/", "https://a/\0"]
    {
        let mut replica = Author::new();
        let encoded = Link { target: bad.into(), ..Link::default() }.encode();
        assert!(Link::decode(&encoded).is_err(), "{bad:?}");
        // A damaged replica is not believed either: such a value is answered like a failing disk.
        replica.link("Ab3xY9z", "https://a/");
        let mut value = vec![0x11, 1, 1, 3];
        value.extend_from_slice(&encoded);
        assert!(signpost_proxy::lookup::facts_of(Some(&value)).is_err(), "{bad:?}");
    }
}

#[test]
fn stopping_closes_idle_connections_and_answers_what_is_under_way() {
    let site = Site::new(&some_links());
    let mut idle = Visitor::new(site.address);
    assert_eq!(idle.get("/Ab3xY9z").status, 302);
    let mut half = Visitor::new(site.address);
    half.send("GET /Ab3xY9z HTTP/1.1\r\nHost: a");
    let mut fresh = Visitor::new(site.address);
    eventually("all are connected", || (site.events(Event::Opened) == 3).then_some(()));
    let worker = std::sync::Arc::clone(&site.worker);
    site.on_worker(move || worker.stop());
    assert!(idle.is_closed());
    assert!(fresh.is_closed());
    half.send("\r\n\r\n");
    let answer = half.answer();
    assert_eq!((answer.status, answer.header("connection")), (302, Some("close")));
    assert!(half.is_closed());
    fresh = Visitor::new(site.address);
    assert!(fresh.is_closed());
}

#[test]
fn the_state_of_a_connection_is_small() {
    let site = Site::new(&Author::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let stream = Box::new(pingora::protocols::l4::stream::Stream::from(stream));
        let state = signpost_proxy::http::connection::serve(&site.worker, stream, &Client::UNKNOWN);
        assert!(size_of_val(&state) <= 1_024, "{} bytes", size_of_val(&state));
    });
}
