//! What the log says about our budgets: granted, settled, gone; and what becomes of them in another replica or another history.

use std::sync::atomic::Ordering;
use std::time::Instant;

use dashmap::Entry;
use linklog::codec::value;
use linklog::entity::Budget;
use linklog::store::Reader;
use linklog::{Allowance, StateKey};

use super::{Budgets, Held, Work};

impl Budgets {
    /// Takes note of a served key that has changed; to be called when the replica has it.
    pub fn apply(&self, key: &[u8], serve_value: Option<&[u8]>) {
        match StateKey::decode(key) {
            Ok(StateKey::Link(_)) => self.tell_waiting(key, true),
            Ok(StateKey::Quota(id)) => {
                self.set_quota(id, serve_value);
                self.tell_waiting(key, true);
            }
            Ok(StateKey::Budget(of, member)) if member == self.member => {
                let link = of.encode();
                match serve_value.and_then(read_row) {
                    Some(row) if row.holder == self.slots.holder() => self.granted(&link, &row),
                    // Another holder's: nothing of ours is in it.
                    Some(_) => {}
                    None => self.forget(&link),
                }
                self.tell_waiting(&link, false);
            }
            _ => {}
        }
    }

    pub(super) fn tell_waiting(&self, link: &[u8], it_has_changed: bool) {
        if !self.waiting.is_empty()
            && let Some(news) = self.waiting.get(link)
        {
            if it_has_changed {
                news.link_changes.fetch_add(1, Ordering::Release);
            }
            news.told.notify_waiters();
        }
    }

    /// Takes over what the log says about our budget of a link.
    fn granted(&self, link: &[u8], row: &Budget) {
        match self.held.entry(link.into()) {
            Entry::Occupied(mut entry) if entry.get().created == row.created => {
                let held = entry.get_mut();
                let more = (row.granted - row.burned).max(held.granted);
                if more > held.granted {
                    held.granted = more;
                    held.share = held.at_hand();
                    held.asked = false;
                    held.used_at = Instant::now();
                }
                held.settled = (held.settled.0.max(row.spent), held.settled.1.max(row.returned));
            }
            Entry::Occupied(mut entry) => {
                // The link was deleted, and another one made in its place.
                if entry.get().created > row.created {
                    return;
                }
                self.slots.release(entry.get().place);
                match self.held_of(link, row) {
                    Some(held) => drop(entry.insert(held)),
                    None => drop(entry.remove()),
                }
            }
            Entry::Vacant(entry) => {
                // What is settled to the last click needs no place.
                if row.at_hand() > 0
                    && let Some(held) = self.held_of(link, row)
                {
                    drop(entry.insert(held));
                }
            }
        }
        self.work.lock().active.insert(link.into());
        self.wake.notify_one();
    }

    fn held_of(&self, link: &[u8], row: &Budget) -> Option<Held> {
        let place = self.slots.take(link, row.created, row.spent, row.returned)?;
        let granted = row.granted - row.burned;
        let settled = (row.spent, row.returned);
        Some(Held {
            created: row.created,
            place,
            granted,
            spent: row.spent,
            returned: row.returned,
            settled,
            told: settled,
            told_at: None,
            used_at: Instant::now(),
            share: row.at_hand(),
            asked: false,
        })
    }

    /// The log has no budget of ours any more: the link is gone, or used up and all of it settled.
    fn forget(&self, link: &[u8]) {
        if let Some((_, held)) = self.held.remove(link) {
            self.slots.release(held.place);
        }
    }

    /// Takes over a grant that the replica has and memory does not: an earlier process applied it.
    pub(super) fn adopt(&self, link: &[u8]) {
        // Under the entry's lock: what is forgotten meanwhile must not come back with an old row.
        if let Entry::Vacant(entry) = self.held.entry(link.into())
            && let Some(row) = self.row(link).filter(|row| row.at_hand() > 0)
            && let Some(held) = self.held_of(link, &row)
        {
            drop(entry.insert(held));
            self.work.lock().active.insert(link.into());
        }
    }

    /// Our own budget of a link, as the replica has it.
    pub(super) fn row(&self, link: &[u8]) -> Option<Budget> {
        let key = StateKey::Budget(Allowance::decode(link)?, self.member.clone()).encode();
        let row = self.reader().serve_value(&key, |value| value.and_then(read_row));
        match row {
            Ok(row) => row.filter(|row| row.holder == self.slots.holder()),
            Err(error) => {
                tracing::error!(%error, "cannot read a budget in the replica");
                None
            }
        }
    }

    /// Never held across a wait: another replica may take the place of this one.
    pub(super) fn reader(&self) -> Reader {
        self.reader.read().clone()
    }

    /// Reads from another replica from now on, and takes over what its records, which nobody has applied one by one, say about our budgets.
    ///
    /// If it is of another history, what was spent and settled may be at hand again in it. So nothing of ours counts any more: we hold budgets
    /// under another name from now on, and the writer burns what the old one had.
    pub fn switch(&self, reader: Reader, is_other_history: bool) {
        self.reload_quotas(&reader);
        *self.reader.write() = reader;
        if is_other_history {
            self.give_up();
        } else {
            let held: Vec<Box<[u8]>> = self.held.iter().map(|entry| entry.key().clone()).collect();
            for link in held {
                let Some(of) = Allowance::decode(&link) else { continue };
                let row = StateKey::Budget(of, self.member.clone()).encode();
                match self.reader().serve_value(&row, |value| value.map(<[u8]>::to_vec)) {
                    Ok(value) => self.apply(&row, value.as_deref()),
                    Err(error) => tracing::error!(%error, "cannot read a budget in the new replica"),
                }
            }
        }
        // Whatever they wait for may have changed.
        for news in &self.waiting {
            news.link_changes.fetch_add(1, Ordering::Release);
            news.told.notify_waiters();
        }
    }

    fn give_up(&self) {
        let held = self.held.len();
        self.slots.renew_holder();
        // An entry is taken out under its lock: no click of it is spent any more.
        self.held.retain(|_, held| {
            self.slots.release(held.place);
            false
        });
        *self.work.lock() = Work::default();
        self.wake.notify_one();
        tracing::warn!(
            links = held,
            "clicks of limited links that were at hand are given up: the log has another history, and the writer burns them"
        );
    }
}

fn read_row(value: &[u8]) -> Option<Budget> {
    let (stamp, body) = value::split(value).ok()?;
    Budget::decode(body).ok().filter(|_| stamp.live)
}
