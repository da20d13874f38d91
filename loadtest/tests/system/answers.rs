//! What the answer of a link says: caches, parameters and paths that go on, the preview.

use serde_json::json;

use super::eventually;
use super::web::Town;

const TARGET: &str = "https://example.org/there";

#[test]
fn caches_may_do_what_the_link_says_and_no_longer_than_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let said = |body: serde_json::Value| {
        let code = town.code(&body);
        town.visit(&format!("/{code}")).header("cache-control").unwrap().to_owned()
    };
    let with = |cache: serde_json::Value| json!({ "long_url": TARGET, "cache": cache });
    assert_eq!(said(json!({ "long_url": TARGET })), "private, no-cache");
    assert_eq!(said(with(json!({ "scope": "public", "max_age": 60 }))), "public, max-age=60");
    let cdn = json!({ "scope": "public", "max_age": 0, "s_maxage": 600, "stale_while_revalidate": 30 });
    assert_eq!(said(with(cdn)), "public, max-age=0, s-maxage=600, stale-while-revalidate=30");
    let short = said(json!({ "long_url": TARGET, "ttl": 50, "cache": { "scope": "public", "max_age": 60 } }));
    let seconds: u64 = short.strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!(seconds <= 50, "{short}");
    let permanent =
        said(json!({ "long_url": TARGET, "ttl": 50, "status": 301, "cache": { "max_age": 600 } }));
    let seconds: u64 = permanent.strip_prefix("private, max-age=").unwrap().parse().unwrap();
    assert!(seconds <= 50, "{permanent}");
    for cache in [json!({ "scope": "all" }), json!({ "s_maxage": 5 }), json!({ "max_age": -1 }), json!(5)] {
        let (status, field, _) = town.refused(&with(cache.clone()));
        assert_eq!((status, &*field), (422, "cache"), "{cache}");
    }
    // Conditions of a request are not looked at (RFC 9110 section 13.2.1).
    let code = town.code(&with(json!({ "scope": "public", "max_age": 60 })));
    let conditional = town.visit_with(&format!("/{code}"), &[("If-None-Match", "*")]);
    assert_eq!(conditional.status, 302);
    // Cleared, it is as any other.
    town.patch(&code, &json!({ "cache": null }));
    assert_eq!(town.visit(&format!("/{code}")).header("cache-control"), Some("private, no-cache"));
}

#[test]
fn a_link_answers_with_its_own_status_and_one_that_is_off_or_taken_down_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    for status in [301, 302, 307, 308] {
        let code = town.code(&json!({ "long_url": TARGET, "status": status }));
        let answer = town.visit(&format!("/{code}"));
        assert_eq!((answer.status, answer.location()), (status, TARGET));
    }
    let code = town.code(&json!({ "long_url": TARGET, "title": "A title", "tags": ["one"] }));
    let path = format!("/{code}");
    for (state, status) in [("disabled", 404), ("active", 302), ("banned", 451), ("active", 302)] {
        assert_eq!(town.patch(&code, &json!({ "state": state }))["state"], state);
        let answer = town.visit(&path);
        assert_eq!(
            (answer.status, answer.text().contains("A title")),
            (status, false),
            "{state}: {answer:?}"
        );
    }
}

#[test]
fn parameters_and_paths_go_on_to_the_target_only_if_the_link_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let own = "https://example.org/there?own=1#part";
    let plain = town.code(&json!({ "long_url": own }));
    let query = town.code(&json!({ "long_url": own, "forward_query": true }));
    let path = town.code(&json!({ "long_url": own, "forward_path": true }));
    let both = town.code(&json!({ "long_url": own, "forward_query": true, "forward_path": true }));
    for (asked, location) in [
        (format!("/{plain}?q=1"), Some(own)),
        (format!("/{plain}/x"), None),
        (format!("/{query}?own=2&q=1&%6Fwn=3"), Some("https://example.org/there?own=1&q=1#part")),
        (format!("/{query}/x?q=1"), None),
        (format!("/{path}/x/y%20z?q=1"), Some("https://example.org/there/x/y%20z?own=1#part")),
        (format!("/{path}"), Some(own)),
        (format!("/{path}/../../etc"), None),
        (format!("/{path}/%2e%2e/etc"), None),
        (format!("/{both}/x?q=1"), Some("https://example.org/there/x?own=1&q=1#part")),
        (
            format!("/{both}//evil.example/@x?@evil.example"),
            Some("https://example.org/there//evil.example/@x?own=1&@evil.example#part"),
        ),
    ] {
        let answer = town.visit(&asked);
        assert_eq!(answer.header("location"), location, "{asked}");
        assert_eq!(answer.status, if location.is_some() { 302 } else { 404 }, "{asked}");
    }
    town.all_counted();
    let clicks = [&plain, &query, &path, &both].map(|code| town.clicks(code));
    assert_eq!(clicks, [1, 1, 2, 2], "what led somewhere is a click, and nothing else");
}

#[test]
fn a_preview_shows_the_target_and_is_no_click() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": "https://example.org/?a=1&b=<script>" }));
    let preview = town.visit(&format!("/{code}+"));
    assert_eq!((preview.status, preview.header("cache-control")), (200, Some("no-store")));
    assert!(preview.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(preview.text().contains("https://example.org/?a=1&amp;b=&lt;script&gt;"), "{}", preview.text());
    assert_eq!(town.visit("/nothing-here+").status, 404);
    let ended = town.code(&json!({ "long_url": TARGET, "ttl": 1 }));
    eventually("its end", || town.visit(&format!("/{ended}+")).status == 410);
    assert_eq!(town.visit(&format!("/{code}")).status, 302);
    town.all_counted();
    assert_eq!((town.clicks(&code), town.clicks(&ended)), (1, 0));
}

#[test]
fn a_short_url_is_drawn_as_a_qr_code_in_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let code = town.code(&json!({ "long_url": TARGET }));
    let get = |query: &str| town.api("GET", &format!("/v1/links/{code}/qr{query}"), &serde_json::Value::Null);
    let svg = get("");
    assert_eq!((svg.status, svg.header("content-type")), (200, Some("image/svg+xml")));
    assert!(svg.text().starts_with("<svg ") && svg.text().contains("width=\"300\""));
    let png = get("?format=png&size=512&error_correction=high");
    assert_eq!((png.status, png.header("content-type")), (200, Some("image/png")));
    assert_eq!(&png.body[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&png.body[16..24], [0, 0, 2, 0, 0, 0, 2, 0], "512 by 512");
    for (query, field) in [
        ("?format=gif", "format"),
        ("?size=5", "size"),
        ("?error_correction=x", "error_correction"),
        ("?x=1", "x"),
    ] {
        let refused = get(query);
        assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!(field)), "{query}");
    }
    assert_eq!(town.api("GET", "/v1/links/nothing/qr", &serde_json::Value::Null).status, 404);
}
