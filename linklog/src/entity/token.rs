//! API tokens: who may ask for changes.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::entity::{Period, PersonId};
use crate::key::DomainId;

/// What a token may do, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scopes(u64);

impl Scopes {
    /// Read links.
    pub const LINKS_READ: Scopes = Scopes(1);
    /// Create, change and delete links.
    pub const LINKS_WRITE: Scopes = Scopes(2);
    /// Read statistics.
    pub const STATS_READ: Scopes = Scopes(4);
    /// Everything, the fleet's own state included.
    pub const ADMIN: Scopes = Scopes(8);
    const ALL: u64 = 15;

    /// Returns both sets together.
    pub const fn union(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Says whether everything in `needed` is allowed; [`Scopes::ADMIN`] allows everything.
    pub const fn allows(self, needed: Scopes) -> bool {
        self.0 & Scopes::ADMIN.0 != 0 || self.0 & needed.0 == needed.0
    }

    /// Says whether every scope of `part` is in this set by itself.
    pub const fn contains(self, part: Scopes) -> bool {
        self.0 & part.0 == part.0
    }

    /// Says whether nothing is allowed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a token is limited to, besides its scopes. The default is no limit at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenLimits {
    /// The domains whose links it may make and change; empty: all.
    pub domains: Vec<DomainId>,
    /// What the codes it makes begin with.
    pub alias_prefix: Option<String>,
    /// How many links it may make, and per how many seconds; both above 0.
    pub creates: Option<(u64, u64)>,
    /// How many redirects the links it makes may answer, and in which periods.
    pub redirects: Option<(u64, Period)>,
    /// Requests per second; `None`: as the configuration says.
    pub requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only.
    pub own_links_only: bool,
}

/// Most domains that a token can be limited to.
pub const TOKEN_DOMAINS_MAX: usize = 64;

/// A token's record. `manage` body: 1 name · 2 secret hash · 3 scopes · 4 created_at · 5 revoked_at; with format level 2: 6 user ·
/// 7 expires_at · 8 domains, u16 little-endian each · 9 alias prefix · 10 creates: varint count, varint seconds · 11 requests per second ·
/// 12 own links only (1) · 20 redirects: varint count, varint period (1 day · 2 month).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Token {
    /// A name for people.
    pub name: String,
    /// SHA-256 of the secret; the secret itself is shown once and kept nowhere.
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_at_ms: Option<u64>,
    /// Whose it is: who owns the links it makes.
    pub user: Option<PersonId>,
    /// From when on it is refused, milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// What it is limited to.
    pub limits: TokenLimits,
}

impl Token {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.text(1, &self.name);
        fields.bytes(2, &self.secret_hash);
        fields.varint(3, self.scopes.0);
        fields.varint(4, self.created_at_ms);
        fields.optional_varint(5, self.revoked_at_ms);
        if let Some(user) = &self.user {
            fields.bytes(6, &user.0);
        }
        fields.optional_varint(7, self.expires_at_ms);
        let limits = &self.limits;
        if !limits.domains.is_empty() {
            let domains: Vec<_> = limits.domains.iter().flat_map(|domain| domain.0.to_le_bytes()).collect();
            fields.bytes(8, &domains);
        }
        if let Some(prefix) = &limits.alias_prefix {
            fields.text(9, prefix);
        }
        if let Some((count, seconds)) = limits.creates {
            let mut creates = Vec::with_capacity(20);
            put_varint(&mut creates, count);
            put_varint(&mut creates, seconds);
            fields.bytes(10, &creates);
        }
        fields.optional_varint(11, limits.requests_per_s.map(u64::from));
        fields.optional_varint(12, limits.own_links_only.then_some(1));
        if let Some((count, period)) = limits.redirects {
            let mut redirects = Vec::with_capacity(11);
            put_varint(&mut redirects, count);
            put_varint(&mut redirects, period.number());
            fields.bytes(20, &redirects);
        }
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Token, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let name = fields.text(1, "name")?;
        let secret_hash = fields.array(2, "secret hash")?;
        let scopes = fields.varint(3, "scopes")?;
        let created_at_ms = fields.varint(4, "created_at")?;
        let revoked_at_ms = fields.optional_varint(5, "revoked_at")?;
        let user = fields.optional_array(6, "user")?.map(PersonId);
        let expires_at_ms = fields.optional_varint(7, "expires_at")?;
        let limits = TokenLimits::read(&mut fields)?;
        fields.finish()?;
        if scopes & !Scopes::ALL != 0 {
            return Err(DecodeError::invalid(at, "scopes"));
        }
        let scopes = Scopes(scopes);
        Ok(Token { name, secret_hash, scopes, created_at_ms, revoked_at_ms, user, expires_at_ms, limits })
    }
}

impl TokenLimits {
    fn read(fields: &mut FieldReader<'_>) -> Result<TokenLimits, DecodeError> {
        let mut limits = TokenLimits::default();
        if let Some(mut list) = fields.optional(8)? {
            let at = list.offset();
            while !list.is_empty() {
                limits.domains.push(DomainId(list.u16("domain")?));
            }
            if limits.domains.is_empty() || limits.domains.len() > TOKEN_DOMAINS_MAX {
                return Err(DecodeError::invalid(at, "domains"));
            }
        }
        let at = fields.offset();
        limits.alias_prefix = fields.optional_text(9, "alias prefix")?;
        if limits.alias_prefix.as_ref().is_some_and(String::is_empty) {
            return Err(DecodeError::invalid(at, "alias prefix"));
        }
        if let Some(mut creates) = fields.optional(10)? {
            let at = creates.offset();
            let (count, seconds) = (creates.varint("creates")?, creates.varint("period")?);
            creates.finish("creates")?;
            if seconds == 0 {
                return Err(DecodeError::invalid(at, "period"));
            }
            limits.creates = Some((count, seconds));
        }
        let at = fields.offset();
        let requests = fields.optional_varint(11, "requests per second")?.map(u32::try_from).transpose();
        limits.requests_per_s = requests.map_err(|_| DecodeError::invalid(at, "requests per second"))?;
        limits.own_links_only = match fields.optional_varint(12, "own links only")? {
            None => false,
            Some(1) => true,
            Some(_) => return Err(DecodeError::invalid(at, "own links only")),
        };
        if let Some(mut redirects) = fields.optional(20)? {
            let count = redirects.varint("redirects")?;
            let at = redirects.offset();
            let period = Period::of_number(redirects.varint("period")?);
            redirects.finish("redirects")?;
            limits.redirects = Some((count, period.ok_or(DecodeError::invalid(at, "period"))?));
        }
        Ok(limits)
    }
}
