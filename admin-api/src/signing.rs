//! The keys that links and cookies are signed with: records of the log, which every proxy has.
//!
//! The first is made by itself as soon as the log's format level has room for it, another one when the youngest is as old as the configuration
//! says, or when somebody asks. What older ones have signed holds until the longest life of a signed link has passed since they were replaced;
//! then they are deleted. Secrets leave this process in the log only.

use std::sync::Arc;
use std::time::Duration;

use linklog::codec::value;
use linklog::entity::{PersonId, SigningKey};
use linklog::limits::PARTS_MAX;
use linklog::store::{Reader, StoreError};
use linklog::writer::Decision;
use linklog::{Change, Operation, Part, Position, Precondition, StateKey};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::levels::Levels;
use crate::links::ChangeError;
use crate::log::Log;

/// How often to look whether the log's level has room for a first key.
const FIRST_EVERY: Duration = Duration::from_millis(200);
/// How often to look whether a key is old enough.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Most keys that hold at once: one a day for a year.
pub const KEYS_MAX: usize = 400;

/// The id of a key; 16 hex digits in text form, as those of people.
pub type KeyId = PersonId;

/// A key as the log has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its id.
    pub id: KeyId,
    /// The key.
    pub key: SigningKey,
    /// The version of its record.
    pub version: u64,
}

/// The keys; cheap to clone.
#[derive(Clone)]
pub struct Signing {
    log: Log,
    levels: Levels,
    /// From looking to writing.
    alone: Arc<Mutex<()>>,
    rotate_after_ms: Option<u64>,
}

impl Signing {
    /// Keeps the keys in this log; a new one after so many milliseconds, or only when asked.
    pub fn new(log: Log, levels: Levels, rotate_after_ms: Option<u64>) -> Signing {
        Signing { log, levels, alone: Arc::default(), rotate_after_ms }
    }

    /// Returns all keys, the youngest last: it signs.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn all(&self) -> Result<Vec<Stored>, ChangeError> {
        Ok(self.log.read(read_all).await??)
    }

    /// Returns the key that signs, made now if there is none.
    ///
    /// # Errors
    /// The log cannot be read or written, or its level has no room for one.
    pub async fn youngest(&self) -> Result<Stored, ChangeError> {
        if let Some(youngest) = self.all().await?.pop() {
            return Ok(youngest);
        }
        let _alone = self.alone.lock().await;
        match self.all().await?.pop() {
            Some(youngest) => Ok(youngest),
            None => Ok(self.replace(Vec::new(), "first-key").await?.0),
        }
    }

    /// Makes a new key, which signs from now on.
    ///
    /// # Errors
    /// The log cannot be read or written, or holds as many as there may be.
    pub async fn rotate(&self, actor: &str) -> Result<(Stored, Position), ChangeError> {
        let _alone = self.alone.lock().await;
        self.replace(self.all().await?, actor).await
    }

    /// Deletes a key: nothing that it signed holds any more. If it signs, another one does from now on.
    ///
    /// # Errors
    /// There is none, or the log cannot be read or written.
    pub async fn revoke(&self, id: KeyId, actor: &str) -> Result<Position, ChangeError> {
        let _alone = self.alone.lock().await;
        let all = self.all().await?;
        if !all.iter().any(|stored| stored.id == id) {
            return Err(ChangeError::NotFound);
        }
        if all.last().is_some_and(|youngest| youngest.id == id) {
            self.replace(all, actor).await?;
        }
        let part = Part { key: key_of(id), precondition: Precondition::Any, operation: Operation::Delete };
        self.write(Change::new(actor, vec![part])).await
    }

    async fn replace(&self, all: Vec<Stored>, actor: &str) -> Result<(Stored, Position), ChangeError> {
        let now_ms = clock::now_ms();
        if all.len() >= KEYS_MAX {
            return Err(ChangeError::TooManyKeys);
        }
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|error| ChangeError::NoHash(error.to_string()))?;
        let (id, secret) = random.split_first_chunk::<8>().expect("40 bytes begin with 8");
        let secret = secret.try_into().expect("40 bytes less 8 are 32");
        // A clock that was set back must not make the new key older than the others.
        let youngest_ms = all.last().map_or(0, |youngest| youngest.key.created_at_ms);
        let key = SigningKey { secret, created_at_ms: now_ms.max(youngest_ms + 1), valid_until_ms: None };
        let position = self.write(Change::new(actor, replacing(&all, PersonId(*id), key, now_ms))).await?;
        tracing::info!(key = %PersonId(*id), "links and cookies are signed with a new key");
        Ok((Stored { id: PersonId(*id), key, version: 1 }, position))
    }

    async fn write(&self, change: Change) -> Result<Position, ChangeError> {
        self.levels.check(&change)?;
        match self.log.propose(vec![change]).await?.pop() {
            Some(Decision::Applied { position, .. }) => Ok(position),
            Some(Decision::Invalid(invalid)) => Err(invalid.into()),
            _ => Err(ChangeError::Contended),
        }
    }

    /// Makes the first key and, by age, the following ones, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop
            .run_until_cancelled(async {
                while !self.levels.is_highest() {
                    tokio::time::sleep(FIRST_EVERY).await;
                }
                loop {
                    // Whatever was in the way of it: the next look finds it due again.
                    if let Err(error) = self.look().await {
                        tracing::warn!(%error, "could not look after the keys that links are signed with");
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            })
            .await;
    }

    async fn look(&self) -> Result<(), ChangeError> {
        let youngest = self.youngest().await?;
        if is_due(&youngest.key, self.rotate_after_ms, clock::now_ms()) {
            self.rotate("key-age").await?;
        }
        Ok(())
    }
}

fn is_due(youngest: &SigningKey, rotate_after_ms: Option<u64>, now_ms: u64) -> bool {
    rotate_after_ms.is_some_and(|age| now_ms >= youngest.created_at_ms.saturating_add(age))
}

fn key_of(id: KeyId) -> StateKey {
    StateKey::SigningKey(id.0)
}

/// The parts that put `key` in the place of the others: they hold as long as what they signed last, and go when that is over.
fn replacing(all: &[Stored], id: KeyId, key: SigningKey, now_ms: u64) -> Vec<Part> {
    let put = |id, precondition, key: &SigningKey| {
        let operation = Operation::Put { serve: key.encode(), manage: Vec::new() };
        Part { key: key_of(id), precondition, operation }
    };
    let mut parts = vec![put(id, Precondition::NeverUsed, &key)];
    let unbounded = all.iter().filter(|old| old.key.valid_until_ms.is_none());
    parts.extend(unbounded.take(PARTS_MAX - 2).map(|old| {
        let valid_until_ms = Some(now_ms.saturating_add(access::signature::LIFE_MS_MAX));
        put(old.id, Precondition::Version(old.version), &SigningKey { valid_until_ms, ..old.key })
    }));
    let over = all.iter().filter(|old| !old.key.holds_at(now_ms)).take(PARTS_MAX - parts.len());
    let over: Vec<_> = over
        .map(|old| Part {
            key: key_of(old.id),
            precondition: Precondition::Any,
            operation: Operation::Delete,
        })
        .collect();
    parts.extend(over);
    parts
}

fn read_all(reader: &Reader) -> Result<Vec<Stored>, StoreError> {
    let (mut all, mut damaged) = (Vec::new(), None);
    reader.scan_served(&[StateKey::SIGNING_KEYS], |key, stored| {
        let Ok(StateKey::SigningKey(id)) = StateKey::decode(key) else { return false };
        let read = value::split(stored).and_then(|(stamp, body)| {
            let key = stamp.live.then(|| SigningKey::decode(body)).transpose()?;
            Ok(key.map(|key| Stored { id: PersonId(id), key, version: stamp.version }))
        });
        match read {
            Ok(key) => all.extend(key),
            Err(source) => damaged = Some(StoreError::Damaged { what: "signing key", source }),
        }
        damaged.is_none()
    })?;
    all.sort_by_key(|stored| (stored.key.created_at_ms, stored.id));
    damaged.map_or(Ok(all), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: u8, valid_until_ms: Option<u64>) -> Stored {
        let key = SigningKey { secret: [id; 32], created_at_ms: id.into(), valid_until_ms };
        Stored { id: PersonId([id; 8]), key, version: 1 }
    }

    #[test]
    fn a_new_key_bounds_the_one_it_replaces_and_clears_away_what_is_over() {
        let all: Vec<_> = (1..=9).map(|id| stored(id, Some(50))).chain([stored(10, None)]).collect();
        let key = SigningKey { secret: [11; 32], created_at_ms: 100, valid_until_ms: None };
        let parts = replacing(&all, PersonId([11; 8]), key, 100);
        assert_eq!(parts.len(), PARTS_MAX);
        assert_eq!(parts[0].key, StateKey::SigningKey([11; 8]));
        let bounded =
            SigningKey { valid_until_ms: Some(100 + access::signature::LIFE_MS_MAX), ..stored(10, None).key };
        let put = Operation::Put { serve: bounded.encode(), manage: Vec::new() };
        assert_eq!((&parts[1].key, &parts[1].operation), (&StateKey::SigningKey([10; 8]), &put));
        assert!(parts[2..].iter().all(|part| part.operation == Operation::Delete));
    }

    #[test]
    fn a_key_is_due_at_its_age_and_never_without_one() {
        let key = stored(10, None).key;
        assert_eq!([9, 10, 11].map(|now| is_due(&key, Some(0), now)), [false, true, true]);
        assert_eq!(
            (is_due(&key, Some(5), 14), is_due(&key, Some(5), 15), is_due(&key, None, 1 << 40)),
            (false, true, false)
        );
    }
}
