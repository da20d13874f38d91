//! Links that ended long enough ago, those first whose end lies back longest.
//!
//! Found by the index, one row per link that has an end, so what is read is what is removed. Within some minutes no row is looked at twice:
//! rows that are gone cost a seek as much as others until the database has forgotten them.

use linklog::store::{End, Ends, Reader, StoreError, StoredLink, end_of};
use linklog::{Key, LinkState};

use super::status::Why;
use super::{Action, Sweep, SweepOptions};
use crate::links::ChangeError;

/// How long what was passed over is not looked at again.
const AGAIN_AFTER_MS: u64 = 10 * 60_000;

/// How far the rows were looked at.
#[derive(Default)]
pub(super) struct Ended {
    since_ms: u64,
    /// By whether the links are put aside.
    after: [Option<End>; 2],
}

/// What is due at `now_ms` (milliseconds since the Unix epoch): also what is put aside already, if it is to be deleted.
pub(super) fn due(options: &SweepOptions, limit: usize, now_ms: u64) -> impl Iterator<Item = Ends> + use<> {
    let before_ms = now_ms.saturating_sub(options.keep_ms);
    let archived: &[bool] = match options.action {
        Action::Delete => &[false, true],
        Action::Archive => &[false],
    };
    archived.iter().map(move |archived| Ends { archived: *archived, before_ms, limit })
}

impl Sweep {
    /// Removes links that have ended, at most `limit`; returns how many were looked at.
    pub(super) async fn sweep_ended(
        &self,
        ended: &mut Ended,
        limit: usize,
        now_ms: u64,
    ) -> Result<usize, ChangeError> {
        if now_ms.saturating_sub(ended.since_ms) >= AGAIN_AFTER_MS {
            *ended = Ended { since_ms: now_ms, ..Ended::default() };
        }
        let mut looked_at = 0;
        for what in due(&self.0.options, limit, now_ms) {
            let what = Ends { limit: limit - looked_at, ..what };
            let after = ended.after[usize::from(what.archived)].clone();
            let read = move |reader: &Reader| ended_links(reader, &what, after.as_ref());
            let Page { rows, links } = self.0.links.log.read(read).await??;
            let Some(last) = rows.last() else { continue };
            looked_at += rows.len();
            self.remove(links, Why::Ended, now_ms).await?;
            ended.after[usize::from(what.archived)] = Some(last.clone());
            if looked_at == limit {
                break;
            }
        }
        Ok(looked_at)
    }
}

/// Rows of the index, and those of their links that are due.
struct Page {
    rows: Vec<End>,
    links: Vec<(Key, StoredLink)>,
}

/// Reads the links as they are now: the row of one that was changed since says nothing.
fn ended_links(reader: &Reader, what: &Ends, after: Option<&End>) -> Result<Page, StoreError> {
    let rows = reader.ended(what, after)?;
    let mut links = Vec::with_capacity(rows.len());
    for End { key, .. } in &rows {
        let is_due = |stored: &StoredLink| {
            end_of(&stored.link, &stored.manage).is_some_and(|end| end < what.before_ms)
                && stored.link.state != LinkState::Banned
        };
        links.extend(reader.link(key)?.filter(is_due).map(|stored| (*key, stored)));
    }
    Ok(Page { rows, links })
}
