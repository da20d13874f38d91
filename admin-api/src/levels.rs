//! The level of the byte format: who reads which, when the log's level rises, and who holds it up.
//!
//! A member says in its Hello which level it reads. That becomes a part of its record; as soon as every active member reads a higher
//! level than the log's, a record raises the log's. Nobody decides it: an operator upgrades members in whatever order and watches
//! `proxy list`. The level never falls. Until it has risen, what needs it is refused with the names of those it waits for
//! ([`LevelError`]); the writer itself refuses it too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use linklog::codec::{FORMAT_LEVEL, level, value};
use linklog::entity::{Fleet, Member};
use linklog::store::StoreError;
use linklog::writer::{Decision, ProposeError};
use linklog::{Change, DecodeError, Operation, Part, Precondition, StateKey};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::log::{Ending, Log};
use crate::members::{self, MemberTable, Members};

/// When to try again what the writer did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A member that holds the level up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holdout {
    /// Its name.
    pub member: String,
    /// The level it reads; `None`: it has never connected.
    pub announced: Option<u8>,
}

impl fmt::Display for Holdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.announced {
            Some(level) => write!(f, "{} (reads level {level})", self.member),
            None => write!(f, "{} (has never connected)", self.member),
        }
    }
}

/// The log's level does not allow a change yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LevelError {
    /// What the change needs.
    pub needed: u8,
    /// What the log is at.
    pub level: u8,
    /// Who is waited for.
    pub held_up_by: Vec<Holdout>,
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LevelError { needed, level, held_up_by } = self;
        write!(
            f,
            "this needs format level {needed} and the log is at level {level}; it rises by itself when "
        )?;
        if held_up_by.is_empty() {
            return write!(f, "what the members announced is written: try again");
        }
        write!(f, "these members are upgraded, or drained with `signpost-admin proxy drain`: ")?;
        for (n, holdout) in held_up_by.iter().enumerate() {
            write!(f, "{}{holdout}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for LevelError {}

/// Why a step was not taken; it is tried again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ending(#[from] Ending),
    #[error("the record was changed meanwhile")]
    Conflict,
}

/// Keeps the level; cheap to clone.
#[derive(Clone)]
pub struct Levels {
    log: Log,
    members: Members,
    /// What was announced and is not recorded yet, by member: no more entries than there are members.
    announced: Arc<Mutex<BTreeMap<String, u8>>>,
    wake: Arc<Notify>,
}

impl Levels {
    /// Returns the levels of these members and this log.
    pub fn new(log: Log, members: Members) -> Levels {
        Levels { log, members, announced: Arc::default(), wake: Arc::default() }
    }

    /// Takes note of the level that a member reads.
    pub fn announced(&self, member: &str, level: u32) {
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        let Some(known) = self.members.get(member) else { return };
        let mut announced = self.announced.lock();
        // What is recorded need not be said again, unless something else is just being recorded.
        if known.announced_level != Some(level) || announced.contains_key(member) {
            announced.insert(member.to_owned(), level);
            self.wake.notify_one();
        }
    }

    /// Says whether everything this version can write may be written: the usual case, in which nothing needs to be checked.
    pub fn is_highest(&self) -> bool {
        self.log.commit().format_level >= FORMAT_LEVEL
    }

    /// Says whether a change may be proposed at the log's level.
    ///
    /// # Errors
    /// Not yet: which members are waited for.
    pub fn check(&self, change: &Change) -> Result<(), LevelError> {
        if self.is_highest() {
            return Ok(());
        }
        let now = self.log.commit().format_level;
        let needed = level::needed_by(change);
        if needed <= now {
            return Ok(());
        }
        Err(LevelError { needed, level: now, held_up_by: holdouts(&self.members.table(), needed) })
    }

    /// Records what is announced and raises the level when it may rise, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.members.changes();
        loop {
            let settled = self.settle().await;
            if let Err(error) = &settled {
                tracing::warn!(%error, "could not record a format level, trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified(), if settled.is_ok() => {}
                changed = changes.changed(), if settled.is_ok() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN_AFTER), if settled.is_err() => {}
            }
        }
    }

    async fn settle(&self) -> Result<(), StepError> {
        loop {
            let next = self.announced.lock().first_key_value().map(|(name, level)| (name.clone(), *level));
            let Some((name, level)) = next else { break };
            self.record(&name, level).await?;
            // Announced again meanwhile, as something else: that is still to be recorded.
            let mut announced = self.announced.lock();
            if announced.get(&name) == Some(&level) {
                announced.remove(&name);
            }
        }
        self.raise().await
    }

    async fn record(&self, name: &str, level: u8) -> Result<(), StepError> {
        let of = name.to_owned();
        let found = self.log.read(move |reader| members::with_version(reader, &of)).await??;
        let Some((member, version)) = found.filter(|(member, _)| member.announced_level != Some(level))
        else {
            return Ok(());
        };
        self.write(members::set_announced_level(name, &member, version, level)).await?;
        self.members.reload()?;
        tracing::info!(member = name, level, before = ?member.announced_level, "a member reads another format level");
        Ok(())
    }

    async fn raise(&self) -> Result<(), StepError> {
        let before = self.log.commit().format_level;
        let possible = possible_level(&self.members.table());
        if possible <= before {
            return Ok(());
        }
        let Some((fleet, version)) = self
            .log
            .read(|reader| reader.serve_value(&StateKey::Fleet.encode(), fleet_of))
            .await??
            .map_err(|source| StoreError::Damaged { what: "fleet", source })?
        else {
            return Ok(());
        };
        let fleet = Fleet { format_level: possible, ..fleet };
        let operation = Operation::Put { serve: fleet.encode(), manage: Vec::new() };
        let precondition = Precondition::Version(version);
        let part = Part { key: StateKey::Fleet, precondition, operation };
        self.write(Change::new("format-level", vec![part])).await?;
        tracing::info!(
            before,
            now = possible,
            "every active member reads it: the log's format level has risen"
        );
        Ok(())
    }

    async fn write(&self, change: Change) -> Result<(), StepError> {
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { .. }) => Ok(()),
            _ => Err(StepError::Conflict),
        }
    }
}

/// The highest level that every active member reads.
fn possible_level(members: &MemberTable) -> u8 {
    active(members)
        .map(|(_, member)| member.announced_level.unwrap_or(1))
        .min()
        .map_or(FORMAT_LEVEL, |least| least.min(FORMAT_LEVEL))
}

fn holdouts(members: &MemberTable, needed: u8) -> Vec<Holdout> {
    active(members)
        .filter(|(_, member)| member.announced_level.is_none_or(|level| level < needed))
        .map(|(name, member)| Holdout { member: name.clone(), announced: member.announced_level })
        .collect()
}

fn active(members: &MemberTable) -> impl Iterator<Item = (&String, &Member)> {
    members.iter().filter(|(_, member)| member.state.takes_part())
}

fn fleet_of(stored: Option<&[u8]>) -> Result<Option<(Fleet, u64)>, DecodeError> {
    let Some(stored) = stored else { return Ok(None) };
    let (stamp, body) = value::split(stored)?;
    if stamp.live { Ok(Some((Fleet::decode(body)?, stamp.version))) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::entity::{MemberRole, MemberState};

    fn table(members: &[(&str, MemberState, Option<u8>)]) -> MemberTable {
        let member = |state, announced_level| Member {
            role: MemberRole::Read,
            state,
            credential: None,
            created_at_ms: 1,
            announced_level,
        };
        members.iter().map(|(name, state, level)| ((*name).to_owned(), member(*state, *level))).collect()
    }

    #[test]
    fn the_least_of_the_active_members_decides() {
        use MemberState::{Active, Drained, Forgotten, Joining};
        for (members, level) in [
            (&[][..], FORMAT_LEVEL),
            (&[("a", Active, None)], 1),
            (&[("a", Active, Some(1)), ("b", Active, Some(2))], 1),
            (&[("a", Active, Some(2)), ("b", Active, Some(9))], 2),
            (&[("a", Joining, Some(1)), ("b", Active, Some(2))], 1),
            (&[("a", Drained, Some(1)), ("b", Active, Some(2)), ("c", Forgotten, None)], 2),
        ] {
            assert_eq!(possible_level(&table(members)), level, "{members:?}");
        }
    }

    #[test]
    fn the_refusal_names_who_is_waited_for() {
        use MemberState::Active;
        let members = table(&[("a", Active, Some(1)), ("b", Active, None), ("c", Active, Some(2))]);
        let error = LevelError { needed: 2, level: 1, held_up_by: holdouts(&members, 2) };
        assert_eq!(
            error.to_string(),
            "this needs format level 2 and the log is at level 1; it rises by itself when these members are upgraded, or drained with \
             `signpost-admin proxy drain`: a (reads level 1), b (has never connected)"
        );
    }
}
