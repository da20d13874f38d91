//! `handshakes` against a TLS server that gives out tickets, and one that does not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::run;

/// Answers one request on each connection and closes it; returns where, as a URL.
fn serve_over_tls(tickets: bool) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    if tickets {
        config.ticketer = ring::Ticketer::new().unwrap();
    } else {
        config.send_tls13_tickets = 0;
    }
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || {
                let mut stream = StreamOwned::new(connection, socket);
                let mut request = [0; 4096];
                // A client that is gone shows in its own outcome.
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    url
}

fn handshakes(target: &str, more: &[&str]) -> crate::Run {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.txt");
    std::fs::write(&keys, "a\thttps://a.example/\n").unwrap();
    let arguments =
        ["handshakes", "--duration", "1", "--warm-up", "0", "--connections", "2", "--target", target];
    let keys = ["--keys", keys.to_str().unwrap()];
    run(dir.path(), &[&arguments[..], &keys, more].concat())
}

#[test]
fn a_session_is_resumed_when_asked_for_and_given_and_never_otherwise() {
    for (tickets, more, resumes) in
        [(true, &["--resume"][..], true), (true, &[], false), (false, &["--resume"], false)]
    {
        let measured = handshakes(&serve_over_tls(tickets), more);
        assert!(measured.output.status.success(), "{}", measured.stderr());
        let results = &measured.results;
        let [redirected, resumed] = ["redirected", "resumed"].map(|name| results[name].as_u64().unwrap());
        assert_eq!((&results["errors"], &results["version"]), (&json!({}), &json!("TLSv1_3")));
        // The first connection of each thread has nothing to resume.
        let expected = if resumes { redirected - 2 } else { 0 };
        assert_eq!(resumed, expected, "of {redirected}, tickets {tickets}, {more:?}");
    }
}

#[test]
fn what_does_not_speak_tls_is_an_error_by_name_and_fails_the_run() {
    let target = crate::server::serve_anywhere(|_| crate::server::redirect("https://a.example/"));
    let measured = handshakes(&target, &["--timeout", "1"]);
    assert_eq!(measured.output.status.code(), Some(1));
    assert!(measured.results["errors"].as_object().is_some_and(|errors| !errors.is_empty()));
}
