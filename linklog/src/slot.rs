//! Slots: the unit in which state is compared, moved and, one day, spread over machines.

use xxhash_rust::xxh3::xxh3_64;

/// Number of slots that link keys are spread over.
pub const SLOTS: u16 = 4_096;

/// A slot number: `0..4096` for keys that are spread, [`Slot::EVERYWHERE`] for the few that every member holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// The slot of domains, hosts and other keys that every member holds whatever slots it has.
    pub const EVERYWHERE: Slot = Slot(SLOTS);
    /// How many different slots there are, [`Slot::EVERYWHERE`] included.
    pub const COUNT: usize = SLOTS as usize + 1;

    /// Returns the slot of an encoded link key: `xxh3_64(key) mod 4096`.
    pub fn of_link_key(encoded: &[u8]) -> Slot {
        Slot((xxh3_64(encoded) % u64::from(SLOTS)) as u16)
    }

    /// Returns the slot with this number, or `None` above 4,096.
    pub const fn new(number: u16) -> Option<Slot> {
        if number <= SLOTS { Some(Slot(number)) } else { None }
    }

    /// Returns the slot's number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Returns the slot's place in a table of [`Slot::COUNT`] entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
