//! What a path means: a link, one of the few pages of our own, or nothing.
//!
//! Pure. First the path is taken as it is; case matters. Only a path that can be no code is looked at as something that was pasted
//! out of a text or put together from a base that ends in a slash:
//! - slashes before the code count as one;
//! - up to [`STRIPPED_MAX`] characters of [`is_mark`] and [`MARKS`] behind it do not count: the full stops, commas, brackets, quotes,
//!   asterisks, slashes and spaces that mail programs and chats take for a part of a link.
//!
//! A plus sign behind a code asks for its preview. No code has one of these characters, so no link is hidden by another one, and nothing else is guessed: `-` and `_` may end a code
//! and are never taken off.

use linklog::{Code, Code7, DomainId};

use crate::link_key::LinkKey;

/// At most so many characters are taken off behind a code.
pub const STRIPPED_MAX: usize = 16;

/// Marks beyond ASCII that texts have behind a link: quotes, ellipsis, dashes, spaces, and the full-width forms of Chinese and
/// Japanese. In UTF-8, as they come out of their escapes.
pub const MARKS: [&str; 26] = [
    "\u{2019}", "\u{2018}", "\u{201d}", "\u{201c}", "\u{bb}", "\u{ab}", "\u{203a}", "\u{2026}", "\u{2013}",
    "\u{2014}", "\u{a0}", "\u{200b}", "\u{feff}", "\u{3000}", "\u{3001}", "\u{3002}", "\u{ff0c}", "\u{ff0e}",
    "\u{ff01}", "\u{ff1f}", "\u{ff1a}", "\u{ff1b}", "\u{ff09}", "\u{300d}", "\u{300f}", "\u{3011}",
];

/// Marks in ASCII that texts have behind a link.
pub const fn is_mark(byte: u8) -> bool {
    matches!(
        byte,
        b'.' | b','
            | b';'
            | b':'
            | b'!'
            | b'?'
            | b'\''
            | b'"'
            | b'`'
            | b')'
            | b']'
            | b'}'
            | b'>'
            | b'*'
            | b'~'
            | b'|'
            | b'\\'
            | b'/'
            | b' '
            | b'\t'
            | b'\r'
            | b'\n'
    )
}

/// What a path means.
#[derive(Clone, Copy)]
pub enum Route {
    /// A link, if it exists.
    Link(LinkKey),
    /// What is known about a link, if it exists.
    Preview(LinkKey),
    /// `/`.
    Root,
    /// `/favicon.ico`, which browsers ask for by themselves.
    Favicon,
    /// `/robots.txt`.
    Robots,
    /// No code could be written like this.
    Nothing,
}

/// Decides what `path` means on `domain`. The path begins with a slash, its query is cut off, its escapes are undone.
#[inline]
pub fn route(domain: DomainId, path: &[u8]) -> Route {
    let Some(code) = path.strip_prefix(b"/") else { return Route::Nothing };
    match exact(domain, code) {
        Route::Nothing => pasted(domain, code),
        route => route,
    }
}

#[inline]
fn exact(domain: DomainId, code: &[u8]) -> Route {
    if let Ok(seven) = <&[u8; 7]>::try_from(code)
        && let Some(code) = Code7::from_bytes(seven)
    {
        return Route::Link(LinkKey::of_code7(domain, code));
    }
    match code {
        b"" => Route::Root,
        b"favicon.ico" => Route::Favicon,
        b"robots.txt" => Route::Robots,
        _ => {
            Code::from_bytes(code).map_or(Route::Nothing, |code| Route::Link(LinkKey::of_code(domain, code)))
        }
    }
}

/// Reads a path that can be no code by itself.
#[cold]
fn pasted(domain: DomainId, path: &[u8]) -> Route {
    let slashes = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
    let mut code = &path[slashes..];
    if let Some(code) = code.strip_suffix(b"+")
        && let Route::Link(key) = exact(domain, code)
    {
        return Route::Preview(key);
    }
    for _ in 0..STRIPPED_MAX {
        code = match code.split_last() {
            Some((last, rest)) if is_mark(*last) => rest,
            // Every one of the others ends in a byte above ASCII.
            Some((0x80.., _)) => match MARKS.iter().find_map(|mark| code.strip_suffix(mark.as_bytes())) {
                Some(rest) => rest,
                None => break,
            },
            _ => break,
        };
    }
    if code.len() == path.len() { Route::Nothing } else { exact(domain, code) }
}

/// Reads a path as a code with something behind it: which link, and what from the next slash on. `raw` still has its escapes; a code
/// needs none, but may have them.
#[cold]
pub fn deeper(domain: DomainId, raw: &[u8]) -> Option<(LinkKey, &[u8])> {
    let start = raw.iter().position(|b| *b != b'/')?;
    let end = start + memchr::memchr(b'/', &raw[start..])?;
    let code: Vec<u8> = percent_encoding::percent_decode(&raw[start..end]).collect();
    match exact(domain, &code) {
        Route::Link(key) => Some((key, &raw[end..])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The route in words, for comparing.
    fn words(path: &str) -> String {
        match route(DomainId(2), path.as_bytes()) {
            Route::Link(key) => format!("link {:02x?}", key.bytes()),
            Route::Preview(key) => format!("preview {:02x?}", key.bytes()),
            Route::Root => "root".into(),
            Route::Favicon => "favicon".into(),
            Route::Robots => "robots".into(),
            Route::Nothing => "nothing".into(),
        }
    }

    fn link(code: &str) -> String {
        let key = linklog::Key::new(DomainId(2), code.parse().unwrap());
        format!("link {:02x?}", &*key.encode())
    }

    #[test]
    fn codes_of_every_length_are_links() {
        let longest = "x".repeat(64);
        for code in ["Ab3xY9z", "a", "_", "spring-sale", "seven-7", "12345678", &longest] {
            assert_eq!(words(&format!("/{code}")), link(code));
        }
    }

    #[test]
    fn a_plus_behind_a_code_asks_for_its_preview() {
        for code in ["Ab3xY9z", "a", "spring-sale"] {
            assert_eq!(words(&format!("/{code}+")), link(code).replace("link", "preview"));
            assert_eq!(words(&format!("//{code}+")), link(code).replace("link", "preview"));
        }
        for path in ["/+", "/robots.txt+", "/a++", "/a+b", "/a+."] {
            assert_eq!(words(path), "nothing", "{path}");
        }
    }

    #[test]
    fn what_is_behind_a_code_is_kept_as_it_came() {
        let parts = |path: &str| {
            let (key, rest) = deeper(DomainId(2), path.as_bytes())?;
            Some((format!("link {:02x?}", key.bytes()), String::from_utf8(rest.to_vec()).unwrap()))
        };
        assert_eq!(parts("/Ab3xY9z/x%2Fy/z"), Some((link("Ab3xY9z"), "/x%2Fy/z".into())));
        assert_eq!(parts("//a//x"), Some((link("a"), "//x".into())));
        assert_eq!(parts("/%61/"), Some((link("a"), "/".into())));
        for path in ["/a", "/", "", "/a.b/c", "/favicon.ico/c", "/a%2Fb/c"] {
            assert_eq!(parts(path), None, "{path}");
        }
    }

    #[test]
    fn everything_else_is_one_of_our_pages_or_nothing() {
        for (path, expected) in [
            ("/", "root"),
            ("/favicon.ico", "favicon"),
            ("/robots.txt", "robots"),
            ("", "nothing"),
            ("Ab3xY9z", "nothing"),
            ("//", "root"),
            ("/favicon.ico/", "favicon"),
            ("/a/b", "nothing"),
            ("/a/b/", "nothing"),
            ("/Ab3xY9z.html", "nothing"),
            ("/(Ab3xY9z)", "nothing"),
            ("/Ab3xY9z&x=1", "nothing"),
            ("/Favicon.ico", "nothing"),
            ("/.well-known/security.txt", "nothing"),
            ("/Ab3x Y9", "nothing"),
        ] {
            assert_eq!(words(path), expected, "{path}");
        }
        assert_eq!(words(&format!("/{}", "x".repeat(65))), "nothing");
    }

    #[test]
    fn marks_behind_a_code_and_slashes_before_it_do_not_count() {
        for code in ["Ab3xY9z", "spring-sale", "a", "Ab3xY9", "Ab3xY9z_"] {
            for path in [
                format!("//{code}"),
                format!("/////{code}"),
                format!("/{code}/"),
                format!("/{code}."),
                format!("/{code}),"),
                format!("/{code}\">"),
                format!("//{code}**..."),
                format!("/{code}\u{201d}\u{3002}"),
                format!("/{code}\u{2026}\u{a0} \r\n"),
                format!("/{code}{}", ".".repeat(STRIPPED_MAX)),
            ] {
                assert_eq!(words(&path), link(code), "{path}");
            }
            assert_eq!(words(&format!("/{code}{}", ".".repeat(STRIPPED_MAX + 1))), "nothing");
        }
    }

    #[test]
    fn what_may_end_a_code_is_never_taken_off() {
        for path in ["/Ab3xY9z-", "/Ab3xY9z_", "/Ab3xY9z--"] {
            assert_eq!(words(path), link(&path[1..]));
        }
        for byte in 0..=u8::MAX {
            assert!(!is_mark(byte) || Code::from_bytes(&[byte]).is_err(), "{byte:#x}");
        }
        assert!(MARKS.iter().all(|mark| mark.bytes().next_back().is_some_and(|b| b >= 0x80)));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_paths_never_panic_and_an_exact_code_is_itself(path in proptest::collection::vec(0u8.., 0..200)) {
            let _ = route(DomainId::DEFAULT, &path);
            let code: Vec<u8> = path.iter().copied().filter(|b| b.is_ascii_alphanumeric()).take(64).collect();
            if let Ok(text) = String::from_utf8(code) && !text.is_empty() {
                proptest::prop_assert_eq!(words(&format!("/{text}")), link(&text));
            }
        }
    }

    #[test]
    fn case_matters() {
        assert_ne!(words("/Ab3xY9z"), words("/ab3xy9z"));
    }
}
