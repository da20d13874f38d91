//! Patterns of a blocklist: `*` stands for any characters, or none; everything else stands for itself. Pure.

/// Says whether `pattern` fits the whole of `text`. Takes at most the product of their lengths.
pub(super) fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go back to: behind the last star, and the text it may still swallow.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, t));
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((behind, swallowed)) => {
                    *swallowed += 1;
                    (p, t) = (*behind, *swallowed);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("a.example/*", "a.example/x", true),
            ("a.example/*", "a.example", false),
            ("*.exe", "a.example/b.exe", true),
            ("*.exe", "a.example/b.exe?x", false),
            ("*/wp-*/*.php", "a.example/x/wp-content/y/z.php", true),
            ("*ab*ab*", "aab", false),
            ("*ab*ab*", "xabyabz", true),
            ("", "", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// By the definition.
    fn fits_slowly(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| fits_slowly(rest, &text[at..])),
            Some((byte, rest)) => text.first() == Some(byte) && fits_slowly(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_fits_as_the_definition_says(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(fits(pattern, text), fits_slowly(pattern, text));
        }
    }
}
