//! One link: made, shown, changed, counted, deleted.

use serde_json::json;

use super::fixture::Api;

#[test]
fn a_link_is_made_shown_changed_and_deleted() {
    let api = Api::start();
    let made = api.run(&[
        "create",
        "https://example.org/a",
        "--alias",
        "spring",
        "--title",
        "Spring",
        "--tag",
        "a",
        "--tag",
        "b",
    ]);
    assert_eq!(made.ok(), "http://s.test/spring\n");
    let link = api.run(&["get", "spring", "-o", "json"]).json();
    assert_eq!((&link["long_url"], &link["tags"]), (&json!("https://example.org/a"), &json!(["a", "b"])));
    let shown = api.run(&["get", "http://s.test/spring"]).ok();
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["title", "Spring"])), "{shown}");

    let changed = api.run(&[
        "edit",
        "spring",
        "--long-url",
        "https://example.org/b",
        "--clear",
        "title",
        "--set",
        "status=308",
        "-o",
        "json",
    ]);
    let changed = changed.json();
    assert_eq!(
        (&changed["long_url"], &changed["title"], &changed["status"]),
        (&json!("https://example.org/b"), &json!(null), &json!(308))
    );
    let late = api.run(&["edit", "spring", "--title", "late", "--if-version", "1"]);
    assert_eq!(late.code, 1);
    assert!(late.err.contains("which is not what If-Match"), "{late:?}");

    assert_eq!(api.run(&["clicks", "spring", "-o", "json"]).json()["total"], 0);
    assert_eq!(api.run(&["delete", "spring"]).ok(), "");
    let gone = api.run(&["get", "spring"]);
    assert_eq!(gone.code, 1);
    assert!(
        gone.err.contains("there is no link with this code on this domain\n  What to do: Check the code"),
        "{gone:?}"
    );
}

#[test]
fn a_link_of_another_domain_is_found_by_its_domain_or_its_short_url() {
    let api = Api::start();
    api.control("domain.add", json!({ "host": "other.test" }));
    api.run(&["create", "https://example.org/a", "--alias", "same", "--domain", "other.test"]).ok();
    assert_eq!(api.run(&["get", "same"]).code, 1);
    assert_eq!(
        api.run(&["get", "same", "--domain", "other.test", "-o", "json"]).json()["domain"],
        "other.test"
    );
    assert_eq!(api.run(&["get", "http://other.test/same", "-o", "json"]).json()["domain"], "other.test");
}

#[test]
fn every_field_that_is_wrong_is_named() {
    let api = Api::start();
    let refused = api.run(&["create", "ftp://example.org/", "--alias", "a", "--status", "200"]);
    assert_eq!((refused.code, &*refused.out), (1, ""));
    for expected in [
        "long_url: scheme",
        "alias: an alias has at least 3",
        "status: the status is 301",
        "What to do: Mend",
    ] {
        assert!(refused.err.contains(expected), "no {expected:?} in {}", refused.err);
    }
}

#[test]
fn any_request_of_the_api_can_be_made() {
    let api = Api::start();
    let made = api.run(&[
        "api",
        "put",
        "/v1/links/spring",
        r#"{"long_url": "https://example.org/"}"#,
        "-H",
        "If-None-Match: *",
    ]);
    assert_eq!(made.json()["code"], "spring");
    let body = r#"{"long_url": "https://example.org/2"}"#;
    assert_eq!(
        api.run_with(&["api", "PUT", "/v1/links/spring", "-", "-o", "json"], body).json()["version"],
        2
    );
    assert_eq!(api.run(&["api", "DELETE", "/v1/links/spring"]).ok(), "");
    assert_eq!(api.run(&["api", "GET", "v1/links"]).code, 2);
}
