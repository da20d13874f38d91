//! Aliases that somebody has: which others are free, and reservations that are over.

use linklog::store::{Reader, StoreError, StoredLink};
use linklog::writer::Decision;
use linklog::{Code, DomainId, Key, Link, LinkState};

use super::{ChangeError, Links};
use crate::alias;
use crate::clock;

/// How many free aliases are suggested.
pub const SUGGESTIONS: usize = 3;
/// How many are looked at for that.
const LOOKED_AT_MAX: u32 = 40;

impl Links {
    /// Returns aliases like one that is taken, which nobody has now.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn suggestions(&self, domain: DomainId, taken: &Code) -> Result<Vec<String>, ChangeError> {
        let lengths = self.domains.table().get(domain).and_then(|known| known.manage.alias_lengths);
        let rules = self.rules.alias.with_lengths(lengths);
        let taken = taken.as_str().to_owned();
        let look = move |reader: &Reader| -> Result<Vec<String>, StoreError> {
            let mut free = Vec::with_capacity(SUGGESTIONS);
            for text in candidates(&taken, rules.length_max) {
                // A generated code is never suggested: it may be leased already.
                let Ok(code) = alias::check(&text, &rules) else { continue };
                if code.as_code7().is_none() && reader.link(&Key::new(domain, code))?.is_none() {
                    free.push(text);
                }
                if free.len() == SUGGESTIONS {
                    break;
                }
            }
            Ok(free)
        };
        Ok(self.log.read(look).await??)
    }

    /// Releases those of some aliases that were reserved, never given a target, and whose time is over.
    pub(super) async fn release_reservations(&self, keys: Vec<Key>) -> Result<(), ChangeError> {
        if keys.is_empty() {
            return Ok(());
        }
        let now_ms = clock::now_ms();
        let over = move |reader: &Reader| -> Result<Vec<(Key, StoredLink)>, StoreError> {
            let mut over = Vec::new();
            for key in keys {
                let Some(stored) = reader.link(&key)? else { continue };
                if is_over(&stored.link, now_ms) {
                    over.push((key, stored));
                }
            }
            Ok(over)
        };
        let over = self.log.read(over).await??;
        let changes: Vec<_> =
            over.iter().map(|(key, stored)| self.deletion(*key, stored, "reservation-over")).collect();
        if !changes.is_empty() {
            // Whoever was faster has it, and the order that follows finds that out.
            let decided = self.log.propose(changes).await?;
            let released =
                decided.iter().filter(|decision| matches!(decision, Decision::Applied { .. })).count();
            tracing::info!(released, "reservations without a target are over");
        }
        Ok(())
    }
}

/// Says whether a link is a reservation whose time is over.
pub(super) fn is_over(link: &Link, now_ms: u64) -> bool {
    link.state == LinkState::Reserved && link.expires_at_ms.is_some_and(|end| end <= now_ms)
}

fn candidates(taken: &str, length_max: usize) -> impl Iterator<Item = String> {
    let taken = taken.to_owned();
    (2..2 + LOOKED_AT_MAX).map(move |n| {
        let suffix = format!("-{n}");
        let kept: String = taken.chars().take(length_max.saturating_sub(suffix.len())).collect();
        format!("{kept}{suffix}")
    })
}
