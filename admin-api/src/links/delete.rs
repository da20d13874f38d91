//! Deleting a link: its key becomes a tombstone. A generated code never comes back, unless the operator allows it ([`crate::codes::reuse`]).

use linklog::store::StoredLink;
use linklog::writer::Decision;
use linklog::{Change, Key, LinkState, Operation, Part, Precondition, StateKey};

use super::condition::Condition;
use super::keeping::external_parts;
use super::order::folded_key;
use super::{ChangeError, Links, TRIES_MAX};
use crate::auth::Caller;
use crate::budgets::Freed;
use crate::clock;
use crate::replication::ReplicationReport;

impl Links {
    /// Deletes a link.
    ///
    /// # Errors
    /// There is no such link, the condition does not hold, or the change could not be decided.
    pub async fn delete(
        &self,
        caller: Caller,
        key: Key,
        condition: &Condition,
        skip_proxies: bool,
    ) -> Result<ReplicationReport, ChangeError> {
        let mut freed: Option<Freed<'_>> = None;
        for _ in 0..TRIES_MAX {
            let stored = self.get(caller, key).await?;
            let version = stored.stamp.version;
            if !condition.allows(version) {
                return Err(ChangeError::VersionMismatch { found: version });
            }
            if stored.link.state == LinkState::Banned && !caller.is_admin() {
                return Err(ChangeError::Banned);
            }
            if stored.link.extras.limit.is_some() && freed.is_none() {
                freed = Some(self.budgets.freed_with(key).await?);
                continue;
            }
            let mut change = self.deletion(key, &stored, &caller.token.to_string());
            change.parts.extend(freed.iter().flat_map(|freed| freed.parts.clone()));
            match self.log.propose(vec![change]).await?.pop() {
                Some(Decision::Applied { position, .. }) => {
                    if let Some(freed) = freed.take() {
                        freed.done();
                    }
                    return self.replicated(position, skip_proxies).await;
                }
                Some(Decision::Invalid(invalid)) => return Err(invalid.into()),
                // Somebody else was faster: look again.
                _ => {}
            }
        }
        Err(ChangeError::Contended)
    }

    /// Deletes a link that ends with a number of clicks, at a version, with what proxies have of them; false: it has changed.
    ///
    /// # Errors
    /// The change could not be decided.
    pub(crate) async fn delete_limited(
        &self,
        key: Key,
        version: u64,
        actor: &str,
    ) -> Result<bool, ChangeError> {
        let freed = self.budgets.freed_with(key).await?;
        let stored = self.log.read(move |reader| reader.link(&key)).await??;
        let Some(stored) = stored.filter(|stored| stored.stamp.version == version) else { return Ok(false) };
        let mut change = self.deletion(key, &stored, actor);
        change.parts.extend(freed.parts.iter().cloned());
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { .. }) => {
                freed.done();
                Ok(true)
            }
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
            _ => Ok(false),
        }
    }

    /// The change that deletes a link at a version, and gives up what its name claims besides.
    pub(crate) fn deletion(&self, key: Key, stored: &StoredLink, actor: &str) -> Change {
        let version = stored.stamp.version;
        let delete = |key, precondition| Part { key, precondition, operation: Operation::Delete };
        let mut parts = vec![delete(StateKey::Link(key), Precondition::Version(version))];
        let folded = self.domains.table().get(key.domain).is_some_and(|known| known.answers.folded);
        if let Some(claim) = folded_key(key).filter(|_| folded) {
            parts.push(delete(claim, Precondition::Any));
        }
        parts.extend(external_parts(&key, Some(&stored.manage), None));
        // The mark came with a later format level: no deletion is held up for it.
        if self.levels.is_highest() {
            parts.extend(self.reuse.mark(key, stored, clock::now_ms()));
        }
        Change::new(actor, parts)
    }
}
