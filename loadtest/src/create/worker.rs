//! One connection of `create`: takes the next request, waits for its time, sends, reads, follows.
//!
//! Invariant: the time of a request is measured from its intended start, so a request that had to wait because every
//! connection was waiting for an answer carries that wait. Nothing is sent twice.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::tally::Tally;
use crate::admin::{AdminApi, Created, Refused, batch_created, created};
use crate::expect::Acknowledged;
use crate::http1::{Connection, Endpoint, GetRequests};
use crate::lines::Lines;
use crate::pace::{StopFlag, ns_between, precise_sleeps, prompt_turns};
use crate::series::Series;
use crate::verdict::judge;

/// How long a closed loop rests after a request without an answer, so that a server that is gone is not hammered.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    /// What to send when.
    pub(super) plan: Plan,
    /// The targets.
    pub(super) urls: &'a Lines,
    /// Where and with what token.
    pub(super) api: AdminApi,
    /// Proxies to ask right after each acknowledgement; empty when not following.
    pub(super) follow: &'a [Endpoint],
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// When the run starts.
    pub(super) start: Instant,
    /// The request taken next.
    pub(super) next: AtomicU64,
    /// What was acknowledged.
    pub(super) acknowledged: Mutex<Acknowledged>,
    /// The seconds.
    pub(super) series: Series,
    /// The wish to end early.
    pub(super) stop: StopFlag,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    admin: Connection,
    proxies: Vec<(Connection, GetRequests, String)>,
    tally: Tally,
}

/// Runs one connection to the end of the plan.
///
/// # Errors
/// When the file of acknowledged links cannot be written: then nothing of the run could be verified later.
pub(super) fn run(shared: &Shared<'_>) -> io::Result<Tally> {
    precise_sleeps();
    if shared.plan.rate.is_some() {
        prompt_turns();
    }
    let open = |proxy: &Endpoint| {
        (Connection::new(proxy.clone(), shared.timeout), GetRequests::new(proxy, ""), proxy.to_string())
    };
    let admin = Connection::new(shared.api.endpoint().clone(), shared.timeout);
    let proxies = shared.follow.iter().map(open).collect();
    let mut worker = Worker { shared, admin, proxies, tally: Tally::default() };
    let worked = worker.work();
    if worked.is_err() {
        shared.stop.set();
    }
    worked.map(|()| worker.tally)
}

impl Worker<'_> {
    fn work(&mut self) -> io::Result<()> {
        let shared = self.shared;
        let requests = shared.plan.requests().unwrap_or(u64::MAX);
        let end = shared.plan.end_ns().map(|ns| shared.start + Duration::from_nanos(ns));
        if !shared.stop.sleep_until(shared.start) {
            return Ok(());
        }
        loop {
            let free_at = Instant::now();
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= requests || shared.stop.is_set() {
                return Ok(());
            }
            let intended = match shared.plan.intended_ns(number) {
                Some(offset_ns) => shared.start + Duration::from_nanos(offset_ns),
                None if end.is_some_and(|end| free_at >= end) => return Ok(()),
                None => free_at,
            };
            if !shared.stop.sleep_until(intended) {
                return Ok(());
            }
            let answered = self.send(number, intended, free_at)?;
            if !answered && shared.plan.rate.is_none() {
                thread::sleep(REST_AFTER_FAILURE);
            }
        }
    }

    /// Sends request `number` and takes its answer in; false when there was none.
    fn send(&mut self, number: u64, intended: Instant, free_at: Instant) -> io::Result<bool> {
        let shared = self.shared;
        let sent_urls: Vec<&str> = shared.plan.lines_of(number).map(|line| shared.urls.get(line)).collect();
        let links = sent_urls.len() as u64;
        let request = match sent_urls[..] {
            [long_url] if shared.plan.batch == 1 => shared.api.create(long_url),
            _ => shared.api.create_batch(&sent_urls),
        };
        let sent = Instant::now();
        let exchange = self.admin.exchange(&request);
        let read = Instant::now();
        let answered = exchange.is_ok();
        let results: Vec<Result<Created, String>> = match exchange {
            Err(error) => vec![Err(error.kind().to_owned()); sent_urls.len()],
            Ok(answer) if shared.plan.batch == 1 => {
                vec![created(&answer).map_err(|refused| refused.to_string())]
            }
            Ok(answer) => match batch_created(&answer, sent_urls.len()) {
                Ok(results) => {
                    results.into_iter().map(|result| result.map_err(|refused| refused.to_string())).collect()
                }
                Err(refused) => vec![Err(Refused::to_string(&refused)); sent_urls.len()],
            },
        };
        let measured = shared.plan.is_measured(ns_between(shared.start, intended));
        self.tally.requests += 1;
        if measured {
            if free_at > intended {
                self.tally.no_connection_free += 1;
            } else {
                self.tally.send_delay.record(ns_between(intended, sent));
            }
        }
        let acknowledged = self.take(&sent_urls, &results, measured)?;
        if acknowledged > 0 {
            let latency_ns = ns_between(intended, read);
            shared.series.answered(acknowledged, latency_ns);
            if measured {
                self.tally.latency.record(latency_ns);
                self.tally.service.record(ns_between(sent, read));
            }
        }
        if acknowledged < links {
            shared.series.failed(links - acknowledged);
        }
        Ok(answered)
    }

    /// Follows and notes the links of one answer; returns how many were acknowledged.
    fn take(
        &mut self,
        sent_urls: &[&str],
        results: &[Result<Created, String>],
        measured: bool,
    ) -> io::Result<u64> {
        let mut acknowledged = 0;
        for (&sent_url, result) in sent_urls.iter().zip(results) {
            match result {
                Err(reason) => self.tally.failed(reason.clone(), 1),
                Ok(link) => {
                    acknowledged += 1;
                    let long_url = target(sent_url, link, &mut self.tally);
                    self.follow(&link.code, long_url, measured);
                    let noted = &self.shared.acknowledged;
                    noted.lock().unwrap_or_else(PoisonError::into_inner).add(&link.code, long_url)?;
                }
            }
        }
        self.tally.created += acknowledged;
        self.tally.created_measured += if measured { acknowledged } else { 0 };
        Ok(acknowledged)
    }

    /// Asks every proxy for the link once, now.
    fn follow(&mut self, code: &str, long_url: &str, measured: bool) {
        if self.proxies.is_empty() {
            return;
        }
        let start = Instant::now();
        for (connection, requests, name) in &mut self.proxies {
            let exchange = connection.exchange(requests.for_code(code));
            self.tally.followed.add(judge(&exchange, long_url), code, name, long_url);
        }
        if measured {
            self.tally.follow.record(ns_between(start, Instant::now()));
        }
    }
}

/// What the Location has to be: the bytes that were sent, or, where they are not ASCII and so have to be encoded, what
/// the server says it made of them.
fn target<'a>(sent_url: &'a str, link: &'a Created, tally: &mut Tally) -> &'a str {
    if !sent_url.is_ascii() {
        return &link.long_url;
    }
    if link.long_url != sent_url {
        tally.altered += 1;
    }
    sent_url
}
