//! Forms with passwords, however they are sent; and where passwords are compared.

use access::password;
use http::{Method, Request};
use linklog::entity::SigningKey;
use linklog::{Extras, Link, StateKey};
use signpost_proxy::http::begin::Speaks;
use signpost_proxy::tls::Tls;
use signpost_proxy::worker::Limits;

use crate::author::Author;
use crate::client::Visitor;
use crate::http2::visit;
use crate::site::Site;
use crate::tls::files;
use crate::tls_visitor::{Pair, TlsVisitor};

const FORM: &str = "password=open+sesame";

fn author() -> Author {
    let mut author = Author::new();
    let password = Some(password::hash(b"open sesame", [1; 16]).unwrap());
    let extras = Extras { password, ..Extras::default() };
    author.link_on(0, "secret", &Link { target: "https://a.example/".into(), extras, ..Link::default() });
    let key = SigningKey { secret: [2; 32], created_at_ms: 1, valid_until_ms: None };
    author.put(StateKey::SigningKey([3; 8]), key.encode());
    author
}

fn site(speaks: Speaks) -> Site {
    Site::speaking(&author(), Limits::default(), None, None, speaks)
}

#[test]
fn a_form_is_read_whole_or_in_chunks_and_what_comes_behind_it_is_answered() {
    let site = site(Speaks::Plain);
    let mut visitor = Visitor::new(site.address);
    let post = "POST /secret HTTP/1.1\r\nHost: go.example\r\n";
    let (start, end) = FORM.split_at(9);
    visitor.send(format!("{post}Content-Length: {}\r\n\r\n{start}", FORM.len()));
    visitor.send(format!(
        "{end}{post}Transfer-Encoding: chunked\r\n\r\n9\r\n{start}\r\nb;x=y\r\n{end}\r\n0\r\n\r\n"
    ));
    let cookies = [visitor.answer(), visitor.answer()].map(|answer| {
        assert_eq!((answer.status, answer.location()), (303, "/secret"), "{answer:?}");
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    });
    for cookie in cookies {
        visitor.send(format!("GET /secret HTTP/1.1\r\nHost: go.example\r\nCookie: {cookie}\r\n\r\n"));
        let answer = visitor.answer();
        assert_eq!((answer.status, answer.location()), (302, "https://a.example/"));
        assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    }
    // However the link was written, what is sent back leads to it and nowhere else.
    visitor.send(format!(
        "POST //secret,?a=%22&b=c HTTP/1.1\r\nHost: go.example\r\nContent-Length: {}\r\n\r\n{FORM}",
        FORM.len()
    ));
    let answer = visitor.answer();
    assert_eq!((answer.status, answer.location()), (303, "/secret?a=%22&b=c"));
    // Nobody's password is that long: no form of ours.
    let long = format!("x={}&{FORM}", "y".repeat(2_000));
    visitor.send(format!("{post}Content-Length: {}\r\n\r\n{long}", long.len()));
    assert_eq!(visitor.answer().status, 200);
    let wrong = format!("password={}", "y".repeat(257));
    visitor.send(format!("{post}Content-Length: {}\r\n\r\n{wrong}", wrong.len()));
    assert_eq!(visitor.answer().status, 403);
    for other in ["PUT", "DELETE"] {
        visitor.send(format!(
            "{other} /secret HTTP/1.1\r\nHost: go.example\r\nContent-Length: {}\r\n\r\n{FORM}",
            FORM.len()
        ));
        assert_eq!(visitor.answer().status, 405);
    }
}

#[test]
fn a_form_is_read_over_http_2_and_a_cookie_of_a_visitor_with_tls_stays_with_tls() {
    let plain = site(Speaks::PlainWithHttp2);
    let status = visit(plain.address, async |mut send| {
        let mut statuses = Vec::new();
        for form in [FORM, "password=wrong", "x"] {
            let request =
                Request::builder().method(Method::POST).uri("http://go.example/secret").body(()).unwrap();
            let (response, mut stream) = send.send_request(request, false).unwrap();
            stream.send_data(bytes::Bytes::from_static(form.as_bytes()), true).unwrap();
            let response = response.await.unwrap();
            let cookie =
                response.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
            assert_eq!(cookie.is_some(), form == FORM);
            assert!(cookie.is_none_or(|cookie| !cookie.contains("Secure")));
            statuses.push(response.status().as_u16());
        }
        statuses
    });
    assert_eq!(status, [303, 403, 200]);

    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "go", &["go.example"]);
    let tls = std::sync::Arc::new(Tls::load(files(&pair)).unwrap());
    let site = site(Speaks::Tls { tls, http2: false });
    let post = format!(
        "POST /secret HTTP/1.1\r\nHost: go.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{FORM}",
        FORM.len()
    );
    let answer = TlsVisitor::with(openssl::ssl::SslVersion::TLS1_2, openssl::ssl::SslVersion::TLS1_3, b"")
        .connect(site.address, Some("go.example"))
        .ask(&post);
    assert!(answer.starts_with("HTTP/1.1 303 ") && answer.contains("; SameSite=Lax; Secure\r\n"), "{answer}");
}

#[test]
fn a_password_is_compared_on_no_worker_and_who_is_waiting_keeps_nobody_else_waiting() {
    let site = site(Speaks::Plain);
    let post =
        format!("POST /secret HTTP/1.1\r\nHost: go.example\r\nContent-Length: {}\r\n\r\n{FORM}", FORM.len());
    // More than wait for the one thread at once, each on a connection of its own.
    let mut many: Vec<_> = (0..80).map(|_| Visitor::new(site.address)).collect();
    many.iter_mut().for_each(|visitor| visitor.send(&post));
    let mut other = Visitor::new(site.address);
    assert_eq!(other.get("/nothing").status, 404, "the worker answers others meanwhile");
    let statuses: Vec<_> = many
        .iter_mut()
        .map(|visitor| {
            let answer = visitor.answer();
            if answer.status == 503 {
                assert_eq!(
                    (answer.header("retry-after"), answer.header("cache-control")),
                    (Some("1"), Some("no-store"))
                );
            }
            answer.status
        })
        .collect();
    assert!(statuses.iter().all(|status| [303, 503, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&303), "{statuses:?}");
}
