//! Tests: tables of what is kept, what is encoded and what is refused, and properties over arbitrary text.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn rules() -> TargetRules {
    TargetRules { bytes_max: 8192, schemes: ["http".into(), "https".into()].into(), private_allowed: true }
}

fn checked(text: &str) -> Result<String, TargetError> {
    check(text, &rules(), |host, port| host == "sho.rt" && matches!(port, 80 | 443))
}

fn refusal(text: &str) -> &'static str {
    checked(text).unwrap_err().code()
}

#[test]
fn an_ascii_target_is_kept_byte_for_byte() {
    for text in [
        "https://example.com",
        "https://example.com/",
        "HTTP://EXAMPLE.com:80/a/../b?x=%7e#frag",
        "http://example.com?q=a|b^c{d}\"<e>`",
        "http://example.com/back\\slash",
        "http://127.0.0.1:8000/x",
        "http://[::1]:8000/x",
        "https://example.com./",
        "https://user-in-path.example/a@b:c",
        "http://example.com/?next=https://u:p@x.example/",
        "https://sho.rt:8443/not-ours",
        "https://xn--bcher-kva.example/",
    ] {
        assert_eq!(checked(text).as_deref(), Ok(text));
    }
}

#[test]
fn other_targets_are_encoded_and_nothing_else_about_them_changes() {
    for (text, stored) in [
        ("https://bücher.example/ä?ö=ü#é", "https://xn--bcher-kva.example/%C3%A4?%C3%B6=%C3%BC#%C3%A9"),
        ("HTTPS://EXAMPLE.com/a/../ß", "HTTPS://example.com/a/../%C3%9F"),
        ("http://bücher.example:80/%zz", "http://xn--bcher-kva.example:80/%zz"),
        ("http://[::1]:8000/é", "http://[::1]:8000/%C3%A9"),
        ("http://[::1]/é", "http://[::1]/%C3%A9"),
        ("http://例え.テスト", "http://xn--r8jz45g.xn--zckzah"),
    ] {
        assert_eq!(checked(text).as_deref(), Ok(stored));
    }
}

#[test]
fn what_is_no_absolute_http_url_is_refused_with_its_reason() {
    for (text, code) in [
        ("", "url_empty"),
        ("javascript:alert(1)", "url_scheme"),
        ("JaVaScRiPt:alert(1)", "url_scheme"),
        ("data:text/html,x", "url_scheme"),
        ("ftp://example.com/", "url_scheme"),
        ("mailto:a@example.com", "url_scheme"),
        ("/relative", "url_not_absolute"),
        ("relative", "url_not_absolute"),
        ("//example.com/", "url_not_absolute"),
        ("http:example.com", "url_not_absolute"),
        ("http:/example.com", "url_not_absolute"),
        ("http:///example.com", "url_not_absolute"),
        ("http://", "url_not_absolute"),
        ("http://?x", "url_not_absolute"),
        ("1http://example.com", "url_not_absolute"),
        ("example.com:80/x", "url_scheme"),
        ("https://user@example.com/", "url_credentials"),
        ("https://user:secret@example.com/", "url_credentials"),
        ("https://:@example.com/", "url_credentials"),
        ("https://good.example\\@evil.example/", "url_host"),
        ("https://exa mple.com/", "url_bad_character"),
        ("https://example.com/a b", "url_bad_character"),
        ("https://example.com/\r\nSet-Cookie: x", "url_bad_character"),
        ("https://example.com/\u{7f}", "url_bad_character"),
        ("https://example.com:99999/", "url_host"),
        ("https://example.com:http/", "url_host"),
        ("https://exa<mple.com/", "url_host"),
        ("https://[::1/", "url_host"),
        ("https://sho.rt/abc", "url_loop"),
        ("http://SHO.rt./abc", "url_loop"),
        ("https://%73ho.rt/abc", "url_loop"),
    ] {
        assert_eq!(refusal(text), code, "{text}");
    }
}

#[test]
fn private_addresses_and_further_schemes_are_as_the_rules_say() {
    let strict = TargetRules { private_allowed: false, ..rules() };
    let code =
        |text: &str, rules: &TargetRules| check(text, rules, |_, _| false).map_err(|error| error.code());
    for text in
        ["http://127.0.0.1:8000/x", "http://0x7f.1/", "https://[::ffff:10.0.0.1]/é", "http://LOCALHOST./"]
    {
        assert_eq!(code(text, &strict), Err("url_private"), "{text}");
        assert!(code(text, &rules()).is_ok(), "{text}");
    }
    for text in ["http://192.0.2.7/", "https://[2001:db8::1]/", "https://intranet.example/"] {
        assert!(code(text, &strict).is_ok(), "{text}");
    }
    let further = TargetRules { schemes: ["https".into(), "myapp".into()].into(), ..strict };
    assert_eq!(code("myapp://open/x?y", &further).as_deref(), Ok("myapp://open/x?y"));
    assert_eq!(code("myapp:x", &further), Err("url_not_absolute"));
    assert_eq!(code("myapp://127.1/", &further), Err("url_private"));
    assert_eq!(code("http://example.com/", &further), Err("url_scheme"));
    assert!(may_be_allowed("myapp") && may_be_allowed("web+x"));
    for never in ["javascript", "JAVASCRIPT", "data", "My", "", "1x", "a b"] {
        assert!(!may_be_allowed(never), "{never}");
    }
}

#[test]
fn length_counts_before_and_after_encoding() {
    let fits = format!("https://example.com/{}", "a".repeat(8192 - 20));
    assert_eq!(checked(&fits).as_deref(), Ok(fits.as_str()));
    assert_eq!(refusal(&format!("{fits}a")), "url_too_long");
    assert_eq!(refusal(&format!("https://example.com/{}", "ä".repeat(3000))), "url_too_long");
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_printable_ascii_and_parses_as_http(text in ".{0,60}") {
        for text in [text.clone(), format!("https://{text}"), format!("http://example.com/{text}")] {
            let Ok(stored) = checked(&text) else { continue };
            prop_assert!(stored.bytes().all(|b| (0x21..0x7f).contains(&b)), "{stored:?}");
            let url = Url::parse(&stored).unwrap();
            prop_assert!(matches!(url.scheme(), "http" | "https"));
            prop_assert!(url.has_host() && url.username().is_empty() && url.password().is_none());
            if text.is_ascii() {
                prop_assert_eq!(stored, text);
            }
        }
    }

    #[test]
    fn what_is_stored_is_accepted_again_unchanged(text in "https?://[a-zä-ü.]{1,20}(:[0-9]{1,4})?/[ -~à-ÿ]{0,30}") {
        if let Ok(stored) = checked(&text) {
            prop_assert_eq!(checked(&stored), Ok(stored.clone()));
        }
    }
}
