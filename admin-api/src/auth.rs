//! Who may ask for what.
//!
//! A request carries `Authorization: Bearer sp_<id>_<secret>`. The log keeps, per id, the SHA-256 of the secret; all records are held in
//! memory, so that a request costs no disk read and an unknown id costs nothing at all. The table changes when the record that
//! changes it is durable.
//!
//! Owned here: a secret is compared in constant time; unknown, wrong and revoked are one answer, so nobody learns which ids exist.

mod rate;
mod token;

pub use rate::Rate;
pub use token::{NewToken, Presented, TokenId};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linklog::codec::value;
use linklog::entity::{Scopes, Token};
use linklog::store::{Reader, StoreError};
use linklog::{DecodeError, StateKey};
use parking_lot::RwLock;

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
    #[error("the token is not valid: it is unknown, wrong or revoked")]
    Invalid,
    /// The token may not do this.
    #[error("the token lacks the scope {needed}")]
    Scope {
        /// Which scope it would take.
        needed: &'static str,
    },
    /// Too many requests with this token.
    #[error("this token has used up its requests per second")]
    TooMany {
        /// When the next one is allowed.
        retry_after: Duration,
    },
}

struct KnownToken {
    record: Token,
    rate: Rate,
}

/// The tokens, shared; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    table: Arc<RwLock<HashMap<TokenId, KnownToken>>>,
    requests_per_s: u32,
    started: Instant,
}

impl Tokens {
    /// Reads the tokens from the log's state; each may make `requests_per_s` requests a second, 0 means any number.
    ///
    /// # Errors
    /// If the database fails or holds a damaged record.
    pub fn load(reader: &Reader, requests_per_s: u32) -> Result<Tokens, StoreError> {
        let tokens = Tokens { table: Arc::default(), requests_per_s, started: Instant::now() };
        let mut damaged = None;
        reader.scan_managed(&[StateKey::TOKENS], |key, stored| {
            let Ok(StateKey::Token(id)) = StateKey::decode(key) else { return false };
            match read(stored) {
                Ok(Some(record)) => tokens.put(TokenId(id), record),
                Ok(None) => {}
                Err(source) => damaged = Some(StoreError::Damaged { what: "token", source }),
            }
            damaged.is_none()
        })?;
        damaged.map_or(Ok(tokens), Err)
    }

    /// Takes over a record that has become durable.
    pub fn put(&self, id: TokenId, record: Token) {
        self.table.write().insert(id, KnownToken { record, rate: Rate::new(self.requests_per_s) });
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
        let known = known.filter(|known| matches && known.record.revoked_at_ms.is_none());
        let known = known.ok_or(AuthError::Invalid)?;
        if !sufficient.iter().any(|scope| known.record.scopes.allows(*scope)) {
            let named = SCOPES.iter().find(|(_, scope)| sufficient.first() == Some(scope));
            let needed = named.map_or("admin", |(name, _)| *name);
            return Err(AuthError::Scope { needed });
        }
        known.rate.take(self.started.elapsed()).map_err(|retry_after| AuthError::TooMany { retry_after })?;
        Ok(Caller { token: presented.id, scopes: known.record.scopes })
    }
}

fn read(stored: &[u8]) -> Result<Option<Token>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if stamp.live { Token::decode(body).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tokens(requests_per_s: u32) -> Tokens {
        Tokens { table: Arc::default(), requests_per_s, started: Instant::now() }
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
        tokens.put(new.id(), record.clone());
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
        let caller = Caller { token: new.id(), scopes: Scopes::LINKS_READ };
        assert_eq!(tokens.admit(Some(&header), Scopes::LINKS_READ), Ok(caller));
        let refused = tokens.admit(Some(&header), Scopes::LINKS_WRITE);
        assert_eq!(refused, Err(AuthError::Scope { needed: "links:write" }));
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
        tokens.put(new.id(), Token { revoked_at_ms: Some(2), ..record });
        assert_eq!(refused(&bearer(new.text())), AuthError::Invalid);
    }

    #[test]
    fn a_token_that_asks_too_often_is_told_when_to_come_back() {
        let tokens = tokens(2);
        let (new, _) = add(&tokens, Scopes::ADMIN);
        let header = bearer(new.text());
        let ask = || tokens.admit(Some(&header), Scopes::LINKS_READ);
        let refused = (0..10).find_map(|_| ask().err());
        assert!(
            matches!(refused, Some(AuthError::TooMany { retry_after }) if retry_after <= Duration::from_secs(1))
        );
        let (other, _) = add(&tokens, Scopes::ADMIN);
        assert!(tokens.admit(Some(&bearer(other.text())), Scopes::LINKS_READ).is_ok());
    }
}
