//! The life of a link: made, read, changed, deleted.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, FakePool};

#[test]
fn a_link_with_a_generated_code_is_made_and_read_back() {
    let pool = FakePool::start(1, 1_000_000);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let reply = client.post(
        "/v1/links",
        &json!({ "long_url": "https://example.com/a?b=c", "title": "An example", "tags": ["x", "y", "x"] }),
    );
    assert_eq!(reply.status, 201, "{reply:?}");
    let link = &reply.json;
    let code = link["code"].as_str().unwrap();
    assert_eq!(code.len(), 7);
    assert_eq!(reply.header("location"), Some(&*format!("/v1/links/{code}")));
    assert_eq!(reply.header("etag"), Some("\"1\""));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(link["replication"], json!({ "applied": 0, "of": 0, "missing": [] }));
    let mut expected = json!({
        "code": code,
        "domain": "s.test",
        "short_url": format!("http://s.test/{code}"),
        "long_url": "https://example.com/a?b=c",
        "status": 302,
        "state": "active",
        "max_clicks": null,
        "visibility": "public",
        "allowed": [],
        "has_password": false,
        "not_before": null,
        "expires_at": null,
        "when_ended": null,
        "cache": null,
        "forward_query": false,
        "forward_path": false,
        "rules": [],
        "variants": [],
        "imported_clicks": 0,
        "title": "An example",
        "tags": ["x", "y"],
        "notes": null,
        "owner": null,
        "external_id": null,
        "archived": false,
        "archived_at": null,
        "created_at": link["created_at"],
        "created_by": link["created_by"],
        "updated_at": link["created_at"],
        "last_changed_by": null,
        "version": 1,
    });
    assert!(link["created_by"].as_str().is_some_and(|id| id.len() == 16), "the token's id: {link}");
    let found = client.get(&format!("/v1/links/{code}"));
    assert_eq!((found.status, found.header("etag")), (200, Some("\"1\"")));
    expected["replication"] = link["replication"].clone();
    assert_eq!(*link, expected);
    // The link as it is, and how often it was followed, in place of how far it had got.
    expected.as_object_mut().unwrap().remove("replication");
    expected["clicks"] = json!(0);
    assert_eq!(found.json, expected);
}

#[test]
fn an_alias_and_every_option_are_kept() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let link = client.create(&json!({
        "long_url": "https://bücher.example/ä",
        "alias": "My-link_1",
        "domain": "S.TEST",
        "expires_at": "2999-12-31T23:59:59.5+01:00",
        "status": 308,
        "title": null,
        "tags": [],
    }));
    assert_eq!(link["code"], "My-link_1");
    assert_eq!(link["long_url"], "https://xn--bcher-kva.example/%C3%A4");
    assert_eq!(link["expires_at"], "2999-12-31T22:59:59.5Z");
    assert_eq!(link["status"], 308);
    assert_eq!(client.get("/v1/links/My-link_1").json["expires_at"], "2999-12-31T22:59:59.5Z");
    assert_eq!(client.get("/v1/links/my-link_1").problem(), (404, "link_not_found"));
}

#[test]
fn a_patch_changes_what_it_names_and_null_clears() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({
        "long_url": "https://a.example/", "alias": "patched", "title": "t", "tags": ["a"], "status": 301,
        "expires_at": "2999-01-01T00:00:00Z",
    }));
    let path = "/v1/links/patched";
    let changed = client.patch(path, &json!({ "long_url": "https://b.example/", "state": "disabled" }));
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")), "{changed:?}");
    assert_eq!(changed.json["replication"]["of"], 0);
    for (field, value) in [
        ("long_url", json!("https://b.example/")),
        ("state", json!("disabled")),
        ("status", json!(301)),
        ("title", json!("t")),
        ("version", json!(2)),
    ] {
        assert_eq!(changed.json[field], value, "{field}");
    }
    let cleared = client.send(
        Method::PATCH,
        path,
        &[("content-type", "application/merge-patch+json")],
        Some(
            json!({ "title": null, "tags": null, "expires_at": null, "status": null, "state": null })
                .to_string(),
        ),
    );
    assert_eq!(cleared.status, 200, "{cleared:?}");
    let expected = [
        ("title", json!(null)),
        ("tags", json!([])),
        ("expires_at", json!(null)),
        ("status", json!(302)),
        ("state", json!("active")),
    ];
    for (field, value) in expected {
        assert_eq!(cleared.json[field], value, "{field}");
    }
    let unchanged = client.patch(path, &json!({ "title": null }));
    assert_eq!((unchanged.status, &unchanged.json["version"]), (200, &json!(3)));
    assert_eq!(client.get(path).json["created_at"], changed.json["created_at"]);
}

#[test]
fn a_patch_that_makes_no_sense_changes_nothing() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "patched" }));
    for (body, errors) in [
        (json!({ "long_url": null }), vec![("long_url", "required")]),
        (json!({ "long_url": "ftp://a.example" }), vec![("long_url", "url_scheme")]),
        (json!({ "state": "gone" }), vec![("state", "state_not_allowed")]),
        (json!({ "alias": "other" }), vec![("alias", "unknown_field")]),
        (json!({ "domain": "s.test" }), vec![("domain", "unknown_field")]),
        (
            json!({ "version": 2, "status": "x" }),
            vec![("version", "unknown_field"), ("status", "wrong_type")],
        ),
    ] {
        let reply = client.patch("/v1/links/patched", &body);
        assert_eq!((reply.problem().0, reply.errors()), (422, errors), "{body}");
    }
    assert_eq!(client.get("/v1/links/patched").json["version"], 1);
    assert_eq!(client.patch("/v1/links/nobody", &json!({})).problem(), (404, "link_not_found"));
}

#[test]
fn if_match_lets_only_the_known_version_be_changed() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "matched" }));
    let path = "/v1/links/matched";
    let patch = |tag: &str, title: &str| {
        let body = Some(json!({ "title": title }).to_string());
        client.send(Method::PATCH, path, &[("if-match", tag)], body)
    };
    assert_eq!(patch("\"1\"", "one").status, 200);
    let stale = patch("\"1\"", "two");
    assert_eq!(stale.problem(), (412, "version_mismatch"));
    assert_eq!(patch("W/\"2\"", "two").status, 412);
    assert_eq!(patch("\"9\", \"2\"", "two").status, 200);
    assert_eq!(patch("*", "three").status, 200);
    assert_eq!(client.send(Method::DELETE, path, &[("if-match", "\"3\"")], None).status, 412);
    assert_eq!(client.get(path).json["title"], "three");
    assert_eq!(client.send(Method::DELETE, path, &[("if-match", "\"4\"")], None).status, 204);
}

#[test]
fn two_clients_that_patch_at_once_lose_nothing() {
    let admin = Admin::start(&[]);
    admin.client().create(&json!({ "long_url": "https://a.example/", "alias": "busy" }));
    let patch = |field: &'static str, value: fn(usize) -> Value| {
        let client = admin.client();
        move || {
            for n in 0..50 {
                let reply = client.patch("/v1/links/busy", &json!({ field: value(n) }));
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(patch("title", |n| json!(format!("title {n}"))));
        scope.spawn(patch("tags", |n| json!([n.to_string()])));
    });
    let link = admin.client().get("/v1/links/busy").json;
    assert_eq!(
        (&link["title"], &link["tags"], &link["version"]),
        (&json!("title 49"), &json!(["49"]), &json!(101))
    );
}

#[test]
fn a_deleted_link_is_gone_and_its_alias_may_be_taken_up_again() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "alias": "again" });
    client.create(&body);
    let deleted = client.delete("/v1/links/again");
    assert_eq!((deleted.status, &*deleted.text), (204, ""));
    assert_eq!(client.delete("/v1/links/again").problem(), (404, "link_not_found"));
    assert_eq!(client.get("/v1/links/again").problem(), (404, "link_not_found"));
    assert_eq!(client.patch("/v1/links/again", &json!({ "title": "x" })).status, 404);
    let again = client.create(&body);
    assert_eq!(again["version"], 3, "versions never repeat, not even over a deletion");
}

#[test]
fn a_domain_has_links_of_its_own() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    admin.control("domain.add", json!({ "host": "Two.Test", "short_url_base": "https://two.test" })).unwrap();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "same" }));
    let body = json!({ "long_url": "https://b.example/", "alias": "same", "domain": "two.test" });
    let reply = client.post("/v1/links", &body);
    assert_eq!((reply.status, &reply.json["short_url"]), (201, &json!("https://two.test/same")));
    assert_eq!(reply.header("location"), Some("/v1/links/same?domain=two.test"));
    assert_eq!(client.get("/v1/links/same").json["long_url"], "https://a.example/");
    assert_eq!(client.get("/v1/links/same?domain=TWO.test").json["long_url"], "https://b.example/");
    assert_eq!(
        client.patch("/v1/links/same?domain=two.test", &json!({ "title": "b" })).json["domain"],
        "two.test"
    );
    assert_eq!(client.delete("/v1/links/same?domain=two.test").status, 204);
    assert_eq!(client.get("/v1/links/same").status, 200);
    let looping = client.post("/v1/links", &json!({ "long_url": "http://two.test/x", "alias": "loop" }));
    assert_eq!(looping.errors(), [("long_url", "url_loop")]);
}

#[test]
fn a_client_may_prefer_not_to_wait() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = Some(json!({ "long_url": "https://a.example/", "alias": "hurry" }).to_string());
    let reply = client.send(Method::POST, "/v1/links", &[("prefer", "respond-async")], body);
    assert_eq!((reply.status, reply.header("preference-applied")), (201, Some("respond-async")));
}

#[test]
fn a_generated_code_never_comes_back() {
    let mut pool = FakePool::start(1, 500);
    pool.state.lock().unwrap().lease_max = 10;
    let admin = Admin::with(&[&pool], "[codes]\nblock = 10\nlow_watermark = 1\n");
    let client = admin.client();
    let code =
        client.create(&json!({ "long_url": "https://a.example/" }))["code"].as_str().unwrap().to_owned();
    assert_eq!(client.delete(&format!("/v1/links/{code}")).status, 204);
    // The pool loses its memory and hands out the same codes again, in a lease with a new number.
    pool.switch_off();
    pool.state.lock().unwrap().next_code = 500;
    pool.switch_on();
    for _ in 0..25 {
        let link = client.post("/v1/links", &json!({ "long_url": "https://a.example/" }));
        if link.status == 201 {
            assert_ne!(link.json["code"], code);
        }
    }
}
