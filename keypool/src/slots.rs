//! Sets of pool slots: what a pool owns of the code space, written `0-4095` or `0-1023,2048,3000-3999`.

use std::fmt;
use std::str::FromStr;

use daemon::config::{ConfigValue, Item, Problem};
use linklog::Code7;

const SLOTS: usize = Code7::POOL_SLOTS as usize;
/// Bytes of a set as it is stored: a bit for each slot, slot 0 the least significant of the first byte.
pub const SLOT_SET_BYTES: usize = SLOTS / 8;

/// A set of the 4,096 slots of the code space, never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    bits: Box<[u8; SLOT_SET_BYTES]>,
}

/// Why a text is no set of slots.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlotSetError {
    /// It names none.
    #[error("it names no slot")]
    Empty,
    /// A part of it is no slot and no range.
    #[error("{part:?} is neither a slot nor a range such as 0-4095; slots are numbers up to 4095")]
    BadPart {
        /// The part.
        part: String,
    },
    /// A range runs backwards.
    #[error("the range {part} runs backwards")]
    Backwards {
        /// The range.
        part: String,
    },
}

impl SlotSet {
    /// Returns the set of all slots.
    pub fn all() -> SlotSet {
        SlotSet { bits: Box::new([0xff; SLOT_SET_BYTES]) }
    }

    /// Reads a set as it is stored; `None` if the bytes are not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<SlotSet> {
        let bits: [u8; SLOT_SET_BYTES] = bytes.try_into().ok()?;
        if bits == [0; SLOT_SET_BYTES] { None } else { Some(SlotSet { bits: Box::new(bits) }) }
    }

    /// Returns the set as it is stored.
    pub fn as_bytes(&self) -> &[u8; SLOT_SET_BYTES] {
        &self.bits
    }

    /// Says whether a slot is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        let slot = usize::from(slot);
        slot < SLOTS && self.bits[slot / 8] >> (slot % 8) & 1 == 1
    }

    /// Returns the slots, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..Code7::POOL_SLOTS).filter(|slot| self.contains(*slot))
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Returns the set as few ranges, first and last slot of each, rising.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// Returns what is in this set and not in `other`, if anything.
    pub fn without(&self, other: &SlotSet) -> Option<SlotSet> {
        let bits: [u8; SLOT_SET_BYTES] = std::array::from_fn(|i| self.bits[i] & !other.bits[i]);
        SlotSet::from_bytes(&bits)
    }
}

impl FromStr for SlotSet {
    type Err = SlotSetError;

    fn from_str(text: &str) -> Result<SlotSet, SlotSetError> {
        let mut bits = [0; SLOT_SET_BYTES];
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = || SlotSetError::BadPart { part: part.chars().take(20).collect() };
            let slot =
                |text: &str| text.trim().parse().ok().filter(|slot: &usize| *slot < SLOTS).ok_or_else(bad);
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (slot(first)?, slot(last)?);
            if first > last {
                return Err(SlotSetError::Backwards { part: part.to_owned() });
            }
            for slot in first..=last {
                bits[slot / 8] |= 1 << (slot % 8);
            }
        }
        SlotSet::from_bytes(&bits).ok_or(SlotSetError::Empty)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges().into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ConfigValue for SlotSet {
    const ALLOWED: &'static str = "slots and ranges of slots, such as \"0-4095\" or \"0-1023,2048\"";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        let Some(text) = item.text() else { return Err(vec![item.refused(Self::ALLOWED)]) };
        text.parse().map_err(|error| vec![item.refused(&format!("{}; {error}", Self::ALLOWED))])
    }

    fn placeholder() -> Self {
        SlotSet::all()
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn set(text: &str) -> SlotSet {
        text.parse().unwrap()
    }

    #[test]
    fn a_set_is_shown_as_the_fewest_ranges() {
        assert_eq!(SlotSet::all().to_string(), "0-4095");
        assert_eq!(set("7, 3-5,6 ,4095").to_string(), "3-7,4095");
        assert_eq!(set("3-7,4095").ranges(), [(3, 7), (4095, 4095)]);
        assert_eq!(set("3-7,4095").count(), 6);
    }

    #[test]
    fn what_is_no_set_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "names no slot"),
            (" , ", "names no slot"),
            ("4096", "\"4096\" is neither"),
            ("0-4096", "is neither"),
            ("a", "is neither"),
            ("-1", "is neither"),
            ("5-3", "runs backwards"),
        ] {
            assert!(text.parse::<SlotSet>().unwrap_err().to_string().contains(reason), "{text}");
        }
    }

    #[test]
    fn a_set_survives_being_stored() {
        let stored = *set("0,9-11,4095").as_bytes();
        assert_eq!((stored[0], stored[1], stored[511]), (1, 0b1110, 0x80));
        assert_eq!(SlotSet::from_bytes(&stored).unwrap().to_string(), "0,9-11,4095");
        assert_eq!(SlotSet::from_bytes(&[0; SLOT_SET_BYTES]), None);
        assert_eq!(SlotSet::from_bytes(&[1; 3]), None);
    }

    #[test]
    fn the_difference_of_two_sets_names_what_is_missing() {
        assert_eq!(set("0-10").without(&set("0-3,8")).unwrap().to_string(), "4-7,9-10");
        assert_eq!(set("0-10").without(&SlotSet::all()), None);
    }
}
