//! Everything a client can get wrong is answered with its own status, a stable code and the name of the field.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool};

const LINKS: &str = "/v1/links";

fn post_text(client: &Client, body: &str) -> super::fixture::Reply {
    client.send(Method::POST, LINKS, &[], Some(body.to_owned()))
}

#[test]
fn a_body_that_is_no_json_is_400_and_an_empty_one_too() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for path in [LINKS, "/v1/links/batch"] {
        for body in [
            "{",
            "{\"long_url\":",
            "[1,2",
            "nul",
            "{\"long_url\":\"https://a.example\"}}",
            "{'a':1}",
            "\u{feff}{}",
        ] {
            let reply = client.send(Method::POST, path, &[], Some(body.to_owned()));
            assert_eq!(reply.problem(), (400, "malformed_json"), "{path} {body}");
        }
        let reply = client.send(Method::POST, path, &[], Some(String::new()));
        assert_eq!(reply.problem(), (400, "empty_body"), "{path}");
    }
    let invalid_utf8 =
        b"POST /v1/links HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let mut request = invalid_utf8.to_vec();
    request.extend_from_slice(
        format!("Authorization: Bearer {}\r\nContent-Length: 16\r\n\r\n", admin.token).as_bytes(),
    );
    request.extend_from_slice(b"{\"long_url\":\"\xff\"}");
    assert!(client.raw(&request).starts_with("HTTP/1.1 400 "));
}

#[test]
fn wrong_types_and_unknown_fields_are_422_and_each_field_is_named() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for (body, errors) in [
        ("{}", &[("long_url", "required")][..]),
        ("{\"long_url\":null}", &[("long_url", "required")]),
        ("{\"long_url\":5}", &[("long_url", "wrong_type")]),
        ("{\"long_url\":{\"a\":[1]}}", &[("long_url", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"url\":1}", &[("url", "unknown_field")]),
        ("{\"long_url\":\"https://a.example\",\"state\":\"active\"}", &[("state", "unknown_field")]),
        (
            "{\"long_url\":\"https://a.example\",\"long_url\":\"https://b.example\"}",
            &[("long_url", "duplicate_field")],
        ),
        ("{\"long_url\":\"https://a.example\",\"alias\":7}", &[("alias", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"domain\":true}", &[("domain", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"status\":\"302\"}", &[("status", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"status\":303}", &[("status", "status_not_allowed")]),
        ("{\"long_url\":\"https://a.example\",\"status\":302.5}", &[("status", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"expires_at\":1893456000}", &[("expires_at", "wrong_type")]),
        (
            "{\"long_url\":\"https://a.example\",\"expires_at\":\"tomorrow\"}",
            &[("expires_at", "expires_at_not_a_time")],
        ),
        (
            "{\"long_url\":\"https://a.example\",\"expires_at\":\"2030-01-01\"}",
            &[("expires_at", "expires_at_not_a_time")],
        ),
        ("{\"long_url\":\"https://a.example\",\"title\":[]}", &[("title", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"tags\":\"a\"}", &[("tags", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"tags\":[1]}", &[("tags", "wrong_type")]),
        ("{\"long_url\":\"https://a.example\",\"tags\":[\"\"]}", &[("tags", "tag_length")]),
        (
            "{\"alias\":\"a b\",\"status\":1,\"colour\":1}",
            &[
                ("colour", "unknown_field"),
                ("long_url", "required"),
                ("alias", "alias_bad_character"),
                ("status", "status_not_allowed"),
            ],
        ),
    ] {
        let reply = post_text(&client, body);
        assert_eq!(reply.problem(), (422, "validation_failed"), "{body}");
        assert_eq!(reply.errors(), errors, "{body}");
    }
    for body in
        ["[]", "null", "\"https://a.example\"", "17", "true", "[{\"long_url\":\"https://a.example\"}]"]
    {
        assert_eq!(post_text(&client, body).problem(), (422, "validation_failed"), "{body}");
    }
}

#[test]
fn long_titles_and_many_tags_are_422() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(2);
    let client = admin.client();
    let with = |field: &str, value: Value| json!({ "long_url": "https://a.example", field: value });
    let fits = client.create(&with("title", json!("ü".repeat(512))));
    assert_eq!(fits["title"], "ü".repeat(512));
    assert_eq!(client.create(&with("tags", json!(vec!["ü".repeat(64); 1])))["tags"], json!(["ü".repeat(64)]));
    let tags: Vec<_> = (0..33).map(|n| n.to_string()).collect();
    for (field, value, code) in [
        ("title", json!("ü".repeat(513)), "title_too_long"),
        ("tags", json!(["ü".repeat(65)]), "tag_length"),
        ("tags", json!(tags), "too_many_tags"),
    ] {
        let reply = client.post(LINKS, &with(field, value));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![(field, code)]));
    }
}

#[test]
fn targets_that_must_not_be_are_422_with_their_reason() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let nine_kib = format!("https://a.example/{}", "x".repeat(9 * 1024));
    for (target, code) in [
        ("javascript:alert(1)", "url_scheme"),
        ("data:text/html,x", "url_scheme"),
        ("ftp://a.example/", "url_scheme"),
        ("/relative", "url_not_absolute"),
        ("a.example", "url_not_absolute"),
        ("", "url_empty"),
        ("https://user:secret@a.example/", "url_credentials"),
        ("https://user@a.example/", "url_credentials"),
        ("https://a.example/a b", "url_bad_character"),
        ("https://a.example/\r\nX: y", "url_bad_character"),
        ("https://s.test/loop", "url_loop"),
        (&nine_kib, "url_too_long"),
    ] {
        let reply = client.post(LINKS, &json!({ "long_url": target }));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![("long_url", code)]), "{target}");
        assert!(!reply.text.contains("secret"), "a target that is refused is not repeated");
    }
}

#[test]
fn aliases_that_must_not_be_are_422_with_their_reason() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let sixty_five = "x".repeat(65);
    for (alias, code) in [
        ("a/b", "alias_bad_character"),
        ("a b", "alias_bad_character"),
        ("a.b", "alias_bad_character"),
        ("ab", "alias_too_short"),
        (&sixty_five, "alias_too_long"),
        ("admin", "alias_reserved"),
        ("Batch", "alias_reserved"),
    ] {
        let reply = client.post(LINKS, &json!({ "long_url": "https://a.example", "alias": alias }));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![("alias", code)]), "{alias}");
    }
}

#[test]
fn a_taken_alias_is_409_and_an_unknown_domain_404() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example", "alias": "taken" });
    client.create(&body);
    let reply = client.post(LINKS, &body);
    assert_eq!((reply.problem(), reply.errors()), ((409, "alias_taken"), vec![("alias", "alias_taken")]));
    let elsewhere = json!({ "long_url": "https://a.example", "alias": "other", "domain": "unknown.test" });
    assert_eq!(client.post(LINKS, &elsewhere).problem(), (404, "domain_not_found"));
    for method in [Method::GET, Method::DELETE] {
        let reply = client.send(method, "/v1/links/taken?domain=unknown.test", &[], None);
        assert_eq!(reply.problem(), (404, "domain_not_found"));
    }
}

#[test]
fn an_end_that_is_not_in_the_future_is_422() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example", "alias": "ends" }));
    for end in ["2020-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z"] {
        let body = json!({ "long_url": "https://a.example", "expires_at": end });
        for reply in
            [client.post(LINKS, &body), client.patch("/v1/links/ends", &json!({ "expires_at": end }))]
        {
            assert_eq!(
                (reply.problem().0, reply.errors()),
                (422, vec![("expires_at", "expires_at_in_the_past")])
            );
        }
    }
}

#[test]
fn a_body_that_is_too_large_is_413_whether_it_says_so_or_not() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let large = json!({ "long_url": "https://a.example", "title": "x".repeat(1 << 20) }).to_string();
    assert_eq!(post_text(&client, &large).problem(), (413, "body_too_large"));
    let larger = format!("{{\"links\":[{}]}}", large.repeat(9));
    assert_eq!(
        client.send(Method::POST, "/v1/links/batch", &[], Some(larger)).problem(),
        (413, "body_too_large")
    );
    let head = format!(
        "POST /v1/links HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        admin.token
    );
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..9 {
        chunked.extend_from_slice(b"20000\r\n");
        chunked.extend_from_slice(&[b' '; 0x20000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert!(client.raw(&chunked).starts_with("HTTP/1.1 413 "));
    // A client that waits for leave to send gets its answer at once.
    let patient = format!("{head}Content-Length: 9000000\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.raw(patient.as_bytes()).starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_body_that_is_not_declared_as_json_is_415() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = Some(json!({ "long_url": "https://a.example" }).to_string());
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json"] {
        let reply = client.send(Method::POST, LINKS, &[("content-type", kind)], body.clone());
        assert_eq!(reply.problem(), (415, "unsupported_media_type"), "{kind}");
    }
}

#[test]
fn a_missing_wrong_or_revoked_token_is_401_and_one_without_the_right_403() {
    let admin = Admin::start(&[]);
    let revoked = admin.make_token(&["admin"]);
    let id = revoked.split('_').nth(1).unwrap();
    admin.control("token.revoke", json!({ "id": id })).unwrap();
    let reader = admin.make_token(&["links:read"]);
    let writer = admin.make_token(&["links:write"]);
    let (all_but_last, last) = admin.token.split_at(admin.token.len() - 1);
    let mistyped = format!("{all_but_last}{}", if last == "x" { "y" } else { "x" });
    let routes = [
        (Method::POST, LINKS, &reader, "links:write"),
        (Method::POST, "/v1/links/batch", &reader, "links:write"),
        (Method::PATCH, "/v1/links/abc", &reader, "links:write"),
        (Method::DELETE, "/v1/links/abc", &reader, "links:write"),
        (Method::GET, LINKS, &writer, "links:read"),
        (Method::GET, "/v1/links/abc", &writer, "links:read"),
        (Method::GET, "/v1/replication", &writer, "links:read"),
    ];
    for (method, path, lacking, scope) in routes {
        let ask =
            |token: &str| Client::new(admin.addresses().http, token).send(method.clone(), path, &[], None);
        let missing = ask("");
        assert_eq!(missing.problem(), (401, "token_missing"), "{method} {path}");
        assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"signpost\""));
        for wrong in [&revoked, "nonsense", &mistyped] {
            let reply = ask(wrong);
            assert_eq!(reply.problem(), (401, "token_invalid"), "{method} {path}");
            assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
        }
        let lacking = ask(lacking);
        assert_eq!(lacking.problem(), (403, "scope_missing"), "{method} {path}");
        assert!(lacking.header("www-authenticate").unwrap().contains(&format!("scope=\"{scope}\"")));
    }
}

#[test]
fn paths_and_methods_nobody_has_are_404_and_405() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for path in ["/", "/v1", "/v2/links", "/v1/links/", "/v1/links/a/b", "/metrics"] {
        assert_eq!(client.get(path).problem(), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        (Method::PATCH, LINKS, "GET HEAD POST PUT"),
        (Method::DELETE, LINKS, "GET HEAD POST PUT"),
        (Method::GET, "/v1/links/batch", "POST"),
        (Method::POST, "/v1/links/abc", "DELETE GET HEAD PATCH PUT"),
        (Method::POST, "/v1/replication", "GET HEAD"),
    ] {
        let reply = client.send(method.clone(), path, &[], None);
        assert_eq!(reply.problem(), (405, "method_not_allowed"), "{method} {path}");
        let mut allowed: Vec<_> = reply.header("allow").unwrap().split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(" "), allow);
    }
    for path in ["/v1/links/nobody", "/v1/links/a.b", "/v1/links/%20", "/v1/links/%FF"] {
        assert_eq!(client.get(path).problem(), (404, "link_not_found"), "{path}");
    }
}

#[test]
fn headers_that_make_no_sense_are_400() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let body = || Some(json!({ "long_url": "https://a.example", "alias": "abc" }).to_string());
    let long = "k".repeat(256);
    for key in ["", "schlüssel", long.as_str()] {
        let reply = client.send(Method::POST, LINKS, &[("idempotency-key", key)], body());
        assert_eq!(reply.problem(), (400, "idempotency_key_invalid"), "{key}");
    }
    let reply = client.send(Method::DELETE, "/v1/links/abc", &[("if-match", "3")], None);
    assert_eq!(reply.problem(), (400, "if_match_invalid"));
}

#[test]
fn a_token_that_asks_too_often_is_429_and_told_when_to_come_back() {
    let admin = Admin::with(&[], "[limits]\nrequests_per_s_per_token = 5\n");
    let client = admin.client();
    let refused = (0..50).map(|_| client.get(LINKS)).find(|reply| reply.status != 200).unwrap();
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let other = Client::new(admin.addresses().http, &admin.make_token(&["links:read"]));
    assert_eq!(other.get(LINKS).status, 200);
}
