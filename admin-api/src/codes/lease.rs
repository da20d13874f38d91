//! A lease as it lies on disk. All integers little-endian:
//!
//! ```text
//!  0  8 bytes  "SPLEASE1"
//!  8  u32      epoch of the writer it was leased for
//! 12  16 bytes pool id
//! 28  u64      lease number
//! 36  u32      number of codes
//! 40  u64 …    codes, in the order they were generated
//! end u32      CRC-32C of everything before it
//! ```

use std::fmt;

use linklog::{Code7, Epoch};
use wire::limits::LEASE_CODES_MAX;

const MAGIC: &[u8; 8] = b"SPLEASE1";
const HEADER_BYTES: usize = 40;

/// A key pool's id: 16 random bytes, 32 hex digits in text form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub [u8; 16]);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolId({self})")
    }
}

impl PoolId {
    /// Reads the text form.
    pub fn from_text(text: &str) -> Option<PoolId> {
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| valid).map(|id| PoolId(id.to_be_bytes()))
    }
}

/// Names a lease for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId {
    /// Whose.
    pub pool: PoolId,
    /// Which of the pool's, from 1.
    pub number: u64,
}

/// Codes that a pool gave to this writer and to nobody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The writer's epoch it belongs to.
    pub epoch: Epoch,
    /// Whose.
    pub pool: PoolId,
    /// Which of the pool's, from 1.
    pub number: u64,
    /// The codes, at most [`LEASE_CODES_MAX`].
    pub codes: Vec<Code7>,
}

/// The bytes are no lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the lease file is damaged: {0}")]
pub struct LeaseDamaged(&'static str);

impl Lease {
    /// Returns its name.
    pub const fn id(&self) -> LeaseId {
        LeaseId { pool: self.pool, number: self.number }
    }

    /// Returns its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.codes.len() * 8 + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.pool.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&(self.codes.len() as u32).to_le_bytes());
        for code in &self.codes {
            out.extend_from_slice(&code.value().to_le_bytes());
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Lease, LeaseDamaged> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(LeaseDamaged("it is too short"))?;
        if crc32c::crc32c(body).to_le_bytes() != *checksum {
            return Err(LeaseDamaged("its checksum is wrong"));
        }
        let mut rest = body;
        if take::<8>(&mut rest)? != *MAGIC {
            return Err(LeaseDamaged("it does not begin like one"));
        }
        let epoch = Epoch(u32::from_le_bytes(take(&mut rest)?));
        let pool = PoolId(take(&mut rest)?);
        let number = u64::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        if count > LEASE_CODES_MAX || rest.len() != count as usize * 8 {
            return Err(LeaseDamaged("the number of codes does not fit its length"));
        }
        let codes = rest.as_chunks::<8>().0.iter().map(|code| Code7::new(u64::from_le_bytes(*code)));
        let codes = codes.collect::<Option<_>>().ok_or(LeaseDamaged("it holds a number that is no code"))?;
        Ok(Lease { epoch, pool, number, codes })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], LeaseDamaged> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(LeaseDamaged("it is too short"))?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lease_reads_what_it_writes(epoch: u32, pool: [u8; 16], number: u64, codes in prop::collection::vec(0..Code7::COUNT, 0..50)) {
            let codes = codes.into_iter().map(|code| Code7::new(code).unwrap()).collect();
            let lease = Lease { epoch: Epoch(epoch), pool: PoolId(pool), number, codes };
            prop_assert_eq!(Lease::decode(&lease.encode()), Ok(lease));
        }

        #[test]
        fn a_damaged_lease_is_refused(at in 0usize..60, bit in 0u8..8) {
            let lease = Lease { epoch: Epoch(1), pool: PoolId([7; 16]), number: 1, codes: vec![Code7::new(5).unwrap(); 2] };
            let mut bytes = lease.encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Lease::decode(&bytes).is_err());
            prop_assert!(Lease::decode(&bytes[..at]).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Lease::decode(&bytes);
        }
    }

    #[test]
    fn a_pool_id_reads_what_it_writes() {
        let id = PoolId([0xab; 16]);
        assert_eq!(PoolId::from_text(&id.to_string()), Some(id));
        assert_eq!(PoolId::from_text("+f"), None);
    }
}
