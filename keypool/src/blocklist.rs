//! The blocklist: words that no generated code contains, however they are dressed up.
//!
//! Case does not matter, nor do look-alikes: `0` is an o, `1` and `l` are an i, `3` an e, `4` an a, `5` an s, `7` a t,
//! `8` a b, `9` a g. A word counts wherever in the code it stands. There is a list built in; the operator's file adds to
//! it.
//!
//! Every generated code passes here, some of them a million a second, so the words become one automaton that reads each
//! character once. Deliberately not here: aliases that people choose themselves.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use linklog::Code7;

mod automaton;

use automaton::Automaton;

/// The longest file of words that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most words, the built-in ones included: the automaton of so many is some 10 MiB.
pub const WORDS_MAX: usize = 20_000;
/// The shortest word: a single character would take a tenth of all codes with it.
pub const WORD_CHARS_MIN: usize = 2;
/// Characters of a code. Longer words occur in none and are passed over.
const CODE_CHARS: usize = 7;

const BUILT_IN: &str = include_str!("blocklist/words.txt");

/// The words, ready to be looked for.
#[derive(Debug)]
pub struct Blocklist {
    automaton: Automaton,
    words: usize,
}

/// Why a file of words was refused.
#[derive(Debug, thiserror::Error)]
pub enum BlocklistError {
    /// It could not be read.
    #[error("cannot read the blocklist {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("the blocklist {} is longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It has more words than [`WORDS_MAX`].
    #[error("the blocklist {} has too many words: with those built in there may be {WORDS_MAX}", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
    /// A line is no word.
    #[error(
        "line {line} of the blocklist {}: a word is at least {WORD_CHARS_MIN} of A-Z a-z 0-9, one word a line, and # \
         begins a comment",
        path.display()
    )]
    NoWord {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

impl Blocklist {
    /// Returns the built-in list.
    pub fn built_in() -> Blocklist {
        let words = words_of(BUILT_IN).collect::<Result<Vec<_>, _>>().expect("the built-in words are words");
        Blocklist { automaton: Automaton::of(&words), words: words.len() }
    }

    /// Returns the built-in list and the words of a file: one a line, `#` begins a comment.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or a line of it is no word.
    pub fn with_file(path: &Path) -> Result<Blocklist, BlocklistError> {
        let unreadable = |source| BlocklistError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(BlocklistError::TooLong { path: path.to_owned() });
        }
        let no_word = |NoWord { line }| BlocklistError::NoWord { path: path.to_owned(), line };
        let own = words_of(&text).collect::<Result<Vec<_>, _>>().map_err(no_word)?;
        let built_in = words_of(BUILT_IN).flatten();
        let mut words: Vec<Vec<u8>> = built_in.chain(own).collect();
        words.sort_unstable();
        words.dedup();
        if words.len() > WORDS_MAX {
            return Err(BlocklistError::TooMany { path: path.to_owned() });
        }
        Ok(Blocklist { automaton: Automaton::of(&words), words: words.len() })
    }

    /// Says whether the code contains one of the words.
    pub fn forbids(&self, code: Code7) -> bool {
        self.automaton.finds_in(code)
    }

    /// Returns how many words there are.
    pub fn words(&self) -> usize {
        self.words
    }
}

#[derive(Debug)]
struct NoWord {
    line: usize,
}

/// Reads the words of a text, folded, without those that fit in no code.
fn words_of(text: &str) -> impl Iterator<Item = Result<Vec<u8>, NoWord>> + '_ {
    let lines = text.lines().enumerate().map(|(index, line)| {
        let word = line.split('#').next().unwrap_or_default().trim();
        (index + 1, word)
    });
    lines.filter(|(_, word)| !word.is_empty()).filter_map(|(line, word)| {
        let folded: Option<Vec<u8>> = word.bytes().map(automaton::fold).collect();
        match folded {
            Some(folded) if folded.len() > CODE_CHARS => None,
            Some(folded) if folded.len() >= WORD_CHARS_MIN => Some(Ok(folded)),
            _ => Some(Err(NoWord { line })),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn code(text: &[u8; 7]) -> Code7 {
        Code7::from_bytes(text).unwrap()
    }

    #[test]
    fn a_word_is_found_in_every_place_and_every_disguise() {
        let list = Blocklist::built_in();
        for text in
            [b"shitQ2z", b"Q2shitz", b"Q2zshit", b"5hit2Qz", b"zSH1tQ2", b"QShLT2z", b"Q25h17z", b"aSS2222"]
        {
            assert!(list.forbids(code(text)), "{}", code(text));
        }
        for text in [b"Ab3xY9z", b"sh2itQz", b"0000000", b"2222222", b"zzzzzzz", b"fuZckQ2"] {
            assert!(!list.forbids(code(text)), "{}", code(text));
        }
    }

    #[test]
    fn a_file_adds_words_and_its_mistakes_are_told_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            Blocklist::with_file(&path)
        };
        assert!(!Blocklist::built_in().forbids(code(b"Q2Acm3z")));
        let list = with("# ours\nacme   # the other side\n\nlongerthanacode\nshit\n").unwrap();
        assert!(list.forbids(code(b"Q2Acm3z")));
        assert!(list.forbids(code(b"Q2shitz")));
        assert_eq!(list.words(), Blocklist::built_in().words() + 1);
        for (text, wrong) in [("acme\nfoo bar\n", 2), ("x\n", 1), ("ok\nnaïve\n", 2), ("a_b", 1)] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {wrong} of the blocklist")), "{text:?}: {error}");
        }
        assert!(
            Blocklist::with_file(&dir.path().join("none")).unwrap_err().to_string().contains("cannot read")
        );
    }

    proptest! {
        #[test]
        fn the_automaton_agrees_with_looking_for_every_word(
            words in prop::collection::vec("[a-c0-2]{2,8}", 1..12),
            value in 0..Code7::COUNT,
            near in "[A-Ca-c0-2]{7}",
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("words");
            fs::write(&path, words.join("\n")).unwrap();
            let list = Blocklist::with_file(&path).unwrap();
            let fold = |text: &[u8]| -> Vec<u8> { text.iter().filter_map(|b| automaton::fold(*b)).collect() };
            let words = words.iter().map(String::as_str).chain(BUILT_IN.lines());
            let words: Vec<Vec<u8>> = words.filter(|w| !w.is_empty() && !w.starts_with('#')).map(|w| fold(w.as_bytes())).collect();
            for code in [Code7::new(value).unwrap(), code(near.as_bytes().try_into().unwrap())] {
                let text = fold(&code.to_bytes());
                let expected = words.iter().any(|word| text.windows(word.len()).any(|part| part == word));
                prop_assert_eq!(list.forbids(code), expected, "{}", code);
            }
        }
    }
}
