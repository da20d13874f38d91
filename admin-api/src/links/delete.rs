//! Deleting a link: its key becomes a tombstone, and a generated code never comes back.

use linklog::writer::Decision;
use linklog::{Change, Key, LinkState, Operation, Part, Precondition, StateKey};

use super::condition::Condition;
use super::{ChangeError, Links, TRIES_MAX};
use crate::auth::Caller;
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
        for _ in 0..TRIES_MAX {
            let stored = self.get(key).await?;
            let version = stored.stamp.version;
            if !condition.allows(version) {
                return Err(ChangeError::VersionMismatch { found: version });
            }
            if stored.link.state == LinkState::Banned && !caller.is_admin() {
                return Err(ChangeError::Banned);
            }
            let precondition = Precondition::Version(version);
            let part = Part { key: StateKey::Link(key), precondition, operation: Operation::Delete };
            let change = Change::new(caller.token.to_string(), vec![part]);
            match self.log.propose(vec![change]).await?.pop() {
                Some(Decision::Applied { position, .. }) => {
                    return self.replicated(position, skip_proxies).await;
                }
                Some(Decision::Invalid(invalid)) => return Err(invalid.into()),
                // Somebody else was faster: look again.
                _ => {}
            }
        }
        Err(ChangeError::Contended)
    }
}
