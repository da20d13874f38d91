//! Links that end with a number of clicks, when nobody knows any more how often they were followed: they have ended.

use linklog::link::LinkView;
use linklog::link::extras::ExtrasView;
use linklog::store::StoreError;
use linklog::writer::Writer;
use linklog::{Key, StateKey};

use super::{RestoreError, propose};
use crate::budgets;

/// How many links are looked for at once.
const LINKS_AT_ONCE: usize = 10_000;

/// Uses up every limited link; returns how many there were, and how many clicks they had left.
pub(super) fn all(writer: &Writer) -> Result<(u64, u64), RestoreError> {
    let reader = writer.reader();
    let (mut links, mut clicks, mut from) = (0, 0, Vec::new());
    loop {
        let (found, next) = limited(writer, &from)?;
        for key in &found {
            links += 1;
            while let Some((change, burned)) = budgets::burning(&reader, key)? {
                propose(writer, vec![change])?;
                clicks += burned;
            }
        }
        match next {
            Some(next) => from = next,
            None => return Ok((links, clicks)),
        }
    }
}

/// Returns limited links from a key on that have not ended, and the key to go on from.
fn limited(writer: &Writer, from: &[u8]) -> Result<(Vec<Key>, Option<Vec<u8>>), StoreError> {
    let (mut found, mut next) = (Vec::new(), None);
    writer.reader().scan_served(from, |key, value| {
        // Links come first in the order of keys.
        let Ok(StateKey::Link(link)) = StateKey::decode(key) else { return false };
        if found.len() == LINKS_AT_ONCE {
            next = Some(key.to_vec());
            return false;
        }
        // What does not decode cannot be followed either.
        let view = LinkView::of_value(value).ok().flatten().filter(|view| !view.extras.is_empty());
        let limit =
            view.and_then(|view| ExtrasView::decode(view.extras).ok()).and_then(|extras| extras.limit);
        found.extend(limit.filter(|limit| !limit.is_used_up()).map(|_| link));
        true
    })?;
    Ok((found, next))
}
