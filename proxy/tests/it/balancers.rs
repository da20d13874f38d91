//! Behind real balancers: the proxy counts visitors, not balancers.
//!
//! Limits make it visible whom it takes a connection for: every network may ask three times, strictly.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::namespaces::{Machine, cable};
use crate::process::Home;

const THREE_EACH: &str = "[per_network]\nrequests_max = 3\nrequests_window_s = 3600\nstrict = true\n";
const PATH: &str = "/Ab3xY9z";

/// Ends with the test.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy without HTTP: it passes connections on, and says whose they are.
fn haproxy(dir: &std::path::Path, listen: SocketAddr, to: SocketAddr, send: &str) -> Haproxy {
    let config = dir.join("haproxy.cfg");
    let text = format!(
        "global\n  maxconn 100\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
         listen visitors\n  bind {listen}\n  server proxy {to} {send} check inter 100\n"
    );
    std::fs::write(&config, &text).unwrap();
    let mut command = Command::new("haproxy");
    // Debian has it where only root's PATH looks.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
        .arg("-db")
        .arg("-f")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let child = command.spawn();
    let child = child
        .unwrap_or_else(|error| panic!("cannot start haproxy, which scripts/deps.sh test installs: {error}"));
    let mut haproxy = Haproxy(child);
    eventually("haproxy", || {
        if let Some(status) = haproxy.0.try_wait().unwrap() {
            panic!("haproxy ended with {status}; its configuration:\n{text}");
        }
        TcpStream::connect(listen).ok()
    });
    haproxy
}

/// An address whose port is none of those that connections are given (ip(7), `ip_local_port_range`): nobody takes it before HAProxy does.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(8);
    let listened = (0..20_000).find_map(|_| {
        let at = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        TcpListener::bind(("127.0.0.1", 10_000 + at as u16)).ok()
    });
    listened.unwrap().local_addr().unwrap()
}

fn connect_from(last: u8, to: SocketAddr) -> Visitor {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Visitor::of(socket.into())
}

#[test]
fn behind_haproxy_with_the_proxy_protocol_every_visitor_has_its_own_count() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let table = "[[listener]]\naddress = '127.0.0.1:0'\nclient_address = 'proxy'\nbalancer_networks = ['127.0.0.1']\n";
    let home = Home::new(&[writer.url()]).with_listeners(&format!("{table}{THREE_EACH}"));
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    for (send, first) in [("send-proxy-v2", 10), ("send-proxy", 20)] {
        let front = own_address();
        let _haproxy = haproxy(home.path("").as_path(), front, proxy.listen, send);
        for last in [first, first + 1, first + 2] {
            for connection in 0..2 {
                let mut visitor = connect_from(last, front);
                let statuses = [visitor.get(PATH).status, visitor.get(PATH).status];
                let expected = if connection == 0 { [302, 302] } else { [302, 429] };
                assert_eq!(statuses, expected, "127.0.0.{last}, connection {connection}, {send}");
            }
        }
    }
    let stats = proxy.stats();
    assert_eq!(stats["limited"]["requests"], 6, "{stats}");
    // HAProxy's own checks are connections too, and are neither limited nor refused.
    eventually("checks", || (proxy.stats()["connections"]["opened"].as_u64() > Some(12)).then_some(()));
}

/// ```text
/// visitor 198.51.100.2 ──▶ balancer ──▶ server 203.0.113.10 on lo
///     ▲                                   │
///     └───────────────────────────────────┘
/// ```
/// The balancer changes nothing but where the frame goes; the server owns the visitors' address for the site and answers straight to
/// them, by another cable.
#[test]
fn with_direct_server_return_the_packets_are_the_visitors_own() {
    const SITE: &str = "203.0.113.10";
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let table = format!("[[listener]]\naddress = '{SITE}:8080'\nclient_address = 'socket'\n");
    let home = Home::new(&[writer.url()]).with_listeners("[[listener]]\naddress = '127.0.0.1:0'\n");
    {
        // The server's machine has no way to the writer: it serves what it already has.
        let proxy = home.start();
        let mut stream = writer.welcome(&author);
        stream.catch_up(&author);
        assert_eq!(proxy.stop().code(), Some(0));
    }
    let (visitor, balancer, server) =
        (Machine::new("visitor"), Machine::new("balancer"), Machine::new("server"));
    cable(&visitor, "out", &balancer, "front");
    cable(&balancer, "back", &server, "in");
    cable(&server, "out", &visitor, "in");
    visitor.ip(&["addr", "add", "198.51.100.2/24", "dev", "out"]);
    visitor.ip(&["addr", "add", "198.51.100.3/24", "dev", "out"]);
    balancer.ip(&["addr", "add", "198.51.100.1/24", "dev", "front"]);
    balancer.ip(&["addr", "add", "10.0.1.1/24", "dev", "back"]);
    server.ip(&["addr", "add", "10.0.1.2/24", "dev", "in"]);
    server.ip(&["addr", "add", "10.0.2.2/24", "dev", "out"]);
    visitor.ip(&["addr", "add", "10.0.2.1/24", "dev", "in"]);
    // The site's address: on the server's loopback, and nobody is told who has it.
    server.ip(&["addr", "add", &format!("{SITE}/32"), "dev", "lo"]);
    server.sysctl("net/ipv4/conf/all/arp_ignore", "1");
    server.sysctl("net/ipv4/conf/all/arp_announce", "2");
    // The balancer passes on by route: the next hop's hardware address is all that changes.
    balancer.sysctl("net/ipv4/ip_forward", "1");
    balancer.sysctl("net/ipv4/conf/all/send_redirects", "0");
    balancer.ip(&["route", "add", &format!("{SITE}/32"), "via", "10.0.1.2"]);
    visitor.ip(&["route", "add", &format!("{SITE}/32"), "via", "198.51.100.1"]);
    server.ip(&["route", "add", "198.51.100.0/24", "via", "10.0.2.1"]);
    // What comes in by one cable is answered by another.
    for (machine, interface) in [(&server, "in"), (&visitor, "in")] {
        machine.sysctl("net/ipv4/conf/all/rp_filter", "0");
        machine.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0");
    }

    let home = home.with_listeners(&format!("{table}{THREE_EACH}")).wrapped(server.wrapper());
    let proxy = home.start();
    let site = format!("{SITE}:8080").parse().unwrap();
    for last in [2, 3] {
        let mut visitor = Visitor::of(visitor.connect([198, 51, 100, last], site));
        let statuses: Vec<u16> = (0..4).map(|_| visitor.get(PATH).status).collect();
        assert_eq!(statuses, [302, 302, 302, 429], "198.51.100.{last}");
    }
    assert_eq!(proxy.stats()["limited"]["requests"], 2);
    // Requests passed the balancer, answers did not.
    assert!(server.counter("in", "rx_packets") >= 8);
    assert!(server.counter("out", "tx_packets") >= 8);
    let (back_to_balancer, asked) = (server.counter("in", "tx_packets"), server.counter("in", "rx_packets"));
    assert!(back_to_balancer * 2 < asked, "{back_to_balancer} packets went back the way {asked} had come");
    assert_eq!(proxy.stop().code(), Some(0));
}
