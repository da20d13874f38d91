//! The fast parser by table, and against a slow one written from RFC 9112 without looking at it.

use proptest::prelude::*;

use super::*;
use strict::{Plain, plain_request};

/// Written from RFC 9112 without looking at the parser; the fuzz targets compare with it too.
#[path = "../../../../fuzz/src/strict.rs"]
#[allow(dead_code, unreachable_pub)]
mod strict;

fn fast(request: &str) -> Request<'_> {
    match parse(request.as_bytes()) {
        Parsed::Fast(request) => request,
        other => panic!("{request:?} is {other:?}"),
    }
}

#[test]
fn a_plain_request_is_fast_whatever_else_its_headers_say() {
    let browser = "GET /Ab3xY9z?utm=1 HTTP/1.1\r\nHost: go.example:8080\r\nConnection: keep-alive\r\n\
                   User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\n\
                   Cookie: a=b; c=\"d\"\r\nsec-ch-ua: \"x\";v=\"1\"\r\nX-Odd: \t caf\u{e9} \r\n\r\nrest";
    let request = fast(browser);
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.host, b"go.example:8080");
    assert_eq!(request.path, b"/Ab3xY9z");
    assert!(request.keep_alive);
    assert_eq!(&browser[request.consumed..], "rest");
}

#[test]
fn method_host_and_connection_are_read_in_any_case() {
    let request = fast("HEAD / HTTP/1.1\r\nhOST:\r\nCONNECTION: Close\r\n\r\n");
    assert_eq!((request.method, request.host, request.keep_alive), (Method::Head, &b""[..], false));
    assert!(!fast("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, , close\r\n\r\n").keep_alive);
    assert!(
        !fast("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n").keep_alive
    );
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let text = "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(fast(text).consumed, text.len());
    assert_eq!(parse(b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"), Parsed::Bad(Fault::Malformed));
    assert_eq!(parse(b"\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"), Parsed::Bad(Fault::Malformed));
}

#[test]
fn whatever_needs_more_than_an_answer_goes_to_the_session() {
    for request in [
        "POST /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "get /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b.example/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTPS://b.example/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.0\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: AAA\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nTrailer: x\r\n\r\n",
    ] {
        let head = Head {
            bytes: request.len(),
            body: Framing::None,
            is_last: false,
            keep_alive: !request.contains("/1.0"),
        };
        assert_eq!(parse(format!("{request}rest").as_bytes()), Parsed::Unusual(head), "{request:?}");
    }
}

#[test]
fn what_follows_an_unusual_head_is_known() {
    for (header, body, is_last) in [
        ("Content-Length: 0", Framing::Length(0), false),
        ("Content-Length: 005", Framing::Length(5), false),
        ("content-length:\t9999999999999999999 ", Framing::Length(9_999_999_999_999_999_999), false),
        ("Transfer-Encoding: Chunked", Framing::Chunked, false),
        ("Upgrade: h2c", Framing::None, true),
        ("Expect: 100-continue", Framing::None, true),
        ("expect:\r\nContent-Length: 7", Framing::Length(7), true),
    ] {
        let request = format!("GET /a HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n");
        let head = Head { bytes: request.len(), body, is_last, keep_alive: true };
        assert_eq!(parse(format!("{request}rest").as_bytes()), Parsed::Unusual(head), "{request:?}");
    }
    let request = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = Head { bytes: request.len(), body: Framing::None, is_last: true, keep_alive: true };
    assert_eq!(parse(request), Parsed::Unusual(head));
}

#[test]
fn one_close_anywhere_ends_the_connection_and_http_1_0_stays_only_if_asked_to() {
    for (headers, http_1_1, http_1_0) in [
        ("", true, false),
        ("Connection: keep-alive\r\n", true, true),
        ("Connection: Keep-Alive, x\r\n", true, true),
        ("Connection: close\r\n", false, false),
        ("Connection: keep-alive, close\r\n", false, false),
        ("Connection: close\r\nConnection: keep-alive\r\n", false, false),
        ("Connection: keep-alive\r\nX: y\r\nConnection: x,CLOSE\r\n", false, false),
    ] {
        for (version, expected) in [("1.1", http_1_1), ("1.0", http_1_0)] {
            let request = format!("POST /a HTTP/{version}\r\nHost: a\r\n{headers}\r\n");
            let Parsed::Unusual(head) = parse(request.as_bytes()) else { panic!("{request:?}") };
            assert_eq!(head.keep_alive, expected, "{request:?}");
        }
    }
}

#[test]
fn a_host_is_a_name_or_an_address_perhaps_with_a_port() {
    let longest = format!("{}:65535", "x".repeat(254));
    for host in [
        "",
        "a",
        "a.example.",
        "a:80",
        "a:",
        ":80",
        "a_b-c",
        "192.0.2.1:8080",
        "[::1]",
        "[2001:db8::1]:443",
        &longest,
    ] {
        assert!(is_host(host.as_bytes()), "{host}");
    }
    let too_long = format!("{}:65535", "x".repeat(255));
    for host in [
        "a:x", "a:80:80", "a:123456", "a/b", "a b", "u@a", "a,b", "[::1", "::1", "[::1]x", "[x]", "[::1]:x",
        "a[::1]", "a]", "\u{e4}", "a%41", &too_long,
    ] {
        assert!(!is_host(host.as_bytes()), "{host}");
    }
}

#[test]
fn whatever_could_be_understood_in_two_ways_ends_the_connection() {
    for request in [
        // No Host, two Hosts, no host.
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a,b\r\n\r\n",
        // Line ends.
        "GET /a HTTP/1.1\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\n\n",
        "GET /a HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        // Two lengths, odd lengths, a length and a coding.
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        // Request lines.
        "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b#c HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%%41 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\r\nHost: a\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{5}",
    ] {
        assert_eq!(parse(request.as_bytes()), Parsed::Bad(Fault::Malformed), "{request:?}");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "http/1.1", "HTTP/1.10", " HTTP/1.1", "b HTTP/1.1"] {
        let request = format!("GET /a {version}\r\nHost: a\r\n\r\n");
        assert!(matches!(parse(request.as_bytes()), Parsed::Bad(_)), "{version}");
    }
    assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Parsed::Bad(Fault::Version));
}

#[test]
fn as_many_headers_as_allowed_are_read_and_one_more_is_refused() {
    let request =
        |headers: usize| format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(headers - 1));
    assert!(matches!(parse(request(HEADERS_MAX).as_bytes()), Parsed::Fast(_)));
    assert_eq!(parse(request(HEADERS_MAX + 1).as_bytes()), Parsed::Bad(Fault::TooManyHeaders));
}

#[test]
fn every_beginning_of_a_request_is_partial() {
    let request = "\r\nHEAD /a?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX:  y \r\n\r\n";
    for end in 0..request.len() {
        assert_eq!(parse(&request.as_bytes()[..end]), Parsed::Partial, "{:?}", &request[..end]);
    }
    assert_eq!(fast(request).consumed, request.len());
}

fn as_strict(bytes: &[u8]) -> Option<Plain> {
    let Parsed::Fast(request) = parse(bytes) else { return None };
    Some(Plain {
        method: if request.method == Method::Get { "GET".into() } else { "HEAD".into() },
        path: request.path.to_vec(),
        host: request.host.to_vec(),
        keep_alive: request.keep_alive,
        consumed: request.consumed,
    })
}

fn piece(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(choices).prop_map(str::to_owned)
}

/// Requests that are nearly right: each piece mostly plain, sometimes not.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line_end =
        || prop_oneof![30 => Just("\r\n".to_owned()), 1 => piece(&["\n", "\r", "\r\r\n", " \r\n", "\r\n "])];
    let header = prop_oneof![
        6 => piece(&["Accept: */*", "Cookie: a=b", "User-Agent: x y", "X:", "Referer: https://a/", "Connection: keep-alive"]),
        2 => piece(&["Connection: close", "Host: a", "host:b", "HOST: go.example:80 ", "Connection: a", "Hos: t"]),
        1 => piece(&["Content-Length: 3", "Transfer-Encoding: chunked", "Expect: x", "Upgrade: x", "TE: x", "T\u{e9}: x", ": x", "Trailer: x", "X: \u{7f}", "X: \u{e9}"]),
    ];
    let start = (
        prop_oneof![9 => Just(String::new()), 1 => piece(&["\r\n", "\n", "\r\n\r\n", " "])],
        prop_oneof![8 => piece(&["GET", "HEAD"]), 1 => piece(&["POST", "get", "", "G ET"])],
        prop_oneof![12 => Just(" ".to_owned()), 1 => piece(&["  ", "\t", ""])],
        prop_oneof![8 => piece(&["/", "/Ab3xY9z", "/a?b=c%20d", "/a-_b"]), 2 => piece(&["/%41", "/a?b#c", "/a?%", "/a#b", "*", "a", "http://a/b", "//a", "/\u{e9}", "/a?\u{e9}"])],
        prop_oneof![12 => piece(&[" HTTP/1.1"]), 1 => piece(&[" HTTP/1.0", " HTTP/2.0", "  HTTP/1.1", ""])],
        line_end(),
    );
    let host = prop_oneof![
        9 => Just("Host: go.example\r\n".to_owned()),
        1 => Just(String::new()),
        3 => "[a\\[\\]:.1_-]{0,8}".prop_map(|host| format!("Host: {host}\r\n")),
    ];
    let headers = proptest::collection::vec((header, line_end()), 0..6);
    (start, host, headers, line_end(), piece(&["", "GET / HTTP/1.1\r\n", "\r\n"])).prop_map(
        |((empty, method, space, target, version, end), host, headers, last, rest)| {
            let mut text = format!("{empty}{method}{space}{target}{version}{end}{host}");
            for (header, end) in headers {
                text.push_str(&header);
                text.push_str(&end);
            }
            text.push_str(&last);
            text.push_str(&rest);
            text.into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_fast_is_what_the_letter_of_the_rfc_calls_a_plain_request(bytes in request()) {
        prop_assert_eq!(as_strict(&bytes), plain_request(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_changed_byte_never_makes_the_two_disagree(at: prop::sample::Index, byte: u8) {
        let mut bytes = b"GET /Ab3xY9z?a HTTP/1.1\r\nHost: go.example\r\nConnection: close\r\nX: y\r\n\r\n".to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert_eq!(as_strict(&bytes), plain_request(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn what_is_fast_does_not_depend_on_what_follows(bytes in request(), more in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some(request) = as_strict(&bytes) {
            let mut longer = bytes[..request.consumed].to_vec();
            longer.extend_from_slice(&more);
            prop_assert_eq!(as_strict(&longer), Some(request));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}

#[test]
fn who_asks_is_read_along_and_nothing_of_it_is_needed() {
    let says = |headers: &str| {
        let text = format!("GET /a HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let Says { agent, referer, language, prefetch, .. } = fast(&text).says;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(agent), text(referer), text(language), prefetch)
    };
    let none = (String::new(), String::new(), String::new(), false);
    assert_eq!(says(""), none);
    let headers = "user-agent: curl/8\r\nREFERER: https://r/\r\nAccept-Language:  de, en;q=0.5 \r\n";
    let (agent, referer, language) = ("curl/8".into(), "https://r/".into(), "de, en;q=0.5".into());
    assert_eq!(says(headers), (agent, referer, language, false));
    assert_eq!(says("User-Agent: first\r\nUser-Agent: second\r\n").0, "first");
    for ahead in [
        "Sec-Purpose: prefetch",
        "sec-purpose: prefetch;prerender",
        "Sec-Purpose: prefetch;anonymous-client-ip",
        "Purpose: prefetch",
        "X-Moz: Prefetch",
        "X-Purpose: preview",
    ] {
        assert!(says(&format!("{ahead}\r\n")).3, "{ahead}");
    }
    for other in ["Sec-Purpose: other", "Purpose:", "X-Purposes: prefetch", "Sec-Fetch-Dest: prefetch"] {
        assert!(!says(&format!("{other}\r\n")).3, "{other}");
    }
}
