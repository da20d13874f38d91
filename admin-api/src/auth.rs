//! Who may ask for what.
//!
//! A request carries `Authorization: Bearer sp_<id>_<secret>`. The log keeps, per id, the SHA-256 of the secret; all records are held in
//! memory, so that a request costs no disk read and an unknown id costs nothing at all. The table changes as soon as the record that
//! changes it is durable, whoever waits for an answer, and an older record never takes the place of a newer one.
//!
//! Owned here: a secret is compared in constant time; unknown, wrong and revoked are one answer, so nobody learns which ids exist.

pub mod allow;
pub mod pass;
mod rate;
pub mod tally;
mod token;
pub mod usage;

pub use rate::Rate;
pub use token::{NewToken, Presented, TokenId};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linklog::codec::value;
use linklog::entity::{PersonId, QuotaId, Scopes, Token};
use linklog::store::{Reader, StoreError};
use linklog::{DecodeError, StateKey};
use parking_lot::RwLock;

use crate::clock;
use crate::people::People;
use usage::{Period, Usage};

/// Most tokens, revoked ones included: they are all held in memory.
pub const TOKENS_MAX: usize = 10_000;

/// Every scope with its name.
pub const SCOPES: [(&str, Scopes); 4] = [
    ("links:read", Scopes::LINKS_READ),
    ("links:write", Scopes::LINKS_WRITE),
    ("stats:read", Scopes::STATS_READ),
    ("admin", Scopes::ADMIN),
];

/// Returns the names of the scopes in a set.
pub fn scope_names(scopes: Scopes) -> Vec<&'static str> {
    SCOPES.iter().filter(|(_, scope)| scopes.contains(*scope)).map(|(name, _)| *name).collect()
}

/// Returns the scope of a name.
pub fn scope_named(name: &str) -> Option<Scopes> {
    SCOPES.iter().find(|(known, _)| *known == name).map(|(_, scope)| *scope)
}

/// A request that was let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Whose token it is.
    pub token: TokenId,
    /// What it may do.
    pub scopes: Scopes,
    /// Whose it is.
    pub user: Option<PersonId>,
    /// Whether it sees and changes its user's links only.
    pub own_only: bool,
}

impl Caller {
    /// Says whether it may do what only operators may: everything.
    pub fn is_admin(self) -> bool {
        self.scopes.contains(Scopes::ADMIN)
    }
}

/// Why a request was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuthError {
    /// No token.
    #[error("the request carries no token: send Authorization: Bearer sp_…")]
    Missing,
    /// No token of ours, or one that is unknown, wrong or revoked.
    #[error("the token is not valid: it is unknown, wrong, revoked or expired, or its user is switched off")]
    Invalid,
    /// The token may not do this.
    #[error("the token lacks the scope {needed}")]
    Scope {
        /// Which scope it would take.
        needed: &'static str,
        /// Whose token it is.
        token: TokenId,
    },
    /// Too many requests with this token.
    #[error("this token has used up its requests per second")]
    TooMany {
        /// When the next one is allowed.
        retry_after: Duration,
        /// Whose token it is.
        token: TokenId,
    },
}

struct KnownToken {
    record: Token,
    /// Of the record in the log.
    version: u64,
    rate: Rate,
    usage: Arc<Usage>,
}

/// Where a token stands with one of its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What is limited.
    pub name: &'static str,
    /// How many there may be.
    pub limit: u64,
    /// In how many seconds.
    pub period_s: u64,
    /// How many are left.
    pub left: u64,
    /// How long until there are all of them again.
    pub reset: Duration,
}

/// The tokens, shared; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    table: Arc<RwLock<HashMap<TokenId, KnownToken>>>,
    people: People,
    requests_per_s: u32,
    started: Instant,
}

impl Tokens {
    /// Reads the tokens from the log's state; each may make `requests_per_s` requests a second, 0 means any number.
    ///
    /// # Errors
    /// If the database fails or holds a damaged record.
    pub fn load(reader: &Reader, people: People, requests_per_s: u32) -> Result<Tokens, StoreError> {
        let tokens = Tokens { table: Arc::default(), people, requests_per_s, started: Instant::now() };
        tokens.reload(reader)?;
        Ok(tokens)
    }

    /// Reads them again, after records that this process did not make itself.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn reload(&self, reader: &Reader) -> Result<(), StoreError> {
        let mut damaged = None;
        reader.scan_managed(&[StateKey::TOKENS], |key, stored| {
            let Ok(StateKey::Token(id)) = StateKey::decode(key) else { return false };
            match read(stored) {
                Ok(Some((record, version))) => self.put_if_newer(TokenId(id), record, version),
                Ok(None) => {}
                Err(source) => damaged = Some(StoreError::Damaged { what: "token", source }),
            }
            damaged.is_none()
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// Takes over a record that has become durable, unless what is known is of a later version.
    pub fn put_if_newer(&self, id: TokenId, record: Token, version: u64) {
        let mut table = self.table.write();
        if table.get(&id).is_some_and(|known| version <= known.version) {
            return;
        }
        let rate = Rate::new(record.limits.requests_per_s.unwrap_or(self.requests_per_s));
        let usage = table.get(&id).map(|known| known.usage.clone()).unwrap_or_default();
        table.insert(id, KnownToken { record, version, rate, usage });
    }

    /// Returns what a token has used of its limits.
    pub fn usage(&self, id: TokenId) -> Option<Arc<Usage>> {
        self.table.read().get(&id).map(|known| known.usage.clone())
    }

    /// Sets what a token had used before this process began.
    pub fn restore_usage(&self, id: TokenId, period: Period, last_used_ms: u64) {
        if let Some(usage) = self.usage(id) {
            usage.restore(period, last_used_ms);
        }
    }

    /// Returns the quotas of links, in so many seconds, of the tokens that have one.
    pub fn quotas(&self) -> HashMap<TokenId, (u64, u64)> {
        let table = self.table.read();
        table.iter().filter_map(|(id, known)| Some((*id, known.record.limits.creates?))).collect()
    }

    /// Returns the quota that redirects of the links of a token are counted in, if it has one.
    pub fn quota_of(&self, id: TokenId) -> Option<QuotaId> {
        let table = self.table.read();
        table.get(&id)?.record.limits.redirects.map(|_| QuotaId::of_token(id.0))
    }

    /// Returns when each token was last used, milliseconds since the Unix epoch.
    pub fn last_uses(&self) -> Vec<(TokenId, u64)> {
        let table = self.table.read();
        table.iter().filter_map(|(id, known)| Some((*id, known.usage.last_used_ms()?))).collect()
    }

    /// Returns where a token stands with its limits, for the headers of answers; nothing without limits.
    pub fn standing(&self, id: TokenId) -> Vec<Standing> {
        let table = self.table.read();
        let Some(known) = table.get(&id) else { return Vec::new() };
        let requests = known.rate.left(self.started.elapsed()).map(|(limit, left, reset)| Standing {
            name: "requests",
            limit: limit.into(),
            period_s: 1,
            left: left.into(),
            reset,
        });
        let creates = known.record.limits.creates.map(|quota| {
            let (left, reset) = known.usage.left(quota, clock::now_ms());
            Standing { name: "creates", limit: quota.0, period_s: quota.1, left, reset }
        });
        requests.into_iter().chain(creates).collect()
    }

    /// Returns a token's record.
    pub fn get(&self, id: TokenId) -> Option<Token> {
        self.table.read().get(&id).map(|known| known.record.clone())
    }

    /// Returns all records, oldest first.
    pub fn all(&self) -> Vec<(TokenId, Token)> {
        let mut all: Vec<_> =
            self.table.read().iter().map(|(id, known)| (*id, known.record.clone())).collect();
        all.sort_by_key(|(id, token)| (token.created_at_ms, *id));
        all
    }

    /// Says how many there are.
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides about a request with this `Authorization` header that needs `needed`.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit(&self, authorization: Option<&[u8]>, needed: Scopes) -> Result<Caller, AuthError> {
        self.admit_any(authorization, &[needed])
    }

    /// As [`Tokens::admit`], for what any of several scopes allows; a refusal names the first.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn admit_any(
        &self,
        authorization: Option<&[u8]>,
        sufficient: &[Scopes],
    ) -> Result<Caller, AuthError> {
        let authorization = authorization.ok_or(AuthError::Missing)?;
        let presented = Presented::of_header(authorization).ok_or(AuthError::Invalid)?;
        let table = self.table.read();
        let known = table.get(&presented.id);
        // The comparison is made for unknown ids too, against a hash that nothing has.
        let stored = known.map_or([0; 32], |known| known.record.secret_hash);
        let matches = presented.matches(&stored);
        let now_ms = clock::now_ms();
        let known = known.filter(|known| matches && self.is_valid(&known.record, now_ms));
        let known = known.ok_or(AuthError::Invalid)?;
        known.check_scope(presented.id, sufficient)?;
        known
            .rate
            .take(self.started.elapsed())
            .map_err(|retry_after| AuthError::TooMany { retry_after, token: presented.id })?;
        known.usage.touch(now_ms);
        Ok(known.caller(presented.id))
    }

    /// Decides anew about somebody who was let in a while ago and is still at work. Takes nothing out of the requests per second.
    ///
    /// # Errors
    /// Why it would not be let in now.
    pub fn still(&self, caller: Caller, needed: Scopes) -> Result<Caller, AuthError> {
        let table = self.table.read();
        let known = table.get(&caller.token).filter(|known| self.is_valid(&known.record, clock::now_ms()));
        let known = known.ok_or(AuthError::Invalid)?;
        known.check_scope(caller.token, &[needed])?;
        Ok(known.caller(caller.token))
    }

    fn is_valid(&self, record: &Token, now_ms: u64) -> bool {
        record.revoked_at_ms.is_none()
            && record.expires_at_ms.is_none_or(|end| now_ms < end)
            && record.user.is_none_or(|user| self.people.is_active(user))
    }
}

impl KnownToken {
    fn check_scope(&self, token: TokenId, sufficient: &[Scopes]) -> Result<(), AuthError> {
        if sufficient.iter().any(|scope| self.record.scopes.allows(*scope)) {
            return Ok(());
        }
        let named = SCOPES.iter().find(|(_, scope)| sufficient.first() == Some(scope));
        Err(AuthError::Scope { needed: named.map_or("admin", |(name, _)| *name), token })
    }

    fn caller(&self, token: TokenId) -> Caller {
        let Token { scopes, user, limits, .. } = &self.record;
        Caller { token, scopes: *scopes, user: *user, own_only: limits.own_links_only }
    }
}

/// Reads a token's record with its version, as the log has it.
///
/// # Errors
/// If the database fails or holds a damaged record.
pub fn stored(reader: &Reader, id: TokenId) -> Result<Option<(Token, u64)>, StoreError> {
    let key = StateKey::Token(id.0).encode();
    let found = reader.manage_value(&key, |stored| stored.map_or(Ok(None), read))?;
    found.map_err(|source| StoreError::Damaged { what: "token", source })
}

fn read(stored: &[u8]) -> Result<Option<(Token, u64)>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if stamp.live { Token::decode(body).map(|record| Some((record, stamp.version))) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tokens(requests_per_s: u32) -> Tokens {
        Tokens { table: Arc::default(), people: People::default(), requests_per_s, started: Instant::now() }
    }

    fn add(tokens: &Tokens, scopes: Scopes) -> (NewToken, Token) {
        let new = NewToken::generate().unwrap();
        let record = Token {
            name: "test".to_owned(),
            secret_hash: new.secret_hash(),
            scopes,
            created_at_ms: 1,
            ..Token::default()
        };
        tokens.put_if_newer(new.id(), record.clone(), 1);
        (new, record)
    }

    fn bearer(text: &str) -> Vec<u8> {
        format!("Bearer {text}").into_bytes()
    }

    #[test]
    fn a_known_token_is_let_in_for_what_it_may_do() {
        let tokens = tokens(0);
        let (new, _) = add(&tokens, Scopes::LINKS_READ);
        let header = bearer(new.text());
        let caller = tokens.admit(Some(&header), Scopes::LINKS_READ).unwrap();
        assert_eq!((caller.token, caller.scopes, caller.is_admin()), (new.id(), Scopes::LINKS_READ, false));
        let refused = tokens.admit(Some(&header), Scopes::LINKS_WRITE);
        assert_eq!(refused, Err(AuthError::Scope { needed: "links:write", token: new.id() }));
        let (admin, _) = add(&tokens, Scopes::ADMIN);
        assert!(tokens.admit(Some(&bearer(admin.text())), Scopes::LINKS_WRITE).is_ok());
    }

    #[test]
    fn missing_unknown_wrong_and_revoked_tokens_are_refused() {
        let tokens = tokens(0);
        let (new, record) = add(&tokens, Scopes::ADMIN);
        let refused = |header: &[u8]| tokens.admit(Some(header), Scopes::LINKS_READ).unwrap_err();
        assert_eq!(tokens.admit(None, Scopes::LINKS_READ), Err(AuthError::Missing));
        let mut wrong = new.text().to_owned();
        let last = wrong.pop().unwrap();
        wrong.push(if last == 'A' { 'B' } else { 'A' });
        assert_eq!(refused(&bearer(&wrong)), AuthError::Invalid);
        assert_eq!(refused(&bearer(NewToken::generate().unwrap().text())), AuthError::Invalid);
        assert_eq!(refused(new.text().as_bytes()), AuthError::Invalid);
        assert_eq!(refused(b"Basic dTpw"), AuthError::Invalid);
        tokens.put_if_newer(new.id(), Token { revoked_at_ms: Some(2), ..record.clone() }, 3);
        assert_eq!(refused(&bearer(new.text())), AuthError::Invalid);
        tokens.put_if_newer(new.id(), record, 2);
        assert_eq!(refused(&bearer(new.text())), AuthError::Invalid, "an older record came late");
    }

    #[test]
    fn links_that_may_have_been_made_count_although_nobody_waited_for_the_answer() {
        let tokens = tokens(0);
        let (new, record) = add(&tokens, Scopes::LINKS_WRITE);
        let caller = tokens.admit(Some(&bearer(new.text())), Scopes::LINKS_WRITE).unwrap();
        let limits = linklog::entity::TokenLimits { creates: Some((10, 31_536_000)), ..Default::default() };
        tokens.put_if_newer(new.id(), Token { limits, ..record }, 2);
        let left = || tokens.standing(new.id())[0].left;
        drop(tokens.take_creates(caller, 4).unwrap());
        assert_eq!(left(), 10, "nothing was proposed");
        let mut taken = tokens.take_creates(caller, 4).unwrap().unwrap();
        taken.propose(3);
        drop(taken);
        assert_eq!(left(), 7);
        let mut taken = tokens.take_creates(caller, 4).unwrap().unwrap();
        taken.propose(4);
        taken.not_made(1);
        drop(taken);
        assert_eq!(left(), 4);
    }

    #[test]
    fn who_is_at_work_is_asked_again_about_the_token_and_its_scopes() {
        let tokens = tokens(1);
        let (new, record) = add(&tokens, Scopes::LINKS_WRITE);
        let caller = tokens.admit(Some(&bearer(new.text())), Scopes::LINKS_WRITE).unwrap();
        for _ in 0..9 {
            assert_eq!(tokens.still(caller, Scopes::LINKS_WRITE), Ok(caller), "that is no request");
        }
        let scope = AuthError::Scope { needed: "links:read", token: new.id() };
        assert_eq!(tokens.still(caller, Scopes::LINKS_READ), Err(scope));
        tokens.put_if_newer(new.id(), Token { revoked_at_ms: Some(2), ..record }, 2);
        assert_eq!(tokens.still(caller, Scopes::LINKS_WRITE), Err(AuthError::Invalid));
    }

    #[test]
    fn a_token_ends_with_its_time_and_with_its_user() {
        let tokens = tokens(0);
        let (new, record) = add(&tokens, Scopes::ADMIN);
        let ask = || tokens.admit(Some(&bearer(new.text())), Scopes::LINKS_READ).map(drop);
        tokens.put_if_newer(new.id(), Token { expires_at_ms: Some(1), ..record.clone() }, 2);
        assert_eq!(ask(), Err(AuthError::Invalid));
        tokens.put_if_newer(new.id(), Token { expires_at_ms: Some(u64::MAX), ..record.clone() }, 3);
        assert_eq!(ask(), Ok(()));
        let user = PersonId([7; 8]);
        tokens.put_if_newer(new.id(), Token { user: Some(user), ..record }, 4);
        assert_eq!(ask(), Err(AuthError::Invalid), "there is no such user");
        let put = |disabled_at_ms, version| {
            let record = linklog::entity::User { disabled_at_ms, ..Default::default() };
            tokens.people.put_user_if_newer(user, crate::people::Versioned { record, version });
        };
        put(None, 1);
        assert_eq!(ask(), Ok(()));
        put(Some(1), 3);
        assert_eq!(ask(), Err(AuthError::Invalid), "the user is switched off");
        put(None, 2);
        assert_eq!(ask(), Err(AuthError::Invalid), "an older record came late");
    }

    #[test]
    fn a_token_that_asks_too_often_is_told_when_to_come_back() {
        let tokens = tokens(2);
        let (new, _) = add(&tokens, Scopes::ADMIN);
        let header = bearer(new.text());
        let ask = || tokens.admit(Some(&header), Scopes::LINKS_READ);
        let refused = (0..10).find_map(|_| ask().err());
        assert!(
            matches!(refused, Some(AuthError::TooMany { retry_after, .. }) if retry_after <= Duration::from_secs(1))
        );
        let (other, _) = add(&tokens, Scopes::ADMIN);
        assert!(tokens.admit(Some(&bearer(other.text())), Scopes::LINKS_READ).is_ok());
    }
}
