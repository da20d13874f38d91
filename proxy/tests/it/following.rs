//! The real binary against a scripted writer: what it takes, what it refuses, what it says about it, and that it serves on.

use linklog::Position;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as ToFollower;
use wire::feed::{Heartbeat, Records};
use wire::identity::{Identity, Issuer, Role};

use crate::author::{Author, FLEET};
use crate::client::eventually;
use crate::feed::{FakeWriter, on_wire, other_digest};
use crate::process::{Home, Process};

/// A proxy that has caught up with one link.
fn following(author: &mut Author, writer: &FakeWriter) -> (Home, Process, crate::feed::Stream) {
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]);
    let proxy = home.start();
    let mut stream = writer.welcome(author);
    stream.catch_up(author);
    proxy.await_ready();
    (home, proxy, stream)
}

fn serves(proxy: &Process) {
    assert_eq!(proxy.get("/Ab3xY9z").location(), "https://a.example/");
}

#[test]
fn what_the_writer_publishes_is_visible_before_it_is_acknowledged() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, mut stream) = following(&mut author, &writer);
    for version in 0..50 {
        author.link("Ab3xY9z", &format!("https://v{version}.example/"));
        stream.publish(&author);
        assert_eq!(proxy.get("/Ab3xY9z").location(), format!("https://v{version}.example/"));
    }
    author.delete("Ab3xY9z");
    stream.publish(&author);
    assert_eq!(proxy.get("/Ab3xY9z").status, 404);
    author.host("go.example", 3);
    stream.publish(&author);
    author.link_on(
        3,
        "Ab3xY9z",
        &linklog::Link { target: "https://three/".into(), ..linklog::Link::default() },
    );
    stream.publish(&author);
    assert_eq!(proxy.get("/Ab3xY9z").location(), "https://three/");
    let body = proxy.await_feed("following");
    assert_eq!(body["replica"]["seq"], author.head().position.seq.0);
    assert_eq!(proxy.stats()["lookups"]["disk"], 0);
}

#[test]
fn a_frame_of_many_records_is_applied_and_acknowledged_with_its_lag() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, mut stream) = following(&mut author, &writer);
    author.links((0..5_000).map(|n| (format!("x{n:06}"), format!("https://x.example/{n}"))));
    stream.records(&author.frames.last().unwrap().0);
    let ack = stream.await_ack(author.head().position);
    assert!(ack.apply_lag_us > 0 && ack.follower_synced_seq == 0, "{ack:?}");
    for n in [0, 1, 2_500, 4_999] {
        assert_eq!(proxy.get(&format!("/x{n:06}")).location(), format!("https://x.example/{n}"));
    }
    let metrics = proxy.metrics();
    for line in ["signpost_proxy_feed_state{state=\"following\"} 1", "signpost_proxy_ready 1"] {
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
}

#[test]
fn an_empty_proxy_is_unready_and_unsure_until_it_has_everything() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]).with("[ready]\nwithout_writer_after_ms = 0\nlag_ms_max = 1\n");
    let proxy = home.start();
    let answer = proxy.get("/Ab3xY9z");
    assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")));
    assert_eq!(proxy.readyz().0, 503);
    let mut stream = writer.accept();
    assert_eq!(stream.hello.member, "proxy-0");
    assert!(stream.hello.fleet_id.is_empty() && stream.hello.digest.is_empty());
    assert_eq!(stream.hello.applied, on_wire(Position::ZERO));
    stream.welcome_with(FLEET, author.head().position);
    stream.catch_up(&author);
    proxy.await_ready();
    serves(&proxy);
    assert_eq!(proxy.get("/unknown").status, 404);
}

#[test]
fn a_writer_that_goes_and_comes_back_is_followed_again_from_where_we_were() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, stream) = following(&mut author, &writer);
    let address = writer.address;
    drop((stream, writer));
    let body = proxy.await_feed("connecting");
    assert_eq!(
        (&body["ready"], body["reason"].as_str().unwrap().contains("not following now")),
        (&true.into(), true)
    );
    serves(&proxy);
    author.link("newlink", "https://new.example/");
    let writer = FakeWriter::start_at(address, None);
    let mut stream = writer.welcome(&author);
    assert_eq!(stream.hello.applied.as_ref().unwrap().seq, author.head().position.seq.0 - 1);
    assert_eq!(stream.hello.fleet_id, FLEET);
    stream.catch_up(&author);
    assert_eq!(proxy.get("/newlink").location(), "https://new.example/");
    proxy.await_feed("following");
    assert_eq!(proxy.logged("cannot reach the writer").len(), 1);
}

#[test]
fn without_any_writer_it_serves_from_its_disk_and_becomes_ready_after_a_while() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (home, proxy, stream) = following(&mut author, &writer);
    proxy.kill();
    drop((stream, writer));
    let home = home.with("[ready]\nwithout_writer_after_ms = 1000\n");
    let proxy = home.start();
    serves(&proxy);
    assert_eq!(proxy.get("/unknown").status, 404);
    let (status, body) = proxy.readyz();
    assert!(status == 503 && body["reason"].as_str().unwrap().contains("waiting") || status == 200, "{body}");
    let body = proxy.await_ready();
    assert!(body["reason"].as_str().unwrap().contains("no word from any writer"), "{body}");
    serves(&proxy);
}

#[test]
fn a_gap_a_repetition_and_damaged_bytes_cost_the_stream_and_nothing_else() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, stream) = following(&mut author, &writer);
    author.link("missing", "https://missing.example/");
    author.link("newlink", "https://new.example/");
    let newest = author.frames.last().unwrap().0.clone();
    let mut damaged = newest.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let repeated = author.frames[0].0.clone();
    let mut stream = stream;
    for (frame, problem) in [(newest, "is missing"), (repeated, "again"), (damaged, "cannot be read")] {
        stream.records(&frame);
        stream.await_end();
        eventually(problem, || {
            let (status, body) = proxy.readyz();
            assert_eq!(status, 200);
            body["feed"]["problem"].as_str().is_some_and(|found| found.contains(problem)).then_some(())
        });
        serves(&proxy);
        stream = writer.welcome(&author);
    }
    stream.catch_up(&author);
    assert_eq!(proxy.get("/newlink").location(), "https://new.example/");
    assert_eq!(proxy.logged("cannot apply").len(), 3);
}

#[test]
fn a_history_or_a_state_that_differs_ends_applying_for_good_and_serving_never() {
    for what in ["digest", "sum", "frame"] {
        let (mut author, writer) = (Author::new(), FakeWriter::start());
        let (home, proxy, mut stream) = following(&mut author, &writer);
        match what {
            "digest" => stream.heartbeat_with(other_digest(author.head()), None, author.head().position),
            "sum" => stream.heartbeat_with(
                author.head(),
                Some(linklog::SlotSum::from_bytes([3; 16])),
                author.head().position,
            ),
            _ => {
                // The same link in another history: the chain does not lead to the frame's digest.
                let mut other = Author::new();
                other.link("another", "https://other.example/");
                stream.records(&other.link("more", "https://more.example/"));
            }
        }
        stream.await_end();
        let body = proxy.await_feed("diverged");
        assert_eq!(body["ready"], true, "{what}");
        serves(&proxy);
        assert!(proxy.metrics().contains("signpost_proxy_feed_state{state=\"diverged\"} 1"), "{what}");
        assert_eq!(proxy.logged("cannot apply").len(), 1, "{what}");
        drop(proxy);
        drop(home);
    }
}

#[test]
fn a_heartbeat_without_a_sum_or_about_another_position_says_nothing_against_us() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, mut stream) = following(&mut author, &writer);
    stream.heartbeat_with(author.head(), None, author.head().position);
    stream.await_ack(author.head().position);
    let ahead = Position::new(1, author.head().position.seq.0 + 100);
    stream.heartbeat_with(author.head(), Some(author.sum()), ahead);
    stream.await_ack(author.head().position);
    eventually("the lag", || (proxy.readyz().1["feed"]["lag_records"] == 100).then_some(()));
    proxy.await_feed("following");
    stream.say(ToFollower::Heartbeat(Heartbeat { digest: vec![1], ..Heartbeat::default() }));
    stream.await_end();
    serves(&proxy);
}

#[test]
fn refusals_are_told_once_shown_and_asked_about_again() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, stream) = following(&mut author, &writer);
    stream.refuse(Reason::UnknownMember);
    let body = proxy.await_feed("refused");
    assert_eq!((&body["feed"]["refusal"], &body["ready"]), (&"UNKNOWN_MEMBER".into(), &true.into()));
    writer.accept().refuse(Reason::UnknownMember);
    serves(&proxy);
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    let body = proxy.await_feed("following");
    assert!(body["feed"]["refusal"].is_null() && body["feed"]["problem"].is_null(), "{body}");
    assert_eq!(proxy.logged("the writer refuses us").len(), 1);
    stream.refuse(Reason::SnapshotRequired);
    proxy.await_feed("refused");
    assert_eq!(proxy.logged("the writer refuses us").len(), 2);
}

#[test]
fn a_writer_of_another_fleet_or_an_older_epoch_is_not_followed() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, mut stream) = following(&mut author, &writer);
    author.start_epoch(3);
    stream.publish(&author);
    drop(stream);
    writer.accept().welcome_with([7; 16], author.head().position);
    let body = proxy.await_feed("refused");
    assert!(body["feed"]["problem"].as_str().unwrap().contains("another fleet"), "{body}");
    let stale = writer.accept();
    assert_eq!(stale.hello.highest_epoch, 3);
    stale.welcome_with(FLEET, Position::new(2, 1_000));
    eventually("the older epoch", || {
        let (_, body) = proxy.readyz();
        body["feed"]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("it was replaced"))
            .then_some(())
    });
    serves(&proxy);
    let mut stream = writer.welcome(&author);
    stream.heartbeat(&author);
    stream.await_ack(author.head().position);
    proxy.await_feed("following");
}

#[test]
fn of_several_writers_each_is_tried_until_one_takes_us() {
    let (mut author, dead, writer) = (Author::new(), FakeWriter::start(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[dead.url(), writer.url()]);
    drop(dead);
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_ready();
    serves(&proxy);
}

#[test]
fn with_a_credential_it_follows_over_tls_and_with_a_wrong_one_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let issue = |ca: &str, role, name: &str| {
        let issuer =
            Issuer::open(&dir.path().join(ca)).or_else(|_| Issuer::create(&dir.path().join(ca))).unwrap();
        let out = dir.path().join(format!("{ca}-{name}"));
        issuer.issue(role, name, &out).unwrap();
        (out, *issuer.fleet().as_bytes())
    };
    let (writer_dir, fleet) = issue("ours", Role::Writer, "writer");
    let (proxy_dir, _) = issue("ours", Role::Proxy, "proxy-7");
    let (stranger_dir, _) = issue("theirs", Role::Proxy, "proxy-7");
    let identity = Identity::load(&writer_dir).unwrap();
    let writer = FakeWriter::start_at(FakeWriter::own_address(), Some(&identity));
    let author = Author::new();
    let start = |bundle: &std::path::Path| {
        let home = Home::new(&[writer.url().replace("http:", "https:")]);
        let text = std::fs::read_to_string(home.config()).unwrap();
        let config = home.path("tls.toml");
        std::fs::write(
            &config,
            text.replace("name = 'proxy-0'", &format!("tls_dir = '{}'", bundle.display())),
        )
        .unwrap();
        let proxy = home.start_with(&config);
        (home, proxy)
    };
    let (_home, stranger) = start(&stranger_dir);
    let body = eventually("a refused handshake", || {
        let (_, body) = stranger.readyz();
        body["feed"]["problem"].is_string().then_some(body)
    });
    assert_eq!(body["ready"], false, "{body}");
    let (_home, _proxy) = start(&proxy_dir);
    let stream = writer.accept();
    assert_eq!((stream.hello.member.as_str(), &stream.hello.fleet_id[..]), ("proxy-7", &fleet[..]));
    stream.welcome_with(fleet, author.head().position);
}

#[test]
fn a_writer_that_falls_silent_or_talks_nonsense_is_left() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    let (_home, proxy, mut stream) = following(&mut author, &writer);
    stream.say(ToFollower::Records(Records { frame: vec![0; 100].into(), synced_at_us: 0 }));
    stream.await_end();
    let early = writer.accept();
    early.records(&author.frames[0].0);
    let mut twice = writer.welcome(&author);
    twice.welcome_with(FLEET, author.head().position);
    twice.await_end();
    let mut silent = writer.welcome(&author);
    silent.await_end();
    serves(&proxy);
}
