//! Names of things in the log: codes, link keys, and the keys of everything else.
//!
//! # Encoded state keys
//!
//! The bytes of a key are the same in records, on disk and in sums. The first byte tells the kind; integers are big-endian so
//! that byte order is number order.
//!
//! | first byte | kind | rest |
//! |---|---|---|
//! | `0x04..=0x07` | link with a 7-character Base62 code | 8 bytes in all, one big-endian u64: 6 bits `000001`, 16 bits domain, 42 bits code |
//! | `0x08` | link with any other code | u16 domain, 1–64 code bytes |
//! | `0x10` | host | 1–253 bytes, lower case, without port |
//! | `0x11` | domain | u16 domain |
//! | `0x12` | token | 8 bytes, random id |
//! | `0x13` | member | 1–63 bytes, name |
//! | `0x14` | user | 8 bytes, random id |
//! | `0x15` | group | 8 bytes, random id |
//! | `0x16` | external id | 8 bytes owner (0: nobody), 1–200 bytes of UTF-8 without control characters |
//! | `0x17` | budget, since level 2 | u8 length of the key of the link or the quota it is of, that key, 1–63 bytes, name of the member |
//! | `0x18` | fleet | nothing |
//! | `0x1c` | quota of redirects, since level 2 | 8 bytes, derived from its token's id |
//! | `0x1d` | freed code, since level 2 | the key of a link with a 7-character code |
//! | `0x1f` | folded code, since level 2 | 8 bytes, one big-endian u64: 16 bits domain, 48 bits code |
//!
//! Budgets of links are held where their links are; hosts, domains, users, quotas with their budgets and the fleet by every member; tokens,
//! members, groups, external ids, folded and freed codes exist in the `manage` part only. Users, groups, external ids, budgets, quotas, folded
//! and freed codes came with format level 2. New kinds (signing keys) come with a new format
//! level, each with a first byte of its own from the numbers not used here, and say
//! themselves who holds them and which slot they are summed in.

mod code;
mod state_key;

pub use code::{Code, Code7, CodeError};
pub use state_key::{Allowance, EXTERNAL_ID_BYTES_MAX, KeyError, StateKey, Visibility};

use std::cmp::Ordering;

use crate::slot::Slot;

/// The number of a domain. 0 is the default domain, where hosts nobody declared end up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DomainId(pub u16);

impl DomainId {
    /// The domain of every host nobody declared.
    pub const DEFAULT: DomainId = DomainId(0);
}

/// The key of a link: the Host header picks the domain, the path the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Which domain.
    pub domain: DomainId,
    /// Which code on it.
    pub code: Code,
}

const PACKED_TAG: u64 = 1 << 58;
const CODE_BITS: u32 = 42;

impl Key {
    /// Returns the key of `code` on `domain`.
    pub const fn new(domain: DomainId, code: Code) -> Key {
        Key { domain, code }
    }

    /// Returns the key as one 64-bit word if its code is 7 Base62 characters: the hot map's key, never zero.
    pub fn packed(&self) -> Option<u64> {
        self.code.as_code7().map(|code| Key::pack(self.domain, code))
    }

    /// Returns the 64-bit word of a 7-character Base62 code on a domain.
    pub const fn pack(domain: DomainId, code: Code7) -> u64 {
        PACKED_TAG | (domain.0 as u64) << CODE_BITS | code.value()
    }

    /// Returns the key a word from [`Key::pack`] stands for, or `None` for any other word.
    pub fn unpack(word: u64) -> Option<Key> {
        if word >> 58 != PACKED_TAG >> 58 {
            return None;
        }
        let code = Code7::new(word & ((1 << CODE_BITS) - 1))?;
        Some(Key { domain: DomainId((word >> CODE_BITS) as u16), code: code.to_code() })
    }

    /// Says whether a word is one that [`Key::pack`] gives.
    pub const fn is_packed(word: u64) -> bool {
        word >> 58 == PACKED_TAG >> 58 && Code7::new(word & ((1 << CODE_BITS) - 1)).is_some()
    }

    /// Returns the encoded state key.
    pub fn encode(&self) -> EncodedKey {
        match self.packed() {
            Some(word) => EncodedKey::from_slice(&word.to_be_bytes()),
            None => {
                let mut bytes = EncodedKey::from_slice(&[state_key::LINK_LONG]);
                bytes.push(&self.domain.0.to_be_bytes());
                bytes.push(self.code.as_bytes());
                bytes
            }
        }
    }

    /// Returns the key's slot.
    pub fn slot(&self) -> Slot {
        Slot::of_link_key(&self.encode())
    }
}

/// The order of the encoded keys: generated codes first, then the others, each by domain and code.
impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        let order = |key: &Key| (key.code.as_code7().is_none(), key.domain);
        // The digits of Base62 are in the order of their bytes.
        order(self).cmp(&order(other)).then_with(|| self.code.as_bytes().cmp(other.code.as_bytes()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An encoded link key, on the stack: lookups allocate nothing.
#[derive(Clone, Copy)]
pub struct EncodedKey {
    len: u8,
    bytes: [u8; 3 + crate::limits::CODE_BYTES_MAX],
}

impl EncodedKey {
    fn from_slice(start: &[u8]) -> EncodedKey {
        let mut key = EncodedKey { len: 0, bytes: [0; 3 + crate::limits::CODE_BYTES_MAX] };
        key.push(start);
        key
    }

    fn push(&mut self, more: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + more.len()].copy_from_slice(more);
        self.len += more.len() as u8;
    }
}

impl std::ops::Deref for EncodedKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests;
