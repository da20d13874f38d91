//! Words, as they are in the index and in questions: the same text gives the same words in both.
//!
//! A word is a run of letters and digits in lower case without accents; an ideograph or a kana is a word by itself, since those scripts have
//! no spaces. Longer ones than [`WORD_BYTES_MAX`] are cut. Words that nearly every address has are none.

use std::borrow::Cow;
use std::collections::BTreeSet;

use linklog::store::target_host;
use linklog::{Key, Link, LinkManage};
use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Longest word, in bytes; the rest of a longer one is left out.
pub const WORD_BYTES_MAX: usize = 64;
/// Most words of one link besides those of its code: notes may be long.
pub const WORDS_MAX: usize = 512;
/// They say nothing about a link.
const NO_WORDS: [&str; 3] = ["http", "https", "www"];

/// Calls `each` with every word of a text until it returns false.
pub fn split(text: &str, mut each: impl FnMut(&str) -> bool) {
    let mut word = String::with_capacity(WORD_BYTES_MAX);
    // The end of a text ends its last word.
    let characters: Box<dyn Iterator<Item = char>> = match text.is_ascii() {
        true => Box::new(text.chars()),
        false => {
            let lower = text.chars().flat_map(char::to_lowercase);
            // What compatibility makes of a sign may have capitals again.
            Box::new(lower.nfkd().filter(|c| !is_combining_mark(*c)).nfc().flat_map(char::to_lowercase))
        }
    };
    let mut end = |word: &mut String| {
        let go_on = word.is_empty() || NO_WORDS.contains(&word.as_str()) || each(word);
        word.clear();
        go_on
    };
    for character in characters {
        if !character.is_alphanumeric() {
            if !end(&mut word) {
                return;
            }
            continue;
        }
        let is_whole = stands_alone(character);
        if is_whole && !end(&mut word) {
            return;
        }
        let character = character.to_ascii_lowercase();
        if word.len() + character.len_utf8() <= WORD_BYTES_MAX {
            word.push(character);
        }
        if is_whole && !end(&mut word) {
            return;
        }
    }
    end(&mut word);
}

/// Ideographs and kana.
const fn stands_alone(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

/// Returns the words of a link: of title, tags and notes, of the target's host and path. Those of its code are [`of_code`].
pub fn of_link(link: &Link, manage: &LinkManage) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut add = |text: &str| {
        split(text, |word| {
            if !words.contains(word) {
                words.insert(word.to_owned());
            }
            words.len() < WORDS_MAX
        });
    };
    add(manage.title.as_deref().unwrap_or_default());
    manage.tags.iter().for_each(|tag| add(tag));
    if let Some(host) = target_host(link.target.as_bytes()) {
        add(&host);
        if host.contains("xn--") {
            add(&idna::domain_to_unicode(&host).0);
        }
    }
    add(&path_of(&link.target));
    add(manage.notes.as_deref().unwrap_or_default());
    words
}

/// Returns the path of a target, as people read it.
fn path_of(target: &str) -> Cow<'_, str> {
    let behind = target.split_once("://").map_or("", |(_, rest)| rest);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    percent_decode_str(path).decode_utf8_lossy()
}

/// Returns the words of a link's code or alias.
pub fn of_code(key: &Key) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    split(key.code.as_str(), |word| {
        words.insert(word.to_owned());
        true
    });
    words
}

/// What is looked for: every word, the last one perhaps unfinished.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Words(Vec<String>);

/// Most words of a question.
pub const QUESTION_WORDS_MAX: usize = 8;
/// From so many characters on the last word stands for all that begin with it; in codes from one more, since nearly everything is the
/// beginning of some code.
const PREFIX_CHARS_MIN: usize = 2;

/// Why a text is no question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoQuestion {
    /// It has no words.
    #[error("there are no letters or digits in it to look for")]
    Empty,
    /// It has too many.
    #[error("at most {QUESTION_WORDS_MAX} words")]
    TooMany,
}

impl Words {
    /// Reads a question.
    ///
    /// # Errors
    /// It has no words, or too many.
    pub fn read(text: &str) -> Result<Words, NoQuestion> {
        let mut words: Vec<String> = Vec::new();
        split(text, |word| {
            words.push(word.to_owned());
            words.len() <= QUESTION_WORDS_MAX
        });
        match words.len() {
            0 => Err(NoQuestion::Empty),
            1..=QUESTION_WORDS_MAX => Ok(Words(words)),
            _ => Err(NoQuestion::TooMany),
        }
    }

    /// Returns each word with whether others that begin with it count among words, and among codes.
    pub fn all(&self) -> impl Iterator<Item = (&str, bool, bool)> {
        let last = self.0.len().saturating_sub(1);
        self.0.iter().enumerate().map(move |(at, word)| {
            let chars = if at == last { word.chars().count() } else { 0 };
            (word.as_str(), chars >= PREFIX_CHARS_MIN, chars > PREFIX_CHARS_MIN)
        })
    }

    /// Says whether a link has all of them.
    pub fn are_of(&self, key: &Key, link: &Link, manage: &LinkManage) -> bool {
        let (words, codes) = (of_link(link, manage), of_code(key));
        let has = |among: &BTreeSet<String>, word: &str, begins: bool| {
            among.range(word.to_owned()..).next().is_some_and(|found| match begins {
                true => found.starts_with(word),
                false => found == word,
            })
        };
        self.all()
            .all(|(word, begins, code_begins)| has(&words, word, begins) || has(&codes, word, code_begins))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::DomainId;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        split(text, |word| {
            words.push(word.to_owned());
            true
        });
        words
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_without_case_and_accents() {
        for (text, expected) in [
            ("Spring-Sale_2030!", &["spring", "sale", "2030"][..]),
            ("Bücher & CAFÉ", &["bucher", "cafe"]),
            ("ﬁne", &["fine"]),
            ("東京 tower", &["東", "京", "tower"]),
            ("https://www.example.com/", &["example", "com"]),
            ("  ", &[]),
            ("", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(words(&"a".repeat(100))[0].len(), WORD_BYTES_MAX);
    }

    #[test]
    fn a_link_is_found_by_every_word_it_has() {
        let link = Link {
            target: "https://Xn--bcher-kva.example/caf%C3%A9/menu?q=no".to_owned(),
            ..Link::default()
        };
        let manage = LinkManage {
            title: Some("Spring Sale".to_owned()),
            tags: vec!["red wine".to_owned()],
            notes: Some("for Ada".to_owned()),
            ..LinkManage::default()
        };
        let key = Key::new(DomainId::DEFAULT, "to-the-Bar".parse().unwrap());
        let has = |text: &str| Words::read(text).unwrap().are_of(&key, &link, &manage);
        for text in [
            "sale spring",
            "SPRI",
            "wine ada",
            "bücher",
            "cafe menu",
            "to-the-bar",
            "bar",
            "the bar",
            "example",
        ] {
            assert!(has(text), "{text}");
        }
        for text in ["spri sale", "no", "s", "ale", "spring winter", "the ba"] {
            assert!(!has(text), "{text}");
        }
    }

    #[test]
    fn questions_have_words_and_not_too_many() {
        assert_eq!(Words::read(" -/!"), Err(NoQuestion::Empty));
        assert_eq!(Words::read("https://"), Err(NoQuestion::Empty));
        assert_eq!(Words::read("1 2 3 4 5 6 7 8 9"), Err(NoQuestion::TooMany));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_into_words_that_stay_themselves(text in ".{0,200}") {
            for word in words(&text) {
                prop_assert!(word.len() <= WORD_BYTES_MAX && !word.is_empty());
                prop_assert_eq!(words(&word), vec![word]);
            }
        }
    }
}
