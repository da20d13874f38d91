//! HTTP/2: the same answers, and the bounds of a connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response};
use openssl::ssl::SslVersion;
use signpost_proxy::http::begin::Speaks;
use signpost_proxy::limits::Limit;
use signpost_proxy::worker::{Event, Limits};

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::http2_frames::*;
use crate::process::Home;
use crate::site::Site;
use crate::tls_visitor::{Pair, TlsVisitor};

fn author() -> Author {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    author.link("spring-sale", "https://b.example/");
    author.host("other.example", 7);
    author.link_on(
        7,
        "Ab3xY9z",
        &linklog::Link { target: "https://seven.example/".into(), ..Default::default() },
    );
    author
}

fn site() -> Site {
    site_with(Limits::default())
}

fn site_with(limits: Limits) -> Site {
    Site::speaking(&author(), limits, None, None, Speaks::PlainWithHttp2)
}

/// Runs a visitor with a library's HTTP/2 on a connection to `address`.
pub(crate) fn visit<T>(address: SocketAddr, visit: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(crate::client::DEADLINE, visit(send)).await.unwrap()
    })
}

async fn ask(
    send: &mut SendRequest<Bytes>,
    method: Method,
    uri: &str,
    body: Option<&str>,
) -> (Response<()>, String) {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut ready = send.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend_from_slice(&piece.unwrap());
    }
    (Response::from_parts(head, ()), String::from_utf8(text).unwrap())
}

/// Asks like everybody; the connection is as good as new if this works.
fn asserts_it_answers(frames: &mut Frames, stream: u32) {
    assert!(frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("/", &[]))));
    loop {
        let frame = frames.next().expect("an answer");
        if frame.kind == HEADERS && frame.stream == stream {
            return;
        }
    }
}

#[test]
fn everything_is_answered_as_in_http_1() {
    let site = site();
    visit(site.address, async |mut send| {
        for (method, uri, status, location) in [
            (Method::GET, "http://go.example/Ab3xY9z", 302, Some("https://a.example/")),
            (Method::HEAD, "http://go.example/Ab3xY9z?utm=1", 302, Some("https://a.example/")),
            (Method::GET, "http://other.example:80/Ab3xY9z", 302, Some("https://seven.example/")),
            (Method::GET, "http://go.example/spring%2Dsale", 302, Some("https://b.example/")),
            (Method::GET, "http://go.example/unknown", 404, None),
            (Method::HEAD, "http://go.example/unknown", 404, None),
            (Method::GET, "http://go.example/", 200, None),
            (Method::POST, "http://go.example/Ab3xY9z", 405, None),
            (Method::DELETE, "http://go.example/Ab3xY9z", 405, None),
        ] {
            let is_head = method == Method::HEAD;
            let (response, body) = ask(&mut send, method, uri, None).await;
            assert_eq!(response.status(), status, "{uri}");
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header("location"), location, "{uri}");
            assert!(header("cache-control").is_some() && header("date").is_some());
            let length: usize = header("content-length").unwrap().parse().unwrap();
            assert_eq!(body.len(), if is_head { 0 } else { length }, "{uri}");
        }
        let (response, _) = ask(&mut send, Method::POST, "http://go.example/Ab3xY9z", Some("a body")).await;
        assert_eq!(response.status(), 405);
        let large = "x".repeat(200 << 10);
        let (response, _) = ask(&mut send, Method::GET, "http://go.example/Ab3xY9z", Some(&large)).await;
        assert_eq!(response.status(), 302);
    });
    assert_eq!(site.events(Event::Http2), 11);
    // Who speaks HTTP/1 there is understood too, however slowly it begins.
    let mut visitor = Visitor::new(site.address);
    visitor.send("P");
    visitor.send("UT /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(visitor.answer().status, 405);
    assert_eq!(visitor.get("/Ab3xY9z").location(), "https://a.example/");
}

#[test]
fn a_hundred_streams_at_once_are_answered() {
    let site = site();
    visit(site.address, async |mut send| {
        let mut asked = Vec::new();
        for n in 0..100 {
            let uri = if n % 2 == 0 { "http://go.example/Ab3xY9z" } else { "http://go.example/unknown" };
            let request = Request::get(uri).body(()).unwrap();
            asked.push((n, send.send_request(request, true).unwrap().0));
        }
        for (n, response) in asked {
            assert_eq!(response.await.unwrap().status(), if n % 2 == 0 { 302 } else { 404 });
        }
    });
}

#[test]
fn over_tls_it_is_spoken_with_those_who_ask_for_it_if_the_listener_does() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let (author, writer) = (author(), FakeWriter::start());
    let home = Home::new(&[writer.url()]).with(&format!(
        "[[listener]]\naddress = '127.0.0.1:0'\ntls = true\n\
         [[listener]]\naddress = '127.0.0.1:0'\ntls = true\nhttp2 = false\n{}",
        pair.config()
    ));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    let spoken = |listener: usize, offered: &[u8]| {
        let visitor = TlsVisitor::with(SslVersion::TLS1_2, SslVersion::TLS1_3, offered);
        let connected = visitor.connect(proxy.listeners[listener], Some("go.example"));
        connected.0.ssl().selected_alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(spoken(1, b"\x08http/1.1\x02h2").unwrap(), b"h2");
    assert_eq!(spoken(1, b"\x08http/1.1").unwrap(), b"http/1.1");
    assert_eq!(spoken(1, b""), None);
    assert_eq!(spoken(2, b"\x02h2\x08http/1.1").unwrap(), b"http/1.1");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.listeners[1]).await.unwrap();
        let mut context = openssl::ssl::SslContext::builder(openssl::ssl::SslMethod::tls_client()).unwrap();
        context.set_verify(openssl::ssl::SslVerifyMode::NONE);
        context.set_alpn_protos(b"\x02h2").unwrap();
        let ssl = openssl::ssl::Ssl::new(&context.build()).unwrap();
        let mut stream = pingora::protocols::tls::SslStream::new(ssl, stream).unwrap();
        stream.connect().await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for (method, path, status) in [
            (Method::GET, "Ab3xY9z", 302),
            (Method::HEAD, "Ab3xY9z", 302),
            (Method::GET, "unknown", 404),
            (Method::PUT, "Ab3xY9z", 405),
        ] {
            let (response, _) = ask(&mut send, method, &format!("https://go.example/{path}"), None).await;
            assert_eq!(response.status(), status, "{path}");
        }
    });
    assert_eq!(proxy.stats()["requests"]["h2"], 4);
    let line = "signpost_proxy_requests_total{parser=\"h2\"} 4";
    assert!(proxy.metrics().contains(line), "{line}");
}

#[test]
fn in_the_clear_it_is_refused_unless_configured() {
    let home = Home::new(&["http://127.0.0.1:9".to_owned()])
        .with("[[listener]]\naddress = '127.0.0.1:0'\nh2c = true\n");
    let proxy = home.start();
    let mut visitor = Visitor::new(proxy.listeners[0]);
    visitor.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(matches!(visitor.answer().status, 400 | 505));
    assert!(visitor.is_closed());
    let mut upgrade = Visitor::new(proxy.listeners[1]);
    upgrade.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    assert_eq!(upgrade.answer().status, 200);
    asserts_it_answers(&mut Frames::connect(proxy.listeners[1]), 1);
}

#[test]
fn requests_that_are_none_are_refused_one_by_one() {
    let site = site();
    let get = |rest: &[(&'static str, &'static str)]| {
        let mut all = vec![(":method", "GET"), (":scheme", "http")];
        all.extend(rest);
        block(&all)
    };
    let usual = (":authority", "go.example");
    let path = (":path", "/Ab3xY9z");
    let bad = [
        get(&[usual]),
        get(&[path]),
        get(&[usual, path, path]),
        get(&[usual, path, (":path", "/other")]),
        get(&[usual, usual, path]),
        get(&[usual, path, (":status", "200")]),
        get(&[usual, path, (":secret", "x")]),
        get(&[usual, ("accept", "*/*"), path]),
        get(&[usual, (":path", "")]),
        get(&[usual, (":path", "Ab3xY9z")]),
        get(&[usual, (":path", "*")]),
        get(&[usual, (":path", "/Ab3x Y9z")]),
        get(&[usual, (":path", "/Ab3xY9z%2")]),
        get(&[usual, (":path", "/Ab3xY9z\u{e4}")]),
        get(&[(":authority", "user@go.example"), path]),
        get(&[(":authority", "go.example/x"), path]),
        get(&[(":authority", ""), path]),
        get(&[usual, path, ("host", "evil.example")]),
        get(&[path, ("host", "go.example"), ("host", "go.example")]),
        get(&[path, ("host", "go example")]),
        get(&[usual, path, ("connection", "close")]),
        get(&[usual, path, ("transfer-encoding", "chunked")]),
        get(&[usual, path, ("keep-alive", "1")]),
        get(&[usual, path, ("upgrade", "h2c")]),
        get(&[usual, path, ("te", "gzip")]),
        get(&[usual, path, ("X-Upper", "x")]),
        get(&[usual, path, ("x", "a\r\nb: c")]),
        get(&[usual, path, ("x", "\0")]),
        get(&[usual, path, ("x y", "z")]),
        get(&[usual, path, ("content-length", "nonsense")]),
        block(&[(":method", "G ET"), (":scheme", "http"), usual, path]),
        block(&[(":scheme", "http"), usual, path]),
        block(&[(":method", "CONNECT"), (":scheme", "http"), usual, path]),
        block(&[(":method", "CONNECT"), usual, (":protocol", "websocket"), (":scheme", "http"), path]),
    ];
    for (index, block) in bad.iter().enumerate() {
        let mut frames = Frames::connect(site.address);
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, block));
        let first = frames.next();
        // An answer (it was counted, and is none that redirects), or the stream or the connection is over.
        if let Some(first) = first {
            assert!(matches!(first.kind, HEADERS | RST_STREAM | GOAWAY), "{index}: {}", first.kind);
            if first.kind != HEADERS {
                assert_eq!(first.code(), PROTOCOL_ERROR, "{index}");
            }
        }
        assert_eq!(site.answered(302), 0, "{index}");
    }
    // One malformed stream leaves the others of its connection alone.
    let mut frames = Frames::connect(site.address);
    frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &bad[1]));
    asserts_it_answers(&mut frames, 3);
    for good in [
        get(&[path, ("host", "go.example")]),
        get(&[usual, path, ("host", "GO.example")]),
        get(&[usual, path, ("te", "trailers")]),
    ] {
        let before = site.answered(302);
        let mut frames = Frames::connect(site.address);
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &good));
        assert_eq!(frames.next().unwrap().kind, HEADERS);
        assert_eq!(site.answered(302), before + 1);
    }
}

#[test]
fn malformed_streams_without_end_end_the_connection() {
    let site = site();
    let mut frames = Frames::connect(site.address);
    let bad = request("/", &[("connection", "close")]);
    let many: Vec<u8> =
        (0..200).flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &bad)).collect();
    frames.send(&many);
    let ended = std::iter::from_fn(|| frames.next()).filter(|frame| frame.kind == GOAWAY).last();
    assert_eq!(ended.expect("a reason").code(), ENHANCE_YOUR_CALM);
}

#[test]
fn opening_and_resetting_streams_ends_the_connection() {
    let site = site();
    let mut frames = Frames::connect(site.address);
    let request = request("/unknown", &[]);
    let reset = |stream| {
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request);
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    };
    let many: Vec<u8> = (0..10_000).flat_map(|n| reset(2 * n + 1)).collect();
    frames.send(&many);
    let ended = std::iter::from_fn(|| frames.next()).filter(|frame| frame.kind == GOAWAY).last();
    assert_eq!(ended.expect("a reason").code(), ENHANCE_YOUR_CALM);
    eventually("the end", || (site.events(Event::Closed) == 1).then_some(()));
    assert!(site.events(Event::Http2) < 1_000, "{}", site.events(Event::Http2));
}

#[test]
fn headers_that_are_too_long_are_answered_431_and_without_end_end_the_connection() {
    let site = site();
    let mut frames = Frames::connect(site.address);
    let long = "x".repeat(9 << 10);
    frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("/", &[("x", &long)])));
    let answer = frames.next().unwrap();
    // `:status` with a literal value, its name from the static table (RFC 7541 §6.2), 431 as it is or in Huffman's code.
    let status = &answer.payload[1..];
    assert_eq!((answer.kind, answer.stream), (HEADERS, 1));
    assert!(
        status.starts_with(b"\x03431") || status.starts_with(b"\x83\x69\x90\xff"),
        "{}",
        status.escape_ascii()
    );
    asserts_it_answers(&mut frames, 3);

    let mut frames = Frames::connect(site.address);
    frames.send(&frame(HEADERS, END_STREAM, 1, &request("/", &[])));
    let more = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(1_000))]));
    let mut sent = 0;
    while sent < 10_000 && frames.send(&more) {
        sent += 1;
    }
    let rest: Vec<Frame> = std::iter::from_fn(|| frames.next()).collect();
    assert!(rest.iter().all(|frame| frame.kind == GOAWAY), "nothing was answered");
    eventually("the end", || (site.events(Event::Closed) == 1).then_some(()));
    assert_eq!(site.events(Event::Http2), 1, "the one that was answered on the first connection");
}

#[test]
fn an_idle_connection_is_closed_whatever_it_sends_besides_requests() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        head: Duration::from_millis(300),
        linger: Duration::from_millis(200),
        ..Limits::default()
    };
    let site = site_with(limits);
    let mut silent = Visitor::new(site.address);
    let mut half = Visitor::new(site.address);
    half.send("PRI * HTTP");
    assert!(silent.is_closed() && half.is_closed());
    let mut frames = Frames::connect(site.address);
    asserts_it_answers(&mut frames, 1);
    // A stream whose header never ends, and pings.
    frames.send(&frame(HEADERS, END_STREAM, 3, &request("/", &[])));
    let mut pinging = Frames::connect(site.address);
    eventually("the end of both", || {
        pinging.send(&frame(PING, 0, 0, &[0; 8]));
        (site.events(Event::Closed) == 4).then_some(())
    });
    // The one that said nothing, and the two that spoke HTTP/2; the one that stopped while it began.
    let reached = [Limit::Idle, Limit::HeadTime].map(|limit| site.worker.counters.limited(limit));
    assert_eq!(reached, [3, 1]);
}

#[test]
fn after_so_many_requests_a_connection_is_finished() {
    let site = site_with(Limits { requests_per_connection: 3, ..Limits::default() });
    let mut frames = Frames::connect(site.address);
    (0..2).for_each(|n| asserts_it_answers(&mut frames, 2 * n + 1));
    frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 5, &request("/", &[])));
    // The last answer and the goodbye, in whatever order.
    let kinds = std::iter::from_fn(|| frames.next()).map(|frame| frame.kind);
    let kinds: Vec<u8> = kinds.filter(|kind| *kind != DATA).take(2).collect();
    assert!(kinds.contains(&GOAWAY) && kinds.contains(&HEADERS), "{kinds:?}");
    assert_eq!(site.worker.counters.limited(Limit::RequestsPerConnection), 1);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let site = site_with(Limits { body: Duration::from_millis(200), ..Limits::default() });
    let mut frames = Frames::connect(site.address);
    frames.send(&frame(HEADERS, END_HEADERS, 1, &request("/Ab3xY9z", &[])));
    frames.send(&frame(DATA, 0, 1, b"half"));
    assert_eq!(frames.next().unwrap().kind, HEADERS);
    assert_eq!((site.answered(408), site.answered(302)), (1, 0));
    assert_eq!(site.worker.counters.limited(Limit::Body), 1);
    asserts_it_answers(&mut frames, 3);
}

#[test]
fn a_stop_finishes_what_is_open_and_closes() {
    let site = site();
    let mut frames = Frames::connect(site.address);
    asserts_it_answers(&mut frames, 1);
    let worker = std::sync::Arc::clone(&site.worker);
    site.on_worker(move || worker.stop());
    let rest: Vec<Frame> = std::iter::from_fn(|| frames.next()).collect();
    assert!(rest.iter().any(|frame| frame.kind == GOAWAY && frame.code() == 0));
    eventually("the end", || (site.events(Event::Closed) == 1).then_some(()));
}
