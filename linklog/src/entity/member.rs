//! Members of the fleet: who may follow the log.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};

/// What a member's acknowledgements are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberRole {
    /// Serves redirects; does not fsync what it applies.
    Read,
    /// Fsyncs before it acknowledges: counts towards `min_sync_replicas`.
    Sync,
}

/// Whether a member takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It follows, and the writer waits for it.
    Active,
    /// It may follow; nobody waits for it.
    Drained,
    /// It is gone for good and may not come back under this record.
    Forgotten,
    /// A sync member that follows like an active one and does not count towards `min_sync_replicas` yet: too few of the others know of it.
    Joining,
}

impl MemberState {
    /// Says whether it follows as part of the fleet, counted or about to be: it has to read what is written.
    pub const fn takes_part(self) -> bool {
        matches!(self, MemberState::Active | MemberState::Joining)
    }
}

/// A member's record. `manage` body: 1 role · 2 state · 3 credential · 4 created_at · 5 announced level · 6 joining (level 2). Roles: 0 read, 1 sync.
/// States: 0 active, 1 drained, 2 forgotten; a sync member whose state is 0 with `joining` = 1 is joining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What its acknowledgements are worth.
    pub role: MemberRole,
    /// Whether it takes part.
    pub state: MemberState,
    /// SHA-256 of its certificate (DER); `None` only for members on loopback without TLS.
    pub credential: Option<[u8; 32]>,
    /// When it was added, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// The highest format level it has announced; `None` before it first connected.
    pub announced_level: Option<u8>,
}

impl Member {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.varint(1, self.role as u64);
        fields.varint(
            2,
            match self.state {
                MemberState::Active | MemberState::Joining => 0,
                MemberState::Drained => 1,
                MemberState::Forgotten => 2,
            },
        );
        if let Some(credential) = &self.credential {
            fields.bytes(3, credential);
        }
        fields.varint(4, self.created_at_ms);
        fields.optional_varint(5, self.announced_level.map(u64::from));
        fields.optional_varint(6, (self.state == MemberState::Joining).then_some(1));
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Member, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let role = match fields.varint(1, "member role")? {
            0 => MemberRole::Read,
            1 => MemberRole::Sync,
            _ => return Err(DecodeError::invalid(at, "member role")),
        };
        let state = match fields.varint(2, "member state")? {
            0 => MemberState::Active,
            1 => MemberState::Drained,
            2 => MemberState::Forgotten,
            _ => return Err(DecodeError::invalid(at, "member state")),
        };
        let credential = fields.optional_array(3, "credential")?;
        let created_at_ms = fields.varint(4, "created_at")?;
        let announced = fields.optional_varint(5, "announced level")?;
        let state = match (fields.optional_varint(6, "joining")?, role, state) {
            (None, ..) => state,
            (Some(1), MemberRole::Sync, MemberState::Active) => MemberState::Joining,
            _ => return Err(DecodeError::invalid(at, "joining")),
        };
        fields.finish()?;
        let announced_level = announced.map(u8::try_from).transpose();
        let announced_level = announced_level.map_err(|_| DecodeError::invalid(at, "announced level"))?;
        Ok(Member { role, state, credential, created_at_ms, announced_level })
    }
}
