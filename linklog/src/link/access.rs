//! Who may follow a link: field 7 of its `serve` body.
//!
//! ```text
//! u8      1 private · 2 password · 3 both
//! private: varint how many, at most 64, then 8 bytes each: users and groups that may follow it
//! password: varints memory in KiB, passes, lanes; 16 bytes salt; 32 bytes Argon2id (RFC 9106, version 0x13) of the password
//! ```

use crate::codec::{Cursor, DecodeError, put_varint};
use crate::entity::PersonId;

/// Most users and groups that a private link names.
pub const ALLOWED_MAX: usize = 64;
/// Most memory that comparing a password may take, in KiB.
pub const PASSWORD_MEMORY_KIB_MAX: u32 = 64 << 10;
/// Most passes over that memory.
pub const PASSWORD_PASSES_MAX: u32 = 4;
/// Most lanes of that memory.
pub const PASSWORD_LANES_MAX: u32 = 4;

const PRIVATE: u8 = 1;
const PASSWORD: u8 = 2;

/// What is kept of a password, and what it takes to compare with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash {
    /// Memory of one comparison in KiB, 8 for each lane to [`PASSWORD_MEMORY_KIB_MAX`].
    pub memory_kib: u32,
    /// Passes over it, 1 to [`PASSWORD_PASSES_MAX`].
    pub passes: u32,
    /// Lanes, 1 to [`PASSWORD_LANES_MAX`].
    pub lanes: u32,
    /// Makes equal passwords differ.
    pub salt: [u8; 16],
    /// Argon2id of the password.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHash").field("memory_kib", &self.memory_kib).finish_non_exhaustive()
    }
}

impl PasswordHash {
    /// Says whether comparing with it stays within what this version spends on that.
    pub const fn is_within_bounds(&self) -> bool {
        let lanes = self.lanes >= 1 && self.lanes <= PASSWORD_LANES_MAX;
        let passes = self.passes >= 1 && self.passes <= PASSWORD_PASSES_MAX;
        lanes && passes && self.memory_kib >= 8 * self.lanes && self.memory_kib <= PASSWORD_MEMORY_KIB_MAX
    }

    fn write(&self, out: &mut Vec<u8>) {
        [self.memory_kib, self.passes, self.lanes]
            .iter()
            .for_each(|number| put_varint(out, (*number).into()));
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.hash);
    }

    fn read(field: &mut Cursor<'_>) -> Result<PasswordHash, DecodeError> {
        let at = field.offset();
        let mut number = || {
            let at = field.offset();
            u32::try_from(field.varint("password cost")?)
                .map_err(|_| DecodeError::invalid(at, "password cost"))
        };
        let (memory_kib, passes, lanes) = (number()?, number()?, number()?);
        let salt = field.array("password salt")?;
        let hash = field.array("password hash")?;
        let password = PasswordHash { memory_kib, passes, lanes, salt, hash };
        if password.is_within_bounds() {
            Ok(password)
        } else {
            Err(DecodeError::invalid(at, "password cost"))
        }
    }
}

/// Users and groups as they lie in a body: 8 bytes each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed<'a>(&'a [u8]);

impl<'a> Allowed<'a> {
    /// All of them, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = PersonId> + use<'a> {
        self.0.as_chunks::<8>().0.iter().map(|id| PersonId(*id))
    }

    /// Says whether a user or a group is among them.
    pub fn contains(&self, id: PersonId) -> bool {
        self.iter().any(|allowed| allowed == id)
    }
}

/// Who may follow a link; the default is everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccessView<'a> {
    /// Only these, or who has a signed link; `None`: everybody.
    pub allowed: Option<Allowed<'a>>,
    /// Only who knows the password.
    pub password: Option<PasswordHash>,
}

impl<'a> AccessView<'a> {
    /// Says whether everybody may.
    pub const fn is_public(&self) -> bool {
        self.allowed.is_none() && self.password.is_none()
    }

    /// Returns the field of a link that is not for everybody.
    pub(super) fn encode(allowed: Option<&[PersonId]>, password: Option<&PasswordHash>) -> Option<Vec<u8>> {
        let flags = u8::from(allowed.is_some()) * PRIVATE + u8::from(password.is_some()) * PASSWORD;
        let mut out = vec![flags];
        if let Some(allowed) = allowed {
            put_varint(&mut out, allowed.len() as u64);
            allowed.iter().for_each(|id| out.extend_from_slice(&id.0));
        }
        if let Some(password) = password {
            password.write(&mut out);
        }
        (flags != 0).then_some(out)
    }

    pub(super) fn read(mut field: Cursor<'a>) -> Result<AccessView<'a>, DecodeError> {
        let at = field.offset();
        let flags = field.u8("access")?;
        if !(1..=PRIVATE + PASSWORD).contains(&flags) {
            return Err(DecodeError::invalid(at, "access"));
        }
        let mut access = AccessView::default();
        if flags & PRIVATE != 0 {
            let at = field.offset();
            let count = field.varint("allowed")?;
            if count > ALLOWED_MAX as u64 {
                return Err(DecodeError::invalid(at, "allowed"));
            }
            access.allowed = Some(Allowed(field.bytes(8 * count as usize, "allowed")?));
        }
        if flags & PASSWORD != 0 {
            access.password = Some(PasswordHash::read(&mut field)?);
        }
        field.finish("access")?;
        Ok(access)
    }
}
