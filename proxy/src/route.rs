//! What a path means: a link, one of the few pages of our own, or nothing.
//!
//! Pure. The path is exact: a code has no slash behind it, no second slash before it, and its case matters. Nothing is guessed, so
//! a link never answers under two paths.

use linklog::{Code, Code7, DomainId};

use crate::link_key::LinkKey;

/// What a path means.
#[derive(Clone, Copy)]
pub enum Route {
    /// A link, if it exists.
    Link(LinkKey),
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
pub fn route(domain: DomainId, path: &[u8]) -> Route {
    let Some(code) = path.strip_prefix(b"/") else { return Route::Nothing };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The route in words, for comparing.
    fn words(path: &str) -> String {
        match route(DomainId(2), path.as_bytes()) {
            Route::Link(key) => format!("link {:02x?}", key.bytes()),
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
    fn everything_else_is_one_of_our_pages_or_nothing() {
        for (path, expected) in [
            ("/", "root"),
            ("/favicon.ico", "favicon"),
            ("/robots.txt", "robots"),
            ("", "nothing"),
            ("Ab3xY9z", "nothing"),
            ("//Ab3xY9z", "nothing"),
            ("/Ab3xY9z/", "nothing"),
            ("/Ab3xY9z.", "nothing"),
            ("/a/b", "nothing"),
            ("/Favicon.ico", "nothing"),
            ("/.well-known/security.txt", "nothing"),
            ("/Ab3x Y9", "nothing"),
        ] {
            assert_eq!(words(path), expected, "{path}");
        }
        assert_eq!(words(&format!("/{}", "x".repeat(65))), "nothing");
    }

    #[test]
    fn case_matters() {
        assert_ne!(words("/Ab3xY9z"), words("/ab3xy9z"));
    }
}
