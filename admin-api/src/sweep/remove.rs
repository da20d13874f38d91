//! The records by which links are removed: each names the version it was decided on.

use linklog::limits::PROPOSAL_CHANGES_MAX;
use linklog::store::StoredLink;
use linklog::writer::Decision;
use linklog::{Change, Key, LinkState, Operation, Part, Precondition, StateKey};

use super::status::Why;
use super::{ACTOR, Action, Sweep};
use crate::links::ChangeError;

impl Sweep {
    /// Removes links as they were read; one that was changed since stays.
    pub(super) async fn remove(
        &self,
        links: Vec<(Key, StoredLink)>,
        why: Why,
        now_ms: u64,
    ) -> Result<(), ChangeError> {
        let due = links.len() as u64;
        if due == 0 {
            return Ok(());
        }
        let mut removed = 0;
        let mut changes = Vec::with_capacity(links.len());
        for (key, stored) in &links {
            if stored.link.extras.limit.is_some() && self.is_deleted(stored) {
                let is_gone = self.0.links.delete_limited(*key, stored.stamp.version, ACTOR).await?;
                removed += u64::from(is_gone);
            } else {
                changes.push(self.removal(*key, stored, now_ms)?);
            }
        }
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(PROPOSAL_CHANGES_MAX));
            let decisions = self.0.links.log.propose(std::mem::replace(&mut changes, rest)).await?;
            for decision in decisions {
                match decision {
                    Decision::Applied { .. } => removed += 1,
                    Decision::Invalid(invalid) => return Err(invalid.into()),
                    Decision::Conflict(_) | Decision::Replayed(_) => {}
                }
            }
        }
        self.0.status.swept(why, removed, due - removed, now_ms);
        Ok(())
    }

    /// Nothing is worth keeping of an alias that was reserved and never used.
    fn is_deleted(&self, stored: &StoredLink) -> bool {
        self.0.options.action == Action::Delete || stored.link.state == LinkState::Reserved
    }

    fn removal(&self, key: Key, stored: &StoredLink, now_ms: u64) -> Result<Change, ChangeError> {
        let links = &self.0.links;
        if self.is_deleted(stored) {
            return Ok(links.deletion(key, stored, ACTOR));
        }
        let mut manage = stored.manage.clone();
        manage.archived_at_ms = Some(now_ms);
        manage.updated_at_ms = now_ms;
        manage.last_changed_by = Some(ACTOR.to_owned());
        let operation = Operation::Put { serve: stored.link.encode(), manage: manage.encode() };
        let precondition = Precondition::Version(stored.stamp.version);
        let change = Change::new(ACTOR, vec![Part { key: StateKey::Link(key), precondition, operation }]);
        links.levels.check(&change)?;
        Ok(change)
    }
}
