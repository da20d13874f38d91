//! API tokens: who may ask for changes.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};

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

/// A token's record. `manage` body: 1 name · 2 secret hash · 3 scopes · 4 created_at · 5 revoked_at.
#[derive(Clone, PartialEq, Eq, Debug)]
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
        fields.finish()?;
        if scopes & !Scopes::ALL != 0 {
            return Err(DecodeError::invalid(at, "scopes"));
        }
        Ok(Token { name, secret_hash, scopes: Scopes(scopes), created_at_ms, revoked_at_ms })
    }
}
