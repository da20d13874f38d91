//! The words as one automaton (Aho and Corasick, 1975): a step per character, however many words there are.
//!
//! A code is a number in base 62 and division gives its digits from the last to the first; so the words are stored
//! backwards and no text is ever made. What the automaton reads are folded characters: look-alikes are one.

use std::collections::VecDeque;

use linklog::Code7;

/// Folded characters: 26 letters without l, and the two digits that look like none. A power of two above 27.
const CLASSES: usize = 32;
/// The state after nothing.
const START: u32 = 0;
/// The entry that means that a word has been found; never a state's number.
const FOUND: u32 = u32::MAX;

/// The words, ready to read codes.
#[derive(Debug)]
pub(super) struct Automaton {
    /// For each state and folded character the state that follows, or [`FOUND`].
    next: Vec<[u32; CLASSES]>,
    /// The folded character of each digit of a code's number.
    folded: [u8; 62],
}

/// Folds a character: the same number for all that look alike, below [`CLASSES`]; nothing for what is not Base62.
pub(super) const fn fold(character: u8) -> Option<u8> {
    let letter = match character {
        b'0' => b'o',
        b'1' | b'l' | b'L' => b'i',
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        b'8' => b'b',
        b'9' => b'g',
        b'2' => return Some(26),
        b'6' => return Some(27),
        _ => character.to_ascii_lowercase(),
    };
    if letter.is_ascii_lowercase() { Some(letter - b'a') } else { None }
}

impl Automaton {
    /// Makes the automaton of words that are folded already.
    pub(super) fn of(words: &[Vec<u8>]) -> Automaton {
        // First the tree of all words, with START for "no child"; nothing leads back to the root yet.
        let mut next = vec![[START; CLASSES]];
        for word in words {
            let mut state = START;
            for (index, class) in word.iter().rev().enumerate() {
                let class = usize::from(*class);
                let child = next[state as usize][class];
                state = match child {
                    FOUND => break,
                    _ if index + 1 == word.len() => {
                        next[state as usize][class] = FOUND;
                        break;
                    }
                    START => {
                        let new = next.len() as u32;
                        next.push([START; CLASSES]);
                        next[state as usize][class] = new;
                        new
                    }
                    child => child,
                };
            }
        }
        // Then, breadth first, what to do where the tree has no child: go on as after the longest ending of what was
        // read that is a beginning too. A state's `fallback` is that ending's state, and is finished before it.
        let mut queue = VecDeque::from([(START, START)]);
        while let Some((state, fallback)) = queue.pop_front() {
            let fallbacks = if state == START { [START; CLASSES] } else { next[fallback as usize] };
            for (child, otherwise) in next[state as usize].iter_mut().zip(fallbacks) {
                match *child {
                    FOUND => {}
                    START => *child = otherwise,
                    _ if otherwise == FOUND => *child = FOUND,
                    _ => queue.push_back((*child, otherwise)),
                }
            }
        }
        let last_of = |digit: usize| Code7::new(digit as u64).map(|code| code.to_bytes()[6]);
        let folded = std::array::from_fn(|digit| last_of(digit).and_then(fold).expect("codes are Base62"));
        Automaton { next, folded }
    }

    /// Says whether the code contains a word.
    pub(super) fn finds_in(&self, code: Code7) -> bool {
        let mut rest = code.value();
        let mut state = START;
        for _ in 0..7 {
            state = self.next[state as usize][usize::from(self.folded[(rest % 62) as usize])];
            if state == FOUND {
                return true;
            }
            rest /= 62;
        }
        false
    }
}
