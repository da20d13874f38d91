//! What the daemon never does, however it ends: hand out a code twice, or forget a lease it has answered.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;
use wire::keys::LeaseReply;

use crate::daemon::{BINARY, Daemon, Home, request};

/// Codes of one lease; so small that there are many instants to be killed at.
const LEASE_CODES: u32 = 50;
const CLIENTS: u64 = 4;

/// What clients know: every answer they got, and the requests that got none.
#[derive(Default)]
struct Ledger {
    answers: Mutex<HashMap<u64, LeaseReply>>,
    unanswered: Mutex<Vec<u64>>,
    next_id: AtomicU64,
}

impl Ledger {
    fn answered(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Leases with several clients until the daemon is gone.
    async fn lease_until_it_is_gone(self: &Arc<Self>, daemon: &Daemon) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (ledger, mut client) = (Arc::clone(self), daemon.client().await);
            clients.spawn(async move {
                loop {
                    let id = ledger.next_id.fetch_add(1, Ordering::Relaxed);
                    match client.lease(request(id, LEASE_CODES)).await {
                        Ok(reply) => drop(ledger.answers.lock().unwrap().insert(id, reply.into_inner())),
                        Err(_) => return ledger.unanswered.lock().unwrap().push(id),
                    }
                }
            });
        }
        clients
    }

    /// Asks again for what got no answer, and for some of what did: the answers must be the same.
    async fn ask_again(&self, daemon: &Daemon) {
        let mut client = daemon.client().await;
        let unanswered: Vec<u64> = std::mem::take(&mut self.unanswered.lock().unwrap());
        for id in unanswered {
            let reply = client.lease(request(id, LEASE_CODES)).await.unwrap().into_inner();
            self.answers.lock().unwrap().insert(id, reply);
        }
        let known: Vec<(u64, LeaseReply)> = {
            let answers = self.answers.lock().unwrap();
            answers.iter().map(|(id, reply)| (*id, reply.clone())).take(50).collect()
        };
        for (id, reply) in known {
            assert_eq!(
                client.lease(request(id, LEASE_CODES)).await.unwrap().into_inner(),
                reply,
                "request {id}"
            );
        }
    }

    fn check(&self) {
        let answers = self.answers.lock().unwrap();
        let numbers: HashSet<u64> = answers.values().map(|reply| reply.lease_number).collect();
        assert_eq!(numbers.len(), answers.len(), "a lease number was used twice");
        let codes: Vec<u64> = answers.values().flat_map(|reply| reply.codes.iter().copied()).collect();
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len(), "a code was leased twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_leases_no_code_comes_twice() {
    // Watermarks so close that it generates all the time, and is killed in the middle of that too.
    let home = Home::new("low_watermark = 60000\nhigh_watermark = 61000\n");
    let ledger = Arc::new(Ledger::default());
    for round in 0..12 {
        let daemon = home.start();
        ledger.ask_again(&daemon).await;
        let goal = ledger.answered() + 20 + round * 31 % 97;
        let mut clients = ledger.lease_until_it_is_gone(&daemon).await;
        while ledger.answered() < goal {
            tokio::task::yield_now().await;
        }
        daemon.kill();
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        ledger.check();
    }
    let daemon = home.start();
    ledger.ask_again(&daemon).await;
    ledger.check();
    let (status, log) = daemon.stop();
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_ends_the_daemon_and_loses_nothing() {
    let home = Home::new("low_watermark = 100000\nhigh_watermark = 200000\n");
    let config = home.config();
    let ledger = Arc::new(Ledger::default());
    // No file may grow beyond 4 MiB: its log reaches that while codes are generated.
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 8192; exec \"$0\" --config \"$1\"")
        .arg(BINARY)
        .arg(&config);
    let daemon = Daemon::spawn(limited).listening();
    let mut clients = ledger.lease_until_it_is_gone(&daemon).await;
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("error: cannot write to the database in"), "{log}");
    assert_eq!(log.matches("nothing is handed out any more").count(), 1, "{log}");
    assert!(ledger.answered() > 0);
    let daemon = home.start();
    ledger.ask_again(&daemon).await;
    ledger.check();
    daemon.stop();
}
