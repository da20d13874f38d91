//! The listener as its clients see it: over TCP, byte for byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[derive(Default)]
struct Daemon {
    ready: AtomicBool,
    broken: AtomicBool,
}

impl Probe for Daemon {
    fn readiness(&self) -> Readiness {
        assert!(!self.broken.load(Ordering::SeqCst), "a probe that panics");
        Readiness {
            ready: self.ready.load(Ordering::SeqCst),
            detail: json!({ "lag_ms": 3, "ready": "overwritten" }),
        }
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

fn start() -> (HealthServer, Arc<Daemon>) {
    let daemon = Arc::new(Daemon::default());
    let probe: Arc<dyn Probe> = daemon.clone();
    (HealthServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), probe).unwrap(), daemon)
}

fn connect(server: &HealthServer) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends one request and reads until the server closes: status, headers, body.
fn ask(server: &HealthServer, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = connect(server);
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

#[test]
fn a_living_daemon_passes_and_says_its_version() {
    let (server, _) = start();
    let (status, head, body) = ask(&server, "GET", "/healthz?from=balancer");
    let expected = json!({ "status": "pass", "version": env!("CARGO_PKG_VERSION") });
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, expected));
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
}

#[test]
fn readiness_is_the_probes_word_and_its_details_stand_beside_it() {
    let (server, daemon) = start();
    for (ready, expected) in [(false, 503), (true, 200)] {
        daemon.ready.store(ready, Ordering::SeqCst);
        let (status, _, body) = ask(&server, "GET", "/readyz");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body), (expected, json!({ "ready": ready, "lag_ms": 3 })));
    }
    assert_eq!(readiness_body(true, Value::Null), json!({ "ready": true }));
    assert_eq!(readiness_body(false, json!("empty")), json!({ "ready": false, "detail": "empty" }));
}

#[test]
fn metrics_are_told_as_openmetrics() {
    let (server, _) = start();
    let (status, head, body) = ask(&server, "GET", "/metrics");
    assert_eq!((status, body.as_str()), (200, "# EOF\n"));
    assert!(head.contains(&format!("content-type: {}", metrics::CONTENT_TYPE)), "{head}");
}

#[test]
fn anything_else_is_refused() {
    let (server, _) = start();
    assert_eq!(ask(&server, "GET", "/").0, 404);
    assert_eq!(ask(&server, "POST", "/readyz").0, 405);
    let (status, _, body) = ask(&server, "HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
}

#[test]
fn a_request_longer_than_allowed_is_refused() {
    let (server, _) = start();
    let mut stream = connect(&server);
    let long = "x".repeat(2 * REQUEST_BYTES_MAX);
    // The rest of the request may still be on its way when the server closes: then the connection is reset.
    let _ = write!(stream, "GET /healthz HTTP/1.1\r\nhost: x\r\nlong: {long}\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn silent_clients_take_places_and_give_them_back() {
    let (server, _) = start();
    let silent: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    let mut late = connect(&server);
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    drop(silent);
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_probe_that_panics_costs_one_answer_and_not_the_listener() {
    let (server, daemon) = start();
    daemon.broken.store(true, Ordering::SeqCst);
    let mut stream = connect(&server);
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    daemon.broken.store(false, Ordering::SeqCst);
    assert_eq!(ask(&server, "GET", "/readyz").0, 503);
}

#[test]
fn a_port_that_is_taken_is_named_in_the_error() {
    let (server, daemon) = start();
    let error = HealthServer::start(server.local_addr(), daemon).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&server.local_addr().to_string()), "{error}");
}

#[test]
fn stopping_closes_open_connections_and_frees_the_port() {
    let (server, _) = start();
    let (mut open, address) = (connect(&server), server.local_addr());
    server.stop();
    assert_eq!(open.read(&mut [0; 1]).unwrap_or(0), 0);
    TcpListener::bind(address).unwrap();
}
