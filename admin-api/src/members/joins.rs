//! The writer's task that lets joining sync members count. What decides is [`super::joining`]; a new writer goes on with it.

use std::time::Duration;

use linklog::entity::MemberState;
use linklog::store::{Reader, StoreError};
use linklog::writer::{Decision, ProposeError};
use tokio_util::sync::CancellationToken;

use super::joining::{self, Joiners};
use super::{Members, set_state, with_versions};
use crate::log::{Ending, Log};
use crate::replication::Replication;

/// How often it is looked whether the others have what they need, while somebody joins.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// When to try again what failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a step was not taken; it is tried again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ending(#[from] Ending),
}

/// Lets members count when enough of the others know of them.
pub(crate) struct Joins {
    /// Without its gate: as with every change of a member, nobody has to confirm it first.
    pub(crate) log: Log,
    pub(crate) members: Members,
    pub(crate) replication: Replication,
}

impl Joins {
    /// Does so until `stop`, or until this writer was replaced.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut changes = self.members.changes();
        let mut joiners = Joiners::default();
        loop {
            let someone_joins = changes.borrow_and_update().values().any(joining::is_joining);
            let again = match someone_joins {
                false => None,
                true => match self.step(&mut joiners).await {
                    Ok(()) => Some(LOOK_EVERY),
                    Err(StepError::Propose(ProposeError::Fenced)) => return,
                    Err(error) => {
                        tracing::warn!(%error, "could not let a sync member count, trying again");
                        Some(AGAIN_AFTER)
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
        }
    }

    async fn step(&self, joiners: &mut Joiners) -> Result<(), StepError> {
        loop {
            let read = |reader: &Reader| Ok::<_, StoreError>((with_versions(reader)?, reader.head()?));
            let (members, head) = self.log.read(read).await??;
            joiners.note(&members, head.position.seq.0);
            let synced_seq = |name: &str| self.replication.synced_seq(name);
            let ready = joiners.ready(&members, self.replication.min_sync_replicas(), synced_seq);
            let Some((name, version)) = ready else { return Ok(()) };
            let Some((member, _)) = members.get(&name) else { return Ok(()) };
            let change = set_state(&name, member, version, MemberState::Active);
            let Some(Decision::Applied { .. }) = self.log.propose(vec![change]).await?.pop() else {
                // It was changed meanwhile: looked at again soon.
                return Ok(());
            };
            self.members.reload()?;
            tracing::info!(
                member = name,
                "a sync member counts from now on: enough of the others know of it"
            );
        }
    }
}
