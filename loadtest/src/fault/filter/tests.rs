//! What filters do to connections through a cable. Needs root and nftables.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;

use super::*;
use crate::cable::{Cable, Upstream};

/// How long nothing has to come for nothing to come: the kernel sends again what is lost after 200 ms, and twice that.
const SILENCE: Duration = Duration::from_millis(800);
/// How long something may take to come.
const SOON: Duration = Duration::from_secs(20);

/// Two ends of a connection through a cable, in a network of their own.
struct Ends {
    network: Network,
    cable: Cable,
    accepting: TcpListener,
    dialler: TcpStream,
    listener: TcpStream,
    _dir: tempfile::TempDir,
}

/// Runs a test on a thread whose network is its own; the others keep theirs.
fn with_ends(test: impl FnOnce(Ends) + Send + 'static) {
    let on_thread = || {
        let network = Network::own().unwrap();
        let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("[feed]\nlisten = \"{}\"\n", accepting.local_addr().unwrap()))
            .unwrap();
        let cable = Cable::start(Upstream { config, table: "feed" }, 1).unwrap();
        let dialler = TcpStream::connect(cable.address()).unwrap();
        let (listener, _) = accepting.accept().unwrap();
        let ends = Ends { network, cable, accepting, dialler, listener, _dir: dir };
        assert!(passes(&ends.dialler, &ends.listener) && passes(&ends.listener, &ends.dialler));
        test(ends);
    };
    thread::spawn(on_thread).join().unwrap();
}

/// Whether what is sent at one end comes to the other.
fn passes(mut from: &TcpStream, to: &TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    comes(to, SOON).is_ok()
}

/// What comes within a time.
fn comes(mut to: &TcpStream, within: Duration) -> Result<u8, ErrorKind> {
    let mut byte = [0];
    to.set_read_timeout(Some(within)).unwrap();
    to.read_exact(&mut byte).map_err(|error| error.kind())?;
    Ok(byte[0])
}

/// Whether nothing comes, not even an end.
fn is_silent(to: &TcpStream) -> bool {
    comes(to, SILENCE) == Err(ErrorKind::WouldBlock)
}

#[test]
fn what_is_lost_is_sent_again_and_comes_over_the_same_connection_when_the_filter_is_lifted() {
    with_ends(|ends| {
        ends.network.begin(&[ends.cable.sides()], Fate::Lost).unwrap();
        (&ends.dialler).write_all(b"a").unwrap();
        (&ends.listener).write_all(b"b").unwrap();
        assert!(is_silent(&ends.listener) && is_silent(&ends.dialler));
        // Nobody answers, and nobody refuses.
        let unanswered = TcpStream::connect_timeout(&ends.cable.address(), SILENCE).unwrap_err();
        assert_eq!(unanswered.kind(), ErrorKind::TimedOut);
        // Each end has sent what it sent more than once, beside what asked for the connection.
        let met = ends.network.end(ends.cable.sides()).unwrap();
        assert!(met >= 5, "{met} packets");
        assert_eq!((comes(&ends.listener, SOON), comes(&ends.dialler, SOON)), (Ok(b'a'), Ok(b'b')));
    });
}

#[test]
fn an_end_of_a_connection_is_lost_as_well() {
    with_ends(|ends| {
        ends.network.begin(&[ends.cable.sides()], Fate::Lost).unwrap();
        drop(ends.dialler);
        assert!(is_silent(&ends.listener));
        ends.network.end(ends.cable.sides()).unwrap();
        assert_eq!(comes(&ends.listener, SOON), Err(ErrorKind::UnexpectedEof));
    });
}

#[test]
fn what_is_lost_one_way_comes_the_other_way() {
    for fate in [Fate::LostToListener, Fate::LostToDialler] {
        // A new connection each time: whoever still waits to hear that something came sends nothing more.
        with_ends(move |ends| {
            let (from, to) = match fate {
                Fate::LostToListener => (&ends.dialler, &ends.listener),
                _ => (&ends.listener, &ends.dialler),
            };
            ends.network.begin(&[ends.cable.sides()], fate).unwrap();
            { from }.write_all(b"a").unwrap();
            assert!(is_silent(to), "{fate}");
            assert!(passes(to, from), "{fate}");
            ends.network.end(ends.cable.sides()).unwrap();
            assert_eq!(comes(to, SOON), Ok(b'a'), "{fate}");
        });
    }
}

#[test]
fn everything_comes_in_spite_of_a_share_that_is_lost() {
    with_ends(|ends| {
        ends.network.begin(&[ends.cable.sides()], Fate::SomeLost(20)).unwrap();
        for _ in 0..20 {
            assert!(passes(&ends.dialler, &ends.listener));
        }
        let met = ends.network.end(ends.cable.sides()).unwrap();
        assert!(met > 5, "{met} packets");
    });
}

#[test]
fn connections_are_reset_and_refused_until_the_filter_is_lifted() {
    with_ends(|ends| {
        ends.network.begin(&[ends.cable.sides()], Fate::Reset).unwrap();
        (&ends.dialler).write_all(b"a").unwrap();
        (&ends.listener).write_all(b"b").unwrap();
        assert_eq!(comes(&ends.dialler, SOON), Err(ErrorKind::ConnectionReset));
        assert_eq!(comes(&ends.listener, SOON), Err(ErrorKind::ConnectionReset));
        let refused = TcpStream::connect_timeout(&ends.cable.address(), SOON).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        ends.network.end(ends.cable.sides()).unwrap();
        let dialler = TcpStream::connect(ends.cable.address()).unwrap();
        let (listener, _) = ends.accepting.accept().unwrap();
        assert!(passes(&dialler, &listener));
    });
}

#[test]
fn what_is_prohibited_fails_at_once_where_it_is_new_and_waits_where_it_is_not() {
    with_ends(|ends| {
        ends.network.begin(&[ends.cable.sides()], Fate::Prohibited).unwrap();
        let begun = Instant::now();
        let prohibited = TcpStream::connect(ends.cable.address()).unwrap_err();
        assert_eq!(prohibited.kind(), ErrorKind::HostUnreachable);
        assert!(begun.elapsed() < SOON);
        (&ends.dialler).write_all(b"a").unwrap();
        assert!(is_silent(&ends.listener));
        ends.network.end(ends.cable.sides()).unwrap();
        assert_eq!(comes(&ends.listener, SOON), Ok(b'a'));
    });
}

#[test]
fn one_link_is_filtered_and_its_neighbour_is_not() {
    with_ends(|ends| {
        let config = ends._dir.path().join("config.toml");
        let cable = Cable::start(Upstream { config, table: "feed" }, 1).unwrap();
        let dialler = TcpStream::connect(cable.address()).unwrap();
        let (listener, _) = ends.accepting.accept().unwrap();
        ends.network.begin(&[cable.sides()], Fate::Lost).unwrap();
        assert!(passes(&ends.dialler, &ends.listener) && passes(&ends.listener, &ends.dialler));
        (&dialler).write_all(b"a").unwrap();
        assert!(is_silent(&listener));
    });
}

#[test]
fn no_rule_is_put_into_another_network() {
    with_ends(|ends| {
        let link = ends.cable.sides();
        let network = ends.network;
        let elsewhere = move || {
            let _other = Network::own().unwrap();
            network.begin(&[link], Fate::Lost).unwrap_err().to_string()
        };
        let error = thread::spawn(elsewhere).join().unwrap();
        assert_eq!(error, "packet filters are for their own network only");
    });
}

#[test]
fn every_fate_is_drawn() {
    let mut random = SmallRng::seed_from_u64(7);
    let drawn: std::collections::BTreeSet<String> =
        (0..200).map(|_| Fate::drawn(&mut random).to_string()).collect();
    assert_eq!(drawn.len(), 5 + SHARES.len(), "{drawn:?}");
}
