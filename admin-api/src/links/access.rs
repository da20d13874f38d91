//! Who may follow a link, as a client says it: `visibility`, `allowed`, `password`. Pure, but for making the hash of a password, which costs
//! tens of milliseconds and is done on a thread for such things, two at once.
//!
//! A password is hashed before anything is written, and is in no answer, no log and no record. Nor is it in what an `Idempotency-Key` is compared
//! with: a quick hash of a request that is kept would be a way around the slow one.

use std::fmt;
use std::sync::Arc;

use access::password::{self, PASSWORD_BYTES_MAX};
use linklog::entity::PersonId;
use linklog::link::access::{ALLOWED_MAX, PasswordHash};
use linklog::link::extras::Extras;
use tokio::sync::Semaphore;

use super::fields::{Judge, LinkFields};
use super::{ChangeError, Links};
use crate::blocking;
use crate::json::Json;
use crate::log::Ending;

/// Hashes that are made at once.
const AT_ONCE: usize = 2;

/// A password as a client gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<str>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// What is to be different about who may follow a link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Who {
    /// Nothing.
    #[default]
    Stays,
    /// Everybody may.
    Public,
    /// These; `None`: those who could before, if it was private before.
    Private(Option<Vec<PersonId>>),
    /// These in place of others: the link has to be private.
    Others(Vec<PersonId>),
}

/// What is to be different about it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessPatch {
    who: Who,
    password: Option<Option<Password>>,
    hash: Option<PasswordHash>,
}

impl AccessPatch {
    /// Judges the fields. Whether the ids are anybody's is asked later.
    pub(super) fn judge(judge: &mut Judge, fields: &LinkFields<'_>) -> AccessPatch {
        let is_private = fields.visibility.as_ref().map(|json| visibility(judge, json));
        let listed = fields.allowed.as_ref().map(|json| allowed(judge, json));
        let who = match (is_private, listed) {
            (None, None) => Who::Stays,
            (None, Some(listed)) => Who::Others(listed),
            (Some(true), listed) => Who::Private(listed),
            (Some(false), Some(listed)) if !listed.is_empty() => {
                judge.find("allowed", "allowed_without_private", "only a private link has users and groups");
                Who::Public
            }
            (Some(false), _) => Who::Public,
        };
        let password = fields.password.as_ref().map(|json| password(judge, json));
        AccessPatch { who, password, hash: None }
    }

    /// Judges the same for a link of which there is nothing yet.
    pub(super) fn judge_whole(&self, judge: &mut Judge) {
        if matches!(&self.who, Who::Others(listed) if !listed.is_empty()) {
            judge.find("allowed", "allowed_without_private", "say visibility private besides");
        }
    }

    /// Says whether it makes sense for a private link only.
    pub(super) fn needs_private(&self) -> bool {
        matches!(&self.who, Who::Others(listed) if !listed.is_empty())
    }

    /// Returns the password that is to be hashed.
    pub(super) fn password(&self) -> Option<&Password> {
        self.password.as_ref().and_then(Option::as_ref)
    }

    /// Takes over the hash of the password.
    pub(super) fn hashed(&mut self, hash: PasswordHash) {
        self.hash = Some(hash);
    }

    /// Makes the changes; a password that has no hash yet is left out.
    pub(super) fn apply(&self, extras: &mut Extras) {
        match &self.who {
            Who::Stays => {}
            Who::Public => extras.allowed = None,
            Who::Private(Some(listed)) => extras.allowed = Some(listed.clone()),
            Who::Private(None) => extras.allowed = Some(extras.allowed.take().unwrap_or_default()),
            Who::Others(listed) => {
                extras.allowed = extras.allowed.as_ref().map(|_| listed.clone());
            }
        }
        if let Some(password) = &self.password {
            extras.password = password.as_ref().and(self.hash);
        }
    }
}

fn visibility(judge: &mut Judge, json: &Json<'_>) -> bool {
    match json {
        Json::Null => false,
        Json::Text(text) if text == "public" => false,
        Json::Text(text) if text == "private" => true,
        Json::Text(_) => {
            judge.find("visibility", "visibility_not_allowed", "the visibility is public or private");
            false
        }
        other => {
            judge.wrong_type("visibility", "public or private", other);
            false
        }
    }
}

fn allowed(judge: &mut Judge, json: &Json<'_>) -> Vec<PersonId> {
    const FIELD: &str = "allowed";
    let (list, len) = match json {
        Json::Null => return Vec::new(),
        Json::List(list, len) => (list, *len),
        other => {
            judge.wrong_type(FIELD, "a list of ids of users and groups", other);
            return Vec::new();
        }
    };
    if len > ALLOWED_MAX {
        judge.find(
            FIELD,
            "too_many_allowed",
            format!("at most {ALLOWED_MAX} users and groups, these are {len}"),
        );
        return Vec::new();
    }
    let mut allowed = Vec::with_capacity(list.len());
    for id in list {
        match id {
            Json::Text(text) => match text.parse() {
                Ok(id) if allowed.contains(&id) => {}
                Ok(id) => allowed.push(id),
                Err(_) => judge.find(FIELD, "id_not_valid", "an id has 16 hex digits (0-9, a-f)"),
            },
            other => judge.wrong_type(FIELD, "a list of ids of users and groups", other),
        }
    }
    allowed
}

fn password(judge: &mut Judge, json: &Json<'_>) -> Option<Password> {
    match json {
        Json::Null => None,
        Json::Text(text) if (1..=PASSWORD_BYTES_MAX).contains(&text.len()) => Some(Password((**text).into())),
        Json::Text(_) => {
            judge.find(
                "password",
                "password_length",
                format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes"),
            );
            None
        }
        other => {
            judge.wrong_type("password", "a string", other);
            None
        }
    }
}

/// Makes hashes of passwords; cheap to clone.
#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Passwords(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    async fn hash(&self, given: Password) -> Result<PasswordHash, ChangeError> {
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(|_| ChangeError::Ending(Ending))?;
        let hashing = blocking::run(move || {
            let _place = place;
            let mut salt = [0; 16];
            getrandom::fill(&mut salt).map_err(|error| ChangeError::NoHash(error.to_string()))?;
            password::hash(given.0.as_bytes(), salt).map_err(|error| ChangeError::NoHash(error.to_string()))
        });
        hashing.await.map_err(|_| ChangeError::Ending(Ending))?
    }
}

impl Links {
    /// Hashes the password that orders give, each for itself.
    ///
    /// # Errors
    /// There are no random numbers, or the process is ending.
    pub async fn hash_passwords(
        &self,
        orders: impl Iterator<Item = &mut super::order::Order>,
    ) -> Result<(), ChangeError> {
        for order in orders {
            if let Some(password) = order.password.take() {
                order.link.extras.password = Some(self.passwords.hash(password).await?);
            }
        }
        Ok(())
    }

    /// Hashes the password that a patch gives.
    ///
    /// # Errors
    /// As [`Links::hash_passwords`].
    pub async fn hash_password_of(&self, patch: &mut super::patch::Patch) -> Result<(), ChangeError> {
        if let Some(password) = patch.access().password().cloned() {
            let hash = self.passwords.hash(password).await?;
            patch.access().hashed(hash);
        }
        Ok(())
    }
}
