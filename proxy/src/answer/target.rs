//! What of a request goes on to a link's target, if the link says so. Pure.
//!
//! Owned here: scheme, user, host and port of what comes out are the target's, whatever a visitor sends. What a visitor sends is only
//! ever put behind the target's host, with everything percent-encoded that is no character of a path or a query (RFC 3986 §3.3, §3.4).
//! Path: the rest goes behind the target's own path; a rest that could lead out of it (`.` and `..`, escaped or not) is refused. Query:
//! the target's own parameters stay and win; of a visitor's, those with another name are appended.

use std::borrow::Cow;
use std::collections::HashSet;

use linklog::Forward;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// Neither in a path nor in a query.
const NOWHERE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Not in a path.
const NOT_IN_PATH: &AsciiSet = &NOWHERE.add(b'?');

/// A target taken apart: where its path, its query and its fragment begin.
struct Parts<'a> {
    /// Scheme and authority.
    origin: &'a [u8],
    path: &'a [u8],
    /// Without its question mark.
    query: Option<&'a [u8]>,
    /// With its `#`.
    fragment: &'a [u8],
}

fn split(target: &[u8]) -> Option<Parts<'_>> {
    let colon = target.iter().position(|b| *b == b':')?;
    target[colon..].starts_with(b"://").then_some(())?;
    let authority = colon + 3;
    let find = |from: usize, what: &[u8]| {
        target[from..].iter().position(|b| what.contains(b)).map_or(target.len(), |at| from + at)
    };
    let (path, query, fragment) = (find(authority, b"/?#"), find(authority, b"?#"), find(authority, b"#"));
    Some(Parts {
        origin: &target[..path],
        path: &target[path..query],
        query: (query < fragment).then(|| &target[query + 1..fragment]),
        fragment: &target[fragment..],
    })
}

/// Returns where a request leads. `query`: what follows its question mark; `rest`: what follows the code in its path, from the slash on. Both
/// as they came. `None`: the rest does not lead anywhere.
pub fn forwarded<'a>(
    target: &'a [u8],
    forward: Forward,
    query: &[u8],
    rest: Option<&[u8]>,
) -> Option<Cow<'a, [u8]>> {
    let rest = match rest {
        Some(rest) if forward.path && is_harmless(rest) => Some(rest),
        Some(_) => return None,
        None => None,
    };
    let has_query = forward.query && !query.is_empty();
    if rest.is_none() && !has_query {
        return Some(Cow::Borrowed(target));
    }
    let Some(parts) = split(target) else { return rest.is_none().then_some(Cow::Borrowed(target)) };
    let mut out = Vec::with_capacity(target.len() + query.len() + rest.map_or(0, <[u8]>::len) + 16);
    out.extend_from_slice(parts.origin);
    match rest {
        Some(rest) => {
            out.extend_from_slice(parts.path.strip_suffix(b"/").unwrap_or(parts.path));
            append(&mut out, rest, NOT_IN_PATH);
        }
        None => out.extend_from_slice(parts.path),
    }
    let mut separator = b'?';
    if let Some(own) = parts.query {
        out.push(separator);
        out.extend_from_slice(own);
        separator = b'&';
    }
    if has_query {
        let own: HashSet<Vec<u8>> =
            parameters(parts.query.unwrap_or_default()).map(|own| name_of(own).collect()).collect();
        // One buffer for the names of all that a visitor sends, and none if there is nothing to compare them with.
        let mut name = Vec::new();
        for parameter in parameters(query) {
            if !own.is_empty() {
                name.clear();
                name.extend(name_of(parameter));
                if own.contains(&name) {
                    continue;
                }
            }
            out.push(separator);
            append(&mut out, parameter, NOWHERE);
            separator = b'&';
        }
    }
    out.extend_from_slice(parts.fragment);
    Some(Cow::Owned(out))
}

fn append(out: &mut Vec<u8>, bytes: &[u8], encoded: &'static AsciiSet) {
    percent_encode(bytes, encoded).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|b| *b == b'&').filter(|parameter| !parameter.is_empty())
}

/// As servers read it: up to the equals sign.
fn name_of(parameter: &[u8]) -> impl Iterator<Item = u8> {
    undone(&parameter[..memchr::memchr(b'=', parameter).unwrap_or(parameter.len())])
}

/// Reads a part of a query as servers do: a plus for a space, escapes undone; what is no escape stays.
pub(super) fn undone(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'+', after @ ..] => (b' ', after),
            [b'%', high, low, after @ ..] => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok())
}

fn is_harmless(rest: &[u8]) -> bool {
    let leads_up = |segment: &[u8]| matches!(&*percent_decode(segment).collect::<Vec<u8>>(), b"." | b"..");
    // Some servers undo escapes before they look for slashes, so those count as slashes here.
    let decoded: Vec<u8> = percent_decode(rest).collect();
    let separates = |b: &u8| matches!(b, b'/' | b'\\');
    rest.first() == Some(&b'/')
        && !rest.split(separates).any(leads_up)
        && !decoded.split(separates).any(leads_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use url::Url;

    const BOTH: Forward = Forward { query: true, path: true };

    fn to(target: &str, query: &str, rest: Option<&str>) -> Option<String> {
        let target = forwarded(target.as_bytes(), BOTH, query.as_bytes(), rest.map(str::as_bytes))?;
        Some(String::from_utf8(target.into_owned()).expect("ASCII"))
    }

    #[test]
    fn parameters_are_appended_and_the_links_own_win() {
        for (target, query, expected) in [
            ("https://a.example/x", "", "https://a.example/x"),
            ("https://a.example/x", "q=1&r", "https://a.example/x?q=1&r"),
            ("https://a.example", "q=1", "https://a.example?q=1"),
            ("https://a.example/x?own=1", "own=2&q=3&own=4", "https://a.example/x?own=1&q=3"),
            ("https://a.example/x?a%62c=1", "abc=2&%61bc=3&abd=4", "https://a.example/x?a%62c=1&abd=4"),
            ("https://a.example/x?a+b=1", "a%20b=2", "https://a.example/x?a+b=1"),
            ("https://a.example/x?own#part", "q=1", "https://a.example/x?own&q=1#part"),
            ("https://a.example/x#part?no", "q=1", "https://a.example/x?q=1#part?no"),
            ("https://a.example/x?", "q=1", "https://a.example/x?&q=1"),
            ("https://a.example/x", "&&q=%41\"<>", "https://a.example/x?q=%41%22%3C%3E"),
        ] {
            assert_eq!(to(target, query, None).as_deref(), Some(expected), "{target} {query}");
        }
    }

    #[test]
    fn the_rest_of_a_path_goes_behind_the_targets() {
        for (target, rest, expected) in [
            ("https://a.example", "/b/c", "https://a.example/b/c"),
            ("https://a.example/", "/b", "https://a.example/b"),
            ("https://a.example/x/", "/b%2Fc/", "https://a.example/x/b%2Fc/"),
            ("https://a.example/x?q#f", "/b", "https://a.example/x/b?q#f"),
            ("https://a.example", "//evil.example/", "https://a.example//evil.example/"),
            ("https://a.example", "/@evil.example", "https://a.example/@evil.example"),
            ("https://a.example/x", "/...", "https://a.example/x/..."),
        ] {
            assert_eq!(to(target, "", Some(rest)).as_deref(), Some(expected), "{target} {rest}");
        }
        for rest in
            ["/..", "/../x", "/a/./b", "/%2e%2E/x", "/a/.%2e", "/..\\x", "/a%2f..%2fb", "/a%5c..", "x", ""]
        {
            assert_eq!(to("https://a.example/x", "", Some(rest)), None, "{rest}");
        }
    }

    #[test]
    fn nothing_goes_on_unless_the_link_says_so() {
        let target = b"https://a.example/x";
        let none = Forward::default();
        assert_eq!(forwarded(target, none, b"q=1", None).as_deref(), Some(&target[..]));
        assert_eq!(forwarded(target, none, b"", Some(b"/y")), None);
        assert_eq!(forwarded(b"mailto:a@b", BOTH, b"q=1", None).as_deref(), Some(&b"mailto:a@b"[..]));
        assert_eq!(forwarded(b"mailto:a@b", BOTH, b"", Some(b"/y")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn escapes_are_undone_as_a_full_decoder_does(text in proptest::collection::vec(prop_oneof![Just(b'%'), Just(b'+'), Just(b'4'), Just(b'f'), any::<u8>()], 0..40)) {
            let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
            let whole: Vec<u8> = percent_decode(&spaced).collect();
            prop_assert_eq!(undone(&text).collect::<Vec<u8>>(), whole);
        }

        #[test]
        fn a_visitor_changes_neither_scheme_nor_user_nor_host_nor_port(
            scheme in "https?", user in prop::option::of("[a-z]{1,3}(:[a-z]{1,3})?@"), host in "[a-z]{1,5}(\\.[a-z]{1,4})?",
            port in prop::option::of(1u16..), path in "(/[!-\"$->@-~]{0,8}){0,2}", own in prop::option::of("[!-\"$-~]{0,8}"),
            query in prop::collection::vec(any::<u8>().prop_filter("no", |b| !matches!(b, b' ' | b'#')), 0..30),
            rest in prop::option::of(prop::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b'.'), Just(b'\\'), Just(b'@'), Just(b'%')], 0..20)),
        ) {
            let mut target = format!("{scheme}://{}{host}", user.unwrap_or_default());
            if let Some(port) = port { target.push_str(&format!(":{port}")); }
            target.push_str(&path);
            if let Some(own) = &own { target.push_str(&format!("?{own}")); }
            let rest = rest.map(|rest| [&b"/"[..], &rest].concat());
            let Some(out) = forwarded(target.as_bytes(), BOTH, &query, rest.as_deref()) else { return Ok(()) };
            prop_assert!(out.iter().all(|b| (0x21..0x7f).contains(b)), "{}", out.escape_ascii());
            let out = String::from_utf8(out.into_owned()).unwrap();
            let (before, after) = (Url::parse(&target).unwrap(), Url::parse(&out).unwrap());
            let origin = |url: &Url| (url.scheme().to_owned(), url.username().to_owned(), url.password().map(str::to_owned), url.host_str().map(str::to_owned), url.port());
            prop_assert_eq!(origin(&before), origin(&after), "{} became {}", target, out);
            if rest.is_some() {
                let base = before.path().strip_suffix('/').unwrap_or(before.path()).to_owned();
                prop_assert!(after.path().starts_with(&base), "{} left {}", out, base);
            }
            if let Some(own) = own {
                let own: HashSet<Vec<u8>> = parameters(own.as_bytes()).map(|own| name_of(own).collect()).collect();
                let of = |url: &str| {
                    let query = url.split('?').skip(1).collect::<Vec<_>>().join("?");
                    parameters(query.as_bytes()).filter(|p| own.contains(&name_of(p).collect::<Vec<u8>>())).map(<[u8]>::to_vec).collect::<Vec<_>>()
                };
                prop_assert_eq!(of(&target), of(&out));
            }
        }
    }
}
