//! A link: what a proxy needs to redirect (`serve`) and what its owner keeps with it (`manage`).
//!
//! # `serve` body
//! ```text
//! u8      bits 0-1 status: 0 302 · 1 301 · 2 307 · 3 308; bits 2-3 state: 0 active · 1 disabled · 2 banned · 3 reserved; bits 4-7 zero
//! varint  length of the target, then the target: ASCII, sent as it is; empty if, and only if, the state is reserved
//! fields  1: expires_at, varint, milliseconds since the Unix epoch, not 0; 2 and higher: [`extras`]
//! ```
//! # `manage` body
//! ```text
//! fields  1: created_at  2: updated_at (varints, ms since the Unix epoch)  3: created_by (UTF-8)  4: title (UTF-8)
//!         5: tags (per tag: varint length, UTF-8); a text or a list that is empty is left out; with format level 2:
//!         6: notes (UTF-8)  7: owner (8 bytes, a user)  8: external_id (UTF-8)  9: archived_at (varint, ms since the Unix epoch)
//!         10: last_changed_by (UTF-8)  11: imported_clicks (varint, not 0)
//! ```
//! `fields` are described in [`crate::codec::fields`].

pub mod access;
pub mod extras;
mod manage;
pub mod rules;

pub use manage::LinkManage;
pub(crate) use manage::ManageView;

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::limits::TARGET_BYTES_MAX;
use crate::stamp::Stamp;
use extras::{Extras, ExtrasView};

/// The status of the redirect (RFC 9110 §15.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RedirectStatus {
    /// 302: the default, never cached for ever, so that edits and counts stay right.
    #[default]
    Found,
    /// 301.
    MovedPermanently,
    /// 307: like 302, the method kept.
    TemporaryRedirect,
    /// 308: like 301, the method kept.
    PermanentRedirect,
}

impl RedirectStatus {
    /// Returns the number on the status line.
    pub const fn code(self) -> u16 {
        match self {
            RedirectStatus::Found => 302,
            RedirectStatus::MovedPermanently => 301,
            RedirectStatus::TemporaryRedirect => 307,
            RedirectStatus::PermanentRedirect => 308,
        }
    }

    /// Returns the status of a number on the status line, if it is one of the four.
    pub const fn from_code(code: u16) -> Option<RedirectStatus> {
        match code {
            302 => Some(RedirectStatus::Found),
            301 => Some(RedirectStatus::MovedPermanently),
            307 => Some(RedirectStatus::TemporaryRedirect),
            308 => Some(RedirectStatus::PermanentRedirect),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            RedirectStatus::Found => 0,
            RedirectStatus::MovedPermanently => 1,
            RedirectStatus::TemporaryRedirect => 2,
            RedirectStatus::PermanentRedirect => 3,
        }
    }

    const fn from_bits(bits: u8) -> RedirectStatus {
        match bits & 3 {
            0 => RedirectStatus::Found,
            1 => RedirectStatus::MovedPermanently,
            2 => RedirectStatus::TemporaryRedirect,
            _ => RedirectStatus::PermanentRedirect,
        }
    }
}

/// Whether the link redirects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkState {
    /// It redirects, until it expires.
    #[default]
    Active,
    /// Its owner switched it off: answered like an unknown link.
    Disabled,
    /// The operator took it down: 451.
    Banned,
    /// The code is kept for its owner and has no target yet: answered like an unknown link.
    Reserved,
}

impl LinkState {
    const fn bits(self) -> u8 {
        match self {
            LinkState::Active => 0,
            LinkState::Disabled => 1,
            LinkState::Banned => 2,
            LinkState::Reserved => 3,
        }
    }

    const fn from_bits(bits: u8) -> LinkState {
        match bits & 3 {
            0 => LinkState::Active,
            1 => LinkState::Disabled,
            2 => LinkState::Banned,
            _ => LinkState::Reserved,
        }
    }
}

const EXPIRES_AT: u8 = 1;

/// What a proxy needs to redirect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Where to: an ASCII URL, 1 to 65,536 bytes, sent byte for byte; empty if, and only if, the link is reserved.
    pub target: String,
    /// With which status.
    pub status: RedirectStatus,
    /// Whether at all.
    pub state: LinkState,
    /// Until when, in milliseconds since the Unix epoch; from that instant on the link answers 410.
    pub expires_at_ms: Option<u64>,
    /// What else it can have; needs format level 2 unless it is the default.
    pub extras: Extras,
}

impl Link {
    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.target.len() + 16);
        out.push(self.status.bits() | self.state.bits() << 2);
        put_varint(&mut out, self.target.len() as u64);
        out.extend_from_slice(self.target.as_bytes());
        let mut fields = FieldWriter::new(&mut out);
        fields.optional_varint(EXPIRES_AT, self.expires_at_ms);
        self.extras.write(&mut fields);
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: &[u8]) -> Result<Link, DecodeError> {
        let (view, extras) = LinkView::read_body(Cursor::new(body), TOMB)?;
        Ok(view.with(&ExtrasView::read(extras)?))
    }

    /// Checks a `serve` body: whether [`Link::decode`] reads it.
    pub(crate) fn check(body: &[u8]) -> Result<(), DecodeError> {
        let (_, extras) = LinkView::read_body(Cursor::new(body), TOMB)?;
        ExtrasView::read(extras).map(drop)
    }
}

const TOMB: Stamp = Stamp { live: false, version: 0, created: crate::position::Position::ZERO };

/// A link as it lies in a replica, borrowed from the stored bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkView<'a> {
    /// Version and identity of the link.
    pub stamp: Stamp,
    /// Where to, ASCII.
    pub target: &'a [u8],
    /// With which status.
    pub status: RedirectStatus,
    /// Whether at all.
    pub state: LinkState,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// Everything else it has, not looked at yet ([`ExtrasView::decode`]); empty for nearly every link.
    pub extras: &'a [u8],
}

impl<'a> LinkView<'a> {
    /// Reads a stored `serve` value; `None` for a tombstone.
    ///
    /// # Errors
    /// What is wrong and at which byte of the value.
    pub fn of_value(value: &'a [u8]) -> Result<Option<LinkView<'a>>, DecodeError> {
        let (stamp, body) = crate::codec::value::split(value)?;
        if !stamp.live {
            return Ok(None);
        }
        LinkView::read_body(body, stamp).map(|(view, _)| Some(view))
    }

    /// Reads up to what only few links have.
    fn read_body(mut body: Cursor<'a>, stamp: Stamp) -> Result<(LinkView<'a>, FieldReader<'a>), DecodeError> {
        let at = body.offset();
        let bits = body.u8("link flags")?;
        if bits >> 4 != 0 {
            return Err(DecodeError::invalid(at, "link flags"));
        }
        let state = LinkState::from_bits(bits >> 2);
        let at = body.offset();
        let len = body.varint("target length")?;
        if (len == 0) != (state == LinkState::Reserved) || len > TARGET_BYTES_MAX as u64 {
            return Err(DecodeError::invalid(at, "target length"));
        }
        let at = body.offset();
        let target = body.bytes(len as usize, "target")?;
        if !target.iter().all(|b| (0x21..0x7f).contains(b)) {
            return Err(DecodeError::invalid(at, "target"));
        }
        let mut fields = FieldReader::new(body);
        let at = fields.offset();
        let expires_at_ms = fields.optional_varint(EXPIRES_AT, "expires_at")?;
        if expires_at_ms == Some(0) {
            return Err(DecodeError::invalid(at, "expires_at"));
        }
        let extras = fields.rest();
        let status = RedirectStatus::from_bits(bits);
        Ok((LinkView { stamp, target, status, state, expires_at_ms, extras }, fields))
    }

    /// Says whether the link has ended by `now_ms` (milliseconds since the Unix epoch).
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|end| end <= now_ms)
    }

    /// Returns an owned copy without the stamp.
    ///
    /// # Errors
    /// What is wrong with its extras, and at which byte of them.
    pub fn to_link(&self) -> Result<Link, DecodeError> {
        Ok(self.with(&ExtrasView::decode(self.extras)?))
    }

    fn with(&self, extras: &ExtrasView<'_>) -> Link {
        Link {
            target: String::from_utf8_lossy(self.target).into_owned(),
            status: self.status,
            state: self.state,
            expires_at_ms: self.expires_at_ms,
            extras: extras.to_owned(),
        }
    }
}
