//! A history by link: what changed it, what was seen of it.

use std::collections::{BTreeMap, HashMap};

use crate::fault::history::{Answer, Call, Entry, Replica, Request, Server};
use crate::fault::writes::Write;

/// What a loss of power may take of the clicks before it, microseconds: `click_sync_ms` as it is by default, and half of it again, since the
/// sync that is due has to be done too, on a machine that is busy.
const UNSYNCED_US: u64 = 1_500_000;

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Writer,
    Proxy(u16),
}

/// A look at a link that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) place: Place,
    pub(super) begin_us: u64,
    pub(super) end_us: u64,
    /// `None`: there is no such link.
    pub(super) target: Option<&'a str>,
    /// The answer said that the link has ended.
    pub(super) ended: bool,
}

/// Everything about one link.
#[derive(Debug, Default)]
pub(super) struct Link<'a> {
    pub(super) writes: Vec<Write>,
    pub(super) looks: Vec<Look<'a>>,
    /// Claims of it as an alias that were told it is taken.
    pub(super) refused_claims: Vec<&'a Call>,
    pub(super) max_clicks: Option<u64>,
    /// Redirects received.
    pub(super) received: u64,
    /// From which proxy each of them came, and when it was there.
    received_us: Vec<(u16, u64)>,
    /// When each visit began that may have been a redirect: received, or without an answer.
    pub(super) attempts_us: Vec<u64>,
}

/// A history, taken apart.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) links: BTreeMap<&'a str, Link<'a>>,
    /// Acknowledged codes that were not asked for as an alias, in order.
    pub(super) generated: Vec<&'a str>,
    /// Which request set a target: its link, if that is known.
    pub(super) targets: HashMap<&'a str, Option<&'a str>>,
    pub(super) quiets: Vec<(u64, u64, &'a [Replica])>,
    /// The writer and its standbys at those times, in the same order.
    pub(super) servers: Vec<&'a [Server]>,
    pub(super) away: Vec<(u16, u64, u64)>,
    /// A proxy lost its replica or its memory, and what it had of limited links with it.
    damaged: bool,
    /// Which proxy lost its power, from when to when.
    power_lost: Vec<(u16, u64, u64)>,
    /// Clicks burned of limited links, as the end shows them.
    burned: HashMap<&'a str, u64>,
}

impl<'a> Index<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Index<'a> {
        let mut index = Index { entries, ..Index::default() };
        for entry in entries {
            match entry {
                Entry::Call(call) => index.call(call),
                Entry::Damaged { .. } => index.damaged = true,
                Entry::PowerLost { proxy, begin_us, end_us } => {
                    index.damaged = true;
                    index.power_lost.push((*proxy, *begin_us, *end_us));
                }
                Entry::Standing { code, burned, .. } => drop(index.burned.insert(code, *burned)),
                Entry::Away { proxy, begin_us, end_us } => index.away.push((*proxy, *begin_us, *end_us)),
                Entry::Quiet { at_us, head_seq, replicas, servers } => {
                    index.quiets.push((*at_us, *head_seq, replicas));
                    index.servers.push(servers);
                }
                _ => {}
            }
        }
        index.learn_versions();
        index
    }

    /// How many clicks of a link may be lost: kills leave a proxy's memory alone, but with its replica goes what it had at hand or had spent and
    /// not told. Of a link that was deleted nobody knows how many.
    pub(super) fn may_be_lost(&self, code: &str) -> u64 {
        if self.damaged { self.burned.get(code).copied().unwrap_or(u64::MAX) } else { 0 }
    }

    /// How many of the redirects received need not be counted: those of the last moment before a loss of power.
    pub(super) fn may_be_uncounted(&self, link: &Link<'_>) -> u64 {
        let is_lost = |(from, at): &&(u16, u64)| {
            self.power_lost.iter().any(|(proxy, begin_us, end_us)| {
                proxy == from && begin_us.saturating_sub(UNSYNCED_US) <= *at && at <= end_us
            })
        };
        link.received_us.iter().filter(is_lost).count() as u64
    }

    fn call(&mut self, call: &'a Call) {
        if let Some((_, write)) = Write::of(call) {
            self.write(call, write);
        }
        match (&call.request, &call.answer) {
            (Request::Get { code }, answer) => self.look(call, Place::Writer, code, answer),
            (Request::Follow { proxy, code }, answer) => {
                self.look(call, Place::Proxy(*proxy), code, answer);
                let link = self.links.entry(code).or_default();
                if matches!(answer, Answer::Target { .. }) {
                    link.received += 1;
                    link.received_us.push((*proxy, call.end_us));
                }
                if matches!(answer, Answer::Target { .. } | Answer::Unknown { .. }) {
                    link.attempts_us.push(call.begin_us);
                }
            }
            (Request::Create { alias: Some(alias), .. }, Answer::Refused { status: 409, .. }) => {
                self.links.entry(alias).or_default().refused_claims.push(call);
            }
            _ => {}
        }
    }

    fn write(&mut self, call: &'a Call, write: Write) {
        let code: Option<&'a str> = match (&call.request, &call.answer) {
            (_, Answer::Done { code, .. }) => Some(code),
            (Request::Create { alias, .. }, _) => alias.as_deref(),
            (Request::Update { code, .. } | Request::Delete { code }, _) => Some(code),
            _ => None,
        };
        if let Request::Create { target, .. } | Request::Update { target, .. } = &call.request {
            self.targets.insert(target, code);
        }
        let Some(code) = code else { return };
        let link = self.links.entry(code).or_default();
        if let Request::Create { alias, max_clicks, .. } = &call.request {
            link.max_clicks = link.max_clicks.or(*max_clicks);
            if alias.is_none() && write.is_acknowledged() {
                self.generated.push(code);
            }
        }
        link.writes.push(write);
    }

    fn look(&mut self, call: &Call, place: Place, code: &'a str, answer: &'a Answer) {
        let (target, ended) = match answer {
            Answer::Target { target, .. } => (Some(target.as_str()), false),
            Answer::Refused { status: 404, .. } => (None, false),
            Answer::Refused { status: 410, .. } => (None, true),
            _ => return,
        };
        let look = Look { place, begin_us: call.begin_us, end_us: call.end_us, target, ended };
        self.links.entry(code).or_default().looks.push(look);
    }

    /// A change whose own answer was lost gets its version from somebody who saw it.
    fn learn_versions(&mut self) {
        for entry in self.entries {
            let Entry::Call(Call {
                request: Request::Get { code },
                answer: Answer::Target { target, version: Some(version) },
                ..
            }) = entry
            else {
                continue;
            };
            let link = self.links.entry(code).or_default();
            let made = link.writes.iter_mut().find(|write| write.target.as_deref() == Some(target));
            if let Some(write) = made {
                write.version = write.version.or(Some(*version));
            }
        }
    }

    /// Whether an acknowledged change has to be seen at a place by a look that begins and ends then.
    pub(super) fn must_show(&self, write: &Write, look: &Look<'_>) -> bool {
        if !write.is_acknowledged() || write.end_us >= look.begin_us {
            return false;
        }
        let Place::Proxy(proxy) = look.place else { return true };
        // A kill takes with it what the proxy had not on disk.
        let is_away = |(who, begin, end): &(u16, u64, u64)| {
            *who == proxy && *begin <= look.end_us && look.begin_us <= *end
        };
        if self.away.iter().any(is_away) {
            return false;
        }
        let known_since = |(at, _, _): &(u64, u64, &[Replica])| write.end_us <= *at && *at <= look.begin_us;
        write.was_applied_by(proxy) || self.quiets.iter().any(known_since)
    }

    /// Whether a proxy was killed, or not yet back, at some time between two instants.
    pub(super) fn was_away(&self, place: Place, from_us: u64, to_us: u64) -> bool {
        let Place::Proxy(proxy) = place else { return false };
        self.away.iter().any(|(who, begin, end)| *who == proxy && *begin <= to_us && from_us <= *end)
    }
}
