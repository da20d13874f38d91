//! Random codes: where they come from and how they are drawn.
//!
//! A code must not be guessable from others, so every bit comes from the kernel's generator ([`SystemEntropy`],
//! getrandom(2)) and is used once: there is no generator state and no buffer in this process that a fork or a core dump
//! could repeat. At some 10 bytes a code that costs a tenth of what storing the code does.
//!
//! Every code of the owned slots that the blocklist allows is equally likely. Deliberately not here: whether a code is
//! taken already.

use linklog::Code7;

use crate::blocklist::Blocklist;
use crate::slots::SlotSet;

/// Bytes of randomness that are drawn at once.
const DRAWN_BYTES: usize = 64 * 1024;
/// Random bytes of one attempt: 30 bits for the number within the slot, 32 for which slot.
const ATTEMPT_BYTES: usize = 8;
/// The highest quotient of a code's number by the number of slots: 62^7 div 4,096.
const QUOTIENT_MAX: u64 = (Code7::COUNT - 1) / Code7::POOL_SLOTS as u64;
const QUOTIENT_BITS: u32 = 30;
/// Attempts per code after which drawing is given up: on average there are 1.3, more only if the blocklist forbids
/// nearly everything.
const ATTEMPTS_PER_CODE_MAX: usize = 50;

/// Where random bytes come from. Passed in, so that tests can say what is drawn.
pub trait Entropy {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// There is no randomness to be had.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError>;
}

/// The kernel's generator.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError> {
        getrandom::fill(bytes).map_err(GenerateError::Entropy)
    }
}

/// Why there are no random codes.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The kernel gave no randomness.
    #[error("the system gives no random numbers")]
    Entropy(#[source] getrandom::Error),
    /// The blocklist forbids too much.
    #[error("the blocklist forbids nearly every code: shorten the file of extra words")]
    Forbidden,
}

/// Draws codes from the owned slots.
#[derive(Debug)]
pub struct Generator {
    slots: Vec<u16>,
}

/// What was drawn.
#[derive(Debug, Default)]
pub struct Drawn {
    /// The codes, in the order in which they were drawn. A code may be there twice.
    pub codes: Vec<Code7>,
    /// How many more the blocklist has refused.
    pub forbidden: u64,
}

impl Generator {
    /// Makes a generator for these slots.
    pub fn new(slots: &SlotSet) -> Generator {
        Generator { slots: slots.iter().collect() }
    }

    /// Draws `count` codes.
    ///
    /// # Errors
    /// No randomness, or hardly any code that is not forbidden.
    pub fn draw(
        &self,
        count: usize,
        blocklist: &Blocklist,
        entropy: &mut impl Entropy,
    ) -> Result<Drawn, GenerateError> {
        let mut drawn = Drawn { codes: Vec::with_capacity(count), forbidden: 0 };
        let mut bytes = vec![0; DRAWN_BYTES.min(count * 2 * ATTEMPT_BYTES)];
        let mut attempts_left = count.saturating_mul(ATTEMPTS_PER_CODE_MAX);
        while drawn.codes.len() < count {
            entropy.fill(&mut bytes)?;
            attempts_left =
                attempts_left.checked_sub(bytes.len() / ATTEMPT_BYTES).ok_or(GenerateError::Forbidden)?;
            let (attempts, _) = bytes.as_chunks();
            for code in attempts.iter().filter_map(|attempt| self.code(u64::from_le_bytes(*attempt))) {
                if blocklist.forbids(code) {
                    drawn.forbidden += 1;
                } else if drawn.codes.len() < count {
                    drawn.codes.push(code);
                }
            }
        }
        Ok(drawn)
    }

    /// Makes a code of 62 random bits, or none if they do not fit: what is refused here is what keeps the rest equally
    /// likely.
    fn code(&self, random: u64) -> Option<Code7> {
        let quotient = random & ((1 << QUOTIENT_BITS) - 1);
        if quotient > QUOTIENT_MAX {
            return None;
        }
        // Lemire, "Fast Random Integer Generation in an Interval", 2019: the remainder tells the surplus draws.
        let slots = self.slots.len() as u64;
        let product = (random >> QUOTIENT_BITS & u64::from(u32::MAX)) * slots;
        if product & u64::from(u32::MAX) < (1 << 32) % slots {
            return None;
        }
        let slot = self.slots[(product >> 32) as usize];
        Code7::new(quotient * u64::from(Code7::POOL_SLOTS) + u64::from(slot))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    /// Randomness that a test can repeat.
    pub(crate) struct SeededEntropy(pub(crate) u64);

    impl Entropy for SeededEntropy {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError> {
            for chunk in bytes.chunks_mut(8) {
                // Steele, Lea and Flood's SplitMix64.
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.0;
                z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ z >> 31).to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    fn draw(slots: &str, count: usize) -> Vec<Code7> {
        let generator = Generator::new(&slots.parse().unwrap());
        generator.draw(count, &Blocklist::built_in(), &mut SeededEntropy(7)).unwrap().codes
    }

    #[test]
    fn codes_come_from_the_owned_slots_alone_and_from_each_as_often() {
        let slots: SlotSet = "5-7,4000-4002".parse().unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for code in draw("5-7,4000-4002", 60_000) {
            *counts.entry(code.pool_slot()).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), slots.iter().collect::<Vec<_>>());
        assert!(counts.values().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn codes_are_spread_over_the_whole_space() {
        let codes = draw("0-4095", 62_000);
        let firsts: BTreeSet<u8> = codes.iter().map(|code| code.to_bytes()[0]).collect();
        assert_eq!(firsts.len(), 62);
        for part in 0..8 {
            let range = Code7::COUNT / 8 * part..Code7::COUNT / 8 * (part + 1);
            let count = codes.iter().filter(|code| range.contains(&code.value())).count();
            assert!((7_400..8_100).contains(&count), "part {part}: {count}");
        }
    }

    #[test]
    fn no_drawn_code_contains_a_word_of_the_blocklist() {
        let list = Blocklist::built_in();
        let generator = Generator::new(&SlotSet::all());
        let drawn = generator.draw(100_000, &list, &mut SeededEntropy(1)).unwrap();
        assert!(drawn.codes.iter().all(|code| !list.forbids(*code)));
        assert!((500..2_500).contains(&drawn.forbidden), "{}", drawn.forbidden);
    }

    #[test]
    fn a_blocklist_that_forbids_everything_is_an_error_and_no_endless_loop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        let characters = "abcdefghijkmnopqrstuvwxyz26";
        let pairs = characters.chars().flat_map(|a| characters.chars().map(move |b| format!("{a}{b}\n")));
        std::fs::write(&path, pairs.collect::<String>()).unwrap();
        let list = Blocklist::with_file(&path).unwrap();
        let error = Generator::new(&SlotSet::all()).draw(10, &list, &mut SystemEntropy).unwrap_err();
        assert!(error.to_string().contains("forbids nearly every code"));
    }

    #[test]
    fn the_system_draws_different_codes_each_time() {
        let generator = Generator::new(&SlotSet::all());
        let draw = || generator.draw(100, &Blocklist::built_in(), &mut SystemEntropy).unwrap().codes;
        assert_ne!(draw(), draw());
    }
}
