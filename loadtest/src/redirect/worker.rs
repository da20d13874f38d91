//! One thread of `redirect`: a pace, a set of connections, one epoll.
//!
//! Invariant: every intended start before the end of the run is counted exactly once: as a redirect, an error, unsent,
//! or part of the warm-up. A request that finds no free connection waits for one, and its latency runs from its
//! intended start all the same.
//!
//! Time is read from one clock, in ns from the start of the run. Between requests the thread sleeps on a timer of
//! nanosecond resolution and spins through the last [`SPIN_NS`], so that a request does not leave late because the
//! thread was woken late.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::channel::{Channel, InFlight, Read1, State};
use super::pace::{Order, Pace};
use super::tally::{Tally, judge};
use crate::http1::{Endpoint, GetRequests};
use crate::keys::Keys;
use crate::latency::Latency;
use crate::pace::{StopFlag, ns_between};
use crate::series::Series;

/// The last part of a wait, spent looking for answers without sleeping. Waking up takes about this long.
const SPIN_NS: u64 = 50_000;
/// The most requests sent before answers are looked at again.
const SENDS_IN_A_ROW_MAX: usize = 16;
/// The most events taken at once.
const EVENTS_MAX: usize = 256;
/// How often timeouts and closed connections are looked after, and the longest sleep.
const HOUSEKEEPING_NS: u64 = HOUSEKEEPING_MS as u64 * 1_000_000;
const HOUSEKEEPING_MS: u8 = 20;
/// How long a connection that cannot be opened is left alone.
const RETRY_NS: u64 = 100_000_000;
/// The mark of the timer among the events; connections have theirs by index.
const TIMER: u64 = u64::MAX;

/// What a thread is to do.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// The keys to ask for, at random.
    pub(super) keys: &'a Keys,
    /// The servers, taken in turn by the connections.
    pub(super) targets: &'a [Endpoint],
    /// In which order.
    pub(super) order: Order,
    /// Header lines added to requests, one of the sets to each.
    pub(super) headers: &'a [String],
    /// Whether a connection is used once.
    pub(super) connection_per_request: bool,
    /// Connections of this thread.
    pub(super) connections: usize,
    /// When requests start.
    pub(super) pace: Pace,
    /// What starts before is not measured.
    pub(super) warm_up_ns: u64,
    /// What would start from here on is not sent.
    pub(super) end_ns: u64,
    /// How long to wait for an answer, and after the end for the last ones.
    pub(super) timeout_ns: u64,
    /// Seed of the choice of keys.
    pub(super) seed: u64,
    /// The seconds.
    pub(super) series: Series,
    /// How many answers to keep by themselves; what comes beyond is not kept.
    pub(super) answers_kept: usize,
    /// Answers of all threads so far.
    pub(super) answers: &'a AtomicU64,
    /// The wish to end early.
    pub(super) stop: StopFlag,
}

/// A thread with its connections open.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    job: Job<'a>,
    /// For each target one of each header set.
    requests: Vec<Vec<GetRequests>>,
    epoll: Epoll,
    timer: TimerFd,
    channels: Vec<Channel>,
    /// Channels to use, the longest idle first; some may have been closed since they were queued.
    free: VecDeque<usize>,
    waiting: usize,
    /// The intended start of the next request.
    next_ns: u64,
    random: SmallRng,
    start: Instant,
    tally: Tally,
    second: Latency,
    second_errors: u64,
}

impl<'a> Worker<'a> {
    /// Opens the connections of a job.
    ///
    /// # Errors
    /// What the system says; a target that does not accept connections shows later, as errors of the run.
    pub(super) fn new(job: Job<'a>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        let mut channels = Vec::with_capacity(job.connections);
        for index in 0..job.connections {
            let target = index % job.targets.len();
            let channel = Channel::connect(target, &job.targets[target])?;
            watch(&epoll, &channel, index)?;
            channels.push(channel);
        }
        let requests_to =
            |target| job.headers.iter().map(|headers| GetRequests::new(target, headers)).collect();
        Ok(Self {
            requests: job.targets.iter().map(requests_to).collect(),
            epoll,
            timer,
            channels,
            free: VecDeque::with_capacity(job.connections),
            waiting: 0,
            next_ns: u64::MAX,
            random: SmallRng::seed_from_u64(job.seed),
            start: Instant::now(),
            tally: Tally { answers: Vec::with_capacity(job.answers_kept), ..Tally::default() },
            second: Latency::coarse(),
            second_errors: 0,
            job,
        })
    }

    /// Waits for `start` and runs to the end.
    ///
    /// # Errors
    /// What the system says about waiting for events; failing connections are counted, not returned.
    pub(super) fn run(mut self, start: Instant) -> io::Result<Tally> {
        self.start = start;
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        // The connections become free while the run has not begun.
        while Instant::now() < start {
            let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
            self.take_events(&events[..ready]);
            thread::sleep(Duration::from_micros(200).min(start.saturating_duration_since(Instant::now())));
        }
        self.set_next(0);
        let mut housekeeping_ns = 0;
        let mut idle_ns = 0;
        loop {
            let now_ns = self.now_ns();
            self.send_due(now_ns, SENDS_IN_A_ROW_MAX);
            if now_ns >= housekeeping_ns {
                self.keep_house(now_ns);
                housekeeping_ns = now_ns + HOUSEKEEPING_NS;
            }
            let sent_all = self.next_ns >= self.job.end_ns;
            let out_of_time = now_ns >= self.job.end_ns.saturating_add(self.job.timeout_ns);
            if (sent_all && self.waiting == 0) || out_of_time || self.job.stop.is_set() {
                break;
            }
            if self.job.pace.is_closed() && !sent_all {
                self.next_ns = now_ns;
            }
            let (ready, idle) = self.wait(&mut events)?;
            idle_ns += idle;
            self.take_events(&events[..ready]);
        }
        self.finish(idle_ns);
        Ok(self.tally)
    }

    fn now_ns(&self) -> u64 {
        ns_between(self.start, Instant::now())
    }

    /// Sends what is due, as far as channels are free and `most` requests at most.
    fn send_due(&mut self, now_ns: u64, most: usize) {
        for _ in 0..most {
            if self.next_ns > now_ns || self.next_ns >= self.job.end_ns {
                return;
            }
            let Some((index, free_since_ns)) = self.take_free() else { return };
            self.send(index, free_since_ns);
            self.set_next(now_ns);
        }
    }

    fn set_next(&mut self, now_ns: u64) {
        let over = self.job.order.is_over(self.job.keys.len());
        self.next_ns = if over { u64::MAX } else { self.job.pace.next_ns(now_ns) };
    }

    /// Sends the next request on a free channel.
    fn send(&mut self, index: usize, free_since_ns: u64) {
        let key = self.job.order.next(|| self.random.random_range(0..self.job.keys.len()));
        let channel = &mut self.channels[index];
        let requests = &mut self.requests[channel.target];
        let set = if requests.len() == 1 { 0 } else { self.random.random_range(0..requests.len()) };
        let request = requests[set].for_code(self.job.keys.get(key).code);
        let sent_ns = ns_between(self.start, Instant::now());
        let intended_ns = if self.job.pace.is_closed() { sent_ns } else { self.next_ns };
        let sent = channel.send(request, InFlight { intended_ns, sent_ns, key });
        if intended_ns >= self.job.warm_up_ns {
            self.tally.no_connection_free += u64::from(free_since_ns > intended_ns);
            self.tally.send_delay.record(sent_ns.saturating_sub(intended_ns.max(free_since_ns)));
        }
        match sent {
            Ok(()) => self.waiting += 1,
            Err(reason) => {
                self.count_error(intended_ns, reason);
                self.reopen(index);
            }
        }
    }

    /// The channel that has been free for longest, and since when.
    fn take_free(&mut self) -> Option<(usize, u64)> {
        while let Some(index) = self.free.pop_front() {
            let channel = &mut self.channels[index];
            channel.queued = false;
            if let State::Free { since_ns } = channel.state {
                return Some((index, since_ns));
            }
        }
        None
    }

    /// Waits for events until shortly before the next intended start; returns their number and the idle time.
    fn wait(&mut self, events: &mut [EpollEvent]) -> io::Result<(usize, u64)> {
        let before_ns = self.now_ns();
        let due_in_ns = match self.next_ns {
            next_ns if next_ns >= self.job.end_ns => HOUSEKEEPING_NS,
            // Overdue, but no channel is free: only an answer helps.
            next_ns if next_ns <= before_ns && self.free.is_empty() => HOUSEKEEPING_NS,
            next_ns => next_ns.saturating_sub(before_ns),
        };
        let sleeps = due_in_ns > SPIN_NS;
        let timeout = if due_in_ns >= HOUSEKEEPING_NS {
            EpollTimeout::from(HOUSEKEEPING_MS)
        } else if sleeps {
            let sleep_ns = due_in_ns - SPIN_NS;
            let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(sleep_ns)));
            self.timer.set(expiration, TimerSetTimeFlags::empty())?;
            EpollTimeout::NONE
        } else {
            EpollTimeout::ZERO
        };
        let ready = match self.epoll.wait(events, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            result => result?,
        };
        let idle = sleeps || (ready == 0 && due_in_ns > 0);
        Ok((ready, if idle { self.now_ns() - before_ns } else { 0 }))
    }

    /// Takes events one by one; what is due goes out between them, so that a burst of answers holds nothing up.
    fn take_events(&mut self, events: &[EpollEvent]) {
        for event in events {
            if event.data() != TIMER {
                #[allow(clippy::cast_possible_truncation)]
                self.take_event(event.data() as usize, event.events());
                self.send_due(self.now_ns(), 1);
            }
        }
    }

    fn take_event(&mut self, index: usize, flags: EpollFlags) {
        let ended = flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        match self.channels[index].state {
            State::Closed { .. } => {}
            State::Connecting if ended => self.close(index),
            State::Connecting => match self.channels[index].connected() {
                Ok(()) => self.set_free(index),
                Err(_) => self.close(index),
            },
            State::Free { .. } | State::Ending { .. } if ended => self.reopen(index),
            State::Free { .. } | State::Ending { .. } => {}
            State::Waiting(in_flight) => {
                // Writable is part of every event; only what can be read matters here.
                if flags.contains(EpollFlags::EPOLLIN) || ended {
                    self.take_answer(index, in_flight, ended);
                }
            }
        }
    }

    fn take_answer(&mut self, index: usize, in_flight: InFlight, ended: bool) {
        let read = self.channels[index].read();
        let read_ns = ns_between(self.start, Instant::now());
        let (judged, stays_open) = match read {
            Read1::More => return,
            Read1::Answer(answer) => {
                let key = self.job.keys.get(in_flight.key);
                (judge(&answer, key.long_url), answer.keep_alive && !ended)
            }
            Read1::Failed(reason) => (Err(reason.to_owned()), false),
        };
        self.waiting -= 1;
        self.job.answers.fetch_add(1, Ordering::Relaxed);
        self.tally.last_answer_ns = read_ns;
        match judged {
            Ok(()) => self.count_redirect(in_flight, read_ns),
            Err(reason) => self.count_error(in_flight.intended_ns, &reason),
        }
        if self.job.connection_per_request && !ended {
            self.channels[index].state = State::Ending { since_ns: read_ns };
        } else if stays_open {
            self.set_free(index);
        } else {
            self.reopen(index);
        }
    }

    fn count_redirect(&mut self, in_flight: InFlight, read_ns: u64) {
        let latency_ns = read_ns.saturating_sub(in_flight.intended_ns);
        self.second.record(latency_ns);
        self.tally.received += 1;
        if in_flight.intended_ns < self.job.warm_up_ns {
            self.tally.warm_up += 1;
            return;
        }
        self.tally.redirected += 1;
        self.tally.latency.record(latency_ns);
        if self.tally.answers.len() < self.job.answers_kept {
            self.tally.answers.push((in_flight.intended_ns, latency_ns));
        }
        self.tally.service.record(read_ns.saturating_sub(in_flight.sent_ns));
    }

    fn count_error(&mut self, intended_ns: u64, reason: &str) {
        self.second_errors += 1;
        if intended_ns < self.job.warm_up_ns {
            self.tally.warm_up += 1;
        } else {
            self.tally.failed(reason);
        }
    }

    fn set_free(&mut self, index: usize) {
        let since_ns = self.now_ns();
        let channel = &mut self.channels[index];
        channel.state = State::Free { since_ns };
        if !channel.queued {
            channel.queued = true;
            self.free.push_back(index);
        }
    }

    /// Opens a channel again at once.
    fn reopen(&mut self, index: usize) {
        self.tally.reconnects += 1;
        let channel = &mut self.channels[index];
        let opened = channel.reconnect(&self.job.targets[channel.target]);
        if opened.and_then(|()| watch(&self.epoll, &self.channels[index], index)).is_err() {
            self.close(index);
        }
    }

    /// Leaves a channel alone for a while.
    fn close(&mut self, index: usize) {
        self.channels[index].state = State::Closed { retry_at_ns: self.now_ns() + RETRY_NS };
    }

    /// Ends requests that have waited too long, opens closed channels again, hands the counts on.
    fn keep_house(&mut self, now_ns: u64) {
        for index in 0..self.channels.len() {
            match self.channels[index].state {
                State::Closed { retry_at_ns } if retry_at_ns <= now_ns => self.reopen(index),
                State::Waiting(in_flight) if in_flight.sent_ns + self.job.timeout_ns <= now_ns => {
                    self.waiting -= 1;
                    self.count_error(in_flight.intended_ns, "timeout");
                    self.reopen(index);
                }
                State::Ending { since_ns } if since_ns + self.job.timeout_ns <= now_ns => {
                    self.count_error(since_ns, "not_closed");
                    self.reopen(index);
                }
                _ => {}
            }
        }
        if self.job.series.try_add(self.second.count(), self.second_errors, &self.second) {
            self.second.clear();
            self.second_errors = 0;
        }
    }

    /// Counts what is left when the run ends.
    fn finish(&mut self, idle_ns: u64) {
        let elapsed_ns = self.now_ns();
        self.tally.idle_share = idle_ns as f64 / elapsed_ns.max(1) as f64;
        let reason = if self.job.stop.is_set() { "interrupted" } else { "timeout" };
        for index in 0..self.channels.len() {
            if let State::Waiting(in_flight) = self.channels[index].state {
                self.count_error(in_flight.intended_ns, reason);
            }
        }
        // After an early end only what was due by then counts as unsent.
        let end_ns = if self.job.stop.is_set() { self.job.end_ns.min(elapsed_ns) } else { self.job.end_ns };
        while self.next_ns < end_ns && !self.job.pace.is_closed() {
            if self.next_ns < self.job.warm_up_ns {
                self.tally.warm_up += 1;
            } else {
                self.tally.unsent += 1;
            }
            self.set_next(elapsed_ns);
        }
    }
}

fn watch(epoll: &Epoll, channel: &Channel, index: usize) -> io::Result<()> {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    Ok(epoll.add(channel, EpollEvent::new(flags, index as u64))?)
}
