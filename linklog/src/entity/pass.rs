//! What proxies need to let visitors follow links that are not for everybody: users' tokens as they see them, and the keys that signed
//! links and cookies are made with.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};
use crate::entity::PersonId;

/// A token of a user as proxies see it, beside the token's own record: there as long as the token is not revoked. No name, no scopes.
///
/// `serve` body, with format level 2: 1 user · 2 secret hash · 3 expires_at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Whose it is.
    pub user: PersonId,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// From when on it is refused, milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Pass {
    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut fields = FieldWriter::new(&mut out);
        fields.bytes(1, &self.user.0);
        fields.bytes(2, &self.secret_hash);
        fields.optional_varint(3, self.expires_at_ms);
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Pass, DecodeError> {
        let mut fields = FieldReader::new(body);
        let pass = Pass {
            user: PersonId(fields.array(1, "user")?),
            secret_hash: fields.array(2, "secret hash")?,
            expires_at_ms: fields.optional_varint(3, "expires_at")?,
        };
        fields.finish()?;
        Ok(pass)
    }
}

/// A key that links and cookies are signed with. The youngest signs; older ones verify until their time is over.
///
/// `serve` body, with format level 2: 1 secret (32 bytes) · 2 created_at · 3 valid_until (varints, milliseconds since the Unix epoch).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey {
    /// What signs.
    pub secret: [u8; 32],
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// From when on nothing signed with it holds, milliseconds since the Unix epoch; `None`: no other key has taken its place.
    pub valid_until_ms: Option<u64>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("created_at_ms", &self.created_at_ms).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Says whether what it signed holds at `now_ms` (milliseconds since the Unix epoch).
    pub fn holds_at(&self, now_ms: u64) -> bool {
        self.valid_until_ms.is_none_or(|end| now_ms < end)
    }

    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut fields = FieldWriter::new(&mut out);
        fields.bytes(1, &self.secret);
        fields.varint(2, self.created_at_ms);
        fields.optional_varint(3, self.valid_until_ms);
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<SigningKey, DecodeError> {
        let mut fields = FieldReader::new(body);
        let key = SigningKey {
            secret: fields.array(1, "secret")?,
            created_at_ms: fields.varint(2, "created_at")?,
            valid_until_ms: fields.optional_varint(3, "valid_until")?,
        };
        fields.finish()?;
        Ok(key)
    }
}
