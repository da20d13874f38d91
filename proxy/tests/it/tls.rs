//! TLS with visitors, against the real binary.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use openssl::ssl::SslVersion;
use signpost_proxy::config::{CertificateFiles, TlsFiles};
use signpost_proxy::http::begin::Speaks;
use signpost_proxy::tls::Tls;
use signpost_proxy::worker::{Event, Handshake, Limits};

use crate::author::Author;
use crate::client::eventually;
use crate::feed::FakeWriter;
use crate::process::{Home, Process};
use crate::site::Site;
use crate::tls_visitor::{Pair, TlsVisitor, write_secret};

const LISTENER: &str = "[[listener]]\naddress = '127.0.0.1:0'\ntls = true\n";

fn nobody() -> Vec<String> {
    vec!["http://127.0.0.1:9".to_owned()]
}

/// A proxy whose second listener has TLS.
fn home_with(pairs: &[&Pair], tls: &str) -> Home {
    let pairs: String = pairs.iter().map(|pair| pair.config()).collect();
    Home::new(&nobody()).with(&format!("{LISTENER}[tls]\n{tls}{pairs}"))
}

fn reloads(proxy: &Process, result: &str) -> u64 {
    proxy.stats()["tls"]["reloads"][result].as_u64().unwrap()
}

#[test]
fn the_openssl_in_use_is_that_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let home = home_with(&[&pair], "");
    let proxy = home.start();
    assert!(openssl::version::number() >= 0x3000_0000, "{}", openssl::version::version());
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", proxy.id())).unwrap();
    for library in ["libssl.so.", "libcrypto.so."] {
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().last());
        let found: Vec<&str> = mapped.filter(|path| path.contains(library)).collect();
        assert!(!found.is_empty(), "{library} is not a shared library of the proxy");
        assert!(
            found.iter().all(|path| path.starts_with("/usr/lib/") || path.starts_with("/lib/")),
            "{found:?}"
        );
    }
    let system = std::process::Command::new("openssl").arg("version").output();
    if let Ok(system) = system {
        let system = String::from_utf8(system.stdout).unwrap();
        // "OpenSSL 3.0.19 27 Jan 2026 (Library: …)": ours is the library's.
        assert!(system.contains(openssl::version::version()), "{system} {}", openssl::version::version());
    }
}

#[test]
fn every_name_is_shown_its_certificate_and_every_other_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pair::make(dir.path(), "first", &["go.example"]);
    let wild = Pair::make(dir.path(), "wild", &["*.links.example", "links.example"]);
    let exact = Pair::make(dir.path(), "exact", &["vip.links.example"]);
    let home = home_with(&[&first, &wild, &exact], "");
    let proxy = home.start();
    let visitor = TlsVisitor::new();
    for (name, pair) in [
        (Some("go.example"), &first),
        (Some("links.example"), &wild),
        (Some("some.LINKS.example"), &wild),
        (Some("vip.links.example"), &exact),
        (Some("a.b.links.example"), &first),
        (Some("unheard-of.example"), &first),
        (None, &first),
    ] {
        assert_eq!(visitor.shown(proxy.listeners[1], name), pair.shown(), "{name:?}");
    }
    let metrics = proxy.metrics();
    for line in [
        "tls_certificate_expiry_timestamp_seconds{certificate=\"2\"} ",
        "tls_handshakes_total{result=\"full\",version=\"1.3\"} 7",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn everything_is_answered_over_tls_as_it_is_without() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]).with(&format!("{LISTENER}{}", pair.config()));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    let requests = "GET /Ab3xY9z HTTP/1.1\r\nHost: other.example\r\n\r\n\
                    HEAD /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\n\r\n\
                    GET /unknown HTTP/1.1\r\nHost: go.example\r\n\r\n\
                    POST /Ab3xY9z HTTP/1.1\r\nHost: go.example\r\nContent-Length: 3\r\n\r\nabc\
                    GET /%41b3xY9z HTTP/1.1\r\nHost: go.example\r\nConnection: close\r\n\r\n";
    // The name asked for in the handshake is not that of the Host header; neither is declared.
    let answers = TlsVisitor::new().connect(proxy.listeners[1], Some("third.example")).ask(requests);
    let statuses: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["302", "302", "404", "405", "302"], "{answers}");
    assert_eq!(answers.matches("Location: https://a.example/\r\n").count(), 3);
    assert_eq!(proxy.stats()["requests"]["fast"], 3);
}

#[test]
fn versions_before_1_2_and_strangers_are_turned_away_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let home = home_with(&[&pair], "");
    let proxy = home.start();
    eventually("the first try", || (!proxy.logged("cannot reach the writer").is_empty()).then_some(()));
    let before = proxy.logged("").len();
    let address = proxy.listeners[1];
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        assert!(TlsVisitor::with(version, version, b"").try_connect(address, None).is_none());
    }
    assert!(
        TlsVisitor::with(SslVersion::TLS1_2, SslVersion::TLS1_3, b"\x08acme-tls")
            .try_connect(address, None)
            .is_none()
    );
    TcpStream::connect(address).unwrap().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(TcpStream::connect(address).unwrap());
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let connected = TlsVisitor::with(version, version, b"").connect(address, None);
        assert_eq!(connected.0.ssl().version2(), Some(version));
    }
    eventually("five failures", || {
        proxy.metrics().contains("tls_handshakes_total{result=\"failed\",version=\"none\"} 5").then_some(())
    });
    assert_eq!(proxy.logged("").len(), before, "{:?}", proxy.logged(""));
}

#[test]
fn a_balancer_says_who_it_is_before_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let home = Home::new(&nobody()).with_listeners(&format!(
        "{LISTENER}client_address = 'proxy'\nbalancer_networks = ['127.0.0.1/32']\n\
         [per_network]\nrequests_max = 1\nrequests_window_s = 3600\nstrict = true\n{}",
        pair.config()
    ));
    let proxy = home.start();
    for protocols in [&b""[..], b"\x08http/1.1"] {
        let last = protocols.len();
        let line = format!("PROXY TCP4 192.0.2.{last} 10.0.0.1 1 443\r\n");
        let visitor = TlsVisitor::with(SslVersion::TLS1_2, SslVersion::TLS1_3, protocols);
        let mut connected =
            visitor.try_connect_after(line.as_bytes(), proxy.listen, Some("go.example")).unwrap();
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(connected.ask_on(get).starts_with("HTTP/1.1 200 "));
        assert!(connected.ask_on(get).starts_with("HTTP/1.1 429 "), "each visitor has one");
    }
    let visitor = TlsVisitor::new();
    assert!(visitor.try_connect(proxy.listen, None).is_none(), "without a word of the balancer");
    assert_eq!(proxy.stats()["limited"]["proxy_header"], 1);
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let tls = Arc::new(Tls::load(files(&pair)).unwrap());
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let site = Site::speaking(&Author::new(), limits, None, None, Speaks::Tls { tls, http2: true });
    let mut silent = crate::client::Visitor::new(site.address);
    let mut half = crate::client::Visitor::new(site.address);
    half.send(b"\x16\x03\x01\x02\x00\x01");
    assert!(silent.is_closed() && half.is_closed());
    eventually("both to be counted", || {
        (site.events(Event::Handshake(Handshake::Late)) == 2 && site.events(Event::Closed) == 2).then_some(())
    });
}

pub(crate) fn files(pair: &Pair) -> TlsFiles {
    TlsFiles {
        certificates: vec![CertificateFiles { chain: pair.chain.clone(), key: pair.key.clone() }],
        ticket_secret: None,
        ticket_period_s: 3_600,
        check_every: Duration::from_secs(60),
    }
}

#[test]
fn a_session_from_one_proxy_is_resumed_by_another_that_has_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let secret = |file: &str, byte: u8| {
        let path = dir.path().join(file);
        write_secret(&path, &[byte; 64]);
        format!("ticket_secret_file = {path:?}\n")
    };
    let (ours, theirs) = (secret("ours", 1), secret("theirs", 2));
    let homes = [home_with(&[&pair], &ours), home_with(&[&pair], &ours), home_with(&[&pair], &theirs)];
    let [one, two, stranger] = homes.each_ref().map(Home::start);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let visitor = TlsVisitor::with(version, version, b"");
        assert!(!visitor.visit(one.listeners[1]));
        assert!(visitor.visit(one.listeners[1]), "{version:?}");
        assert!(visitor.visit(two.listeners[1]), "{version:?}");
        assert!(!visitor.visit(stranger.listeners[1]));
    }
    let metrics = two.metrics();
    for version in ["1.2", "1.3"] {
        let line = format!("tls_handshakes_total{{result=\"resumed\",version=\"{version}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[test]
fn new_files_are_used_without_a_restart_and_bad_ones_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let make = || Pair::make(dir.path(), "a", &["go.example"]);
    let pair = make();
    let home = home_with(&[&pair], "check_files_s = 86400\n");
    let proxy = home.start();
    let (visitor, address) = (TlsVisitor::new(), proxy.listeners[1]);
    let shown = || visitor.shown(address, Some("go.example"));
    let first = pair.shown();
    assert_eq!(shown(), first);
    let mut open = visitor.connect(address, None);

    let second = make().shown();
    assert_eq!(shown(), first, "nobody has said anything");
    assert_eq!(proxy.command("reload").unwrap()["certificates"][0]["names"][0], "go.example");
    assert_eq!(shown(), second);

    let third = make().shown();
    proxy.signal(Signal::SIGHUP);
    eventually("the third certificate", || (shown() == third).then_some(()));

    std::fs::write(&pair.chain, "nonsense").unwrap();
    let error = proxy.command("reload").unwrap_err();
    assert!(error.contains("a.pem") && error.contains("still in use"), "{error}");
    let key = std::fs::read(&pair.key).unwrap();
    make();
    write_secret(&pair.key, &key);
    let error = proxy.command("reload").unwrap_err();
    assert!(error.contains("a-key.pem"), "{error}");
    assert_eq!(shown(), third);
    assert_eq!((reloads(&proxy, "ok"), reloads(&proxy, "refused")), (2, 2));
    assert_eq!(proxy.logged("cannot use the new certificates").len(), 2);
    let config = home.config();
    let (code, _, error) = Home::run(&["reload", "--config", config.to_str().unwrap()]);
    assert_eq!((code, error.contains("a-key.pem")), (Some(1), true), "{error}");
    assert!(proxy.metrics().contains("tls_reloads_total{result=\"refused\"} 3"));
    assert!(open.ask_on("GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_file_that_changes_is_noticed_and_a_bad_one_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let make = || Pair::make(dir.path(), "a", &["go.example"]);
    let pair = make();
    let home = home_with(&[&pair], "check_files_s = 1\n");
    let proxy = home.start();
    std::fs::write(&pair.chain, "nonsense").unwrap();
    eventually("the refusal", || (reloads(&proxy, "refused") == 1).then_some(()));
    let good = make().shown();
    let visitor = TlsVisitor::new();
    eventually("the new certificate", || (visitor.shown(proxy.listeners[1], None) == good).then_some(()));
    assert_eq!(proxy.logged("cannot use the new certificates").len() as u64, reloads(&proxy, "refused"));
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), "a", &["go.example"]);
    let start = |tls: &str| {
        let home = home_with(&[&pair], tls);
        let (code, _, error) = Home::run(&["--config", home.config().to_str().unwrap()]);
        assert_eq!(code, Some(1), "{error}");
        error
    };
    let secret = dir.path().join("secret");
    let with_secret = format!("ticket_secret_file = {secret:?}\n");
    assert!(start(&with_secret).contains("cannot read"));
    write_secret(&secret, b"short");
    assert!(start(&with_secret).contains("head -c 64 /dev/urandom"));
    open_to_all(&secret);
    assert!(start(&with_secret).contains("chmod 0600"));
    open_to_all(&pair.key);
    let error = start("");
    assert!(error.contains("chmod 0600") && error.contains("a-key.pem"), "{error}");
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn without_tls_a_hangup_ends_nothing_and_reload_says_that_there_is_nothing() {
    let home = Home::new(&nobody());
    let proxy = home.start();
    proxy.signal(Signal::SIGHUP);
    eventually("the hangup", || (!proxy.logged("there are none").is_empty()).then_some(()));
    assert!(proxy.command("reload").unwrap_err().contains("no listener has tls = true"));
    assert_eq!(proxy.get("/").status, 200);
}
