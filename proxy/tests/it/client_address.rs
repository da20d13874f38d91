//! Whose a connection is, seen from outside: by whom the limits count.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::client::{Visitor, eventually};
use crate::process::{Home, Process};

/// Two unknown codes an hour for each network, and nothing at all after that.
const TWO_EACH: &str = "[per_network]\nrequests_max = 2\nrequests_window_s = 3600\nstrict = true\n";
const PROXY: &str =
    "[[listener]]\naddress = '127.0.0.1:0'\nclient_address = 'proxy'\nbalancer_networks = ['127.0.0.1/32']\n";

fn start(home: &Home) -> Process {
    home.start()
}

fn home(text: &str) -> Home {
    Home::new(&["http://127.0.0.1:9".to_owned()]).with_listeners(text)
}

/// A connection from another address of this machine: all of 127.0.0.0/8 is.
fn from(last: u8, to: SocketAddr) -> Visitor {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Visitor::of(TcpStream::from(socket))
}

fn v2(family: u8, body: &[u8]) -> Vec<u8> {
    let command = if family == 0 { 0x20 } else { 0x21 };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family, 0, body.len() as u8]);
    header.extend(body);
    header
}

#[test]
fn by_the_socket_every_address_has_its_own_count() {
    let home = home(&format!("[[listener]]\naddress = '127.0.0.1:0'\nclient_address = 'socket'\n{TWO_EACH}"));
    let proxy = start(&home);
    for last in [2, 3, 4] {
        let mut visitor = from(last, proxy.listen);
        let statuses: Vec<u16> = (0..3).map(|_| visitor.get("/").status).collect();
        assert_eq!(statuses, [200, 200, 429], "127.0.0.{last}");
    }
    assert_eq!(proxy.stats()["limited"]["requests"], 3);
    let metrics = proxy.metrics();
    assert!(metrics.contains("signpost_proxy_limited_total{limit=\"requests\"} 3"), "{metrics}");
}

#[test]
fn by_the_proxy_header_the_balancer_says_who_it_is_in_either_version() {
    let home = home(&format!("{PROXY}{TWO_EACH}"));
    let proxy = start(&home);
    let v4 = v2(0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 4, 0, 0, 80]);
    let mut v6_body = [0; 36];
    v6_body[..8].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1]);
    let headers: [(&[u8], [u16; 2]); 6] = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1024 80\r\n", [200, 200]),
        // The same visitor on another connection, in the other version.
        (&v4, [429, 429]),
        (&v2(0x21, &v6_body), [200, 200]),
        (b"PROXY TCP6 2001:db8:0:1:ffff::1 ::1 1024 80\r\n", [429, 429]),
        // The balancer's own checks are not limited, however many there are.
        (&v2(0, &[]), [200, 200]),
        (b"PROXY UNKNOWN\r\n", [200, 200]),
    ];
    for (header, expected) in headers {
        let mut visitor = Visitor::new(proxy.listen);
        // The first request comes in the same packet as the header.
        visitor.send([header, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
        let statuses = [visitor.answer().status, visitor.get("/").status];
        assert_eq!(statuses, expected, "{}", header.escape_ascii());
    }
    let mut piecewise = Visitor::new(proxy.listen);
    for byte in b"PROXY TCP4 192.0.2.8 10.0.0.1 1024 80\r\n" {
        piecewise.send([*byte]);
    }
    assert_eq!(piecewise.get("/").status, 200);
}

#[test]
fn whoever_does_not_come_through_the_balancer_or_says_nothing_is_closed_and_counted() {
    let home = home(&format!("{PROXY}[limits]\nproxy_header_ms = 300\n"));
    let proxy = start(&home);
    let line = "PROXY TCP4 192.0.2.7 10.0.0.1 1024 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut elsewhere = from(2, proxy.listen);
    elsewhere.try_send(line);
    assert!(elsewhere.is_closed());
    for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 bad\r\n", "PROXY TCP4 192.0.2.7", ""] {
        let mut visitor = Visitor::new(proxy.listen);
        visitor.try_send(text);
        assert!(visitor.is_closed(), "{text:?}");
    }
    let mut balancer = Visitor::new(proxy.listen);
    balancer.send(line);
    assert_eq!(balancer.answer().status, 200);
    eventually("all are counted", || {
        let limited = &proxy.stats()["limited"];
        (limited["balancer_networks"] == 1 && limited["proxy_header"] == 4).then_some(())
    });
    assert!(proxy.logged("PROXY").is_empty() && proxy.logged("192.0.2.7").is_empty());
}

#[test]
fn a_network_has_so_many_connections_and_the_process_so_many_in_all() {
    let home = home(
        "[[listener]]\naddress = '127.0.0.1:0'\nclient_address = 'socket'\n\
         [limits]\nconnections_max = 5\n[per_network]\nconnections_max = 2\nexempt = ['127.0.0.9']\n",
    );
    let proxy = start(&home);
    let serves = |visitor: &mut Visitor| {
        visitor.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            && visitor.read_answer(false).is_some_and(|answer| answer.status == 200)
    };
    let mut all = Vec::new();
    // One after the other: which of them come in is then known.
    let served = [2, 2, 2, 3, 9, 9, 9].map(|last| {
        let mut visitor = from(last, proxy.listen);
        let served = serves(&mut visitor);
        all.push(visitor);
        served
    });
    assert_eq!(served, [true, true, false, true, true, true, false]);
    eventually("both are counted", || {
        let limited = &proxy.stats()["limited"];
        (limited["connections_per_network"] == 1 && limited["connections"] == 1).then_some(())
    });
    eventually("five are left", || (proxy.stats()["connections"]["now"] == 5).then_some(()));
    all.clear();
    eventually("room for another", || serves(&mut from(2, proxy.listen)).then_some(()));
}

#[test]
fn a_scan_is_logged_once_without_the_address_of_the_visitor() {
    let home = home(
        "[[listener]]\naddress = '127.0.0.1:0'\nclient_address = 'socket'\n\
         [per_network]\nscan_alarm_per_hour = 20\nscan_block_s = 600\n",
    );
    let proxy = start(&home);
    let mut scanner = from(77, proxy.listen);
    for n in 0..21 {
        assert_eq!(scanner.get(&format!("/no.{n}")).status, 404);
    }
    let blocked = scanner.get("/");
    assert_eq!(blocked.status, 429);
    assert!(blocked.header("retry-after").unwrap().parse::<u32>().unwrap() > 590);
    assert_eq!(from(78, proxy.listen).get("/").status, 200);
    let lines = proxy.logged("asks for many codes that do not exist");
    assert!(lines.len() == 1 && lines[0].contains("127.0.0.0/24"), "{lines:?}");
    assert!(proxy.logged("127.0.0.77").is_empty());
    assert!(proxy.metrics().contains("signpost_proxy_network_scans_total 1"), "{}", proxy.metrics());
}

#[test]
fn limits_that_cannot_work_are_refused_with_the_reason() {
    let unstated = home("[[listener]]\naddress = '127.0.0.1:0'\n[per_network]\nrequests_max = 2\n");
    let (code, _, error) = Home::run(&["--config", unstated.config().to_str().unwrap(), "--check"]);
    assert_eq!(code, Some(78));
    assert!(error.contains("per_network.requests_max") && error.contains("client_address"), "{error}");
}
