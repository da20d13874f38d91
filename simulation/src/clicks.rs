//! Batches of clicks on virtual time: proxies with their ledgers, a writer with its accounts, a standby that copies them, backups.
//!
//! What the writer decides about an introduction and about the number of a batch is what ships ([`clicklog::account`]). A ledger here is a
//! model of [`clicklog::ledger`]: batches by their numbers, what is released of them, and too little room. Connections are cut at any moment
//! and made again; what is on the way is lost, late or doubled. Writers are killed with the group that was not synced, replaced by the standby,
//! or put back to a backup; proxies are killed, lose their power, or get an old copy of their ledger. What is put into an old copy by a process
//! that ends before the writer has answered may bear numbers that are counted already: it is lost unnoticed, and never counted twice.

mod accounts;
mod judge;
mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use clicklog::account::Verdict;
use clicklog::entry::Introduction;
use clicklog::{BatchNumber, LedgerId};

use crate::queue::Queue;
use crate::random::Random;
use accounts::{Accounts, Writer};
use ledger::{Batch, BatchId, Gone, Ledger};

/// A bug that can be planted, to see it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// The writer counts whatever comes.
    CountDuplicates,
    /// A batch is written, and only later that its clicks were taken over.
    TakeOverLater,
    /// A proxy does not hear that the writer has counted less than it had.
    ForgetTakeBack,
    /// A proxy is told to forget what the standby does not have yet.
    ReleaseTooEarly,
    /// A proxy with an old copy of its ledger goes on where the writer is.
    KeepOldName,
    /// A proxy with an old copy of its ledger sends all of it again under the new name.
    SendAllAnew,
}

/// What a run came to.
#[derive(Default, Debug)]
pub struct Outcome {
    /// What must not happen and did.
    pub violation: Option<String>,
    /// A line an event.
    pub trace: String,
    /// Clicks answered.
    pub answered: u64,
    /// Clicks counted in the end.
    pub counted: u64,
    /// Kills, power cuts, promotions, restores and old copies.
    pub faults: u64,
}

/// Which connection of which proxy, to which start of the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stream {
    proxy: usize,
    number: u64,
    writer: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Click(usize),
    Commit(usize),
    Open(usize),
    Introduce(Stream, Introduction),
    Welcome(Stream, LedgerId, BatchNumber),
    Batch(Stream, LedgerId, Batch),
    /// The last batch counted, and the last one nobody needs any more.
    Watermark(Stream, LedgerId, BatchNumber, BatchNumber),
    Synced(u64),
    Copy,
    Backup,
    KillWriter,
    Promote,
    Restore,
    KillProxy(usize),
    CutPower(usize),
    KeepCopy(usize),
    PutCopyBack(usize),
}

/// A batch: whose it is, and the clicks it tells of.
#[derive(Clone, Copy)]
struct Made {
    proxy: usize,
    clicks: u64,
    dropped: u64,
}

struct Proxy {
    ledger: Ledger,
    /// Clicks that are in no batch yet. They outlive the process and not the power.
    ring: u64,
    /// Clicks that the ring had no room for.
    dropped: u64,
    stream: u64,
    /// The next batch to send; `None`: nobody has said where the writer is.
    next: Option<BatchNumber>,
    copy: Option<(Ledger, BatchId)>,
    /// Its ledger was put back when this was the newest batch of all, and the writer has not answered since.
    put_back_at: Option<BatchId>,
}

/// What may be lost, and so is hard to tell from what must not be, happens in some runs only.
struct Faults {
    power_cuts: bool,
    restores: bool,
    old_copies: bool,
}

struct World {
    random: Random,
    queue: Queue<Event>,
    plant: Option<Plant>,
    proxies: Vec<Proxy>,
    writer: Writer,
    standby: Accounts,
    backup: Accounts,
    faults: Faults,
    is_peace: bool,
    was_restored: bool,
    /// Every batch ever made.
    made: BTreeMap<BatchId, Made>,
    /// Those that may be missing in the end.
    excused: BTreeSet<BatchId>,
    /// Those of them that a ledger had to throw away, which it has to say.
    thrown_away: BTreeSet<BatchId>,
    /// Clicks that were in rings when the power was cut.
    without_power: u64,
    outcome: Outcome,
}

/// Clicks a ring has room for.
const RING: u64 = 12;
/// How many batches are on the way at once.
const WINDOW: u64 = 4;

/// Runs a seed for so many events, then in peace until nothing is left.
pub fn run(seed: u64, steps: u64, plant: Option<Plant>) -> Outcome {
    let mut random = Random::of_seed(seed);
    let count = random.between(1, 4);
    let mut proxy = |_| {
        let (id, unreleased_max) = (LedgerId(random.bytes()), random.between(4, 60));
        let ledger = Ledger::new(id, unreleased_max, random.between(2, 30));
        Proxy { ledger, ring: 0, dropped: 0, stream: 0, next: None, copy: None, put_back_at: None }
    };
    let proxies = (0..count).map(&mut proxy).collect();
    let [power_cuts, restores, old_copies] = [50, 30, 30].map(|percent| random.percent(percent));
    let mut world = World {
        random,
        queue: Queue::default(),
        plant,
        proxies,
        writer: Writer::default(),
        standby: Accounts::default(),
        backup: Accounts::default(),
        faults: Faults { power_cuts, restores, old_copies },
        is_peace: false,
        was_restored: false,
        made: BTreeMap::new(),
        excused: BTreeSet::new(),
        thrown_away: BTreeSet::new(),
        without_power: 0,
        outcome: Outcome::default(),
    };
    world.run(steps);
    world.outcome
}

impl World {
    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            let event = self.draw();
            let after_us = self.random.below(10_000);
            self.queue.after(after_us, event);
            // An event may bring forth others: what waits must not pile up.
            self.go_on(4);
        }
        self.is_peace = true;
        self.go_on(u64::MAX);
        for proxy in 0..self.proxies.len() {
            self.queue.after(0, Event::Commit(proxy));
            // The first one may find that it is an old copy.
            self.queue.after(100_000, Event::Open(proxy));
            self.queue.after(10_000_000, Event::Open(proxy));
        }
        self.go_on(u64::MAX);
        self.judge();
    }

    fn go_on(&mut self, events_max: u64) {
        for _ in 0..events_max {
            if self.outcome.violation.is_some() {
                return;
            }
            let Some(event) = self.queue.pop() else { return };
            let _ = writeln!(self.outcome.trace, "{} {event:?}", self.queue.now_us());
            self.handle(event);
        }
    }

    fn draw(&mut self) -> Event {
        let proxy = self.random.below(self.proxies.len() as u64) as usize;
        match self.random.below(1_000) {
            0..450 => Event::Click(proxy),
            450..700 => Event::Commit(proxy),
            700..780 => Event::Open(proxy),
            780..920 => Event::Copy,
            920..950 => Event::Backup,
            950..965 => Event::KillWriter,
            965..972 => Event::Promote,
            972..985 => Event::KillProxy(proxy),
            985..990 if self.faults.power_cuts => Event::CutPower(proxy),
            990..993 if self.faults.restores => Event::Restore,
            993..996 if self.faults.old_copies => Event::KeepCopy(proxy),
            996..999 if self.faults.old_copies => Event::PutCopyBack(proxy),
            _ => Event::Click(proxy),
        }
    }

    fn now_ms(&self) -> u64 {
        1 + self.queue.now_us() / 1_000
    }

    fn send(&mut self, message: Event) {
        if self.is_peace {
            self.queue.after(100, message);
            return;
        }
        let copies = match self.random.below(20) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            // Most overtake nobody.
            let longest_us = if self.random.percent(5) { 40_000 } else { 200 };
            let after_us = self.random.below(longest_us);
            self.queue.after(after_us, message.clone());
        }
    }

    fn is_current(&self, stream: Stream) -> bool {
        self.proxies[stream.proxy].stream == stream.number
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Click(at) => {
                self.outcome.answered += 1;
                let proxy = &mut self.proxies[at];
                if proxy.ring < RING {
                    proxy.ring += 1;
                } else {
                    proxy.dropped += 1;
                }
            }
            Event::Commit(at) => self.commit(at),
            Event::Open(at) => {
                let ledger = &self.proxies[at].ledger;
                let introduction = ledger.introduction(at);
                let stream = self.cut(at);
                self.send(Event::Introduce(stream, introduction));
            }
            Event::Introduce(stream, introduction) => self.introduce(stream, &introduction),
            Event::Welcome(stream, ledger, counted) => self.welcomed(stream, ledger, counted),
            Event::Batch(stream, ledger, batch) => self.count(stream, ledger, batch),
            Event::Watermark(stream, ledger, counted, released) => {
                let proxy = &mut self.proxies[stream.proxy];
                if proxy.stream == stream.number && proxy.ledger.id == ledger && proxy.next.is_some() {
                    let gone = proxy.ledger.release(released.min(counted));
                    self.note(&gone);
                    self.send_more(stream, counted);
                }
            }
            Event::Synced(group) => {
                for answer in self.writer.synced(group) {
                    self.send(answer);
                }
            }
            Event::Copy => self.standby = self.writer.durable.clone(),
            Event::Backup => self.backup = self.writer.durable.clone(),
            Event::KillWriter => self.start_writer(self.writer.durable.clone()),
            Event::Promote => self.start_writer(self.standby.clone()),
            Event::Restore => {
                self.was_restored = true;
                let kept: BTreeSet<_> = self
                    .proxies
                    .iter()
                    .flat_map(|proxy| proxy.ledger.batches())
                    .map(|batch| batch.id)
                    .collect();
                self.excused.extend(self.made.keys().filter(|id| !kept.contains(id)));
                self.standby = self.backup.clone();
                self.start_writer(self.backup.clone());
            }
            Event::KillProxy(at) => {
                self.outcome.faults += 1;
                self.restart(at);
            }
            Event::CutPower(at) => {
                self.outcome.faults += 1;
                self.restart(at);
                let proxy = &mut self.proxies[at];
                self.without_power += std::mem::take(&mut proxy.ring) + std::mem::take(&mut proxy.dropped);
                proxy.ledger.lose_power();
            }
            Event::KeepCopy(at) => {
                // A copy of a copy knows as little of when the first one was made as a process that is started with it.
                let proxy = &mut self.proxies[at];
                let newest = proxy.put_back_at.unwrap_or(self.made.len() as BatchId);
                proxy.copy = Some((proxy.ledger.clone(), newest));
            }
            Event::PutCopyBack(at) => self.put_copy_back(at),
        }
    }

    /// Cuts a proxy's connection, and begins another one.
    fn cut(&mut self, at: usize) -> Stream {
        let proxy = &mut self.proxies[at];
        (proxy.stream, proxy.next) = (proxy.stream + 1, None);
        Stream { proxy: at, number: proxy.stream, writer: self.writer.start }
    }

    /// Ends a proxy's process and starts another one.
    fn restart(&mut self, at: usize) {
        self.cut(at);
        self.proxies[at].ledger.open();
        if let Some(newest) = self.proxies[at].put_back_at {
            self.excuse_after(at, newest);
        }
    }

    fn excuse_after(&mut self, at: usize, newest: BatchId) {
        let of_this = self.made.range(newest + 1..).filter(|(_, made)| made.proxy == at).map(|(id, _)| *id);
        self.excused.extend(of_this);
    }

    fn start_writer(&mut self, durable: Accounts) {
        self.outcome.faults += 1;
        self.writer.start_with(durable);
        (0..self.proxies.len()).for_each(|at| {
            self.cut(at);
        });
    }

    fn commit(&mut self, at: usize) {
        let proxy = &mut self.proxies[at];
        let (clicks, dropped) = (proxy.ring, std::mem::take(&mut proxy.dropped));
        if clicks + dropped == 0 {
            return;
        }
        if self.plant != Some(Plant::TakeOverLater) || self.is_peace || !self.random.percent(2) {
            proxy.ring = 0;
        }
        let id = self.made.len() as BatchId + 1;
        self.made.insert(id, Made { proxy: at, clicks, dropped });
        let gone = proxy.ledger.commit(id, clicks, dropped);
        let (stream, sent_upto) = (proxy.stream, BatchNumber(proxy.next.map_or(0, |next| next.0 - 1)));
        self.note(&gone);
        let stream = Stream { proxy: at, number: stream, writer: self.writer.start };
        self.send_more(stream, sent_upto);
    }

    /// Sends what fits beyond the batches that are counted.
    fn send_more(&mut self, stream: Stream, counted: BatchNumber) {
        loop {
            let proxy = &mut self.proxies[stream.proxy];
            let Some(next) = proxy.next.filter(|next| next.0 <= counted.0 + WINDOW) else { return };
            let Some(batch) = proxy.ledger.read(next) else {
                if next <= proxy.ledger.last {
                    // It had to make room: the next stream says where the rest begins.
                    proxy.next = None;
                    self.queue.after(1_000, Event::Open(stream.proxy));
                }
                return;
            };
            proxy.next = Some(next.next());
            let message = Event::Batch(stream, proxy.ledger.id, batch);
            self.send(message);
        }
    }

    fn introduce(&mut self, stream: Stream, introduction: &Introduction) {
        // What comes too late is of a connection that is no more.
        if stream.writer != self.writer.start || !self.is_current(stream) {
            return;
        }
        self.writer.listen(stream.proxy, stream.number);
        let (now_ms, ledger) = (self.now_ms(), introduction.ledger);
        self.change(|accounts| {
            let watermark = accounts.introduce(introduction, now_ms);
            Some(Event::Welcome(stream, ledger, watermark))
        });
    }

    fn welcomed(&mut self, stream: Stream, ledger: LedgerId, counted: BatchNumber) {
        let id = LedgerId(self.random.bytes());
        let proxy = &mut self.proxies[stream.proxy];
        if proxy.stream != stream.number || proxy.ledger.id != ledger || proxy.next.is_some() {
            return;
        }
        proxy.put_back_at = None;
        if proxy.ledger.is_old_copy(counted) && self.plant != Some(Plant::KeepOldName) {
            let gone = proxy.ledger.begin_anew(id, self.plant == Some(Plant::SendAllAnew));
            self.note(&gone);
            self.queue.after(1_000, Event::Open(stream.proxy));
            return;
        }
        proxy.next = Some(match self.plant {
            Some(Plant::ForgetTakeBack) => counted.max(proxy.ledger.released).next(),
            _ => proxy.ledger.take_back(counted),
        });
        self.send_more(stream, counted);
    }

    fn count(&mut self, stream: Stream, ledger: LedgerId, batch: Batch) {
        if stream.writer != self.writer.start || !self.writer.hears(stream.proxy, stream.number) {
            return;
        }
        let standby = self.standby.watermark(ledger);
        let anyway = self.plant == Some(Plant::CountDuplicates);
        let too_early = self.plant == Some(Plant::ReleaseTooEarly);
        let mut is_gap = false;
        self.change(|accounts| {
            let verdict = accounts.count(ledger, &batch, anyway)?;
            is_gap = matches!(verdict, Verdict::Gap { .. });
            let counted = accounts.watermark(ledger);
            let released = if too_early { counted } else { counted.min(standby) };
            (!is_gap).then_some(Event::Watermark(stream, ledger, counted, released))
        });
        if is_gap {
            self.writer.hang_up(stream.proxy);
        }
    }

    fn change(&mut self, work: impl FnOnce(&mut Accounts) -> Option<Event>) {
        if let Some(group) = self.writer.change(work) {
            let after_us = self.random.below(10_000);
            self.queue.after(after_us, Event::Synced(group));
        }
    }

    /// Notes which batches may be missing.
    fn note(&mut self, gone: &Gone) {
        let thrown_away = gone.thrown_away.iter().map(|batch| batch.id);
        self.thrown_away.extend(thrown_away.clone());
        self.excused.extend(thrown_away);
        if self.was_restored {
            // The writer may lack them again by now.
            self.excused.extend(gone.forgotten.iter().map(|batch| batch.id));
        }
    }

    fn put_copy_back(&mut self, at: usize) {
        let Some((copy, newest)) = self.proxies[at].copy.clone() else { return };
        self.outcome.faults += 1;
        self.cut(at);
        self.writer.hang_up(at);
        // What was made after the copy may be counted, and is not here any more.
        self.excuse_after(at, newest);
        let put_back_at = Some(self.made.len() as BatchId);
        (self.proxies[at].ledger, self.proxies[at].put_back_at) = (copy, put_back_at);
        self.proxies[at].ledger.open();
    }
}
