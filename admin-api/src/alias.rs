//! Which codes people may choose for themselves. Pure.
//!
//! Owned here: an alias that [`check`] lets through can be served by a proxy, is neither so short that it is scarce nor so
//! long that it is not short, and is no word that the short domain needs for itself or that a visitor would take for a
//! page of the operator's.

mod reserved;

use std::collections::BTreeSet;
use std::sync::Arc;

use linklog::Code;

/// Which aliases are allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AliasRules {
    /// Fewest characters.
    pub length_min: usize,
    /// Most characters; at most [`linklog::limits::CODE_BYTES_MAX`].
    pub length_max: usize,
    /// Words the operator keeps back besides ours, in lower case.
    pub reserved: Arc<BTreeSet<String>>,
}

impl AliasRules {
    /// Returns the rules with other lengths, if there are others.
    #[must_use]
    pub fn with_lengths(&self, lengths: Option<(u8, u8)>) -> AliasRules {
        let (length_min, length_max) = lengths.map_or((self.length_min, self.length_max), |(least, most)| {
            (usize::from(least), usize::from(most))
        });
        AliasRules { length_min, length_max, reserved: Arc::clone(&self.reserved) }
    }
}

impl Default for AliasRules {
    fn default() -> AliasRules {
        AliasRules { length_min: 3, length_max: 50, reserved: Arc::default() }
    }
}

impl AliasRules {
    /// What any link can be called, by whatever rules it was made.
    pub fn any() -> AliasRules {
        let length_max = linklog::limits::CODE_BYTES_MAX;
        AliasRules { length_min: 1, length_max, reserved: Arc::default() }
    }
}

/// Why an alias is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AliasError {
    /// Too short.
    #[error("an alias has at least {min} characters, this one has {found}")]
    TooShort {
        /// Its length in characters.
        found: usize,
        /// The limit.
        min: usize,
    },
    /// Too long.
    #[error("an alias has at most {max} characters, this one has {found}")]
    TooLong {
        /// Its length in characters.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A character that is not allowed.
    #[error("character {at} of the alias, {found:?}, is not one of A-Z a-z 0-9 _ -")]
    BadCharacter {
        /// Which one, counted from 1.
        at: usize,
        /// The character.
        found: char,
    },
    /// Upper case where there is none.
    #[error("aliases of this domain are kept in lower case: {lower}")]
    NotLowerCase {
        /// What to ask for.
        lower: String,
    },
    /// A word that is kept back.
    #[error("the alias {word:?} is reserved")]
    Reserved {
        /// The word, as it was written.
        word: String,
    },
}

impl AliasError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            AliasError::TooShort { .. } => "alias_too_short",
            AliasError::TooLong { .. } => "alias_too_long",
            AliasError::BadCharacter { .. } => "alias_bad_character",
            AliasError::NotLowerCase { .. } => "alias_not_lower_case",
            AliasError::Reserved { .. } => "alias_reserved",
        }
    }
}

/// Checks an alias.
///
/// # Errors
/// The first rule that is broken.
pub fn check(text: &str, rules: &AliasRules) -> Result<Code, AliasError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(AliasError::BadCharacter { at: at + 1, found });
    }
    // All ASCII from here on: bytes are characters.
    let found = text.len();
    if found < rules.length_min {
        return Err(AliasError::TooShort { found, min: rules.length_min });
    }
    let too_long = AliasError::TooLong { found, max: rules.length_max };
    if found > rules.length_max {
        return Err(too_long);
    }
    if reserved::is_reserved(text) || rules.reserved.contains(&text.to_ascii_lowercase()) {
        return Err(AliasError::Reserved { word: text.to_owned() });
    }
    Code::from_bytes(text.as_bytes()).map_err(|_| too_long)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> &'static str {
        check(text, &AliasRules::default()).unwrap_err().code()
    }

    #[test]
    fn an_alias_of_allowed_characters_and_length_becomes_the_code_it_says() {
        for text in ["abc", "A-b_9", "---", "1234567", "Ab3xY9z", &"x".repeat(50)] {
            assert_eq!(check(text, &AliasRules::default()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_an_alias_is_named() {
        for (text, code) in [
            ("", "alias_too_short"),
            ("ab", "alias_too_short"),
            (&*"x".repeat(51), "alias_too_long"),
            (&*"x".repeat(65), "alias_too_long"),
            ("a/b", "alias_bad_character"),
            ("a b", "alias_bad_character"),
            ("a.b", "alias_bad_character"),
            ("robots.txt", "alias_bad_character"),
            ("äpfel", "alias_bad_character"),
            ("a\0b", "alias_bad_character"),
            ("admin", "alias_reserved"),
            ("ADMIN", "alias_reserved"),
            ("HealthZ", "alias_reserved"),
            ("well-known", "alias_reserved"),
            ("Fuck", "alias_reserved"),
            ("what-a-sh1t", "alias_reserved"),
            ("F_u_c_k", "alias_reserved"),
        ] {
            assert_eq!(refusal(text), code, "{text:?}");
        }
    }

    #[test]
    fn words_that_only_contain_others_are_allowed_and_the_operators_own_are_not() {
        for text in ["classic", "scunthorpe", "assets-2", "cockpit-tour", "dickens", "grape-juice", "Essex"] {
            assert!(check(text, &AliasRules::default()).is_ok(), "{text}");
        }
        let own = BTreeSet::from(["acme".to_owned()]);
        let rules = AliasRules { reserved: Arc::new(own), ..AliasRules::default() };
        assert_eq!(check("ACME", &rules).unwrap_err().code(), "alias_reserved");
        assert!(check("acme-sale", &rules).is_ok());
        assert!(check("a", &rules).is_err() && check("a", &rules.with_lengths(Some((1, 64)))).is_ok());
    }

    #[test]
    fn the_message_points_at_the_character() {
        let error = check("ab/c", &AliasRules::default()).unwrap_err();
        assert_eq!(error.to_string(), "character 3 of the alias, '/', is not one of A-Z a-z 0-9 _ -");
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_refused_or_is_a_code_that_reads_back(text in ".{0,80}") {
            if let Ok(code) = check(&text, &AliasRules::default()) {
                prop_assert_eq!(code.as_str(), &text);
                prop_assert!((3..=50).contains(&text.len()));
            }
        }

        #[test]
        fn every_text_of_the_alphabet_and_length_that_is_not_reserved_is_allowed(text in "[A-Za-z0-9_-]{3,50}") {
            let allowed = check(&text, &AliasRules::default()).is_ok();
            prop_assert_eq!(allowed, !reserved::is_reserved(&text));
        }
    }
}
