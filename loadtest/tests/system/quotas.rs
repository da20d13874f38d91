//! Quotas of redirects: what all links of a token may answer in a day or a month.

use serde_json::{Value, json};

use super::eventually;
use super::web::{Answer, Town, ask};

const TARGET: &str = "https://example.org/there";

/// A token with a quota, as the API shows it when it is made.
struct Owner {
    admin: String,
    id: String,
    token: String,
}

impl Owner {
    fn new(town: &Town, redirects: &Value) -> Owner {
        let admin = town.operator(&["token", "create", "--name", "operator", "--scope", "admin"]);
        let admin = admin.split_whitespace().find(|word| word.starts_with("sp_")).unwrap().to_owned();
        let asked =
            json!({ "name": "limited", "scopes": ["links:write", "links:read"], "redirects": redirects });
        let made = api(town, &admin, "POST", "/v1/tokens", &asked);
        assert_eq!(made.status, 201, "{}", made.text());
        let made = made.json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Owner { admin, id: text("id"), token: text("token") }
    }

    fn link(&self, town: &Town, body: &Value) -> String {
        let made = api(town, &self.token, "POST", "/v1/links", body);
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["code"].as_str().unwrap().to_owned()
    }

    fn patch(&self, town: &Town, body: &Value) -> Answer {
        api(town, &self.admin, "PATCH", &format!("/v1/tokens/{}", self.id), body)
    }

    /// The quota as the API shows it now.
    fn standing(&self, town: &Town) -> Value {
        let own = api(town, &self.token, "GET", "/v1/tokens/self", &Value::Null).json()["redirects"].clone();
        let shown = api(town, &self.admin, "GET", &format!("/v1/tokens/{}", self.id), &Value::Null);
        assert_eq!(shown.json()["redirects"]["count"], own["count"]);
        own
    }
}

fn api(town: &Town, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let token = format!("Bearer {token}");
    ask(&town.fleet.ready().admin, method, path, &[("Authorization", &token), ("Content-Type", kind)], &body)
}

/// Follows a link until it is not told to come back in a moment.
fn follow(town: &Town, code: &str) -> Answer {
    let mut answer = None;
    eventually("an answer that is not 503", || {
        answer = Some(town.visit(&format!("/{code}"))).filter(|answer: &Answer| answer.status != 503);
        answer.is_some()
    });
    answer.unwrap()
}

fn follow_until_over(town: &Town, code: &str) -> (u64, Answer) {
    let mut through = 0;
    loop {
        let answer = follow(town, code);
        match answer.status {
            302 => through += 1,
            _ => return (through, answer),
        }
    }
}

#[test]
fn all_links_of_a_token_answer_as_many_redirects_as_its_quota_says() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let owner = Owner::new(&town, &json!({ "count": 20, "period": "day" }));
    let links = [(); 2].map(|()| owner.link(&town, &json!({ "long_url": TARGET })));
    for _ in 0..9 {
        assert_eq!(links.each_ref().map(|code| follow(&town, code).status), [302, 302]);
    }
    // Whoever asks: it is traffic all the same. What is no way to the target is none.
    assert_eq!(town.send("HEAD", &format!("/{}", links[0]), &[]).status, 302);
    assert_eq!(town.visit(&format!("/{}+", links[0])).status, 200);
    let (through, over) = follow_until_over(&town, &links[1]);
    assert_eq!((through, over.status, over.header("cache-control")), (1, 429, Some("no-store")));
    let retry_after: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&retry_after), "{retry_after}");
    assert_eq!(follow(&town, &links[0]).status, 429);
    assert_eq!(town.visit(&format!("/{}+", links[0])).status, 200);
    // Nobody else's links know of it.
    assert_eq!(follow(&town, &town.code(&json!({ "long_url": TARGET }))).status, 302);
    eventually("all of it to be told", || owner.standing(&town)["used"] == 20);
    let standing = owner.standing(&town);
    let numbers = ["count", "burned", "left", "held"].map(|name| standing[name].as_u64().unwrap());
    assert_eq!((numbers, &standing["period"]), ([20, 0, 0, 0], &json!("day")), "{standing}");

    // More of it goes on where it was; a limit of clicks counts besides; none at all is none.
    assert_eq!(owner.patch(&town, &json!({ "redirects": { "count": 25, "period": "day" } })).status, 200);
    let limited = owner.link(&town, &json!({ "long_url": TARGET, "max_clicks": 2 }));
    let (through, over) = follow_until_over(&town, &limited);
    assert_eq!((through, over.status), (2, 410));
    eventually("the rest", || town.visit(&format!("/{}", links[0])).status == 302);
    let (through, over) = follow_until_over(&town, &links[0]);
    assert_eq!((through, over.status), (2, 429));
    assert_eq!(owner.patch(&town, &json!({ "redirects": null })).json()["redirects"], Value::Null);
    eventually("no quota", || town.visit(&format!("/{}", links[0])).status == 302);

    for wrong in [
        json!(5),
        json!({ "count": 0, "period": "day" }),
        json!({ "count": 1, "period": "week" }),
        json!({ "count": 1 }),
    ] {
        let refused = owner.patch(&town, &json!({ "redirects": wrong }));
        assert_eq!(
            (refused.status, refused.json()["errors"][0]["field"].clone()),
            (422, json!("redirects")),
            "{wrong}"
        );
    }
}

#[test]
fn all_proxies_together_answer_as_many_redirects_as_a_quota_says() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::several(dir.path(), 3, &[]);
    let owner = Owner::new(&town, &json!({ "count": 50, "period": "day" }));
    let code = owner.link(&town, &json!({ "long_url": TARGET }));
    let (through, over) = town.follow_on_all(&code);
    assert_eq!((through, over.status), (50, 429));
    eventually("all of it to be told", || owner.standing(&town)["used"] == 50);
}

#[test]
fn a_quota_is_exact_over_restarts_and_goes_on_without_the_writer_as_far_as_it_is_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let owner = Owner::new(&town, &json!({ "count": 200, "period": "month" }));
    let code = owner.link(&town, &json!({ "long_url": TARGET }));
    let mut through = 0;
    for killed in ["proxy-0", "admin", "proxy-0"] {
        for _ in 0..20 {
            assert_eq!(follow(&town, &code).status, 302);
            through += 1;
        }
        town.fleet.must(&format!("kill {killed} 9"));
        town.fleet.must(&format!("start {killed}"));
    }
    town.fleet.must("kill admin 9");
    let away = loop {
        let answer = town.visit(&format!("/{code}"));
        match answer.status {
            302 => through += 1,
            _ => break answer,
        }
    };
    assert_eq!(
        (away.status, away.header("retry-after"), away.header("cache-control")),
        (503, Some("1"), Some("no-store"))
    );
    assert!(through < 200, "the other half was never granted: {through}");
    town.fleet.must("start admin");
    let (rest, over) = follow_until_over(&town, &code);
    assert_eq!((through + rest, over.status), (200, 429));
}

#[test]
fn redirects_of_a_large_quota_cost_next_to_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let owner = Owner::new(&town, &json!({ "count": 1_000_000, "period": "day" }));
    let code = owner.link(&town, &json!({ "long_url": TARGET }));
    assert_eq!(follow(&town, &code).status, 302);
    let head = || town.api("GET", "/v1/replication", &Value::Null).json()["head"]["seq"].as_u64().unwrap();
    let before = head();
    for _ in 0..1_000 {
        assert_eq!(follow(&town, &code).status, 302);
    }
    eventually("what is used to be known", || owner.standing(&town)["used"] == 1_001);
    assert!(head() - before <= 1, "{} records", head() - before);
}
