//! Clients that follow one link on proxies chosen at random, until it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde::Serialize;

use crate::http1::{Connection, Endpoint, ExchangeError, get};
use crate::pace::StopFlag;

/// A person, as far as anybody can tell.
const BROWSER: &str =
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After a 503, and after a connection that could not be had, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 5..30;

/// What all clients together saw.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Seen {
    /// 302 to the target.
    pub redirected: u64,
    /// 410.
    pub ended: u64,
    /// 503.
    pub busy: u64,
    /// Sent, and no answer came.
    pub unanswered: u64,
    /// Any other answer.
    pub wrong: u64,
}

#[derive(Default)]
struct Tally {
    redirected: AtomicU64,
    ended: AtomicU64,
    busy: AtomicU64,
    unanswered: AtomicU64,
    wrong: AtomicU64,
    going: AtomicUsize,
}

/// The clients.
pub(super) struct Visitors {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Visitors {
    /// Starts so many, each resting so long after a redirect; each ends when it has met a 410, or at `until`.
    pub(super) fn start(
        code: &str,
        target: &str,
        proxies: &[Endpoint],
        (clients, rest): (u16, Duration),
        until: Instant,
        stop: &StopFlag,
    ) -> Visitors {
        let tally = Arc::new(Tally { going: AtomicUsize::new(clients.into()), ..Tally::default() });
        let start = |_| {
            let (tally, stop, target) = (Arc::clone(&tally), stop.clone(), target.to_owned());
            let proxies: Vec<_> = proxies
                .iter()
                .map(|proxy| {
                    (Connection::new(proxy.clone(), ANSWER_WITHIN), get(proxy, &format!("/{code}"), BROWSER))
                })
                .collect();
            std::thread::spawn(move || {
                visit(proxies, &target, &tally, rest, (until, &stop));
                tally.going.fetch_sub(1, Ordering::Release);
            })
        };
        let threads = (0..clients).map(start).collect();
        Visitors { tally, threads }
    }

    /// Says whether all have met the end.
    pub(super) fn are_done(&self) -> bool {
        self.tally.going.load(Ordering::Acquire) == 0
    }

    /// How many redirects were received so far.
    pub(super) fn redirected(&self) -> u64 {
        self.tally.redirected.load(Ordering::Relaxed)
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// One panicked.
    pub(super) fn join(self) -> anyhow::Result<Seen> {
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Tally { redirected, ended, busy, unanswered, wrong, .. } = &*self.tally;
        Ok(Seen {
            redirected: load(redirected),
            ended: load(ended),
            busy: load(busy),
            unanswered: load(unanswered),
            wrong: load(wrong),
        })
    }
}

fn visit(
    mut proxies: Vec<(Connection, Vec<u8>)>,
    target: &str,
    tally: &Tally,
    rest: Duration,
    (until, stop): (Instant, &StopFlag),
) {
    let mut random = rand::rng();
    let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
    while Instant::now() < until && !stop.is_set() {
        let chosen = random.random_range(0..proxies.len());
        let (connection, request) = &mut proxies[chosen];
        let pause = match connection.exchange(request) {
            Ok(answer) => match answer.status {
                302 if answer.location == Some(target.as_bytes()) => {
                    add(&tally.redirected);
                    std::thread::sleep(rest);
                    false
                }
                410 => {
                    add(&tally.ended);
                    return;
                }
                503 => {
                    add(&tally.busy);
                    true
                }
                _ => {
                    add(&tally.wrong);
                    true
                }
            },
            // Nothing was sent.
            Err(ExchangeError::Connect(_)) => true,
            Err(_) => {
                add(&tally.unanswered);
                true
            }
        };
        if pause {
            std::thread::sleep(Duration::from_millis(random.random_range(PAUSE_MS)));
        }
    }
}
