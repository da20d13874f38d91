//! Tokens that are bound to domains and a prefix.

use reqwest::Method;
use serde_json::{Value, json};

use super::{operator, token};
use crate::fixture::{Admin, FakePool, Reply, until};

#[test]
fn a_token_bound_to_a_domain_and_a_prefix_makes_no_others() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.control("domain.add", json!({ "host": "two.test", "short_url_base": "https://two.test" })).unwrap();
    let boss = operator(&admin);
    let (client, id) = token(&admin, &boss, json!({ "domains": ["two.test"], "alias_prefix": "u123_" }));
    let body = |alias: Value, domain: &str| json!({ "long_url": "https://a.example/", "alias": alias, "domain": domain });
    assert_eq!(client.post("/v1/links", &body(json!("u123_a"), "two.test")).status, 201);
    for (alias, domain, field, code) in [
        (json!("u123_b"), "s.test", "domain", "domain_not_allowed"),
        (json!("other"), "two.test", "alias", "alias_prefix_missing"),
        (json!("U123_x"), "two.test", "alias", "alias_prefix_missing"),
        (json!(null), "two.test", "alias", "alias_prefix_missing"),
    ] {
        let reply = client.post("/v1/links", &body(alias.clone(), domain));
        assert_eq!((reply.problem(), reply.errors()), ((403, code), vec![(field, code)]), "{alias} {domain}");
    }
    admin.client().create(&body(json!("not-yours"), "two.test"));
    let path = "/v1/links/not-yours?domain=two.test";
    assert_eq!(client.patch(path, &json!({ "title": "x" })).problem(), (403, "alias_prefix_missing"));
    assert_eq!(client.delete(path).problem(), (403, "alias_prefix_missing"));
    let batch = json!({ "links": [body(json!("u123_c"), "two.test"), body(json!("x-y-z"), "two.test")] });
    let results = client.post("/v1/links/batch", &batch).json["results"].clone();
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!(201), &json!(403)));
    let shown = boss.get(&format!("/v1/tokens/{id}")).json;
    assert_eq!((&shown["domains"], &shown["alias_prefix"]), (&json!(["two.test"]), &json!("u123_")));
    boss.patch(&format!("/v1/tokens/{id}"), &json!({ "alias_prefix": null }));
    assert_eq!(client.patch(path, &json!({ "title": "x" })).status, 200);
}

#[test]
fn a_token_bound_to_domains_and_a_prefix_sees_no_others() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::with(&[&pool], "[drop_in]\nshlink = true\nbitly = true\n");
    for host in ["two.test", "three.test"] {
        let base = format!("https://{host}");
        admin.control("domain.add", json!({ "host": host, "short_url_base": base })).unwrap();
    }
    let boss = operator(&admin);
    for (domain, alias) in [
        ("s.test", "u1_a"),
        ("two.test", "u1_b"),
        ("two.test", "other"),
        ("three.test", "u1_c"),
        ("three.test", "U1_d"),
    ] {
        let link = json!({ "long_url": "https://a.example/", "domain": domain, "alias": alias, "title": "searched", "external_id": format!("{domain} {alias}") });
        boss.create(&link);
    }
    let limits = [
        (
            json!({ "domains": ["two.test"] }),
            &["other", "u1_b"][..],
            "u1_a?domain=s.test",
            "domain_not_allowed",
        ),
        (
            json!({ "domains": ["two.test", "three.test"] }),
            &["U1_d", "u1_c", "other", "u1_b"],
            "u1_a",
            "domain_not_allowed",
        ),
        (
            json!({ "alias_prefix": "u1_" }),
            &["u1_c", "u1_b", "u1_a"],
            "U1_d?domain=three.test",
            "alias_prefix_missing",
        ),
        (
            json!({ "domains": ["two.test"], "alias_prefix": "u1_" }),
            &["u1_b"],
            "nobody-has-it?domain=two.test",
            "alias_prefix_missing",
        ),
    ];
    for (limits, seen, outside, code) in limits {
        let scopes = json!({ "scopes": ["links:read", "links:write", "stats:read"] });
        let mut more = limits.clone();
        more.as_object_mut().unwrap().extend(scopes.as_object().unwrap().clone());
        let (client, _) = token(&admin, &boss, more);
        let codes = |reply: &Reply, of: &str| {
            let all = reply.json[of].as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
            all.iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // In lists a page at a time, with a total that counts no others.
        let page = client.get("/v1/links?total=true");
        assert_eq!(codes(&page, "data"), seen, "{limits}");
        assert_eq!(page.json["total"], json!({ "count": seen.len(), "is_exact": true }), "{limits}");
        let first = client.get("/v1/links?limit=1");
        let cursor = first.json["next_cursor"].as_str();
        let rest = cursor.map(|cursor| codes(&client.get(&format!("/v1/links?cursor={cursor}")), "data"));
        assert_eq!([codes(&first, "data"), rest.unwrap_or_default()].concat(), seen, "{limits}");
        // In search, once the index knows them.
        until("the index to have all five", || {
            let found = boss.get("/v1/links?q=searched&total=true").json;
            (found["total"]["count"] == 5).then_some(())
        });
        let found = client.get("/v1/links?q=searched&total=true");
        assert_eq!(
            (codes(&found, "data"), &found.json["total"]["count"]),
            (seen.iter().map(|code| (*code).to_owned()).collect(), &json!(seen.len())),
            "{limits}"
        );
        // By what it is called elsewhere, and in exports.
        assert_eq!(
            codes(&client.get("/v1/links?external_id=s.test%20u1_a"), "data").len(),
            usize::from(seen.contains(&"u1_a"))
        );
        let export = client.get("/v1/export").text;
        assert_eq!(
            export.lines().filter(|line| line.contains("\"code\"")).count(),
            seen.len(),
            "{limits}: {export}"
        );
        // Through other APIs.
        let list = client.send(Method::GET, "/rest/v3/short-urls", &[("X-Api-Key", client.token())], None);
        assert_eq!(list.json["shortUrls"]["pagination"]["totalItems"], seen.len(), "{limits}: {list:?}");
        let tags = client.send(Method::GET, "/rest/v3/visits", &[("X-Api-Key", client.token())], None);
        assert_eq!(tags.status, 200);
        // A name outside is refused whether there is a link or not.
        let (name, query) = outside
            .split_once('?')
            .map_or((outside, String::new()), |(name, query)| (name, format!("?{query}")));
        for reply in [
            client.get(&format!("/v1/links/{name}{query}")),
            client.get(&format!("/v1/links/{name}/clicks{query}")),
            client.get(&format!("/v1/links/{name}/history{query}")),
            client.get(&format!("/v1/links/{name}/limit{query}")),
            client.get(&format!("/v1/links/{name}/qr{query}")),
            client.patch(&format!("/v1/links/{name}{query}"), &json!({ "title": "x" })),
            client.delete(&format!("/v1/links/{name}{query}")),
            client.send(
                Method::PUT,
                &format!("/v1/links/{name}{query}"),
                &[],
                Some("{\"long_url\":\"https://b.example/\"}".into()),
            ),
            client.post(&format!("/v1/links/{name}/signatures{query}"), &json!({ "ttl": 60 })),
        ] {
            assert_eq!(reply.problem(), (403, code), "{limits} {name}: {reply:?}");
        }
        let bitly =
            format!("/v4/bitlinks/three.test/{}", if seen.contains(&"u1_c") { "U1_d" } else { "u1_c" });
        let status = if seen.contains(&"U1_d") { 200 } else { 403 };
        assert_eq!(client.get(&bitly).status, status, "{limits} {bitly}");
    }
    let (of_two, _) = token(&admin, &boss, json!({ "domains": ["two.test"] }));
    for path in ["/v1/links?domain=s.test", "/v1/export?domain=three.test"] {
        assert_eq!(of_two.get(path).problem(), (403, "domain_not_allowed"), "{path}");
    }
    // An import tells nothing of what is outside either.
    let line = "{\"code\":\"u1_a\",\"domain\":\"s.test\",\"long_url\":\"https://a.example/\"}\n";
    let import = of_two.send(
        Method::POST,
        "/v1/import",
        &[("content-type", "application/x-ndjson")],
        Some(line.into()),
    );
    assert!(import.text.contains("domain_not_allowed"), "{import:?}");
}
