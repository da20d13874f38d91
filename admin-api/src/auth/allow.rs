//! What a token may see, make and change, beyond its scopes: whose links, on which domains, under which names, how many. Pure.
//!
//! Names tell nothing: one outside a token's limits is refused the same way whether there is a link or not. Whose a link is is the link's
//! to say, so one of somebody else is as one that is not there.

use linklog::entity::PersonId;
use linklog::store::Within;
use linklog::{DomainId, Key};

use super::{Caller, KnownToken, TokenId, Tokens};
use crate::clock;
use crate::people::People;

/// Why a token may not see, make or change a link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Another domain than its own.
    #[error("this token sees, makes and changes links on some domains only, and this is none of them")]
    Domain,
    /// A code that does not begin as its codes must.
    #[error(
        "this token sees, makes and changes links only whose code begins with {prefix:?}: give an alias that does"
    )]
    Prefix {
        /// How they begin.
        prefix: String,
    },
    /// Links for others.
    #[error("only a token with the scope admin may give links to somebody else")]
    Owner,
    /// A private link for somebody who is not known.
    #[error("there is neither a user nor a group {id}")]
    NobodyAllowed {
        /// The id.
        id: PersonId,
    },
    /// Links for nobody that is known.
    #[error("there is no user with this id")]
    NoSuchUser,
}

impl Denied {
    /// A stable word for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Denied::Domain => "domain_not_allowed",
            Denied::Prefix { .. } => "alias_prefix_missing",
            Denied::Owner => "owner_not_allowed",
            Denied::NoSuchUser => "user_not_found",
            Denied::NobodyAllowed { .. } => "person_not_found",
        }
    }

    /// The field it is about.
    pub const fn field(&self) -> &'static str {
        match self {
            Denied::Domain => "domain",
            Denied::Prefix { .. } => "alias",
            Denied::Owner | Denied::NoSuchUser => "owner",
            Denied::NobodyAllowed { .. } => "allowed",
        }
    }
}

/// A quota of links is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this token may make {count} links in {period_s} s, and has made them; it may again when the period is over"
)]
pub struct QuotaUsedUp {
    /// How many.
    pub count: u64,
    /// In how many seconds.
    pub period_s: u64,
    /// How long until there are new ones.
    pub retry_after: std::time::Duration,
}

/// Links taken out of a quota. Those that nobody has proposed go back when this is dropped; those that were proposed count, until it is
/// certain that they were not made: whoever goes away before the answer has made them all the same.
pub struct Taken {
    tokens: Tokens,
    token: TokenId,
    left: u64,
    at_ms: u64,
}

impl Taken {
    /// Says that so many are about to be proposed.
    pub fn propose(&mut self, n: u64) {
        self.left = self.left.saturating_sub(n);
    }

    /// Says that so many of those that were proposed were certainly not made.
    pub fn not_made(&mut self, n: u64) {
        self.left += n;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(usage) = self.tokens.usage(self.token).filter(|_| self.left > 0) {
            usage.give_back(self.left, self.at_ms);
        }
    }
}

impl Caller {
    /// Returns whose links it sees only; `None`: it sees all of them.
    pub fn sees_only(self) -> Option<Option<PersonId>> {
        self.own_only.then_some(self.user)
    }

    /// Says whether it sees a link of this owner.
    pub fn sees(self, owner: Option<PersonId>) -> bool {
        self.sees_only().is_none_or(|own| own == owner)
    }
}

impl Tokens {
    fn with<T>(&self, id: TokenId, read: impl FnOnce(&KnownToken) -> T) -> Option<T> {
        self.table.read().get(&id).map(read)
    }

    /// Returns where the links are that a token sees.
    pub fn within(&self, caller: Caller) -> Within {
        let within = |known: &KnownToken| Within {
            domains: known.record.limits.domains.clone(),
            prefix: known.record.limits.alias_prefix.as_deref().unwrap_or_default().to_owned(),
        };
        self.with(caller.token, within).unwrap_or_default()
    }

    /// Says whether a token may see, make or change a link of this name.
    ///
    /// # Errors
    /// Why not.
    pub fn may_touch(&self, caller: Caller, key: &Key) -> Result<(), Denied> {
        self.may_make(caller, key.domain, Some(key.code.as_str()))
    }

    /// As [`Tokens::may_touch`], before the code is known: no code stands for a generated one.
    ///
    /// # Errors
    /// Why not.
    pub fn may_make(&self, caller: Caller, domain: DomainId, code: Option<&str>) -> Result<(), Denied> {
        let check = |known: &KnownToken| {
            let limits = &known.record.limits;
            if !limits.domains.is_empty() && !limits.domains.contains(&domain) {
                return Err(Denied::Domain);
            }
            match &limits.alias_prefix {
                Some(prefix) if !code.is_some_and(|code| code.starts_with(&**prefix)) => {
                    Err(Denied::Prefix { prefix: prefix.clone() })
                }
                _ => Ok(()),
            }
        };
        self.with(caller.token, check).unwrap_or(Ok(()))
    }

    /// Says whether a caller may make only so many links.
    pub fn are_creates_limited(&self, caller: Caller) -> bool {
        self.with(caller.token, |known| known.record.limits.creates.is_some()).unwrap_or(false)
    }

    /// Takes `n` links out of a token's quota, if it has one.
    ///
    /// # Errors
    /// There are not as many left.
    pub fn take_creates(&self, caller: Caller, n: u64) -> Result<Option<Taken>, QuotaUsedUp> {
        let Some(Some(quota)) = self.with(caller.token, |known| known.record.limits.creates) else {
            return Ok(None);
        };
        let Some(usage) = self.usage(caller.token).filter(|_| n > 0) else { return Ok(None) };
        let at_ms = clock::now_ms();
        let (count, period_s) = quota;
        let used_up =
            |error: super::usage::UsedUp| QuotaUsedUp { count, period_s, retry_after: error.retry_after };
        usage.take(quota, n, at_ms).map_err(used_up)?;
        Ok(Some(Taken { tokens: self.clone(), token: caller.token, left: n, at_ms }))
    }
}

/// Says whether a caller may give a link to `owner`.
///
/// # Errors
/// Why not.
pub fn may_give(caller: Caller, people: &People, owner: Option<PersonId>) -> Result<(), Denied> {
    if owner == caller.user && owner.is_some() {
        return Ok(());
    }
    if !caller.is_admin() {
        return Err(Denied::Owner);
    }
    match owner {
        Some(owner) if people.user(owner).is_none() => Err(Denied::NoSuchUser),
        _ => Ok(()),
    }
}
