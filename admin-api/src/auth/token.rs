//! The text of a token: `sp_<id>_<secret>`, 16 hex digits and 43 characters of `A-Z a-z 0-9` (more than 256 random bits).

use std::fmt;
use std::io;
use std::str::FromStr;

use access::token::{SECRET_CHARS, Shown, secret_hash};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token's public name; 16 lower-case hex digits in text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The text is no token id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a token's id is 16 hex digits (0-9, a-f): the part between the two underscores")]
pub struct TokenIdError;

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<TokenId, TokenIdError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(TokenIdError);
        }
        u64::from_str_radix(text, 16).map(|id| TokenId(id.to_be_bytes())).map_err(|_| TokenIdError)
    }
}

/// A token that was just made; the only time its secret is known here.
pub struct NewToken {
    id: TokenId,
    text: String,
}

impl NewToken {
    /// Makes one from the operating system's random source.
    ///
    /// # Errors
    /// The random source failed.
    pub fn generate() -> io::Result<NewToken> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(io::Error::from)?;
        let id = TokenId(id);
        let mut text = format!("sp_{id}_");
        let end = text.len() + SECRET_CHARS;
        let mut random = [0u8; 64];
        while text.len() < end {
            getrandom::fill(&mut random).map_err(io::Error::from)?;
            // Bytes above the last multiple of 62 would make some characters likelier than others.
            let fair = random.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
            text.extend(fair.take(end - text.len()));
        }
        Ok(NewToken { id, text })
    }

    /// Returns its public name.
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// Returns the whole token.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what is kept of the secret.
    pub fn secret_hash(&self) -> [u8; 32] {
        secret_hash(&self.text[self.text.len() - SECRET_CHARS..])
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token as a request presents it, its secret already hashed.
pub struct Presented {
    /// Whose it claims to be.
    pub id: TokenId,
    shown: Shown,
}

impl Presented {
    /// Reads the value of an `Authorization` header.
    pub fn of_header(value: &[u8]) -> Option<Presented> {
        Shown::of_header(value).map(|shown| Presented { id: TokenId(shown.id), shown })
    }

    /// Compares with what is kept, in constant time.
    pub fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        self.shown.matches(secret_hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_token_has_the_form_and_matches_its_own_hash() {
        let new = NewToken::generate().unwrap();
        let parts: Vec<_> = new.text().split('_').collect();
        assert_eq!((parts.len(), parts[0], parts[1].len(), parts[2].len()), (3, "sp", 16, 43));
        let presented = Presented::of_header(format!("bearer {}", new.text()).as_bytes()).unwrap();
        assert_eq!(presented.id, new.id());
        assert!(presented.matches(&new.secret_hash()));
        assert!(!presented.matches(&NewToken::generate().unwrap().secret_hash()));
    }

    #[test]
    fn two_tokens_differ_in_every_part() {
        let (a, b) = (NewToken::generate().unwrap(), NewToken::generate().unwrap());
        assert_ne!(a.id(), b.id());
        assert_ne!(a.secret_hash(), b.secret_hash());
    }

    #[test]
    fn the_debug_form_does_not_show_the_secret() {
        let new = NewToken::generate().unwrap();
        let secret = new.text().rsplit('_').next().unwrap();
        assert!(!format!("{new:?}").contains(secret));
    }

    #[test]
    fn a_token_id_reads_what_it_writes_and_nothing_else() {
        let id = TokenId([0, 1, 2, 3, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(id.to_string(), "00010203abcdefff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0", "00010203ABCDEFFF", "+0010203abcdefff", "00010203abcdefff0"] {
            assert_eq!(wrong.parse::<TokenId>(), Err(TokenIdError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), text in "Bearer sp_.{0,70}") {
            let _ = Presented::of_header(&bytes);
            let _ = Presented::of_header(text.as_bytes());
        }
    }
}
