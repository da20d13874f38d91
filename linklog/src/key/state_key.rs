//! Keys of everything the log holds, and which parts of it proxies see.

use super::{Code, Code7, DomainId, Key};
use crate::entity::{PersonId, QuotaId};
use crate::limits::CODE_BYTES_MAX;
use crate::slot::Slot;

pub(super) const LINK_LONG: u8 = 0x08;
const HOST: u8 = 0x10;
const DOMAIN: u8 = 0x11;
const TOKEN: u8 = 0x12;
const MEMBER: u8 = 0x13;
const USER: u8 = 0x14;
const GROUP: u8 = 0x15;
const EXTERNAL: u8 = 0x16;
const BUDGET: u8 = 0x17;
const FLEET: u8 = 0x18;
const QUOTA: u8 = 0x1c;
const FREED: u8 = 0x1d;
const FOLDED: u8 = 0x1f;

/// Longest host name, in bytes (RFC 1035 §2.3.4, without the final dot).
const HOST_BYTES_MAX: usize = 253;
/// Longest member name, in bytes.
const MEMBER_BYTES_MAX: usize = 63;

/// Longest external id, in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 200;

/// What members hold budgets of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Allowance {
    /// The clicks of a link that ends with a number of them.
    Link(Key),
    /// The redirects of a token's links in one period.
    Quota(QuotaId),
}

impl Allowance {
    /// Returns the key of what it is an allowance of.
    pub fn state_key(&self) -> StateKey {
        match self {
            Allowance::Link(key) => StateKey::Link(*key),
            Allowance::Quota(id) => StateKey::Quota(*id),
        }
    }

    /// Returns the bytes of that key.
    pub fn encode(&self) -> Vec<u8> {
        self.state_key().encode()
    }

    /// Reads the bytes of such a key; `None`: they are another one's, or none.
    pub fn decode(bytes: &[u8]) -> Option<Allowance> {
        match StateKey::decode(bytes) {
            Ok(StateKey::Link(key)) => Some(Allowance::Link(key)),
            Ok(StateKey::Quota(id)) => Some(Allowance::Quota(id)),
            _ => None,
        }
    }
}

/// A key of the log's state.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StateKey {
    /// A link.
    Link(Key),
    /// A host name: which domain it belongs to.
    Host(String),
    /// A domain and its settings.
    Domain(DomainId),
    /// An API token by its public id.
    Token([u8; 8]),
    /// A member of the fleet by its name.
    Member(String),
    /// A user.
    User(PersonId),
    /// A group of users.
    Group(PersonId),
    /// A name that an owner's link has elsewhere; links of nobody have the owner 0.
    External(PersonId, String),
    /// What a member may spend of a link that ends with a number of clicks, or of a quota.
    Budget(Allowance, String),
    /// The fleet: its id and the format level. There is one.
    Fleet,
    /// On a domain whose aliases are found in any case: who has the 7 characters of a code in lower case. Nothing is in it; that it is
    /// there claims them, for a generated code or for an alias, whichever comes first.
    FoldedCode(DomainId, Code7),
    /// How many redirects the links of a token may answer in a period.
    Quota(QuotaId),
    /// A generated code whose link was deleted, and which may be used once more on that domain.
    FreedCode(DomainId, Code7),
}

/// Who holds a key's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Visibility {
    /// Members that hold its slot get the `serve` part; full replicas get both.
    Served,
    /// Full replicas only.
    ManageOnly,
}

/// Why bytes are no state key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The first byte names no kind this version knows.
    #[error("unknown kind of key, first byte {0:#04x}")]
    UnknownKind(u8),
    /// No bytes at all.
    #[error("empty key")]
    Empty,
    /// The kind is known, the rest does not fit it.
    #[error("malformed key of kind {0:#04x}")]
    Malformed(u8),
}

impl StateKey {
    /// Returns the bytes of the key (see the table in [`crate::key`]).
    pub fn encode(&self) -> Vec<u8> {
        let tagged = |tag: u8, rest: &[u8]| {
            let mut bytes = Vec::with_capacity(1 + rest.len());
            bytes.push(tag);
            bytes.extend_from_slice(rest);
            bytes
        };
        match self {
            StateKey::Link(key) => key.encode().to_vec(),
            StateKey::Host(host) => tagged(HOST, host.as_bytes()),
            StateKey::Domain(domain) => tagged(DOMAIN, &domain.0.to_be_bytes()),
            StateKey::Token(id) => tagged(TOKEN, id),
            StateKey::Member(name) => tagged(MEMBER, name.as_bytes()),
            StateKey::User(id) => tagged(USER, &id.0),
            StateKey::Group(id) => tagged(GROUP, &id.0),
            StateKey::External(owner, text) => tagged(EXTERNAL, &[&owner.0, text.as_bytes()].concat()),
            StateKey::Budget(of, member) => [StateKey::budgets_of(of).as_slice(), member.as_bytes()].concat(),
            StateKey::Fleet => vec![FLEET],
            StateKey::Quota(id) => tagged(QUOTA, &id.0),
            StateKey::FreedCode(domain, code) => tagged(FREED, &Key::pack(*domain, *code).to_be_bytes()),
            StateKey::FoldedCode(domain, code) => {
                let word = u64::from(domain.0) << 48 | code.value();
                tagged(FOLDED, &word.to_be_bytes())
            }
        }
    }

    /// Reads the bytes of a key. Every key has exactly one encoding: what this accepts, [`StateKey::encode`] gives back.
    ///
    /// # Errors
    /// Unknown kinds and malformed rests.
    pub fn decode(bytes: &[u8]) -> Result<StateKey, KeyError> {
        let (&tag, rest) = bytes.split_first().ok_or(KeyError::Empty)?;
        let malformed = KeyError::Malformed(tag);
        match tag {
            0x04..=0x07 => {
                let word = u64::from_be_bytes(bytes.try_into().map_err(|_| malformed)?);
                Key::unpack(word).map(StateKey::Link).ok_or(malformed)
            }
            LINK_LONG => {
                let (domain, code) = rest.split_first_chunk::<2>().ok_or(malformed)?;
                if code.len() > CODE_BYTES_MAX || code.try_into().ok().and_then(Code7::from_bytes).is_some() {
                    return Err(malformed);
                }
                let code = Code::from_bytes(code).map_err(|_| malformed)?;
                Ok(StateKey::Link(Key::new(DomainId(u16::from_be_bytes(*domain)), code)))
            }
            HOST => name(rest, HOST_BYTES_MAX, is_host_byte).map(StateKey::Host).ok_or(malformed),
            DOMAIN => {
                Ok(StateKey::Domain(DomainId(u16::from_be_bytes(rest.try_into().map_err(|_| malformed)?))))
            }
            TOKEN => Ok(StateKey::Token(rest.try_into().map_err(|_| malformed)?)),
            MEMBER => name(rest, MEMBER_BYTES_MAX, is_member_byte).map(StateKey::Member).ok_or(malformed),
            USER => Ok(StateKey::User(PersonId(rest.try_into().map_err(|_| malformed)?))),
            GROUP => Ok(StateKey::Group(PersonId(rest.try_into().map_err(|_| malformed)?))),
            EXTERNAL => {
                let (owner, text) = rest.split_first_chunk::<8>().ok_or(malformed)?;
                let text = std::str::from_utf8(text).map_err(|_| malformed)?;
                if text.is_empty() || text.len() > EXTERNAL_ID_BYTES_MAX || text.contains(char::is_control) {
                    return Err(malformed);
                }
                Ok(StateKey::External(PersonId(*owner), text.to_owned()))
            }
            BUDGET => {
                let (&len, rest) = rest.split_first().ok_or(malformed)?;
                let (of, member) = rest.split_at_checked(usize::from(len)).ok_or(malformed)?;
                let of = Allowance::decode(of).ok_or(malformed)?;
                let member = name(member, MEMBER_BYTES_MAX, is_member_byte).ok_or(malformed)?;
                Ok(StateKey::Budget(of, member))
            }
            QUOTA => Ok(StateKey::Quota(QuotaId(rest.try_into().map_err(|_| malformed)?))),
            FREED => {
                let word = u64::from_be_bytes(rest.try_into().map_err(|_| malformed)?);
                let key = Key::unpack(word).ok_or(malformed)?;
                let code = key.code.as_code7().ok_or(malformed)?;
                Ok(StateKey::FreedCode(key.domain, code))
            }
            FOLDED => {
                let word = u64::from_be_bytes(rest.try_into().map_err(|_| malformed)?);
                let code = Code7::new(word & ((1 << 48) - 1)).ok_or(malformed)?;
                Ok(StateKey::FoldedCode(DomainId((word >> 48) as u16), code))
            }
            FLEET if rest.is_empty() => Ok(StateKey::Fleet),
            FLEET => Err(malformed),
            other => Err(KeyError::UnknownKind(other)),
        }
    }

    /// Returns the slot the key's state is summed and moved with.
    pub fn slot(&self) -> Slot {
        match self {
            StateKey::Link(key) | StateKey::Budget(Allowance::Link(key), _) => key.slot(),
            _ => Slot::EVERYWHERE,
        }
    }

    /// Says who holds the key's state.
    pub fn visibility(&self) -> Visibility {
        match self {
            StateKey::Link(_)
            | StateKey::Budget(..)
            | StateKey::Host(_)
            | StateKey::Domain(_)
            | StateKey::User(_)
            | StateKey::Quota(_)
            | StateKey::Fleet => Visibility::Served,
            StateKey::Token(_)
            | StateKey::Member(_)
            | StateKey::Group(_)
            | StateKey::External(..)
            | StateKey::FoldedCode(..)
            | StateKey::FreedCode(..) => Visibility::ManageOnly,
        }
    }

    /// What the keys of all budgets of a link or a quota begin with, for scans. No other key does.
    pub fn budgets_of(of: &Allowance) -> Vec<u8> {
        let of = of.encode();
        // A link's key has at most 1 + 2 + 64 bytes, a quota's 9.
        [&[BUDGET, of.len() as u8], &*of].concat()
    }

    /// The first byte of all keys of tokens, for scans.
    pub const TOKENS: u8 = TOKEN;
    /// The first byte of all keys of members, for scans.
    pub const MEMBERS: u8 = MEMBER;
    /// The first byte of all keys of users, for scans.
    pub const USERS: u8 = USER;
    /// The first byte of all keys of groups, for scans.
    pub const GROUPS: u8 = GROUP;
    /// The first byte of all keys of budgets, for scans.
    pub const BUDGETS: u8 = BUDGET;
    /// The first byte of all keys of quotas, for scans.
    pub const QUOTAS: u8 = QUOTA;
    /// The first byte of all keys of hosts, for scans.
    pub const HOSTS: u8 = HOST;
    /// The first byte of all keys of domains, for scans.
    pub const DOMAINS: u8 = DOMAIN;
}

fn name(bytes: &[u8], max: usize, allowed: fn(u8) -> bool) -> Option<String> {
    let fits = !bytes.is_empty() && bytes.len() <= max && bytes.iter().all(|b| allowed(*b));
    fits.then(|| String::from_utf8(bytes.to_vec()).ok()).flatten()
}

const fn is_host_byte(b: u8) -> bool {
    // IPv6 literals as hosts keep their brackets and colons.
    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':')
}

const fn is_member_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'
}
