//! A few requests of every kind, one after the other, for faults that are made one at a time: sweeps.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::client::Client;
use super::history::{Answer, Call, Entry, Recorder, Request};
use super::look::Look;
use crate::fleet::Fleet;

/// Links made in one go, most of them with generated codes: more than the writer has at hand, so that codes are leased.
const CREATES: u64 = 12;
/// Limited links made in one go, how often each may be followed, and how often it is tried whenever one is followed.
const LIMITED: u64 = 2;
const MAX_CLICKS: u64 = 5;
const VISITS: usize = 3;
/// Limited links that are followed: those of this go and of some before, so that a fault finds them half used.
const LIMITED_FOLLOWED: usize = 6;

/// Settings of a fleet for this: codes are leased with nearly every step, so that leases fall among what fails, and a proxy that is started
/// while the writer is away serves at once.
pub const LEASES_OFTEN: [&str; 5] = [
    "proxy.ready.without_writer_after_ms=0",
    "admin.codes.block=10",
    "admin.codes.low_watermark=5",
    "keypool.pool.low_watermark=2000",
    "keypool.pool.high_watermark=4000",
];

/// The requests, and the history they are in.
#[derive(Debug)]
pub struct Steps<'a> {
    fleet: &'a Fleet,
    recorder: Recorder,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    /// Codes made since the last quiet point, and all of them.
    recent: Vec<String>,
    every: BTreeSet<String>,
    /// Limited links, oldest first.
    limited: Vec<String>,
    /// Those somebody asked to delete, whatever came of it.
    deleted: BTreeSet<String>,
    away_since_us: Option<u64>,
}

impl<'a> Steps<'a> {
    /// Begins a history.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn of(fleet: &'a Fleet, history: &Path) -> anyhow::Result<Steps<'a>> {
        Ok(Steps { fleet, recorder: Recorder::begin(history)?, state: RefCell::default() })
    }

    /// What was recorded so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.recorder.entries()
    }

    /// Changes that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        let acknowledged = |entry: &&Entry| {
            matches!(entry, Entry::Call(Call { answer: Answer::Done { .. } | Answer::Deleted, .. }))
        };
        self.entries().iter().filter(acknowledged).count() as u64
    }

    /// Redirects that came so far.
    pub fn redirects(&self) -> u64 {
        let redirect = |entry: &&Entry| {
            matches!(
                entry,
                Entry::Call(Call { request: Request::Follow { .. }, answer: Answer::Target { .. }, .. })
            )
        };
        self.entries().iter().filter(redirect).count() as u64
    }

    /// A part is about to be killed; it is whole again at the next quiet point.
    pub fn away(&self, part: &str) {
        if part.starts_with("proxy-") {
            self.state.borrow_mut().away_since_us = Some(self.recorder.now_us());
        }
    }

    /// Where it is recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Makes, changes, deletes and follows links, some of which end with a number of clicks.
    ///
    /// # Errors
    /// An address that is none.
    pub fn work(&self) -> anyhow::Result<()> {
        let mut client = Client::of(self.fleet.ready(), &self.recorder)?;
        let mut state = self.state.borrow_mut();
        for create in 0..CREATES {
            let target = state.target();
            let alias = (create % 4 == 0).then(|| format!("step-{}", state.number));
            if let Answer::Done { code, .. } =
                client.call(Request::Create { alias, target, max_clicks: None })
            {
                state.recent.push(code.clone());
                state.every.insert(code);
            }
        }
        for _ in 0..LIMITED {
            let target = state.target();
            let limited = Request::Create { alias: None, target, max_clicks: Some(MAX_CLICKS) };
            if let Answer::Done { code, .. } = client.call(limited) {
                state.limited.push(code.clone());
                state.every.insert(code);
            }
        }
        for (index, code) in state.recent.clone().into_iter().enumerate() {
            let target = state.target();
            match index % 3 {
                0 => client.call(Request::Update { code: code.clone(), target }),
                1 if index > 3 => {
                    state.deleted.insert(code.clone());
                    client.call(Request::Delete { code: code.clone() })
                }
                _ => client.call(Request::Get { code: code.clone() }),
            };
            client.call(Request::Follow { proxy: 0, code });
        }
        for code in state.limited.iter().rev().take(LIMITED_FOLLOWED) {
            for _ in 0..VISITS {
                client.call(Request::Follow { proxy: 0, code: code.clone() });
            }
        }
        Ok(())
    }

    /// Waits until all is well and looks at what was made since the last time.
    ///
    /// # Errors
    /// A part does not answer.
    pub fn when_quiet(&self) -> anyhow::Result<()> {
        let recent = std::mem::take(&mut self.state.borrow_mut().recent);
        self.look(&recent)
    }

    /// The same for everything that was ever made, with the list, the limits and the counts, which only the end shows.
    ///
    /// # Errors
    /// A part does not answer, or counts do not become complete.
    pub fn everything(&self) -> anyhow::Result<()> {
        let every: Vec<String> = self.state.borrow().every.iter().cloned().collect();
        self.look(&every)?;
        let look = Look::at(self.fleet, &self.recorder)?;
        look.at_the_end(&self.state.borrow().deleted)?;
        self.recorder.flush()
    }

    fn look(&self, codes: &[String]) -> anyhow::Result<()> {
        let look = Look::at(self.fleet, &self.recorder)?;
        look.wait_until_whole()?;
        if let Some(begin_us) = self.state.borrow_mut().away_since_us.take() {
            let end_us = self.recorder.now_us();
            self.recorder.add(Entry::Away { proxy: 0, begin_us, end_us });
        }
        look.at_all(codes)
    }
}

impl State {
    fn target(&mut self) -> String {
        self.number += 1;
        format!("https://example.org/step/{}", self.number)
    }
}
