//! The key of a link as a lookup needs it: one word for the hot map, bytes for the database.
//!
//! A 7-character code packs into a word that is the key itself. Every other code is hashed into a word with the top bit set, which
//! no packed key has; two of them may share a word, so whoever finds something under it compares the bytes.

use linklog::key::EncodedKey;
use linklog::{Code, Code7, DomainId, Key, StateKey};
use xxhash_rust::xxh3::xxh3_64;

/// Set in the word of every key that is not packed.
const HASHED: u64 = 1 << 63;

/// A link's key.
#[derive(Clone, Copy)]
pub enum LinkKey {
    /// The word says everything.
    Packed {
        /// [`Key::pack`].
        word: u64,
        /// The encoded state key: the word, big-endian.
        bytes: [u8; 8],
    },
    /// The word is a hash of the bytes.
    Hashed {
        /// The hash, with the top bit set.
        word: u64,
        /// The encoded state key.
        bytes: EncodedKey,
    },
}

impl LinkKey {
    /// Returns the key of a 7-character code.
    pub const fn of_code7(domain: DomainId, code: Code7) -> LinkKey {
        let word = Key::pack(domain, code);
        LinkKey::Packed { word, bytes: word.to_be_bytes() }
    }

    /// Returns the key of any code.
    pub fn of_code(domain: DomainId, code: Code) -> LinkKey {
        match code.as_code7() {
            Some(code) => LinkKey::of_code7(domain, code),
            None => LinkKey::of_key(&Key::new(domain, code)),
        }
    }

    /// Returns the key of a link in the log.
    pub fn of_key(key: &Key) -> LinkKey {
        match key.packed() {
            Some(word) => LinkKey::Packed { word, bytes: word.to_be_bytes() },
            None => {
                let bytes = key.encode();
                LinkKey::Hashed { word: xxh3_64(&bytes) | HASHED, bytes }
            }
        }
    }

    /// The word it goes by in the hot map.
    pub const fn word(&self) -> u64 {
        match self {
            LinkKey::Packed { word, .. } | LinkKey::Hashed { word, .. } => *word,
        }
    }

    /// The code, as it stands in a path.
    pub fn code(&self) -> String {
        match StateKey::decode(self.bytes()) {
            Ok(StateKey::Link(key)) => key.code.as_str().to_owned(),
            _ => String::new(),
        }
    }

    /// The encoded state key, for the database.
    pub fn bytes(&self) -> &[u8] {
        match self {
            LinkKey::Packed { bytes, .. } => bytes,
            LinkKey::Hashed { bytes, .. } => bytes,
        }
    }

    /// What has to be compared besides the word: nothing, or the bytes.
    pub fn tie_breaker(&self) -> &[u8] {
        match self {
            LinkKey::Packed { .. } => &[],
            LinkKey::Hashed { bytes, .. } => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(domain: u16, code: &str) -> LinkKey {
        LinkKey::of_code(DomainId(domain), code.parse().unwrap())
    }

    #[test]
    fn packed_and_hashed_words_never_meet() {
        for code in ["Ab3xY9z", "zzzzzzz", "0000000"] {
            for domain in [0, 1, u16::MAX] {
                assert_eq!(key(domain, code).word() & HASHED, 0, "{domain} {code}");
                assert!(key(domain, code).tie_breaker().is_empty());
            }
        }
        for code in ["a", "seven-7", "spring-sale", "12345678"] {
            assert_ne!(key(0, code).word() & HASHED, 0, "{code}");
            assert_eq!(key(0, code).tie_breaker(), key(0, code).bytes());
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_log() {
        for code in ["Ab3xY9z", "spring-sale"] {
            let logged = Key::new(DomainId(3), code.parse().unwrap());
            assert_eq!(key(3, code).bytes(), &*logged.encode());
            assert_eq!(LinkKey::of_key(&logged).word(), key(3, code).word());
        }
    }
}
