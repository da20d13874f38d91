//! What is kept of a password: Argon2id (RFC 9106). Slow on purpose: callers do this on threads of their own.
//!
//! 19 MiB, two passes, one lane: the least that OWASP's Password Storage Cheat Sheet recommends, since a proxy pays it for every guess. What is
//! kept says what it takes, so stronger parameters later leave older passwords valid.

use std::fmt::Write;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use linklog::link::access::PasswordHash;
use subtle::ConstantTimeEq;

/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;

const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The parameters are none that Argon2 takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the parameters of the password are out of bounds")]
pub struct PasswordError;

/// Returns what is kept of a password; `salt` is random.
///
/// # Errors
/// The password is longer than Argon2 takes, which [`PASSWORD_BYTES_MAX`] keeps it from.
pub fn hash(password: &[u8], salt: [u8; 16]) -> Result<PasswordHash, PasswordError> {
    let blank = PasswordHash { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash: [0; 32] };
    Ok(PasswordHash { hash: digest(password, &blank)?, ..blank })
}

/// Says whether a password is the one of which this is kept.
///
/// # Errors
/// The parameters are out of bounds.
pub fn matches(password: &[u8], kept: &PasswordHash) -> Result<bool, PasswordError> {
    Ok(digest(password, kept)?.ct_eq(&kept.hash).into())
}

/// Returns what is kept of a password as text, in the form that everybody has for it (PHC string format).
pub fn to_phc(kept: &PasswordHash) -> String {
    let PasswordHash { memory_kib, passes, lanes, salt, hash } = kept;
    let mut text = format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}");
    for part in [&salt[..], hash] {
        let _ = write!(text, "${}", STANDARD_NO_PAD.encode(part));
    }
    text
}

/// Reads such a text; `None` for another algorithm, for lengths other than ours, and for costs that are out of bounds.
pub fn of_phc(text: &str) -> Option<PasswordHash> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut costs = costs.split(',');
    let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse().ok();
    let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    let is_whole = costs.next().is_none() && parts.next().is_none();
    let salt = STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?;
    let hash = STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?;
    let kept = PasswordHash { memory_kib, passes, lanes, salt, hash };
    Some(kept).filter(|kept| is_whole && kept.is_within_bounds())
}

fn digest(password: &[u8], kept: &PasswordHash) -> Result<[u8; 32], PasswordError> {
    if !kept.is_within_bounds() {
        return Err(PasswordError);
    }
    let params =
        Params::new(kept.memory_kib, kept.passes, kept.lanes, Some(32)).map_err(|_| PasswordError)?;
    let mut out = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, &kept.salt, &mut out).map_err(|_| PasswordError)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_matches_what_is_kept_of_it_and_no_other_does() {
        let kept = hash("pässword".as_bytes(), [3; 16]).unwrap();
        assert!(kept.is_within_bounds() && kept.memory_kib <= 64 << 10);
        assert_eq!(matches("pässword".as_bytes(), &kept), Ok(true));
        assert_eq!(matches(b"password", &kept), Ok(false));
        assert_ne!(hash("pässword".as_bytes(), [4; 16]).unwrap().hash, kept.hash);
        let text = to_phc(&kept);
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$AwMDAwMDAwMDAwMDAwMDAw$"), "{text}");
        assert_eq!(of_phc(&text), Some(kept));
        for wrong in
            ["", "$argon2i$v=19$m=19456,t=2,p=1$a$b", &format!("{text}$"), &text.replace("t=2", "t=5")]
        {
            assert_eq!(of_phc(wrong), None, "{wrong}");
        }
        let costly = PasswordHash { memory_kib: u32::MAX, ..kept };
        assert_eq!(matches(b"password", &costly), Err(PasswordError));
    }
}
