//! Putting links: made or replaced, as a whole, by their name.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, Reply, until};

fn put(client: &Client, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    client.send(Method::PUT, path, headers, Some(body.to_string()))
}

#[test]
fn a_put_makes_a_link_and_the_next_one_replaces_it_as_a_whole() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let whole = json!({ "long_url": "https://a.example/", "title": "t", "tags": ["a"], "status": 301 });
    let made = put(&client, "/v1/links/put-here", &[], &whole);
    assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")), "{made:?}");
    assert_eq!(made.header("location"), Some("/v1/links/put-here"));
    let again = put(&client, "/v1/links/put-here", &[], &whole);
    assert_eq!((again.status, again.header("etag")), (200, Some("\"1\"")), "the same again makes no record");
    let replaced = put(&client, "/v1/links/put-here", &[], &json!({ "long_url": "https://b.example/" }));
    assert_eq!((replaced.status, replaced.header("etag")), (200, Some("\"2\"")));
    let link = client.get("/v1/links/put-here").json;
    for (field, value) in [
        ("long_url", json!("https://b.example/")),
        ("title", json!(null)),
        ("tags", json!([])),
        ("status", json!(302)),
        ("created_at", made.json["created_at"].clone()),
    ] {
        assert_eq!(link[field], value, "{field}");
    }
    let off = put(
        &client,
        "/v1/links/put-here",
        &[],
        &json!({ "long_url": "https://b.example/", "state": "disabled" }),
    );
    assert_eq!(off.json["state"], "disabled");
}

#[test]
fn a_put_can_be_bound_to_a_version_or_to_there_being_none() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let (path, body) = ("/v1/links/bound", json!({ "long_url": "https://a.example/" }));
    for tag in ["\"1\"", "*"] {
        let reply = put(&client, path, &[("if-match", tag)], &body);
        assert_eq!(reply.problem(), (412, "version_mismatch"), "there is none yet");
    }
    assert_eq!(put(&client, path, &[("if-none-match", "*")], &body).status, 201);
    assert_eq!(put(&client, path, &[("if-none-match", "*")], &body).problem(), (412, "version_mismatch"));
    let other = json!({ "long_url": "https://b.example/" });
    assert_eq!(put(&client, path, &[("if-match", "\"1\"")], &other).status, 200);
    assert_eq!(put(&client, path, &[("if-match", "\"1\"")], &body).problem(), (412, "version_mismatch"));
    let invalid = put(&client, path, &[("if-none-match", "\"1\"")], &body);
    assert_eq!(invalid.problem(), (400, "if_none_match_invalid"));
    let both = put(&client, path, &[("if-none-match", "*"), ("if-match", "*")], &body);
    assert_eq!(both.problem(), (400, "if_match_invalid"));
}

#[test]
fn of_many_clients_that_put_at_once_one_makes_the_link() {
    let admin = Admin::start(&[]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let client = admin.client();
                let body = json!({ "long_url": format!("https://a.example/{n}") });
                scope.spawn(move || {
                    put(&client, "/v1/links/contested", &[("if-none-match", "*")], &body).status
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!((made, statuses.iter().filter(|status| **status == 412).count()), (1, 7), "{statuses:?}");
}

#[test]
fn a_put_that_makes_no_sense_names_the_field() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for (code, body, errors) in [
        ("good", json!({}), vec![("long_url", "required")]),
        ("good", json!({ "long_url": "ftp://a.example" }), vec![("long_url", "url_scheme")]),
        ("good", json!({ "long_url": "https://a.example/", "alias": "x" }), vec![("alias", "unknown_field")]),
        (
            "good",
            json!({ "long_url": "https://a.example/", "domain": "x" }),
            vec![("domain", "unknown_field")],
        ),
        (
            "good",
            json!({ "long_url": "https://a.example/", "state": "gone" }),
            vec![("state", "state_not_allowed")],
        ),
        ("ab", json!({ "long_url": "https://a.example/" }), vec![("code", "alias_too_short")]),
        ("a.b.c", json!({ "long_url": "https://a.example/" }), vec![("code", "alias_bad_character")]),
        ("admin", json!({ "long_url": "https://a.example/" }), vec![("code", "alias_reserved")]),
    ] {
        let reply = put(&client, &format!("/v1/links/{code}"), &[], &body);
        assert_eq!((reply.problem().0, reply.errors()), (422, errors), "{code} {body}");
    }
    let past = json!({ "long_url": "https://a.example/", "expires_at": "2001-01-01T00:00:00Z" });
    assert_eq!(
        put(&client, "/v1/links/good", &[], &past).errors(),
        [("expires_at", "expires_at_in_the_past")]
    );
    assert_eq!(client.get("/v1/links/good").status, 404);
}

#[test]
fn a_code_that_was_put_and_looks_generated_is_told_to_the_key_pools() {
    let pool = FakePool::start(1, 1_000_000);
    let admin = Admin::start(&[&pool]);
    let body = json!({ "long_url": "https://a.example/" });
    assert_eq!(put(&admin.client(), "/v1/links/Ab3xY9z", &[], &body).status, 201);
    let code: linklog::Code = "Ab3xY9z".parse().unwrap();
    let number = code.as_code7().unwrap().value();
    until("the mark", || pool.marked().contains(&number).then_some(()));
}

fn domain(admin: &Admin, body: &Value) {
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let made = operator.post("/v1/domains", body);
    assert_eq!(made.status, 201, "{made:?}");
}

#[test]
fn a_put_sent_again_keeps_the_end_that_its_domain_gave() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    domain(&admin, &json!({ "host": "two.test", "default_ttl": 3600 }));
    let path = "/v1/links/kept-end?domain=two.test";
    let body = json!({ "long_url": "https://a.example/" });
    let made = put(&client, path, &[], &body);
    let again = put(&client, path, &[], &body);
    assert!(made.json["expires_at"].is_string(), "{made:?}");
    assert_eq!((&again.json["version"], &again.json["expires_at"]), (&json!(1), &made.json["expires_at"]));
    let for_ever = json!({ "long_url": "https://a.example/", "expires_at": null });
    let cleared = put(&client, path, &[], &for_ever);
    assert_eq!((&cleared.json["version"], &cleared.json["expires_at"]), (&json!(2), &json!(null)));
    assert_eq!(put(&client, path, &[], &body).json["version"], 2, "the default is for links that are made");

    let path = "/v1/links?external_id=crm-1";
    let body = json!({ "long_url": "https://a.example/", "domain": "two.test", "alias": "kept-too" });
    let made = put(&client, path, &[], &body);
    let again = put(&client, path, &[], &body);
    assert_eq!((made.status, again.status, &again.json["version"]), (201, 200, &json!(1)), "{again:?}");
    assert_eq!(again.json["expires_at"], made.json["expires_at"]);

    // The end of a reservation is none that is kept.
    client.create(&json!({ "alias": "was-reserved", "reserve": true, "domain": "two.test", "ttl": 60 }));
    let body = json!({ "long_url": "https://a.example/" });
    let taken = put(&client, "/v1/links/was-reserved?domain=two.test", &[], &body);
    let end =
        |answer: &Reply| answer.json["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(end(&taken) >= end(&made), "{taken:?}");
}

#[test]
fn only_who_says_when_a_link_begins_or_ends_is_told_that_they_contradict() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    domain(&admin, &json!({ "host": "two.test", "default_ttl": 60 }));
    let path = "/v1/links/begins?domain=two.test";
    let later = json!({ "long_url": "https://a.example/", "not_before": "2040-01-01T00:00:00Z" });
    let contradicts = ("not_before", "not_before_after_end");
    assert_eq!(put(&client, path, &[], &later).errors(), [contradicts], "it would be made to end first");
    put(&client, path, &[], &json!({ "long_url": "https://a.example/", "expires_at": null }));
    // The default is for links that are made: this one has no end.
    let put_later = put(&client, path, &[], &later);
    assert_eq!((put_later.status, &put_later.json["expires_at"]), (200, &json!(null)), "{put_later:?}");
    let ended = json!({ "long_url": "https://a.example/", "not_before": "2040-01-01T00:00:00Z", "ttl": 60 });
    assert_eq!(put(&client, path, &[], &ended).errors(), [contradicts]);

    // What came so from elsewhere can be changed in every other respect.
    let line = json!({
        "code": "imported", "long_url": "https://a.example/",
        "not_before": "2041-01-01T00:00:00Z", "expires_at": "2040-01-01T00:00:00Z",
    });
    let headers = [("content-type", "application/x-ndjson")];
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let imported = operator.send(Method::POST, "/v1/import", &headers, Some(format!("{line}\n")));
    assert_eq!(imported.status, 200, "{imported:?}");
    let patched = operator.patch("/v1/links/imported", &json!({ "title": "t" }));
    assert_eq!((patched.status, &patched.json["title"]), (200, &json!("t")), "{patched:?}");
    let worse = operator.patch("/v1/links/imported", &json!({ "not_before": "2042-01-01T00:00:00Z" }));
    assert_eq!(worse.errors(), [contradicts]);
}
