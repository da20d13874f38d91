//! Many links in one request.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::fixture::{Admin, FakePool};

const BATCH: &str = "/v1/links/batch";

#[test]
fn a_thousand_links_are_made_in_order_with_a_code_each() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let links: Vec<_> = (0..1000).map(|n| json!({ "long_url": format!("https://a.example/{n}") })).collect();
    let reply = client.post(BATCH, &json!({ "links": links }));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json["replication"], json!({ "applied": 0, "of": 0, "missing": [] }));
    let results = reply.json["results"].as_array().unwrap();
    let mut codes = HashSet::new();
    for (n, result) in results.iter().enumerate() {
        assert_eq!((&result["index"], &result["status"]), (&json!(n), &json!(201)));
        assert_eq!(result["link"]["long_url"], format!("https://a.example/{n}"));
        assert!(result.get("error").is_none());
        codes.insert(result["link"]["code"].as_str().unwrap());
    }
    assert_eq!((results.len(), codes.len()), (1000, 1000));
    let code = results[999]["link"]["code"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/links/{code}")).json["long_url"], "https://a.example/999");
}

#[test]
fn bad_items_have_their_problem_in_their_place_and_the_others_are_made() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "taken" }));
    let reply = client.post(
        BATCH,
        &json!({ "links": [
            { "long_url": "https://a.example/0" },
            { "long_url": "javascript:alert(1)", "alias": "x" },
            { "long_url": "https://a.example/2", "alias": "taken" },
            { "long_url": "https://a.example/3", "alias": "twice" },
            { "long_url": "https://a.example/4", "alias": "twice" },
            17,
            { "long_url": "https://a.example/6", "domain": "unknown.test" },
            { "long_url": "https://a.example/7", "expires_at": "2020-01-01T00:00:00Z" },
            { "long_url": "https://a.example/8", "colour": "red" },
            { "long_url": "https://a.example/9" },
        ] }),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    let results = reply.json["results"].as_array().unwrap();
    let outcome = |result: &Value| {
        let code = result["error"]["code"].as_str().unwrap_or("made").to_owned();
        (result["status"].as_u64().unwrap(), code)
    };
    let expected = [
        (201, "made"),
        (422, "validation_failed"),
        (409, "alias_taken"),
        (201, "made"),
        (409, "alias_taken"),
        (422, "validation_failed"),
        (404, "domain_not_found"),
        (422, "validation_failed"),
        (422, "validation_failed"),
        (201, "made"),
    ];
    for (n, (result, (status, code))) in results.iter().zip(expected).enumerate() {
        assert_eq!(outcome(result), (status, code.to_owned()), "item {n}");
        assert_eq!(result["index"], n);
        assert_eq!(result.get("link").is_some(), status == 201, "item {n}");
        assert_eq!(result["error"]["status"].as_u64().unwrap_or(201), status, "item {n}");
    }
    let fields: Vec<_> =
        results[1]["error"]["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["long_url", "alias"]);
    assert_eq!(client.get("/v1/links/twice").json["long_url"], "https://a.example/3");
}

#[test]
fn a_request_that_is_no_batch_is_refused_as_a_whole() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let link = json!({ "long_url": "https://a.example/", "alias": "abc" });
    for (body, error) in [
        (json!({}), ("links", "required")),
        (json!({ "links": [] }), ("links", "no_links")),
        (json!({ "links": vec![link.clone(); 1001] }), ("links", "too_many_links")),
        (json!({ "links": {} }), ("links", "wrong_type")),
        (json!({ "links": "x" }), ("links", "wrong_type")),
        (json!({ "links": [link.clone()], "more": 1 }), ("more", "unknown_field")),
        (json!([link]), ("", "wrong_type")),
    ] {
        let reply = client.post(BATCH, &body);
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![error]));
    }
    assert_eq!(client.get("/v1/links").json["data"], json!([]));
}

#[test]
fn a_batch_of_eight_mebibytes_is_taken() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let target = |n: usize| format!("https://a.example/{n}?{}", "x".repeat(8000));
    let links: Vec<_> =
        (0..1000).map(|n| json!({ "long_url": target(n), "alias": format!("large-{n}") })).collect();
    let reply = client.post(BATCH, &json!({ "links": links }));
    assert_eq!(reply.status, 200, "{}", &reply.text[..reply.text.len().min(500)]);
    assert!(reply.json["results"].as_array().unwrap().iter().all(|result| result["status"] == 201));
    assert_eq!(client.get("/v1/links/large-999").json["long_url"], target(999));
}
