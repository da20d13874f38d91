//! People and groups of people: whom links belong to and who may follow them.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};

/// A user's or a group's name for ever: random bytes, 16 hex digits in text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(pub [u8; 8]);

impl std::fmt::Display for PersonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for PersonId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PersonId({self})")
    }
}

/// The text is no id of a user or a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an id has 16 hex digits (0-9, a-f)")]
pub struct PersonIdError;

impl std::str::FromStr for PersonId {
    type Err = PersonIdError;

    fn from_str(text: &str) -> Result<PersonId, PersonIdError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(PersonIdError);
        }
        u64::from_str_radix(text, 16).map(|id| PersonId(id.to_be_bytes())).map_err(|_| PersonIdError)
    }
}

/// Most groups of a user.
pub const GROUPS_MAX: usize = 64;

/// A user's record. `serve` body: 1 disabled (1) · 2 groups, 8 bytes each. `manage` body: 1 name · 2 email · 3 created_at · 4 disabled_at.
///
/// Proxies get what decides about private links and nothing that names a person.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// A name for people.
    pub name: String,
    /// An address for people.
    pub email: Option<String>,
    /// The groups, in the order given, each once.
    pub groups: Vec<PersonId>,
    /// When the user was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When the user was switched off, milliseconds since the Unix epoch; tokens of such a user are refused.
    pub disabled_at_ms: Option<u64>,
}

impl User {
    /// Returns the `serve` body.
    pub fn encode_serve(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.optional_varint(1, self.disabled_at_ms.map(|_| 1));
        if !self.groups.is_empty() {
            fields.bytes(2, &self.groups.iter().flat_map(|group| group.0).collect::<Vec<_>>());
        }
        out
    }

    /// Returns the `manage` body.
    pub fn encode_manage(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.text(1, &self.name);
        if let Some(email) = &self.email {
            fields.text(2, email);
        }
        fields.varint(3, self.created_at_ms);
        fields.optional_varint(4, self.disabled_at_ms);
        out
    }

    /// Reads a `serve` body: whether the user is switched off, and the groups.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode_serve(body: Cursor<'_>) -> Result<(bool, Vec<PersonId>), DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let disabled = match fields.optional_varint(1, "disabled")? {
            None => false,
            Some(1) => true,
            Some(_) => return Err(DecodeError::invalid(at, "disabled")),
        };
        let mut groups = Vec::new();
        if let Some(mut list) = fields.optional(2)? {
            let at = list.offset();
            while !list.is_empty() {
                groups.push(PersonId(list.array("group")?));
            }
            if groups.is_empty() || groups.len() > GROUPS_MAX {
                return Err(DecodeError::invalid(at, "groups"));
            }
        }
        fields.finish()?;
        Ok((disabled, groups))
    }

    /// Reads both bodies.
    ///
    /// # Errors
    /// What is wrong and at which byte of its body; that one body says the user is switched off and the other does not.
    pub fn decode(serve: Cursor<'_>, manage: Cursor<'_>) -> Result<User, DecodeError> {
        let (disabled, groups) = User::decode_serve(serve)?;
        let mut fields = FieldReader::new(manage);
        let user = User {
            name: fields.text(1, "name")?,
            email: fields.optional_text(2, "email")?,
            groups,
            created_at_ms: fields.varint(3, "created_at")?,
            disabled_at_ms: fields.optional_varint(4, "disabled_at")?,
        };
        let at = fields.offset();
        fields.finish()?;
        if disabled != user.disabled_at_ms.is_some() {
            return Err(DecodeError::invalid(at, "disabled_at"));
        }
        Ok(user)
    }
}

/// A group's record. `manage` body: 1 name · 2 created_at. Who is in it stands with the users.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// A name for people.
    pub name: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

impl Group {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.text(1, &self.name);
        fields.varint(2, self.created_at_ms);
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Group, DecodeError> {
        let mut fields = FieldReader::new(body);
        let group = Group { name: fields.text(1, "name")?, created_at_ms: fields.varint(2, "created_at")? };
        fields.finish()?;
        Ok(group)
    }
}

/// Which link carries an external id. `manage` body: 1 encoded link key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExternalLink {
    /// The link.
    pub key: crate::key::Key,
}

impl ExternalLink {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        FieldWriter::new(&mut out).bytes(1, &self.key.encode());
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<ExternalLink, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let key = fields.optional(1)?.ok_or(DecodeError::truncated(at, "link key"))?;
        fields.finish()?;
        match crate::key::StateKey::decode(key.rest()) {
            Ok(crate::key::StateKey::Link(key)) => Ok(ExternalLink { key }),
            _ => Err(DecodeError::invalid(at, "link key")),
        }
    }
}
