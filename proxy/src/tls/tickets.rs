//! Session tickets: a visitor who comes back to any proxy of the fleet skips the expensive part of the handshake.
//!
//! The proxies do not talk about keys. From a secret they share, each derives the keys of a period (the wall clock divided by the
//! length of a period): what encrypts now, and what else is accepted, which is the period before, and the one after for a proxy
//! whose clock is ahead. So a ticket works for one to two periods, and a secret that leaks later opens no connection whose ticket
//! key nobody has any more only if the secret is changed too: it is as worth keeping as the private key.
//!
//! Without a secret file the secret is random and of this process. Deliberately not here: how OpenSSL asks ([`callback`]).

pub(super) mod callback;

use std::fmt;

use arc_swap::ArcSwap;
use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::pkey::Id;
use openssl::pkey_ctx::PkeyCtx;

/// Fewest bytes of a secret.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// What sets these keys apart from others that might be derived from the same bytes, and this way of deriving from later ones.
const INFO: &[u8] = b"signpost tls ticket key 1";

/// The time in seconds since the Unix epoch.
pub(super) type Clock = fn() -> u64;

/// The ticket keys of the present, of one secret.
pub(super) struct Tickets {
    secret: Vec<u8>,
    period_s: u64,
    clock: Clock,
    keys: ArcSwap<Keys>,
}

/// The keys that matter during one period.
pub(super) struct Keys {
    period: u64,
    /// Encrypts, and is accepted.
    pub(super) current: TicketKey,
    /// Of the periods before and after: accepted.
    around: [TicketKey; 2],
}

/// What a ticket is encrypted and authenticated with, and the name it carries of that.
pub(super) struct TicketKey {
    pub(super) name: [u8; NAME_BYTES],
    pub(super) cipher: [u8; 32],
    pub(super) mac: [u8; 32],
}

/// Bytes of a key's name, by RFC 5077 §4.
pub(super) const NAME_BYTES: usize = 16;

impl Tickets {
    /// Derives keys from `secret`, which has at least [`SECRET_BYTES_MIN`] bytes.
    pub(super) fn new(secret: Vec<u8>, period_s: u64, clock: Clock) -> Result<Tickets, ErrorStack> {
        let keys = Keys::of(&secret, clock() / period_s)?;
        Ok(Tickets { secret, period_s, clock, keys: ArcSwap::from_pointee(keys) })
    }

    /// Takes a secret that nobody else knows.
    pub(super) fn random(period_s: u64, clock: Clock) -> Result<Tickets, ErrorStack> {
        let mut secret = vec![0; SECRET_BYTES_MIN];
        openssl::rand::rand_priv_bytes(&mut secret)?;
        Tickets::new(secret, period_s, clock)
    }

    /// The length of a period, in seconds.
    pub(super) fn period_s(&self) -> u64 {
        self.period_s
    }

    /// The keys of now. Two threads that find the period over both derive the same.
    fn keys(&self) -> Result<arc_swap::Guard<std::sync::Arc<Keys>>, ErrorStack> {
        let period = (self.clock)() / self.period_s;
        let keys = self.keys.load();
        if keys.period == period {
            return Ok(keys);
        }
        self.keys.store(std::sync::Arc::new(Keys::of(&self.secret, period)?));
        Ok(self.keys.load())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("period_s", &self.period_s).finish_non_exhaustive()
    }
}

impl Keys {
    fn of(secret: &[u8], period: u64) -> Result<Keys, ErrorStack> {
        let key = |period| TicketKey::of(secret, period);
        let around = [key(period.saturating_sub(1))?, key(period.saturating_add(1))?];
        Ok(Keys { period, current: key(period)?, around })
    }

    /// The key with a name, and whether it is another than the one that encrypts.
    pub(super) fn named(&self, name: &[u8]) -> Option<(&TicketKey, bool)> {
        if self.current.name == name {
            return Some((&self.current, false));
        }
        self.around.iter().find(|key| key.name == name).map(|key| (key, true))
    }
}

impl TicketKey {
    /// HKDF-SHA256 (RFC 5869) of the secret, with the period as information.
    fn of(secret: &[u8], period: u64) -> Result<TicketKey, ErrorStack> {
        let mut hkdf = PkeyCtx::new_id(Id::HKDF)?;
        hkdf.derive_init()?;
        hkdf.set_hkdf_md(Md::sha256())?;
        hkdf.set_hkdf_key(secret)?;
        hkdf.add_hkdf_info(&[INFO, &period.to_be_bytes()].concat())?;
        let mut key = TicketKey { name: [0; NAME_BYTES], cipher: [0; 32], mac: [0; 32] };
        let mut bytes = [0; NAME_BYTES + 64];
        hkdf.derive(Some(&mut bytes))?;
        key.name.copy_from_slice(&bytes[..NAME_BYTES]);
        key.cipher.copy_from_slice(&bytes[NAME_BYTES..NAME_BYTES + 32]);
        key.mac.copy_from_slice(&bytes[NAME_BYTES + 32..]);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_in_its_period_and_the_two_around_it() {
        let of = |period| Keys::of(&[7; 32], period).unwrap();
        let name = of(10).current.name;
        let other = |period| of(period).named(&name).map(|(_, is_other)| is_other);
        assert_eq!(
            (8..=12).map(other).collect::<Vec<_>>(),
            [None, Some(true), Some(false), Some(true), None]
        );
    }

    #[test]
    fn the_keys_of_a_secret_and_a_period_stay_the_same_in_every_version() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = TicketKey::of(b"an example of thirty-two bytes..", 40_000).unwrap();
        assert_eq!(hex(&key.name), "5c7828ee33248495474529c9c3d1632a");
        assert_eq!(hex(&key.cipher), "c0bc7fcd0ccc0ecd8d39047128509f345fa89e301c6c5ac67306c5e26959e1fb");
        assert_eq!(hex(&key.mac), "68107062d264f2cf8be659fa90ff8fc991f2a7e21be7c07d425aa3f045c991a1");
    }
}
