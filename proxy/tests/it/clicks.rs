//! Counting clicks with the real binary: redirects received ≤ counted ≤ attempted, whatever is killed, away or restored.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use wire::clicks::refusal::Reason;

use crate::accountant::Accountant;
use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::{FakeWriter, Stream};
use crate::http2::visit;
use crate::process::{Home, Process};
use crate::site::Site;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";

struct Fleet {
    author: Author,
    writer: FakeWriter,
    home: Home,
}

impl Fleet {
    fn new() -> Fleet {
        let mut author = Author::new();
        author.link("Ab3xY9z", "https://a.example/");
        author.link("spring-sale", "https://b.example/");
        let writer = FakeWriter::start();
        let home = Home::new(&[writer.url()]);
        Fleet { author, writer, home }
    }

    /// A proxy that has caught up; it leaves the feed when the stream goes.
    fn start(&self) -> (Process, Stream) {
        let proxy = self.home.start();
        let mut stream = self.writer.welcome(&self.author);
        stream.catch_up(&self.author);
        (proxy, stream)
    }

    fn with_replaced(self, from: &str, to: &str) -> Fleet {
        Fleet { home: self.home.with_replaced(from, to), ..self }
    }

    fn accountant(&self) -> &Accountant {
        &self.writer.accountant
    }
}

fn ask(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: go.example\r\n{headers}\r\n")
}

fn click(visitor: &mut Visitor) {
    visitor.send(ask("GET", "/Ab3xY9z", &format!("User-Agent: {FIREFOX}\r\n")));
    assert_eq!(visitor.answer().status, 302);
}

fn await_total(accountant: &Accountant, total: u64) {
    eventually(&format!("{total} clicks counted"), || (accountant.total() == total).then_some(()));
}

#[test]
fn a_redirect_is_recorded_before_its_answer_can_be_read() {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let site = Site::new(&author);
    let mut visitor = Visitor::new(site.address);
    for n in 1..=100 {
        click(&mut visitor);
        assert_eq!(site.recorded(), n);
    }
    assert_eq!((visitor.get("/unknown").status, site.recorded()), (404, 100));
}

#[test]
fn redirects_of_every_path_are_counted_by_kind_and_nothing_else_is() {
    let fleet = Fleet::new();
    let (proxy, _stream) = fleet.start();
    let mut visitor = Visitor::new(proxy.listen);
    let agent = format!("User-Agent: {FIREFOX}\r\n");
    for (request, status) in [
        (ask("GET", "/Ab3xY9z", &agent), 302),
        (ask("GET", "/spring-sale", &agent), 302),
        // For Pingora's session.
        (ask("GET", "http://go.example/Ab3xY9z", &agent), 302),
        (ask("GET", "/Ab3xY9z", &format!("{agent}Sec-Purpose: prefetch\r\n")), 302),
        (ask("GET", "/Ab3xY9z", "User-Agent: curl/8.0\r\n"), 302),
        (ask("GET", "/Ab3xY9z", ""), 302),
        (ask("GET", "/", &agent), 200),
        (ask("GET", "/unknown", &agent), 404),
        (ask("POST", "/Ab3xY9z", &format!("{agent}Content-Length: 0\r\n")), 405),
    ] {
        visitor.send(&request);
        assert_eq!(visitor.answer().status, status, "{request}");
    }
    visitor.send(ask("HEAD", "/Ab3xY9z", &agent));
    assert_eq!(visitor.answer_to_head().status, 302);
    await_total(fleet.accountant(), 7);
    assert_eq!(fleet.accountant().sums(), [3, 2, 1, 1]);
    eventually("word that there is no more", || (fleet.accountant().books().up_to > 0).then_some(()));
    eventually("the counts in the metrics", || {
        let metrics = proxy.metrics();
        let has = |line: &str| metrics.lines().any(|found| found == line);
        (has("signpost_proxy_clicks_total{kind=\"person\"} 3")
            && has("signpost_proxy_clicks_total{kind=\"bot\"} 2")
            && has("signpost_proxy_clicks_dropped_total{reason=\"ring_full\"} 0")
            && has("signpost_proxy_clicks_unreleased_batches 0")
            && has("signpost_proxy_clicks_report_state{state=\"reporting\"} 1"))
        .then_some(())
    });
}

/// Clicks until told to stop or the proxy is gone; counts what was sent and what was answered.
fn storm(address: SocketAddr, stop: &AtomicBool, attempted: &AtomicU64, received: &AtomicU64) {
    let Ok(mut visitor) = std::panic::catch_unwind(|| Visitor::new(address)) else { return };
    while !stop.load(Ordering::Relaxed) {
        // Before the first byte leaves: what may be counted was attempted.
        attempted.fetch_add(1, Ordering::SeqCst);
        if !visitor.try_send(ask("GET", "/Ab3xY9z", "User-Agent: Firefox\r\n")) {
            return;
        }
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| visitor.read_answer(false)));
        let Ok(Some(answer)) = answer else { return };
        assert_eq!(answer.status, 302);
        received.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn kills_in_the_middle_lose_nothing_that_was_received_and_count_nothing_twice() {
    let fleet = Fleet::new();
    let (attempted, received) = (AtomicU64::new(0), AtomicU64::new(0));
    for round in 0..4 {
        let (proxy, _stream) = fleet.start();
        let (stop, address) = (AtomicBool::new(false), proxy.listen);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| storm(address, &stop, &attempted, &received));
            }
            let before = received.load(Ordering::SeqCst);
            eventually("some clicks", || {
                (received.load(Ordering::SeqCst) > before + 500 + 300 * round).then_some(())
            });
            proxy.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let (proxy, _stream) = fleet.start();
    let (attempted, received) = (attempted.into_inner(), received.into_inner());
    eventually("what the killed ones had recorded", || {
        (fleet.accountant().total() >= received).then_some(())
    });
    assert_eq!(proxy.stop().code(), Some(0));
    let counted = fleet.accountant().total();
    assert!(
        received <= counted && counted <= attempted,
        "received {received}, counted {counted}, attempted {attempted}"
    );
    assert_eq!(fleet.accountant().books().dropped, 0);
    let rings = std::fs::read_dir(fleet.home.path("rings")).unwrap();
    let left = rings.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "ring"));
    assert_eq!(left.count(), 0, "rings are removed when they are empty for good");
}

#[test]
fn a_stop_in_order_counts_everything_at_once() {
    let fleet = Fleet::new();
    let (mut proxy, _stream) = fleet.start();
    let mut visitor = Visitor::new(proxy.listen);
    (0..100).for_each(|_| click(&mut visitor));
    eventually("a stream", || (fleet.accountant().books().streams == 1).then_some(()));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().code(), Some(0));
    assert_eq!(fleet.accountant().total(), 100);
    assert!(proxy.logged("possibly").is_empty() && proxy.logged("may be lost").is_empty());
}

#[test]
fn an_accountant_that_is_away_gets_everything_when_it_is_back_and_says_so_once() {
    let mut fleet = Fleet::new();
    let (proxy, stream) = fleet.start();
    let mut visitor = Visitor::new(proxy.listen);
    (0..50).for_each(|_| click(&mut visitor));
    await_total(fleet.accountant(), 50);
    let (accountant, address) = (fleet.writer.accountant.clone(), fleet.writer.address);
    drop((stream, std::mem::replace(&mut fleet.writer, FakeWriter::start())));
    (0..50).for_each(|_| click(&mut visitor));
    eventually("batches that wait", || {
        let stats = proxy.stats();
        (stats["clicks"]["recorded"]["person"] == 100 && stats["clicks"]["report"] == "connecting")
            .then_some(())
    });
    assert!(proxy.stats()["clicks"]["unreleased"]["batches"].as_u64().unwrap() > 0);
    fleet.writer = FakeWriter::start_counting(address, accountant);
    let mut stream = fleet.writer.welcome(&fleet.author);
    stream.catch_up(&fleet.author);
    await_total(fleet.accountant(), 100);
    assert_eq!(proxy.logged("cannot report clicks").len(), 1);
    assert_eq!(fleet.accountant().books().repeated, 0);
}

#[test]
fn a_restored_accountant_gets_again_what_is_kept_and_counts_it_once() {
    let fleet = Fleet::new();
    let (proxy, _stream) = fleet.start();
    let mut visitor = Visitor::new(proxy.listen);
    (0..30).for_each(|_| click(&mut visitor));
    await_total(fleet.accountant(), 30);
    eventually("the release", || (proxy.stats()["clicks"]["unreleased"]["batches"] == 0).then_some(()));
    drop(proxy);
    fleet.accountant().forget();
    let (_proxy, _stream) = fleet.start();
    await_total(fleet.accountant(), 30);
}

#[test]
fn an_old_copy_of_a_ledger_begins_anew_with_the_clicks_that_are_new() {
    let fleet = Fleet::new();
    let (proxy, _stream) = fleet.start();
    click(&mut Visitor::new(proxy.listen));
    await_total(fleet.accountant(), 1);
    proxy.kill();
    // It has counted more than this copy has made, which makes batches under the same numbers before it is told so.
    fleet.accountant().books().watermarks.values_mut().for_each(|watermark| *watermark += 3);
    fleet.accountant().books().refusing = Some(Reason::LedgerInUse);
    let (proxy, _stream) = fleet.start();
    for batches in 1..6 {
        click(&mut Visitor::new(proxy.listen));
        eventually("a batch", || (proxy.stats()["clicks"]["unreleased"]["batches"] == batches).then_some(()));
    }
    fleet.accountant().books().refusing = None;
    await_total(fleet.accountant(), 6);
    assert_eq!(proxy.logged("it is an old copy").len(), 1);
    assert_eq!(fleet.accountant().books().watermarks.len(), 2);
}

#[test]
fn a_refusal_is_told_once_and_clicks_are_kept_meanwhile() {
    let fleet = Fleet::new();
    fleet.accountant().books().refusing = Some(Reason::LedgerInUse);
    let (proxy, _stream) = fleet.start();
    (0..10).for_each(|_| click(&mut Visitor::new(proxy.listen)));
    eventually("a second try", || (fleet.accountant().books().hellos.len() >= 2).then_some(()));
    assert_eq!(proxy.logged("the writer refuses our clicks").len(), 1);
    assert_eq!(proxy.stats()["clicks"]["report"], "refused");
    fleet.accountant().books().refusing = None;
    await_total(fleet.accountant(), 10);
}

#[test]
fn what_does_not_fit_a_ring_is_dropped_and_counted() {
    // The smallest ring, seldom emptied, and a request far larger than what is kept of it.
    let fleet = Fleet::new()
        .with_replaced("ring_bytes = 1048576\nsync_ms = 50", "ring_bytes = 65536\nsync_ms = 1000");
    let (proxy, _stream) = fleet.start();
    let mut visitor = Visitor::new(proxy.listen);
    let requests = ask("GET", "/Ab3xY9z", &format!("User-Agent: {}\r\n", "Firefox".repeat(100))).repeat(500);
    let mut writing = visitor.split();
    let thread = std::thread::spawn(move || std::io::Write::write_all(&mut writing, requests.as_bytes()));
    (0..500).for_each(|_| assert_eq!(visitor.answer().status, 302));
    thread.join().unwrap().unwrap();
    await_total(fleet.accountant(), 500);
    let dropped = fleet.accountant().books().dropped;
    let stats = proxy.stats();
    assert_eq!(stats["clicks"]["dropped"]["ring_full"], dropped);
    assert_eq!(stats["clicks"]["recorded"]["person"], 500 - dropped);
}

#[test]
fn rings_that_are_gone_after_a_kill_are_told() {
    let fleet = Fleet::new();
    let (proxy, _stream) = fleet.start();
    click(&mut Visitor::new(proxy.listen));
    proxy.kill();
    std::fs::remove_dir_all(fleet.home.path("rings")).unwrap();
    let (proxy, _stream) = fleet.start();
    assert_eq!(proxy.logged("its rings are gone").len(), 1);
    assert_eq!(proxy.stats()["clicks"]["possible_losses"], 1);
}

#[test]
fn two_proxies_cannot_share_a_folder_of_rings() {
    let fleet = Fleet::new();
    let (_proxy, _stream) = fleet.start();
    let other = Home::new(&[fleet.writer.url()]);
    let rings = |home: &Home| home.path("rings").display().to_string();
    let (own, taken) = (rings(&other), rings(&fleet.home));
    let other = other.with_replaced(&own, &taken);
    let (code, _, error) = Home::run(&["--config", other.config().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.contains("another process has its rings in"), "{error}");
}

#[test]
fn without_counting_nothing_is_recorded_and_nothing_is_needed() {
    let fleet = Fleet::new().with_replaced("[clicks]\n", "[clicks]\nenabled = false\n");
    let (proxy, _stream) = fleet.start();
    click(&mut Visitor::new(proxy.listen));
    assert!(proxy.stats()["clicks"].is_null());
    assert!(!fleet.home.path("rings").exists());
    assert_eq!(proxy.stop().code(), Some(0));
    assert_eq!(fleet.accountant().books().hellos.len(), 0);
}

#[test]
fn redirects_over_http_2_are_counted_by_kind_however_many_share_a_connection() {
    let fleet = Fleet::new();
    let home = fleet.home.with_listeners("[[listener]]\naddress = '127.0.0.1:0'\nh2c = true\n");
    let fleet = Fleet { home, ..fleet };
    let (proxy, _stream) = fleet.start();
    let kinds = [
        ("GET", "Ab3xY9z", FIREFOX, None, 302),
        ("GET", "spring-sale", "curl/8.0", None, 302),
        ("HEAD", "Ab3xY9z", FIREFOX, None, 302),
        ("GET", "Ab3xY9z", FIREFOX, Some("prefetch"), 302),
        ("GET", "unknown", FIREFOX, None, 404),
        ("GET", "", FIREFOX, None, 200),
    ];
    let each = 15;
    visit(proxy.listen, async |send| {
        let mut answers = Vec::new();
        for n in 0..each * kinds.len() {
            let (method, path, agent, purpose, status) = kinds[n % kinds.len()];
            let mut request =
                http::Request::builder().method(method).uri(format!("http://go.example/{path}"));
            request = request.header("user-agent", agent);
            if let Some(purpose) = purpose {
                request = request.header("sec-purpose", purpose);
            }
            let mut send = send.clone().ready().await.unwrap();
            let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
            answers.push((answer, status));
        }
        for (answer, status) in answers {
            assert_eq!(answer.await.unwrap().status(), status);
        }
    });
    let each = each as u64;
    await_total(fleet.accountant(), 4 * each);
    assert_eq!(fleet.accountant().sums(), [each; 4]);
    assert!(
        proxy.metrics().contains(&format!("signpost_proxy_requests_total{{parser=\"h2\"}} {}", 6 * each))
    );
}
