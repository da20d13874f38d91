//! What a request costs in calls to the system, counted by strace(1), on the binary that ships.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::author::Author;
use crate::client::{Visitor, eventually};
use crate::feed::FakeWriter;
use crate::process::Home;

const READS: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const WRITES: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendmmsg"];

/// What strace has written so far.
struct Trace(PathBuf);

impl Trace {
    /// Words that start a program with its calls written down; it keeps its process id (`-D`). `-yy` names both ends of a socket.
    fn words(&self) -> Vec<String> {
        let path = self.0.to_str().unwrap();
        let traced = format!("trace={},{}", READS.join(","), WRITES.join(","));
        let words = ["strace", "-D", "-f", "-qq", "-yy", "-e", "signal=none", "-e", &traced, "-o", path];
        words.map(str::to_owned).to_vec()
    }

    /// Calls on the connection of a visitor that read from it, and that write to it; also those that found nothing.
    fn calls(&self, visitor: SocketAddr) -> (usize, usize) {
        let peer = format!("->{visitor}]");
        let text = std::fs::read_to_string(&self.0).unwrap();
        let on_it = text.lines().filter(|line| line.contains(&peer));
        // "PID  name(15<TCP:[...]>, ..."
        let names: Vec<&str> =
            on_it.filter_map(|line| line.split_once('(')?.0.split(' ').next_back()).collect();
        let count = |of: &[&str]| names.iter().filter(|name| of.contains(name)).count();
        (count(&READS), count(&WRITES))
    }
}

#[test]
fn however_many_requests_come_at_once_they_cost_one_read_and_one_write() {
    let (mut author, writer) = (Author::new(), FakeWriter::start());
    author.link("Ab3xY9z", "https://a.example/");
    let home = Home::new(&[writer.url()]);
    let trace = Trace(home.path("trace"));
    let home = home.wrapped(trace.words());
    let proxy = home.start();
    let mut stream = writer.welcome(&author);
    stream.catch_up(&author);
    proxy.await_ready();
    const ROUNDS: usize = 20;
    for pipelined in [1, 2, 50] {
        let mut visitor = Visitor::new(proxy.listen);
        let address = visitor.address();
        // How a connection begins is another matter: it may be TLS, or HTTP/2.
        assert_eq!(visitor.get("/Ab3xY9z").status, 302);
        // strace writes a call down after it was made.
        let after = |more: usize, before: usize| {
            eventually("the write in the trace", || {
                let (reads, writes) = trace.calls(address);
                (writes >= before + more).then_some((reads, writes))
            })
        };
        let (reads, writes) = after(1, 0);
        // One segment, as it is smaller than what loopback takes, and answers that fit a buffer of 16 KiB, after which there is a write.
        let requests = "GET /Ab3xY9z HTTP/1.1\r\nHost: a\r\n\r\n".repeat(pipelined);
        for _ in 0..ROUNDS {
            visitor.send(&requests);
            (0..pipelined).for_each(|_| assert_eq!(visitor.answer().status, 302));
        }
        let now = after(ROUNDS, writes);
        assert_eq!((now.0 - reads, now.1 - writes), (ROUNDS, ROUNDS), "{pipelined} requests at once");
    }
}
