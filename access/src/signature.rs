//! Signatures that proxies check by themselves: of links that may be followed until some time, and of cookies that remember a password.
//!
//! ```text
//! text     base64url without padding of: key 8 bytes · user 8 bytes, 0: nobody in particular · end u64 · mac 32 bytes
//! mac      HMAC-SHA-256 under the key's secret of: "signpost" · u8 purpose · u8 length of the link's key, the key · created u32 epoch, u64 seq
//!          · user 8 bytes · end u64; purpose 2: also salt and hash of the password
//! ```
//! Integers are big-endian, times in milliseconds since the Unix epoch. A signature is of one link: another one that is made later under
//! the same name has another creating record. A cookie is of one password: a new one, even the same again, has another salt.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use linklog::Position;
use linklog::entity::PersonId;
use linklog::link::access::PasswordHash;
use sha2::Sha256;

/// The parameter of a query that carries a signature.
pub const PARAMETER: &str = "sp_sig";
/// Longest life of a signed link, in milliseconds: 366 days. So long a signing key is kept after another one has taken its place.
pub const LIFE_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

const BYTES: usize = 8 + 8 + 8 + 32;
/// Characters of a signature.
const CHARS: usize = (BYTES * 4).div_ceil(3);
const LABEL: &[u8] = b"signpost";

/// Which link is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link<'a> {
    /// Its key, encoded.
    pub key: &'a [u8],
    /// The record that created it.
    pub created: Position,
}

/// What a signature is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose<'a> {
    /// Following a private link.
    Follow,
    /// Having known this password.
    Password(&'a PasswordHash),
}

/// What a signature says, whether it is right or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Which key signed.
    pub key: [u8; 8],
    /// In whose name; `None`: nobody's in particular.
    pub user: Option<PersonId>,
    /// From when on it does not hold, milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    mac: [u8; 32],
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Signature { user, expires_at_ms, .. } = self;
        f.debug_struct("Signature")
            .field("user", user)
            .field("expires_at_ms", expires_at_ms)
            .finish_non_exhaustive()
    }
}

/// A key and its id.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Its id.
    pub id: [u8; 8],
    /// What signs.
    pub secret: &'a [u8; 32],
}

impl Signature {
    /// Signs.
    pub fn new(
        key: Key<'_>,
        link: Link<'_>,
        purpose: Purpose<'_>,
        user: Option<PersonId>,
        expires_at_ms: u64,
    ) -> Signature {
        let mac = mac(key.secret, link, purpose, user, expires_at_ms).finalize().into_bytes().into();
        Signature { key: key.id, user, expires_at_ms, mac }
    }

    /// Says, in constant time, whether it was made with this secret for this link and purpose. Its time is another question.
    pub fn is_of(&self, secret: &[u8; 32], link: Link<'_>, purpose: Purpose<'_>) -> bool {
        mac(secret, link, purpose, self.user, self.expires_at_ms).verify_slice(&self.mac).is_ok()
    }

    /// Returns its text.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&user_bytes(self.user));
        bytes.extend_from_slice(&self.expires_at_ms.to_be_bytes());
        bytes.extend_from_slice(&self.mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text; `None` for what is none. What this accepts, [`Signature::to_text`] gives back.
    pub fn of_text(text: &[u8]) -> Option<Signature> {
        if text.len() != CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (key, rest) = bytes.split_first_chunk::<8>()?;
        let (user, rest) = rest.split_first_chunk::<8>()?;
        let (end, mac) = rest.split_first_chunk::<8>()?;
        let mac = mac.try_into().ok()?;
        let user = (*user != [0; 8]).then_some(PersonId(*user));
        Some(Signature { key: *key, user, expires_at_ms: u64::from_be_bytes(*end), mac })
    }
}

fn user_bytes(user: Option<PersonId>) -> [u8; 8] {
    user.map_or([0; 8], |user| user.0)
}

fn mac(
    secret: &[u8; 32],
    link: Link<'_>,
    purpose: Purpose<'_>,
    user: Option<PersonId>,
    expires_at_ms: u64,
) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(LABEL);
    let number = match purpose {
        Purpose::Follow => 1,
        Purpose::Password(_) => 2,
    };
    // A link's key has at most 67 bytes.
    mac.update(&[number, link.key.len() as u8]);
    mac.update(link.key);
    mac.update(&link.created.epoch.0.to_be_bytes());
    mac.update(&link.created.seq.0.to_be_bytes());
    mac.update(&user_bytes(user));
    mac.update(&expires_at_ms.to_be_bytes());
    if let Purpose::Password(password) = purpose {
        mac.update(&password.salt);
        mac.update(&password.hash);
    }
    mac
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const SECRET: [u8; 32] = [7; 32];
    const KEY: Key<'_> = Key { id: [1; 8], secret: &SECRET };
    const LINK: Link<'_> = Link { key: b"\x08\0\0ab", created: Position::new(1, 2) };
    const PASSWORD: PasswordHash =
        PasswordHash { memory_kib: 8, passes: 1, lanes: 1, salt: [1; 16], hash: [2; 32] };

    #[test]
    fn a_signature_is_of_one_link_one_purpose_one_user_one_end_and_one_key() {
        let user = Some(PersonId([9; 8]));
        let signed = Signature::new(KEY, LINK, Purpose::Follow, user, 1_000);
        let read = Signature::of_text(signed.to_text().as_bytes()).unwrap();
        assert_eq!(read, signed);
        assert!(read.is_of(&SECRET, LINK, Purpose::Follow));
        assert!(!read.is_of(&[8; 32], LINK, Purpose::Follow));
        assert!(!read.is_of(&SECRET, Link { key: b"\x08\0\0ac", ..LINK }, Purpose::Follow));
        assert!(!read.is_of(&SECRET, Link { created: Position::new(1, 3), ..LINK }, Purpose::Follow));
        assert!(!read.is_of(&SECRET, LINK, Purpose::Password(&PASSWORD)));
        assert!(!Signature { user: None, ..read }.is_of(&SECRET, LINK, Purpose::Follow));
        assert!(!Signature { expires_at_ms: 1_001, ..read }.is_of(&SECRET, LINK, Purpose::Follow));
        let cookie = Signature::new(KEY, LINK, Purpose::Password(&PASSWORD), None, 1_000);
        let again = PasswordHash { salt: [3; 16], ..PASSWORD };
        assert!(cookie.is_of(&SECRET, LINK, Purpose::Password(&PASSWORD)));
        assert!(!cookie.is_of(&SECRET, LINK, Purpose::Password(&again)));
        assert!(!format!("{signed:?} {PASSWORD:?}").contains("[2"));
    }

    /// Links that were sent out must go on working: the text of a signature is frozen.
    #[test]
    fn the_text_of_a_signature_stays_what_it_is() {
        let signed = Signature::new(KEY, LINK, Purpose::Follow, None, 0x0102_0304);
        let text = signed.to_text();
        assert_eq!(text.len(), CHARS);
        assert!(text.starts_with("AQEBAQEBAQEAAAAAAAAAAAAAAAABAgME"), "{text}");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic_and_what_is_read_is_written_back(text in "[A-Za-z0-9_-]{70,80}", any in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = Signature::of_text(&any);
            if let Some(signature) = Signature::of_text(text.as_bytes()) {
                prop_assert_eq!(signature.to_text(), text);
            }
        }
    }
}
