//! Every field and parameter of the API has a bad value here or beside its feature: the answer names the field and says what is allowed.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, Reply};

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

/// Says that a request is refused for this field, with a code and a sentence.
#[track_caller]
fn is_refused(reply: &Reply, field: &str, code: &str) {
    assert_eq!((reply.status, reply.errors()), (422, vec![(field, code)]), "{reply:?}");
    let detail = reply.json["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.len() > 10, "{reply:?}");
}

#[test]
fn a_bad_value_of_a_field_of_a_link_is_named_when_it_is_made_put_and_changed() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let link = |more: &Value| {
        let mut link = json!({ "long_url": "https://a.example/" });
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        link
    };
    client.create(&json!({ "long_url": "https://a.example/", "alias": "there" }));
    let many: Vec<_> = (0..65).map(|n| format!("{n:016x}")).collect();
    for (fields, field, code) in [
        (json!({ "visibility": "hidden" }), "visibility", "visibility_not_allowed"),
        (json!({ "visibility": 5 }), "visibility", "wrong_type"),
        (
            json!({ "visibility": "public", "allowed": ["0123456789abcdef"] }),
            "allowed",
            "allowed_without_private",
        ),
        (json!({ "visibility": "private", "allowed": many }), "allowed", "too_many_allowed"),
        (json!({ "visibility": "private", "allowed": "everybody" }), "allowed", "wrong_type"),
        (json!({ "visibility": "private", "allowed": ["somebody"] }), "allowed", "id_not_valid"),
        (json!({ "password": "" }), "password", "password_length"),
        (json!({ "password": "x".repeat(257) }), "password", "password_length"),
        (json!({ "password": 7 }), "password", "wrong_type"),
        (json!({ "max_clicks": 0 }), "max_clicks", "max_clicks_out_of_range"),
        (json!({ "max_clicks": 1_000_000_000_001_u64 }), "max_clicks", "max_clicks_out_of_range"),
        (json!({ "cache": { "scope": "all" } }), "cache", "cache_scope"),
        (json!({ "cache": { "s_maxage": 5 } }), "cache", "cache_scope"),
        (json!({ "cache": { "max_age": -1 } }), "cache", "cache_seconds"),
        (json!({ "variants": [{ "weight": 1 }] }), "variants", "variant_without_target"),
        (json!({ "notes": 1 }), "notes", "wrong_type"),
        (json!({ "owner": "ada" }), "owner", "id_not_valid"),
        (json!({ "archived": "yes" }), "archived", "wrong_type"),
        (json!({ "forward_query": "yes" }), "forward_query", "wrong_type"),
        (json!({ "not_before": "soon" }), "not_before", "not_before_not_a_time"),
    ] {
        is_refused(&client.post("/v1/links", &link(&fields)), field, code);
        is_refused(&client.patch("/v1/links/there", &fields), field, code);
        let put = Some(link(&fields).to_string());
        is_refused(&client.send(Method::PUT, "/v1/links/other", &[], put), field, code);
        let batch = client.post("/v1/links/batch", &json!({ "links": [link(&fields)] }));
        let (result, found) = (&batch.json["results"][0], &batch.json["results"][0]["error"]["errors"][0]);
        assert_eq!((&result["status"], &found["code"]), (&json!(422), &json!(code)), "{batch:?}");
    }
    let batch: Vec<_> = (0..65).map(|_| link(&json!({ "password": "secret" }))).collect();
    is_refused(&client.post("/v1/links/batch", &json!({ "links": batch })), "links", "too_many_passwords");
    assert_eq!(client.get("/v1/links/other").status, 404, "nothing was made");
}

#[test]
fn a_bad_parameter_of_a_link_is_named() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "there" }));
    for (path, field, code) in [
        ("/v1/links?archived=maybe", "archived", "archived_not_allowed"),
        ("/v1/links?owner=ada", "owner", "id_not_valid"),
        ("/v1/links?external_id=", "external_id", "external_id_not_allowed"),
        ("/v1/links?q=", "q", "q_not_allowed"),
        ("/v1/export?sort=clicks", "sort", "unknown_parameter"),
        ("/v1/export?cursor=x", "cursor", "cursor_invalid"),
        ("/v1/links/there?colour=red", "colour", "unknown_parameter"),
        ("/v1/links/there/history?limit=501", "limit", "limit_out_of_range"),
        ("/v1/links/there/clicks?unit=day", "unit", "unknown_parameter"),
        ("/v1/links/there/qr?format=gif", "format", "format_not_allowed"),
        ("/v1/links/there/qr?size=63", "size", "size_out_of_range"),
        ("/v1/links/there/qr?error_correction=best", "error_correction", "error_correction_not_allowed"),
    ] {
        is_refused(&client.get(path), field, code);
    }
}

#[test]
fn a_bad_field_of_a_domain_a_token_or_a_signature_is_named() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    let made = client.post("/v1/domains", &json!({ "host": "two.test" }));
    assert_eq!(made.status, 201, "{made:?}");
    let file = |name: &str, content_type: &str, body: &str| json!({ "name": name, "content_type": content_type, "body": body });
    let many: Vec<_> = (0..100).map(|n| file(&n.to_string(), "text/plain", "")).collect();
    let large: Vec<_> = (0..2).map(|n| file(&n.to_string(), "text/plain", &"x".repeat(100 << 10))).collect();
    for (fields, field, code) in [
        (json!({ "robots_txt": "" }), "robots_txt", "robots_txt_length"),
        (json!({ "alias_length": { "min": 5, "max": 4 } }), "alias_length", "alias_length_range"),
        (json!({ "default_ttl": 0 }), "default_ttl", "ttl_out_of_range"),
        (json!({ "well_known": many }), "well_known", "too_many_files"),
        (json!({ "well_known": large }), "well_known", "files_too_long"),
        (json!({ "well_known": [file("a", "nothing", "")] }), "well_known", "file_content_type"),
        (json!({ "well_known": [file("../a", "text/plain", "")] }), "well_known", "file_name"),
        (
            json!({ "well_known": [file("a", "text/plain", &"x".repeat((128 << 10) + 1))] }),
            "well_known",
            "file_too_long",
        ),
    ] {
        is_refused(&client.patch("/v1/domains/two.test", &fields), field, code);
    }
    for (fields, field, code) in [
        (json!({ "host": "three.test", "case": "upper" }), "case", "case_not_allowed"),
        (json!({ "host": "no host" }), "host", "host_not_valid"),
        (
            json!({ "host": "three.test", "short_url_base": "three" }),
            "short_url_base",
            "short_url_base_not_valid",
        ),
    ] {
        is_refused(&client.post("/v1/domains", &fields), field, code);
    }
    for (fields, field, code) in [
        (json!({ "redirects": { "count": 0, "period": "day" } }), "redirects", "redirects_not_allowed"),
        (json!({ "redirects": { "count": 1, "period": "week" } }), "redirects", "redirects_not_allowed"),
        (json!({ "requests_per_s": 0 }), "requests_per_s", "out_of_range"),
        (json!({ "domains": ["nowhere.test"] }), "domains", "domain_not_found"),
        (json!({ "own_links_only": true }), "own_links_only", "user_missing"),
    ] {
        let mut token = json!({ "name": "t", "scopes": ["links:read"] });
        token.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        is_refused(&client.post("/v1/tokens", &token), field, code);
    }
    let user = client.post("/v1/users", &json!({ "name": "Ada" })).json["id"].clone();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "private", "visibility": "private" }));
    for (fields, field, code) in [
        (json!({}), "ttl", "required"),
        (json!({ "ttl": 60, "user": user }), "user", "user_not_allowed"),
        (json!({ "expires_at": "2999-01-01T00:00:00Z" }), "expires_at", "signature_too_long"),
    ] {
        is_refused(&client.post("/v1/links/private/signatures", &fields), field, code);
    }
}

#[test]
fn a_bad_line_of_an_import_is_named_with_its_field() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    let lines = [
        (json!({ "clicks": 1_u64 << 62 }), "clicks", "clicks_out_of_range"),
        (json!({ "clicks": "many" }), "clicks", "wrong_type"),
        (json!({ "password_hash": "secret" }), "password_hash", "password_hash_not_valid"),
        (json!({ "created_at": "long ago" }), "created_at", "not_a_time"),
    ];
    let body: String = lines
        .iter()
        .enumerate()
        .map(|(n, (fields, ..))| {
            let mut line = json!({ "code": format!("line-{n}"), "long_url": "https://a.example/" });
            line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            format!("{line}\n")
        })
        .collect();
    let reply =
        client.send(Method::POST, "/v1/import", &[("content-type", "application/x-ndjson")], Some(body));
    let said: Vec<Value> = reply.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (n, (_, field, code)) in lines.iter().enumerate() {
        let line = said.iter().find(|line| line["line"] == n + 1).unwrap_or_else(|| panic!("{reply:?}"));
        let found = &line["problem"]["errors"][0];
        assert_eq!((&found["field"], &found["code"]), (&json!(field), &json!(code)), "{line}");
    }
}

#[test]
fn headers_that_make_no_sense_are_named_and_wishes_nobody_knows_are_not_heard() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "there" }));
    let patch = || Some("{\"title\":\"x\"}".to_owned());
    let merge = ("content-type", "application/merge-patch+json");
    for value in ["3", "\"3", "\"a\"b\""] {
        let reply = client.send(Method::PATCH, "/v1/links/there", &[merge, ("if-match", value)], patch());
        assert_eq!(reply.problem(), (400, "if_match_invalid"), "{value}");
        assert!(reply.json["detail"].as_str().unwrap().contains("If-Match"), "{reply:?}");
    }
    let put = Some("{\"long_url\":\"https://b.example/\"}".to_owned());
    let reply = client.send(Method::PUT, "/v1/links/there", &[("if-none-match", "\"1\"")], put);
    assert_eq!(reply.problem(), (400, "if_none_match_invalid"));
    let reply = client.send(Method::PATCH, "/v1/links/there", &[("content-type", "text/plain")], patch());
    assert_eq!(reply.problem(), (415, "unsupported_media_type"));
    assert!(reply.json["detail"].as_str().unwrap().contains("application/merge-patch+json"), "{reply:?}");
    // RFC 7240 section 2: a preference that is not known is left alone. RFC 9110 section 12.5.1: so may Accept be.
    for header in [
        ("prefer", "dance"),
        ("prefer", "wait=x, respond-async=\"no\""),
        ("accept", "text/csv"),
        ("accept", ";;"),
    ] {
        let reply = client.send(Method::GET, "/v1/links/there", &[header], None);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/json")),
            "{header:?}"
        );
    }
}
