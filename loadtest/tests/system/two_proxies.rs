//! What two proxies count together: neither gives what the other has given.

use std::time::Instant;

use serde_json::{Value, json};

use super::web::{Answer, Town};
use super::{PATIENCE, eventually};

const TARGET: &str = "https://example.org/there";

fn visit(town: &Town, proxy: usize, path: &str) -> Answer {
    town.send_to(proxy, "GET", path, &[], "")
}

/// Follows a link on both proxies in turn until both say that it is over; returns how often it led there. Nothing leads there once one of
/// them has said so, and whoever is to come back is told when.
#[track_caller]
fn follow_on_both(town: &Town, path: &str, over: u16) -> u64 {
    let (mut through, mut said_over, deadline) = (0, [false; 2], Instant::now() + PATIENCE);
    for proxy in [0, 1].into_iter().cycle() {
        let answer = visit(town, proxy, path);
        match answer.status {
            302 => {
                assert_eq!(said_over, [false; 2], "{through} were through when one said that it is over");
                through += 1;
            }
            503 => assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}"),
            status => {
                assert_eq!(status, over, "{answer:?}");
                said_over[proxy] = true;
            }
        }
        if said_over == [true; 2] {
            break;
        }
        assert!(Instant::now() < deadline, "it is not over after {through}");
    }
    through
}

#[test]
fn a_quota_of_redirects_is_for_both_together() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &[]);
    let quota = json!({ "name": "limited", "scopes": ["links:write"], "redirects": { "count": 300, "period": "day" } });
    let made = town.operator(&["token", "create", "--name", "operator", "--scope", "admin"]);
    let admin = made.split_whitespace().find(|word| word.starts_with("sp_")).unwrap();
    let api = |token: &str, path: &str, body: &Value| {
        let headers = [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/json")];
        let made = super::web::ask(&town.fleet.ready().admin, "POST", path, &headers, &body.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    };
    let token = api(admin, "/v1/tokens", &quota)["token"].as_str().unwrap().to_owned();
    let codes = [(); 2].map(|()| {
        let link = api(&token, "/v1/links", &json!({ "long_url": TARGET }));
        format!("/{}", link["code"].as_str().unwrap())
    });
    let mut through = 0;
    for (proxy, path) in [0, 1].into_iter().zip(&codes).cycle().take(100) {
        through += u64::from(visit(&town, proxy, path).status == 302);
    }
    assert_eq!(through + follow_on_both(&town, &codes[0], 429), 300);
    for proxy in [0, 1] {
        let over = visit(&town, proxy, &codes[1]);
        let wait_s: u64 = over.header("retry-after").unwrap().parse().unwrap();
        assert_eq!((over.status, over.header("cache-control")), (429, Some("no-store")), "{over:?}");
        assert!((1..=86_400).contains(&wait_s), "until the next day: {wait_s}");
    }
}

#[test]
fn a_limit_of_clicks_is_for_both_together() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &[]);
    for limit in [1, 2, 7, 150] {
        let code = town.code(&json!({ "long_url": TARGET, "max_clicks": limit }));
        assert_eq!(follow_on_both(&town, &format!("/{code}"), 410), limit);
    }
}

#[test]
fn while_the_other_has_what_is_left_of_a_limit_one_is_told_to_come_back_and_never_that_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &[]);
    let code = town.code(&json!({ "long_url": TARGET, "max_clicks": 1000 }));
    let path = format!("/{code}");
    eventually("the other has some of it", || visit(&town, 1, &path).status == 302);
    town.fleet.must("kill proxy-1 STOP");
    let held = town.api("GET", &format!("/v1/links/{code}/limit"), &Value::Null).json()["held"].clone();
    assert!(held.as_array().unwrap().iter().any(|part| part["proxy"] == "proxy-1"), "{held}");
    let (mut through, mut waits) = (1, 0);
    // Until four in a row were told to come back: the writer has no more to give.
    while waits < 4 {
        let answer = visit(&town, 0, &path);
        match answer.status {
            302 => (through, waits) = (through + 1, 0),
            503 => {
                assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
                assert_eq!(answer.header("cache-control"), Some("no-store"));
                let left = town.api("GET", &format!("/v1/links/{code}/limit"), &Value::Null).json();
                waits += u32::from(left["left"] == 0);
            }
            _ => panic!("{through} of 1000 were through: {answer:?}"),
        }
    }
    assert!(through < 1000, "the other has none");
    town.fleet.must("kill proxy-1 CONT");
    assert_eq!(through + follow_on_both(&town, &path, 410), 1000);
}

#[test]
fn each_lets_half_of_the_wrong_passwords_through() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &["proxy.passwords.attempts_max=8"]);
    let code = town.code(&json!({ "long_url": TARGET, "password": "correct horse" }));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let guess = |proxy| town.send_to(proxy, "POST", &format!("/{code}"), &form, "password=no").status;
    let guesses = [0, 1].map(|proxy| [(); 6].map(|()| guess(proxy)));
    assert_eq!(guesses, [[403, 403, 403, 403, 429, 429]; 2]);
}

#[test]
fn a_visitor_sees_the_same_variant_on_both() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 2, &[]);
    let variants = json!([
        { "weight": 1, "long_url": "https://example.org/a" },
        { "weight": 1, "long_url": "https://example.org/b" },
    ]);
    let code = town.code(&json!({ "long_url": TARGET, "variants": variants }));
    let seen = |proxy: usize, visitor: usize| {
        let agent = format!("browser-{visitor}");
        let answer = town.send_to(proxy, "GET", &format!("/{code}"), &[("User-Agent", &agent)], "");
        answer.location().to_owned()
    };
    let [one, other] = [0, 1].map(|proxy| (0..60).map(|visitor| seen(proxy, visitor)).collect::<Vec<_>>());
    assert_eq!(one, other);
    assert!(one.iter().any(|target| *target != one[0]), "both variants are seen");
}
