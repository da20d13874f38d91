//! What the writer is told of a budget, and when; what is idle goes back.

use std::time::{Duration, Instant};

use dashmap::Entry;
use linklog::Position;

use super::{Budgets, quotas};

/// A budget nobody has spent of for this long goes back.
const IDLE: Duration = Duration::from_millis(400);
/// How often the writer is told of what is spent while more is at hand.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often it is told again what it has not settled.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// How often it is told of what is spent of a quota: that makes no record.
const TELL_OF_QUOTA_EVERY: Duration = Duration::from_secs(1);
/// How often it is told that again: it may have begun anew since.
const REPEAT_OF_QUOTA_EVERY: Duration = Duration::from_secs(5);

/// What the writer is to be told of a budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) key: Box<[u8]>,
    pub(super) created: Position,
    pub(super) spent: u64,
    pub(super) returned: u64,
}

/// What comes of looking at a budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The writer is to be told.
    Tell(Told),
    /// To be looked at again.
    Later,
    /// There is nothing to it any more.
    Done,
}

impl Budgets {
    /// What is to be told of a budget now; gives back what is idle, or all of it if it `must`. Forgets what is settled.
    pub(super) fn step(&self, link: &[u8], now: Instant, must: bool) -> Step {
        let quota = quotas::id_of(link);
        let Entry::Occupied(mut entry) = self.held.entry(link.into()) else { return Step::Done };
        let held = entry.get_mut();
        if quota.is_some_and(|id| self.is_over(id, held.created)) {
            // Nobody misses what is left of it.
            self.slots.release(held.place);
            entry.remove();
            return Step::Done;
        }
        let at_hand = held.at_hand();
        let is_idle = || quota.is_none() && now.saturating_duration_since(held.used_at) >= IDLE;
        if at_hand > 0 && (must || is_idle()) {
            held.returned += at_hand;
            self.slots.set_returned(held.place, held.returned);
        }
        let is = (held.spent, held.returned);
        if held.at_hand() == 0 && is == held.settled {
            self.slots.release(held.place);
            entry.remove();
            return Step::Done;
        }
        let (tell_every, repeat_every) = match quota {
            None => (TELL_EVERY, REPEAT_EVERY),
            // What was given back is waited for.
            Some(_) if held.returned > held.settled.1 => (TELL_OF_QUOTA_EVERY, REPEAT_EVERY),
            Some(_) => (TELL_OF_QUOTA_EVERY, REPEAT_OF_QUOTA_EVERY),
        };
        let since = held.told_at.map(|at| now.saturating_duration_since(at));
        let is_due = match is == held.told {
            false => held.at_hand() == 0 || since.is_none_or(|since| since >= tell_every),
            true => is != held.settled && since.is_none_or(|since| since >= repeat_every),
        };
        if !is_due && !must {
            return Step::Later;
        }
        (held.told, held.told_at) = (is, Some(now));
        Step::Tell(Told { key: link.into(), created: held.created, spent: is.0, returned: is.1 })
    }
}
