//! Commands that arrive twice. Pure, but for the set of those that are being worked on.
//!
//! A client that got no answer sends its request again with the same `Idempotency-Key`; both have the same command ids, and the log
//! decides each id once. The outcome is part of the state, so restarts and a promoted writer answer alike.
//!
//! A create that hits a generated code somebody has (which ends the command's id as a conflict) goes on under the id of the next attempt; a
//! retry walks the same attempts and finds the one that succeeded.
//!
//! A request that arrives while one with its key is being worked on is told so ([`InFlight`]): its sender has not waited for the answer.

use std::collections::HashSet;
use std::sync::Arc;

use linklog::CommandId;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use crate::auth::TokenId;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an Idempotency-Key has 1 to {KEY_BYTES_MAX} printable ASCII characters")]
pub struct KeyInvalid;

/// The key of an idempotent request, together with whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IdempotencyKey([u8; 32]);

impl IdempotencyKey {
    /// Reads the value of an `Idempotency-Key` header of a request made with `token`: the keys of different tokens are different.
    ///
    /// # Errors
    /// It is empty, too long, or holds something else than printable ASCII.
    pub fn new(token: TokenId, value: &[u8]) -> Result<IdempotencyKey, KeyInvalid> {
        let printable = |b: &u8| (0x20..0x7f).contains(b);
        if value.is_empty() || value.len() > KEY_BYTES_MAX || !value.iter().all(printable) {
            return Err(KeyInvalid);
        }
        let hash = Sha256::new().chain_update(b"signpost command").chain_update(token.0).chain_update(value);
        Ok(IdempotencyKey(hash.finalize().into()))
    }

    /// Returns the id of the request's `attempt`th try at its `index`th link.
    pub fn command(&self, index: usize, attempt: usize) -> CommandId {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update((index as u32).to_le_bytes())
            .chain_update((attempt as u32).to_le_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        CommandId(*hash.first_chunk().expect("32 bytes begin with 16"))
    }
}

/// The keys of requests that are being worked on; at most one for each request in the process. Cheap to clone.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashSet<IdempotencyKey>>>);

/// A request that is being worked on; when this is dropped it no longer is.
pub struct Working {
    all: InFlight,
    key: IdempotencyKey,
}

impl InFlight {
    /// Begins work on a request; `None` if one with this key is being worked on.
    pub fn begin(&self, key: IdempotencyKey) -> Option<Working> {
        self.0.lock().insert(key).then(|| Working { all: self.clone(), key })
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.key);
    }
}

/// Returns the hash of a request's canonical form. It tells a retry from a mistake, and a client can only fool itself with it.
pub fn request_hash(canonical: &[u8]) -> [u8; 16] {
    xxh3_128(canonical).to_le_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: TokenId = TokenId([1; 8]);

    #[test]
    fn a_key_of_printable_ascii_is_accepted_up_to_its_length() {
        for key in ["x", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"quoted\"", &"k".repeat(255)] {
            assert!(IdempotencyKey::new(A, key.as_bytes()).is_ok(), "{key}");
        }
        for key in [&b""[..], b"a\tb", "ä".as_bytes(), &[b'k'; 256]] {
            assert_eq!(IdempotencyKey::new(A, key), Err(KeyInvalid));
        }
    }

    #[test]
    fn a_key_is_worked_on_once_at_a_time() {
        let all = InFlight::default();
        let key = |text: &str| IdempotencyKey::new(A, text.as_bytes()).unwrap();
        let working = all.begin(key("a"));
        assert!(working.is_some() && all.begin(key("a")).is_none() && all.begin(key("b")).is_some());
        drop(working);
        assert!(all.begin(key("a")).is_some());
    }

    #[test]
    fn a_command_is_named_by_token_key_index_and_attempt() {
        let command = |token: u8, key: &str, index, attempt| {
            IdempotencyKey::new(TokenId([token; 8]), key.as_bytes()).unwrap().command(index, attempt)
        };
        let all = [
            command(1, "a", 0, 0),
            command(2, "a", 0, 0),
            command(1, "b", 0, 0),
            command(1, "a", 1, 0),
            command(1, "a", 0, 1),
        ];
        for (i, id) in all.iter().enumerate() {
            assert!(!all[..i].contains(id));
        }
        assert_eq!(command(1, "a", 0, 0), all[0]);
    }
}
