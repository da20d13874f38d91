//! One link that ends with a number of clicks, its writer and its proxies, on virtual time.
//!
//! What the writer decides is what ships (`signpost_admin::budgets::escrow`). A proxy here is a model of `proxy/src/budgets`: two counters
//! that only grow in a memory that outlives the process, and the log applied in order. Messages are lost, late and doubled; writers are
//! killed with the record that was not synced, proxies with or without their memory.

use std::fmt::Write;

use linklog::Position;
use linklog::entity::Budget;
use linklog::link::extras::Limit;
use signpost_admin::budgets::escrow::{self, Reported};

use crate::queue::Queue;
use crate::random::Random;

/// A bug that can be planted, to see it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// The writer grants what others have at hand.
    GrantTwice,
    /// What a lost memory held can be granted again.
    GiveBurnedBack,
    /// A proxy that is started again does not know what it has spent.
    ForgetSpent,
}

/// What a run came to.
#[derive(Default, Debug)]
pub struct Outcome {
    /// What must not happen and did.
    pub violation: Option<String>,
    /// A line an event.
    pub trace: String,
    /// Redirects answered.
    pub redirects: u64,
    /// Clicks burned, as the log says.
    pub burned: u64,
    /// Kills of the writer and of proxies.
    pub kills: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Visit(usize),
    Idle(usize),
    Apply(usize),
    Want(usize, [u8; 16]),
    Report(usize, [u8; 16], u64, u64),
    Synced(u64),
    KillWriter,
    KillProxy(usize),
    LoseMemory(usize),
}

#[derive(Default)]
struct Proxy {
    holder: [u8; 16],
    applied: usize,
    granted: u64,
    spent: u64,
    returned: u64,
}

struct World {
    random: Random,
    queue: Queue<Event>,
    plant: Option<Plant>,
    max: u64,
    proxies: Vec<Proxy>,
    /// By member: the budgets as the writer's log has them.
    rows: Vec<Option<Budget>>,
    /// Records that are durable, in order.
    log: Vec<(usize, Budget)>,
    /// A record that is written and not synced yet; the link's turn is taken until it is.
    pending: Option<(u64, usize, Budget)>,
    writes: u64,
    is_peace: bool,
    memories_lost: u64,
    outcome: Outcome,
}

const CREATED: Position = Position::new(1, 1);

/// Runs a seed for so many events, then in peace until nothing is left.
pub fn run(seed: u64, steps: u64, plant: Option<Plant>) -> Outcome {
    let mut random = Random::of_seed(seed);
    let count = random.between(1, 5) as usize;
    let max = random.between(1, 60);
    let proxies = (0..count).map(|_| Proxy { holder: random.bytes(), ..Proxy::default() }).collect();
    let mut world = World {
        random,
        queue: Queue::default(),
        plant,
        max,
        proxies,
        rows: vec![None; count],
        log: Vec::new(),
        pending: None,
        writes: 0,
        is_peace: false,
        memories_lost: 0,
        outcome: Outcome::default(),
    };
    world.run(steps);
    world.outcome
}

impl World {
    fn run(&mut self, steps: u64) {
        for step in 0..steps + 4_000 {
            self.is_peace = step >= steps;
            let proxy = self.random.below(self.proxies.len() as u64) as usize;
            let event = match self.random.below(1_000) {
                0..500 => Event::Visit(proxy),
                500..750 => Event::Apply(proxy),
                750..960 => Event::Idle(proxy),
                _ if self.is_peace => Event::Apply(proxy),
                960..975 => Event::KillWriter,
                975..996 => Event::KillProxy(proxy),
                _ => Event::LoseMemory(proxy),
            };
            let after_us = self.random.below(10_000);
            self.queue.after(after_us, event);
            // An event may bring forth others: what waits must not pile up.
            for _ in 0..4 {
                let Some(event) = self.queue.pop() else { break };
                let _ = writeln!(self.outcome.trace, "{} {event:?}", self.queue.now_us());
                self.handle(event);
            }
            if self.outcome.violation.is_some() {
                return;
            }
            if self.outcome.redirects > self.max {
                let said = format!("{} redirects of {}", self.outcome.redirects, self.max);
                self.outcome.violation = Some(said);
                return;
            }
        }
        self.judge();
    }

    /// In peace every click was followed, but for those that were reported as burned.
    fn judge(&mut self) {
        let sum = |of: fn(&Budget) -> u64| self.rows.iter().flatten().map(of).sum::<u64>();
        let (known, burned) = (sum(|row| row.spent), sum(|row| row.burned));
        self.outcome.burned = burned;
        let followed = self.outcome.redirects;
        if known + burned != self.max || followed < known || followed + burned < self.max {
            let said = format!("{followed} followed, {known} known, {burned} burned of {}", self.max);
            self.outcome.violation = Some(said);
        } else if self.memories_lost == 0 && followed != self.max {
            self.outcome.violation = Some(format!("{followed} of {} and no memory was lost", self.max));
        }
    }

    fn send(&mut self, message: &Event) {
        let copies = if self.is_peace { 1 } else { self.random.below(3) };
        for _ in 0..copies {
            let after_us = self.random.below(40_000);
            self.queue.after(after_us, message.clone());
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Visit(at) => {
                let proxy = &mut self.proxies[at];
                if proxy.granted > proxy.spent + proxy.returned {
                    proxy.spent += 1;
                    self.outcome.redirects += 1;
                } else {
                    let want = Event::Want(at, proxy.holder);
                    self.send(&want);
                }
            }
            Event::Idle(at) => {
                let proxy = &mut self.proxies[at];
                proxy.returned = proxy.granted.saturating_sub(proxy.spent).max(proxy.returned);
                let report = Event::Report(at, proxy.holder, proxy.spent, proxy.returned);
                self.send(&report);
            }
            Event::Apply(at) => self.apply(at),
            Event::Want(at, holder) => self.want(at, holder),
            Event::Report(at, holder, spent, returned) => {
                let Some(row) = self.rows[at].filter(|_| self.pending.is_none()) else { return };
                match escrow::reported(&row, CREATED, holder, spent, returned) {
                    Reported::Known(new) if new != row => self.write(at, new),
                    Reported::Known(_) | Reported::Other => {}
                    Reported::Impossible => {
                        let said = format!("proxy {at} says {spent} spent, {returned} returned of {row:?}");
                        self.outcome.violation.get_or_insert(said);
                    }
                }
            }
            Event::Synced(write) => {
                if let Some((_, at, row)) = self.pending.take_if(|(pending, ..)| *pending == write) {
                    self.rows[at] = Some(row);
                    self.log.push((at, row));
                }
            }
            Event::KillWriter => {
                self.outcome.kills += 1;
                self.pending = None;
            }
            Event::KillProxy(at) => {
                self.outcome.kills += 1;
                if self.plant == Some(Plant::ForgetSpent) {
                    self.proxies[at].spent = 0;
                }
            }
            Event::LoseMemory(at) => {
                self.outcome.kills += 1;
                self.memories_lost += 1;
                let holder = self.random.bytes();
                let applied = self.proxies[at].applied;
                self.proxies[at] = Proxy { holder, applied, ..Proxy::default() };
            }
        }
    }

    fn apply(&mut self, at: usize) {
        let proxy = &mut self.proxies[at];
        for (of, row) in self.log[proxy.applied..].iter().copied() {
            if of == at && row.holder == proxy.holder {
                proxy.granted = proxy.granted.max(row.granted - row.burned);
                proxy.spent = proxy.spent.max(row.spent);
                proxy.returned = proxy.returned.max(row.returned);
            }
        }
        proxy.applied = self.log.len();
    }

    fn want(&mut self, at: usize, holder: [u8; 16]) {
        // A stream of a memory that is gone is closed.
        if self.pending.is_some() || self.proxies[at].holder != holder {
            return;
        }
        let row = self.rows[at];
        if let Some(row) = row.filter(|row| row.holder != holder) {
            let mut new = escrow::burned(&row, Some(holder));
            if self.plant == Some(Plant::GiveBurnedBack) {
                new = Budget { returned: new.returned + new.burned - row.burned, burned: row.burned, ..new };
            }
            return self.write(at, new);
        }
        let limit = Limit { max: self.max, ..Limit::default() };
        let own = row.into_iter().filter(|_| self.plant == Some(Plant::GrantTwice)).collect::<Vec<_>>();
        let taken = if self.plant == Some(Plant::GrantTwice) {
            escrow::taken(&limit, own.iter())
        } else {
            escrow::taken(&limit, self.rows.iter().flatten())
        };
        let clicks = escrow::share(self.max.saturating_sub(taken), self.proxies.len() as u64);
        if let Some(new) = escrow::granted(row, CREATED, holder, clicks) {
            self.write(at, new);
        }
    }

    fn write(&mut self, at: usize, row: Budget) {
        self.writes += 1;
        self.pending = Some((self.writes, at, row));
        let after_us = self.random.below(10_000);
        self.queue.after(after_us, Event::Synced(self.writes));
    }
}
