//! How links begin and end.

use serde_json::json;

use super::eventually;
use super::web::{Town, ask};

fn in_ms(ms: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let at = jiff::Timestamp::from_millisecond(i64::try_from(now).unwrap() + ms).unwrap();
    at.to_string()
}

#[test]
fn a_link_begins_and_ends_on_time_and_answers_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let target = "https://example.org/there";

    // Not yet, then there.
    let later = town.code(&json!({ "long_url": target, "not_before": in_ms(3_600_000) }));
    let early = town.visit(&format!("/{later}"));
    assert_eq!((early.status, early.header("cache-control")), (404, Some("no-store")));
    let soon = town.code(&json!({ "long_url": target, "not_before": in_ms(1_500) }));
    assert_eq!(town.visit(&format!("/{soon}")).status, 404);
    eventually("the beginning", || town.visit(&format!("/{soon}")).status == 302);
    assert_eq!(town.patch(&later, &json!({ "not_before": null }))["not_before"], json!(null));
    assert_eq!(town.visit(&format!("/{later}")).location(), target);

    // A life in seconds, and every way to be over.
    let mut followed = Vec::new();
    for (when_ended, status, location) in [
        (json!(null), 410, None),
        (json!({ "status": 410 }), 410, None),
        (json!({ "status": 404 }), 404, None),
        (json!({ "fallback_url": "https://example.org/over" }), 302, Some("https://example.org/over")),
    ] {
        let link =
            town.link(&json!({ "long_url": target, "ttl": 1, "when_ended": when_ended, "status": 301 }));
        let path = format!("/{}", link["code"].as_str().unwrap());
        assert!(link["expires_at"].as_str().is_some(), "{link}");
        let mut clicks = 0;
        // The machine may be slow: it is over at once, or after it was followed.
        eventually("its end", || {
            let answer = town.visit(&path);
            clicks += u64::from(answer.header("location") == Some(target));
            answer.status == status
        });
        let over = town.visit(&path);
        assert_eq!((over.status, over.header("location")), (status, location), "{when_ended}");
        // What has ended may be brought back.
        let code = link["code"].as_str().unwrap();
        town.patch(code, &json!({ "ttl": 3600 }));
        assert_eq!(town.visit(&path).location(), target);
        followed.push((code.to_owned(), clicks + 1));
    }

    // Following what has not begun or is over is no click.
    let path = format!("/{later}");
    town.visit(&path);
    town.all_counted();
    assert_eq!(town.clicks(&later), 2);
    for (code, clicks) in followed {
        assert_eq!(town.clicks(&code), clicks, "{code}");
    }
    for (body, refusal) in [
        (json!({ "long_url": target, "ttl": 0 }), (422, "ttl", "ttl_out_of_range")),
        (
            json!({ "long_url": target, "ttl": 9, "expires_at": in_ms(9_000) }),
            (422, "ttl", "ttl_and_expires_at"),
        ),
        (json!({ "long_url": target, "not_before": "soon" }), (422, "not_before", "not_before_not_a_time")),
        (
            json!({ "long_url": target, "not_before": in_ms(9_000), "ttl": 1 }),
            (422, "not_before", "not_before_after_end"),
        ),
        (
            json!({ "long_url": target, "when_ended": { "status": 200 } }),
            (422, "when_ended", "when_ended_status"),
        ),
        (
            json!({ "long_url": target, "when_ended": { "fallback_url": "javascript:0" } }),
            (422, "when_ended", "url_scheme"),
        ),
        (json!({ "long_url": target, "when_ended": { "x": 1 } }), (422, "when_ended", "unknown_member")),
    ] {
        let (status, field, code) = town.refused(&body);
        assert_eq!((status, &*field, &*code), refusal, "{body}");
    }
}

#[test]
fn links_that_ended_are_swept_whatever_is_killed_and_proxies_forget_them() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = ["window=always", "keep_expired_days=0", "sweep_per_s=100"];
    let settings = sweep.map(|setting| format!("admin.sweep.{setting}"));
    let town = Town::with(dir.path(), &settings.each_ref().map(String::as_str));
    let admin = town.operator(&["token", "create", "--name", "operator", "--scope", "admin"]);
    let admin = admin.split_whitespace().find(|word| word.starts_with("sp_")).unwrap().to_owned();
    let status = || {
        let authorization = format!("Bearer {admin}");
        ask(&town.fleet.ready().admin, "GET", "/v1/sweep", &[("Authorization", &authorization)], "").json()
    };
    let target = "https://example.org/there";
    let batch = |from: usize, ttl: u64| {
        let links: Vec<_> = (from..from + 250)
            .map(|n| json!({ "long_url": target, "alias": format!("ends-{n}"), "ttl": ttl }))
            .collect();
        let made = town.api("POST", "/v1/links/batch", &json!({ "links": links }));
        assert!(made.status == 200 || made.status == 201, "{}", made.text());
    };
    let stays = town.code(&json!({ "long_url": target, "alias": "stays" }));
    let limited = town.code(&json!({ "long_url": target, "alias": "limited", "max_clicks": 2 }));
    batch(0, 1);
    batch(250, 1);
    assert_eq!(town.patch("ends-0", &json!({ "ttl": 3600 }))["code"], "ends-0");
    // It is used up, and goes with what proxies had of it.
    eventually("the end of the limited link", || town.visit(&format!("/{limited}")).status >= 404);
    eventually("a sweep that goes on", || status()["last_run"]["ended"].as_u64() > Some(50));
    town.fleet.must("kill admin 9");
    town.fleet.must("start admin");
    eventually("the rest", || status()["due"] == json!({ "links": 0, "exact": true }));
    eventually("all of them", || town.visit("/ends-499").status == 404);
    let gone = (1..500).map(|n| town.visit(&format!("/ends-{n}")).status);
    assert_eq!(gone.filter(|status| *status == 404).count(), 499);
    assert_eq!([&*stays, "ends-0"].map(|code| town.visit(&format!("/{code}")).status), [302, 302]);
    eventually("the limited link", || town.visit(&format!("/{limited}")).status == 404);
    // The name is free, and what is made under it has nothing to do with what was there.
    town.link(&json!({ "long_url": target, "alias": "limited", "max_clicks": 1 }));
    assert_eq!(town.clicks(&limited), 0);
    eventually("a click", || town.visit(&format!("/{limited}")).status == 302);
    let dry = town.operator(&["sweep", "--dry-run"]);
    assert!(dry.contains("window is \"always\""), "{dry}");
}
