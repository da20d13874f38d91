//! The ring of clicks: what is read is what was appended, in order and once, whatever the lengths and however often the ring goes round;
//! and no damage to its words makes the reader panic, go on for ever, or take for a record what nobody appended.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use signpost_proxy::clicks::record::RECORD_BYTES_MAX;
use signpost_proxy::clicks::ring::{CONTROL_WORDS, DATA_WORDS_MIN, Found, Memory, Reader, Writer};

const SECRET: u64 = 0x0123_4567_89ab_cdef;

#[derive(Clone)]
struct Words(Arc<[AtomicU64]>);

impl Memory for Words {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Two bytes a step: what to do, and with how much.
pub fn check(bytes: &[u8]) {
    let words = Words((0..CONTROL_WORDS + DATA_WORDS_MIN).map(|_| AtomicU64::new(0)).collect());
    let writer = Writer::new(words.clone(), SECRET);
    let mut reader = Reader::new(words.clone(), SECRET, 0);
    let (mut unread, mut appended, mut dropped) = (VecDeque::new(), HashSet::new(), 0);
    let (mut is_damaged, mut is_empty) = (false, true);
    for (step, pair) in bytes.as_chunks::<2>().0.iter().enumerate() {
        let [what, much] = *pair;
        match what % 8 {
            0..=3 => {
                let length = usize::from(much) * 8 % (RECORD_BYTES_MAX + 8);
                let mut content = vec![what; length];
                // No two contents are the same, so that none can be taken for another.
                content.iter_mut().zip((step as u64).to_le_bytes()).for_each(|(byte, own)| *byte = own);
                if writer.append(&content) {
                    is_empty = false;
                    appended.insert(content.clone());
                    unread.push_back(content);
                } else {
                    dropped += 1;
                    assert!(!is_empty, "an empty ring has room");
                }
            }
            4 | 5 => {
                for _ in 0..=much % 16 {
                    let mut content = [0; RECORD_BYTES_MAX];
                    match reader.read(&mut content) {
                        Found::Record(read) if is_damaged => assert!(appended.contains(read)),
                        Found::Record(read) => assert_eq!(Some(read), unread.pop_front().as_deref()),
                        Found::Nothing => {
                            assert!(is_damaged || unread.is_empty());
                            break;
                        }
                        Found::Damaged => assert!(is_damaged),
                        Found::Broken => {
                            assert!(is_damaged);
                            if !reader.skip_to_written() {
                                break;
                            }
                        }
                    }
                }
            }
            6 => {
                reader.take_over(reader.place());
                is_empty = unread.is_empty() && !is_damaged;
                // As a process that has just started and reads where the last one stopped.
                reader = Reader::new(words.clone(), SECRET, reader.place());
            }
            _ => {
                is_damaged = true;
                let at = CONTROL_WORDS + (usize::from(much) * 4 + usize::from(what >> 6)) % DATA_WORDS_MIN;
                words.0[at].fetch_xor(1 << (what >> 3 & 31), Ordering::Relaxed);
            }
        }
        if is_damaged {
            is_empty = false;
        }
    }
    assert_eq!(reader.dropped(), dropped);
}
