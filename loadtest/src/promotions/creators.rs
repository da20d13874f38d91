//! Clients that make links all the time, at whichever server takes them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::http1::{Connection, Endpoint, post_json};

/// How long an answer may take: a server that is stopped gives none.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The rest after a link that was not made.
const REST: Duration = Duration::from_millis(20);

/// A link that was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Created {
    pub(super) code: String,
    pub(super) long_url: String,
}

/// The running clients. Dropped, they end by themselves.
pub(super) struct Creators {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    acknowledged: Mutex<Vec<Created>>,
    count: AtomicUsize,
    over: AtomicBool,
}

impl Creators {
    pub(super) fn start(servers: &[(String, Endpoint)], token: &str, clients: u16) -> Creators {
        let shared = Arc::new(Shared::default());
        let start = |client: u16| {
            let servers: Vec<Endpoint> = servers.iter().map(|(_, endpoint)| endpoint.clone()).collect();
            let (shared, token) = (shared.clone(), token.to_owned());
            std::thread::spawn(move || work(&shared, &servers, &token, client))
        };
        let threads = (0..clients).map(start).collect();
        Creators { shared, threads }
    }

    /// How many links were acknowledged so far.
    pub(super) fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Takes what was acknowledged since the last time.
    pub(super) fn take(&self) -> Vec<Created> {
        std::mem::take(&mut *self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the clients and returns what was acknowledged since the last time.
    pub(super) fn end(mut self) -> Vec<Created> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been told on stderr, and what the thread noted is there.
            let _ = thread.join();
        }
        self.take()
    }
}

impl Drop for Creators {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn work(shared: &Shared, servers: &[Endpoint], token: &str, client: u16) {
    let headers = format!("Authorization: Bearer {token}\r\n");
    let mut connections: Vec<Connection> =
        servers.iter().map(|endpoint| Connection::new(endpoint.clone(), TIMEOUT)).collect();
    let mut server = 0;
    for number in 0u64.. {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let long_url = format!("https://example.org/{client}/{number}");
        let body = json!({ "long_url": long_url }).to_string();
        let request = post_json(&servers[server], "/v1/links", &headers, body.as_bytes());
        let created = connections[server].exchange(&request).ok().filter(|answer| answer.status == 201);
        let code = created.and_then(|answer| {
            let link: serde_json::Value = serde_json::from_slice(answer.body).ok()?;
            Some(link["code"].as_str()?.to_owned())
        });
        match code {
            Some(code) => {
                let mut acknowledged = shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                acknowledged.push(Created { code, long_url });
                shared.count.fetch_add(1, Ordering::Relaxed);
            }
            // Whether it was made is not known; it is not made again, and the next server is asked.
            None => {
                server = (server + 1) % servers.len();
                std::thread::sleep(REST);
            }
        }
    }
}
