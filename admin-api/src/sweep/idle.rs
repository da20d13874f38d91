//! Links that nobody has followed or changed for long.
//!
//! No index says so: a click is not worth a row. All links old enough are looked at in the order of their creation, [`LOOKED_AT_A_STEP`]
//! of them a step, each at the price of two reads; where that was stands in a file, so a restart goes on from there.
//!
//! Owned here: a link is idle by the accounts of clicks alone, and only while they are complete. As long as any active proxy has not
//! reported of late, nothing is taken for idle: it may be leading visitors along the very link.

use std::path::Path;

use clicklog::Subject;
use linklog::store::{Find, Order, Place, Reader, StoreError, StoredLink, Term, Within};
use linklog::{Key, LinkState};

use super::status::Why;
use super::{Action, Sweep};
use crate::clicks::Clicks;
use crate::durable;
use crate::links::ChangeError;

/// Links looked at in a second.
const LOOKED_AT_A_STEP: usize = 2_000;
/// Seeks in the index for that.
const STEPS_MAX: usize = 4 * LOOKED_AT_A_STEP;
/// How long after all links were looked at it begins anew.
const AGAIN_AFTER_MS: u64 = 60 * 60_000;
/// How old the newest time may be up to which all clicks are counted.
const COMPLETE_WITHIN_MS: u64 = 60 * 60_000;

/// How far links were looked at.
#[derive(Default)]
pub(super) struct Idle {
    after: Option<Place>,
    written: Option<Place>,
    not_before_ms: u64,
}

impl Idle {
    /// Goes on where the file says, or begins.
    pub(super) fn open(cursor: &Path) -> Idle {
        let read = std::fs::read_to_string(cursor).ok();
        let place = read.and_then(|text| u128::from_str_radix(text.trim(), 16).ok());
        let after = place.map(|place| Place::from_bytes(place.to_be_bytes()));
        Idle { after, written: after, not_before_ms: 0 }
    }

    /// Writes down how far it is.
    pub(super) fn write(&mut self, cursor: &Path) {
        if self.after == self.written {
            return;
        }
        let written = match self.after {
            Some(place) => {
                let place = u128::from_be_bytes(place.to_bytes());
                durable::replace(cursor, format!("{place:032x}\n").as_bytes())
            }
            None => std::fs::remove_file(cursor),
        };
        match written {
            Ok(()) => self.written = self.after,
            // The next process looks at some links once more.
            Err(error) => tracing::warn!(%error, "cannot write down how far links were looked at"),
        }
    }

    /// As [`Idle::write`], at the end.
    pub(super) fn close(mut self, cursor: &Path) {
        self.write(cursor);
    }
}

impl Sweep {
    /// Looks at some links and removes those that are idle, at most `limit`; returns how many those were.
    pub(super) async fn sweep_idle(
        &self,
        idle: &mut Idle,
        limit: usize,
        now_ms: u64,
    ) -> Result<usize, ChangeError> {
        let Some(idle_ms) = self.0.options.idle_ms.filter(|_| now_ms >= idle.not_before_ms) else {
            return Ok(0);
        };
        let waits = incomplete(&self.0.links.clicks, now_ms);
        let is_waiting = waits.is_some();
        self.0.status.set_idle(|progress| progress.waits = waits);
        if is_waiting {
            return Ok(0);
        }
        let cutoff_ms = now_ms.saturating_sub(idle_ms);
        let mut none_of = vec![Term::State(LinkState::Banned), Term::State(LinkState::Reserved)];
        if self.0.options.action == Action::Archive {
            none_of.push(Term::Archived);
        }
        let what = Find {
            all_of: Vec::new(),
            none_of,
            within: Within::default(),
            created_from_ms: None,
            created_before_ms: Some(cutoff_ms),
            order: Order::OldestFirst,
            after: idle.after,
            // Fewer than what may be removed, so that all that are idle can be.
            limit: LOOKED_AT_A_STEP.min(limit.saturating_mul(10)),
            steps_max: STEPS_MAX,
        };
        let clicks = self.0.links.clicks.clone();
        let read = move |reader: &Reader| idle_links(reader, &clicks, &what, cutoff_ms);
        let mut page = self.0.links.log.read(read).await??;
        let mut next = page.next;
        if page.idle.len() > limit {
            // The rest is looked at again in the next step.
            page.idle.truncate(limit);
            next = page.idle.last().map(|(_, stored)| place_of(stored));
        }
        let removed = page.idle.len();
        self.remove(page.idle, Why::Idle, now_ms).await?;
        idle.after = next;
        self.0.status.set_idle(|progress| {
            progress.looked_at += page.looked_at;
            if next.is_none() {
                progress.all_looked_at_ms = Some(now_ms);
            }
        });
        if next.is_none() {
            idle.not_before_ms = now_ms + AGAIN_AFTER_MS;
        }
        Ok(removed)
    }
}

/// Why it cannot be said now which links nobody follows.
fn incomplete(clicks: &Clicks, now_ms: u64) -> Option<String> {
    let freshness = clicks.freshness();
    if !freshness.missing.is_empty() {
        return Some(format!("no clicks are heard of from {}", freshness.missing.join(", ")));
    }
    let complete = freshness.complete_until_ms.is_some_and(|until| until + COMPLETE_WITHIN_MS >= now_ms);
    (!complete).then(|| "the clicks of the last hour are not all counted".to_owned())
}

struct Page {
    looked_at: u64,
    idle: Vec<(Key, StoredLink)>,
    next: Option<Place>,
}

fn place_of(stored: &StoredLink) -> Place {
    Place::of(stored.manage.created_at_ms, stored.stamp.created.seq)
}

fn idle_links(reader: &Reader, clicks: &Clicks, what: &Find, cutoff_ms: u64) -> Result<Page, StoreError> {
    let found = reader.find(what)?;
    let looked_at = found.links.len() as u64;
    let unchanged = |(_, stored): &(Key, StoredLink)| {
        let begins_ms = stored.link.extras.not_before_ms.unwrap_or(0);
        stored.manage.updated_at_ms.max(stored.manage.created_at_ms).max(begins_ms) < cutoff_ms
    };
    let links: Vec<_> = found.links.into_iter().filter(unchanged).collect();
    let subjects: Vec<_> =
        links.iter().map(|(key, stored)| Subject { key: *key, created: stored.stamp.created }).collect();
    let totals = clicks.totals(&subjects)?;
    let is_idle = links.into_iter().zip(totals).filter(|(_, totals)| totals.last_click_ms < cutoff_ms);
    Ok(Page { looked_at, idle: is_idle.map(|(link, _)| link).collect(), next: found.next })
}
