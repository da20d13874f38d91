//! A proxy alone: no writer, no key pool, and a new process that never heard of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::eventually;
use super::web::Town;

const TARGET: &str = "https://example.org/there";
const OTHER: &str = "https://example.org/elsewhere";
const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A time so many seconds from now, as the API takes it.
fn in_seconds(seconds: u64) -> String {
    jiff::Timestamp::from_second((now() + seconds) as i64).unwrap().to_string()
}

#[test]
fn every_rule_holds_in_a_proxy_that_starts_while_all_others_are_away() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let made = |more: serde_json::Value| {
        let mut body = json!({ "long_url": TARGET });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("/{}", town.code(&body))
    };
    let folded = town.api(
        "POST",
        "/v1/domains",
        &json!({ "host": "go.example", "case": "folded", "not_found_url": OTHER }),
    );
    assert_eq!(folded.status, 201, "{}", folded.text());
    made(json!({ "alias": "Summer", "domain": "go.example" }));
    let plain = made(json!({ "status": 308, "cache": { "scope": "public", "max_age": 60 } }));
    let later = made(json!({ "not_before": in_seconds(3600) }));
    let ended = made(json!({ "ttl": 1, "when_ended": { "fallback_url": OTHER } }));
    let hidden = made(json!({ "ttl": 1, "when_ended": { "status": 404 } }));
    let gone = made(json!({ "ttl": 1 }));
    let ends_soon = made(json!({ "ttl": 30, "cache": { "scope": "public", "max_age": 3600 } }));
    let ruled = made(json!({ "rules": [{ "device": "ios", "long_url": OTHER }] }));
    let split = made(json!({ "variants": [{ "long_url": OTHER, "weight": 1 }] }));
    let forwarded = made(json!({ "forward_query": true, "forward_path": true }));
    let disabled = made(json!({}));
    town.patch(&disabled[1..], &json!({ "state": "disabled" }));
    let banned = made(json!({}));
    town.patch(&banned[1..], &json!({ "state": "banned" }));
    let locked = made(json!({ "password": "correct horse" }));
    let private = made(json!({ "visibility": "private" }));

    for part in ["admin", "keypool-0", "proxy-0"] {
        town.fleet.must(&format!("kill {part} 9"));
    }
    town.fleet.must("start proxy-0");
    std::thread::sleep(Duration::from_secs(2));
    eventually("the proxy alone", || town.visit(&plain).status == 308);

    let seen = |path: &str| {
        let answer = town.visit(path);
        (answer.status, answer.location().to_owned())
    };
    let to = |status: u16, target: &str| (status, target.to_owned());
    assert_eq!(seen(&plain), to(308, TARGET));
    assert!(town.visit(&plain).header("cache-control").unwrap().contains("max-age=60"));
    assert_eq!(town.visit(&later).status, 404);
    assert_eq!(seen(&ended), to(302, OTHER));
    assert_eq!((town.visit(&hidden).status, town.visit(&gone).status), (404, 410));
    let age = town.visit(&ends_soon).header("cache-control").unwrap().to_owned();
    let age: u64 = age.split("max-age=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(age <= 30, "beyond the end of the link: {age}");
    assert_eq!(seen(&ruled), to(302, TARGET));
    assert_eq!(town.visit_with(&ruled, &[("User-Agent", IPHONE)]).location(), OTHER);
    assert_eq!(seen(&split), to(302, OTHER));
    assert_eq!(seen(&format!("{forwarded}/more?a=1")), to(302, &format!("{TARGET}/more?a=1")));
    assert_eq!(town.visit(&format!("{plain}+")).status, 200, "the preview");
    assert_eq!((town.visit(&disabled).status, town.visit(&banned).status), (404, 451));
    assert_eq!((town.visit(&locked).status, town.visit(&private).status), (200, 401), "a form, a challenge");
    let on = |path: &str| town.visit_with(path, &[("Host", "go.example")]).location().to_owned();
    assert_eq!((on("/SUMMER"), on("/summer"), on("/winter")), (TARGET.into(), TARGET.into(), OTHER.into()));
}
