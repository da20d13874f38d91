//! The requests: several connections to every proxy, at a rate, each of one of four kinds, every one noted before and after.
//!
//! Invariant: what is attempted is noted before its first byte is sent, what is received after its last byte was read. A request is never
//! sent a second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::counts::{Counts, Sent};
use crate::http1::{Connection, Endpoint, ExchangeError};
use crate::pace::StopFlag;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause of a connection whose proxy is away.
const AWAY_PAUSE: Duration = Duration::from_millis(20);

const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Language: de,en;q=0.5\r\n";
const BOT: &str =
    "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)\r\nAccept: */*\r\n";
const PREFETCH: &str = "Sec-Purpose: prefetch\r\n";

/// What is sent where.
pub(super) struct Traffic {
    pub(super) codes: Vec<String>,
    pub(super) proxies: Vec<Endpoint>,
    pub(super) connections: u16,
    pub(super) rate: u32,
    pub(super) seed: u64,
}

/// What was attempted and received so far, for each link and kind.
#[derive(Debug)]
pub(super) struct Tally {
    attempted: Vec<[AtomicU64; 4]>,
    received: Vec<[AtomicU64; 4]>,
    unsent: AtomicU64,
}

impl Tally {
    pub(super) fn new(links: usize) -> Tally {
        let zeros = || (0..links).map(|_| Default::default()).collect();
        Tally { attempted: zeros(), received: zeros(), unsent: AtomicU64::new(0) }
    }

    /// All attempted and all received.
    pub(super) fn totals(&self) -> (u64, u64) {
        let sum =
            |all: &[[AtomicU64; 4]]| all.iter().flatten().map(|count| count.load(Ordering::Relaxed)).sum();
        // Received first: it is never more than attempted then.
        let received = sum(&self.received);
        (sum(&self.attempted), received)
    }

    pub(super) fn sent(&self) -> Vec<Sent> {
        let read = |counts: &[AtomicU64; 4]| {
            Counts(std::array::from_fn(|kind| counts[kind].load(Ordering::Relaxed)))
        };
        let both = self.attempted.iter().zip(&self.received);
        both.map(|(attempted, received)| Sent { attempted: read(attempted), received: read(received) })
            .collect()
    }

    pub(super) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }
}

impl Traffic {
    /// Starts a thread for each connection; they end after `duration`.
    pub(super) fn start(
        &self,
        start: Instant,
        duration: Duration,
        tally: &Arc<Tally>,
        stop: &StopFlag,
    ) -> Vec<JoinHandle<()>> {
        let workers = (0..self.connections).map(|index| {
            let proxy = &self.proxies[usize::from(index) % self.proxies.len()];
            let worker = Worker {
                connection: Connection::new(proxy.clone(), TIMEOUT),
                codes: self.codes.clone(),
                random: SmallRng::seed_from_u64(self.seed ^ (u64::from(index) + 1) << 32),
                every: Duration::from_secs(u64::from(self.connections)) / self.rate,
                tally: tally.clone(),
                stop: stop.clone(),
            };
            thread::spawn(move || worker.run(start, start + duration))
        });
        workers.collect()
    }
}

struct Worker {
    connection: Connection,
    codes: Vec<String>,
    random: SmallRng,
    every: Duration,
    tally: Arc<Tally>,
    stop: StopFlag,
}

impl Worker {
    fn run(mut self, start: Instant, end: Instant) {
        let mut due = start + self.every.mul_f64(self.random.random_range(0.0..1.0));
        while due < end && self.stop.sleep_until(due) {
            due += self.every;
            // What was missed while the proxy was away is not made up for.
            due = due.max(Instant::now());
            self.ask();
        }
    }

    fn ask(&mut self) {
        // Cubed: the first of a hundred links gets a fifth of the requests.
        let place: f64 = self.random.random_range(0.0..1.0);
        let link = ((place.powi(3) * self.codes.len() as f64) as usize).min(self.codes.len() - 1);
        let (kind, method, headers) = match self.random.random_range(0..10) {
            0..=5 => (0, "GET", BROWSER.to_owned()),
            6 | 7 => (1, "GET", BOT.to_owned()),
            8 => (2, "HEAD", BROWSER.to_owned()),
            _ => (3, "GET", format!("{BROWSER}{PREFETCH}")),
        };
        let request = format!(
            "{method} /{} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.codes[link],
            self.connection.endpoint().authority()
        );
        let attempted = &self.tally.attempted[link][kind];
        attempted.fetch_add(1, Ordering::Relaxed);
        match self.connection.exchange(request.as_bytes()) {
            Ok(answer) if (300..400).contains(&answer.status) => {
                self.tally.received[link][kind].fetch_add(1, Ordering::Relaxed);
            }
            // Answered, and not with the link: a proxy that starts or stops. No click.
            Ok(_) => drop(attempted.fetch_sub(1, Ordering::Relaxed)),
            Err(ExchangeError::Connect(_)) => {
                attempted.fetch_sub(1, Ordering::Relaxed);
                self.tally.unsent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(AWAY_PAUSE);
            }
            Err(_) => {}
        }
    }
}
