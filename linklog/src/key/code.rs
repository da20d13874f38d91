//! Codes: what stands behind the slash of a short URL.

use std::fmt;
use std::str::FromStr;

use crate::limits::CODE_BYTES_MAX;

/// Why a text is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeError {
    /// Nothing there.
    #[error("a code has at least 1 character")]
    Empty,
    /// Too long.
    #[error("a code has at most 64 characters, this one has {found}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// A character outside the alphabet.
    #[error("character {at} of the code is not one of A-Z a-z 0-9 _ -")]
    BadCharacter {
        /// Which one, in bytes from 0.
        at: usize,
    },
}

/// A code: 1 to 64 characters of `A-Z a-z 0-9 _ -`, case kept. Lives on the stack.
#[derive(Clone, Copy)]
pub struct Code {
    len: u8,
    bytes: [u8; CODE_BYTES_MAX],
}

impl Code {
    /// Reads a code from bytes, for instance of a request's path.
    ///
    /// # Errors
    /// Says what is wrong with the first offending byte.
    pub fn from_bytes(text: &[u8]) -> Result<Code, CodeError> {
        if text.is_empty() {
            return Err(CodeError::Empty);
        }
        if text.len() > CODE_BYTES_MAX {
            return Err(CodeError::TooLong { found: text.len() });
        }
        if let Some(at) = text.iter().position(|b| !is_code_byte(*b)) {
            return Err(CodeError::BadCharacter { at });
        }
        let mut bytes = [0; CODE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Code { len: text.len() as u8, bytes })
    }

    /// Returns the code's bytes, all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns the code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a code is ASCII by construction")
    }

    /// Returns the code as a number if it is 7 Base62 characters, the shape of generated codes.
    pub fn as_code7(&self) -> Option<Code7> {
        Code7::from_bytes(self.as_bytes().try_into().ok()?)
    }
}

/// Says whether a byte may stand in a code.
pub(crate) const fn is_code_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

impl PartialEq for Code {
    fn eq(&self, other: &Code) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl Eq for Code {}
impl std::hash::Hash for Code {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Code {
    type Err = CodeError;
    fn from_str(text: &str) -> Result<Code, CodeError> {
        Code::from_bytes(text.as_bytes())
    }
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const DIGIT_OF: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut i = 0;
    while i < 62 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// A 7-character Base62 code as a number: digits `0-9A-Za-z`, most significant first, so number order is byte order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code7(u64);

impl Code7 {
    /// How many such codes there are: 62^7 = 3,521,614,606,208, a little under 2^42.
    pub const COUNT: u64 = 62u64.pow(7);
    /// How many slots the code space has for key pools.
    pub const POOL_SLOTS: u16 = 4_096;

    /// Returns the code with this number, or `None` from 62^7 on.
    pub const fn new(value: u64) -> Option<Code7> {
        if value < Code7::COUNT { Some(Code7(value)) } else { None }
    }

    /// Returns the code's number, below 62^7.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Reads 7 characters; `None` if one is not Base62.
    pub fn from_bytes(text: &[u8; 7]) -> Option<Code7> {
        let mut value = 0u64;
        for b in text {
            let digit = DIGIT_OF[usize::from(*b)];
            if digit == 0xff {
                return None;
            }
            value = value * 62 + u64::from(digit);
        }
        Some(Code7(value))
    }

    /// Returns the 7 characters.
    pub fn to_bytes(self) -> [u8; 7] {
        let mut text = [0u8; 7];
        let mut rest = self.0;
        for b in text.iter_mut().rev() {
            *b = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        text
    }

    /// Returns the code as a [`Code`].
    pub fn to_code(self) -> Code {
        Code::from_bytes(&self.to_bytes()).expect("Base62 characters are code characters")
    }

    /// Returns the slot of the code space this code lies in: its number mod 4,096. Key pools own ranges of these; they have
    /// nothing to do with the slots of link keys, which depend on the domain too.
    pub const fn pool_slot(self) -> u16 {
        (self.0 % Code7::POOL_SLOTS as u64) as u16
    }
}

impl fmt::Display for Code7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_code().as_str())
    }
}
impl fmt::Debug for Code7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_code().as_str())
    }
}
