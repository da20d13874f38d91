//! What clients do while faults are made: every choice follows from the seed and the client's number, the timing does not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::client::Client;
use super::history::{Answer, Recorder, Request};
use crate::fleet::Ready;

/// The rest of a client after each change.
const REST_MS: std::ops::Range<u64> = 5..60;
/// The rest of a visitor after each visit.
const VISIT_REST_MS: std::ops::Range<u64> = 1..12;
/// The rest of everybody after a connection that could not be had.
const AWAY_REST: Duration = Duration::from_millis(30);
/// Clicks of limited links.
const MAX_CLICKS: std::ops::Range<u64> = 1..40;
/// How far behind the newest link a visitor or a change may choose: the newest are the ones faults are about.
const RECENT: usize = 60;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    ready: &'a Ready,
    recorder: &'a Recorder,
    seed: u64,
    /// Codes and aliases that were acknowledged and not deleted.
    codes: Mutex<Vec<String>>,
    /// All that were ever acknowledged.
    every: Mutex<BTreeSet<String>>,
    /// Those somebody asked to delete, whatever came of it.
    deleted: Mutex<BTreeSet<String>>,
    /// The race that is on.
    race: AtomicU64,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    ended: bool,
    inside: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Workload<'a> {
    pub(super) fn new(ready: &'a Ready, recorder: &'a Recorder, seed: u64) -> Workload<'a> {
        Workload {
            ready,
            recorder,
            seed,
            codes: Mutex::default(),
            every: Mutex::default(),
            deleted: Mutex::default(),
            race: AtomicU64::new(0),
            gate: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// Everybody rests; returns when nobody is in the middle of something.
    pub(super) fn pause(&self) {
        let mut gate = lock(&self.gate);
        gate.closed = true;
        while gate.inside > 0 {
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Everybody goes on.
    pub(super) fn go_on(&self) {
        lock(&self.gate).closed = false;
        self.moved.notify_all();
    }

    /// Everybody ends.
    pub(super) fn end(&self) {
        lock(&self.gate).ended = true;
        self.moved.notify_all();
    }

    /// Waits until it may act; false when it is over.
    fn enter(&self) -> bool {
        let mut gate = lock(&self.gate);
        while gate.closed && !gate.ended {
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        gate.inside += usize::from(!gate.ended);
        !gate.ended
    }

    fn leave(&self) {
        lock(&self.gate).inside -= 1;
        self.moved.notify_all();
    }

    /// A client of the API.
    ///
    /// # Errors
    /// An address that is none.
    pub(super) fn change(&self, number: u64) -> anyhow::Result<()> {
        let mut client = Client::of(self.ready, self.recorder)?;
        let mut random = SmallRng::seed_from_u64(self.seed ^ (number + 1) << 32);
        let mut made = 0;
        while self.enter() {
            made += 1;
            let target = format!("https://example.org/{number}/{made}");
            let request = self.choose(target, &mut random);
            let makes = matches!(request, Request::Create { .. });
            let answer = client.call(request);
            if let (true, Answer::Done { code, .. }) = (makes, &answer) {
                self.note(code);
            }
            self.leave();
            rest(&answer, REST_MS, &mut random);
        }
        Ok(())
    }

    fn choose(&self, target: String, random: &mut SmallRng) -> Request {
        let create =
            |alias: Option<String>, max_clicks| Request::Create { alias, target: target.clone(), max_clicks };
        let any = self.any_code(random);
        match (random.random_range(0..100), any) {
            (0..22, _) => create(None, None),
            (22..32, _) => {
                create(Some(format!("alias-{}", target.len() + random.random_range(0..10_000_000))), None)
            }
            (32..52, _) => {
                // The next race begins before everybody has seen this one, so that some come late.
                let race = self.race.load(Ordering::Relaxed);
                if random.random_range(0..12) == 0 {
                    self.race.fetch_add(1, Ordering::Relaxed);
                }
                create(Some(format!("race-{race}")), None)
            }
            (52..57, _) => create(None, Some(random.random_range(MAX_CLICKS))),
            (57..80, Some(code)) => Request::Update { code, target },
            (80..85, Some(code)) => {
                lock(&self.codes).retain(|other| *other != code);
                lock(&self.deleted).insert(code.clone());
                Request::Delete { code }
            }
            (_, Some(code)) => Request::Get { code },
            (_, None) => create(None, None),
        }
    }

    /// A visitor of one proxy.
    ///
    /// # Errors
    /// An address that is none.
    pub(super) fn visit(&self, number: u64, proxy: u16) -> anyhow::Result<()> {
        let mut client = Client::of(self.ready, self.recorder)?;
        let mut random = SmallRng::seed_from_u64(self.seed ^ (number + 1) << 16);
        while self.enter() {
            let answer = match self.any_code(&mut random) {
                Some(code) => client.call(Request::Follow { proxy, code }),
                None => Answer::Unsent,
            };
            self.leave();
            rest(&answer, VISIT_REST_MS, &mut random);
        }
        Ok(())
    }

    fn any_code(&self, random: &mut SmallRng) -> Option<String> {
        let codes = lock(&self.codes);
        let recent = codes.len().saturating_sub(RECENT);
        // Half of the choices are among the newest.
        let from = if random.random_range(0..2) == 0 { recent } else { 0 };
        (!codes.is_empty()).then(|| codes[random.random_range(from..codes.len())].clone())
    }

    /// Notes a link that was made.
    fn note(&self, code: &str) {
        lock(&self.every).insert(code.to_owned());
        lock(&self.codes).push(code.to_owned());
    }

    /// Every code that was acknowledged so far.
    pub(super) fn every_code(&self) -> Vec<String> {
        lock(&self.every).iter().cloned().collect()
    }

    /// Every code that somebody asked to delete so far.
    pub(super) fn deleted(&self) -> BTreeSet<String> {
        lock(&self.deleted).clone()
    }
}

fn rest(answer: &Answer, rest_ms: std::ops::Range<u64>, random: &mut SmallRng) {
    let usual = Duration::from_millis(random.random_range(rest_ms));
    std::thread::sleep(if *answer == Answer::Unsent { AWAY_REST } else { usual });
}
