//! The name of a fleet: 16 random bytes, born with its authority.

use std::{fmt, io, str::FromStr};

/// Identifies one fleet; 32 lower-case hex digits in text form.
///
/// Two fleets that meet by mistake (a cloned machine, a wrong address) find out in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FleetId([u8; 16]);

impl FleetId {
    /// Makes a new one from the operating system's random source.
    ///
    /// # Errors
    /// The random source failed.
    pub fn generate() -> io::Result<FleetId> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::from)?;
        Ok(FleetId(bytes))
    }

    /// Takes the bytes as they travel in messages and records.
    pub const fn from_bytes(bytes: [u8; 16]) -> FleetId {
        FleetId(bytes)
    }

    /// Gives the bytes as they travel in messages and records.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// What is wrong with a fleet id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetIdError {
    /// The text form is something else.
    #[error("a fleet id is 32 hex digits (0-9, a-f), not {found:?}")]
    Text {
        /// The beginning of what was there instead.
        found: String,
    },
    /// The byte form has another length.
    #[error("a fleet id is 16 bytes, not {found}")]
    Length {
        /// How many bytes there were.
        found: usize,
    },
}

impl FromStr for FleetId {
    type Err = FleetIdError;

    /// Reads exactly what [`Display`](fmt::Display) writes; upper case is refused, so each id has one text form.
    fn from_str(text: &str) -> Result<FleetId, FleetIdError> {
        let wrong = || FleetIdError::Text { found: text.chars().take(64).collect() };
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let (Some(high), Some(low)) = (hex_value(pair[0]), hex_value(pair[1])) else {
                return Err(wrong());
            };
            *byte = high << 4 | low;
        }
        Ok(FleetId(bytes))
    }
}

impl TryFrom<&[u8]> for FleetId {
    type Error = FleetIdError;

    fn try_from(bytes: &[u8]) -> Result<FleetId, FleetIdError> {
        bytes.try_into().map(FleetId).map_err(|_| FleetIdError::Length { found: bytes.len() })
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetId({self})")
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fleet_id_reads_what_it_writes_and_nothing_else() {
        let id = FleetId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xff]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse::<FleetId>().unwrap(), id);
        for wrong in
            ["", "00", &"0".repeat(31), &"0".repeat(33), &"A".repeat(32), &"é".repeat(16), &"g".repeat(32)]
        {
            assert!(wrong.parse::<FleetId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_fleet_id_is_sixteen_bytes() {
        assert_eq!(FleetId::try_from(&[7u8; 16][..]).unwrap(), FleetId::from_bytes([7; 16]));
        assert_eq!(FleetId::try_from(&[7u8; 15][..]), Err(FleetIdError::Length { found: 15 }));
    }

    #[test]
    fn two_generated_fleets_differ() {
        assert_ne!(FleetId::generate().unwrap(), FleetId::generate().unwrap());
    }
}
