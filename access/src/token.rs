//! An API token as a request shows it: `Authorization: Bearer sp_<id>_<secret>`, 16 hex digits and 43 characters of `A-Z a-z 0-9`.

use linklog::entity::PersonId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Characters of a secret: 62^43 > 2^256.
pub const SECRET_CHARS: usize = 43;

/// Returns what is kept of a secret: its SHA-256. Slow hashes are for what people choose.
pub fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A token that a request shows, its secret already hashed.
pub struct Shown {
    /// Which one it claims to be.
    pub id: [u8; 8],
    hash: [u8; 32],
}

impl Shown {
    /// Reads the value of an `Authorization` header (RFC 6750 section 2.1; the scheme's case does not matter).
    pub fn of_header(value: &[u8]) -> Option<Shown> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, token) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (id, secret) = token.trim_start_matches(' ').strip_prefix("sp_")?.split_once('_')?;
        let well_formed = secret.len() == SECRET_CHARS && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        // Ids of tokens and of people are written alike.
        let PersonId(id) = id.parse().ok().filter(|_| well_formed)?;
        Some(Shown { id, hash: secret_hash(secret) })
    }

    /// Compares with what is kept, in constant time.
    pub fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        self.hash.ct_eq(secret_hash).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_whatever_the_case_of_the_scheme() {
        let secret = "a".repeat(SECRET_CHARS);
        let shown =
            |scheme: &str| Shown::of_header(format!("{scheme} sp_00ff00ff00ff00ff_{secret}").as_bytes());
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let shown = shown(scheme).expect("a token");
            assert_eq!(shown.id, [0, 255, 0, 255, 0, 255, 0, 255]);
            assert!(shown.matches(&secret_hash(&secret)) && !shown.matches(&secret_hash("b")));
        }
        assert!(shown("Basic").is_none() && Shown::of_header(b"Bearer sp_00ff00ff00ff00ff_a").is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), text in "Bearer sp_.{0,70}") {
            let _ = Shown::of_header(&bytes);
            let _ = Shown::of_header(text.as_bytes());
        }
    }
}
