//! What a domain can be told: its pages, its files, the life of its links, its aliases, and hosts that nobody declared.

use serde_json::{Value, json};

use super::eventually;
use super::web::Town;

const TARGET: &str = "https://example.org/there";

impl Town {
    #[track_caller]
    fn domain(&self, body: &Value) -> Value {
        let made = self.api("POST", "/v1/domains", body);
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    }

    #[track_caller]
    fn set(&self, host: &str, body: &Value) -> Value {
        let changed = self.api("PATCH", &format!("/v1/domains/{host}"), body);
        assert_eq!(changed.status, 200, "{}", changed.text());
        changed.json()
    }
}

#[test]
fn a_domain_answers_what_it_was_told_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    let made = town.domain(&json!({ "host": "go.example", "root_url": "https://example.org/home" }));
    assert_eq!((&made["case"], &made["hosts"]), (&json!("sensitive"), &json!(["go.example"])), "{made}");
    let on = |path: &str| town.visit_with(path, &[("Host", "go.example")]);
    assert_eq!((on("/").status, on("/").location()), (302, "https://example.org/home"));
    assert_eq!(town.visit("/").status, 200, "the default domain has a page");

    let app = r#"[{"relation":["delegate_permission/common.handle_all_urls"]}]"#;
    town.set(
        "go.example",
        &json!({
            "not_found_url": "https://example.org/lost",
            "robots_txt": "User-agent: *\nAllow: /\n",
            "well_known": [
                { "name": "assetlinks.json", "body": app },
                { "name": "security.txt", "content_type": "text/plain; charset=utf-8", "body": "Contact: mailto:a@example.org\n" },
            ],
        }),
    );
    assert_eq!((on("/nobody").status, on("/nobody").location()), (302, "https://example.org/lost"));
    assert_eq!((on("/no.code").status, on("/a/b").status), (302, 302));
    assert_eq!(on("/robots.txt").text(), "User-agent: *\nAllow: /\n");
    let file = on("/.well-known/assetlinks.json");
    assert_eq!(
        (file.status, file.header("content-type"), &*file.text()),
        (200, Some("application/json"), app)
    );
    assert_eq!(on("/.well-known/security.txt").header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(on("/.well-known/other").location(), "https://example.org/lost");
    for path in ["/nobody", "/.well-known/assetlinks.json"] {
        assert_eq!(town.visit(path).status, 404, "{path} on the default domain");
    }
    // What a domain was told survives its proxy.
    town.fleet.must("kill proxy-0 9");
    town.fleet.must("start proxy-0");
    eventually("the files again", || on("/.well-known/assetlinks.json").status == 200);
    town.set(
        "go.example",
        &json!({ "not_found_url": null, "robots_txt": null, "well_known": null, "root_url": null }),
    );
    assert_eq!(
        (on("/nobody").status, on("/").status, on("/.well-known/assetlinks.json").status),
        (404, 200, 404)
    );
    assert_eq!(on("/robots.txt").text(), "User-agent: *\nDisallow: /\n");

    for (body, field) in [
        (json!({ "root_url": "http://go.example/x" }), "root_url"),
        (json!({ "robots_txt": "" }), "robots_txt"),
        (json!({ "well_known": [{ "name": "../x", "body": "" }] }), "well_known"),
        (json!({ "well_known": [{ "name": "x", "content_type": "a\r\nb/c", "body": "" }] }), "well_known"),
        (json!({ "default_ttl": 0 }), "default_ttl"),
        (json!({ "alias_length": { "min": 9, "max": 3 } }), "alias_length"),
        (json!({ "case": "folded" }), "case"),
        (json!({ "nonsense": 1 }), "nonsense"),
    ] {
        let refused = town.api("PATCH", "/v1/domains/go.example", &body);
        assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!(field)), "{body}");
    }
    assert_eq!(town.api("POST", "/v1/domains", &json!({ "host": "go.example" })).status, 409);
    assert_eq!(town.api("PATCH", "/v1/domains/other.example", &json!({})).status, 404);
    assert_eq!(town.api("GET", "/v1/domains", &Value::Null).json()["data"].as_array().unwrap().len(), 2);
}

#[test]
fn links_of_a_domain_end_as_it_says_unless_they_say_so_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    town.domain(&json!({
        "host": "go.example", "default_ttl": 1, "when_ended": { "fallback_url": "https://example.org/over" },
    }));
    let on = |code: &str| town.visit_with(&format!("/{code}"), &[("Host", "go.example")]);
    let with = |more: Value| {
        let mut body = json!({ "long_url": TARGET, "domain": "go.example" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        town.link(&body)
    };
    let code = |link: &Value| link["code"].as_str().unwrap().to_owned();
    let (usual, hidden) = (with(json!({})), with(json!({ "when_ended": { "status": 404 } })));
    let (longer, for_ever) = (with(json!({ "ttl": 3600 })), with(json!({ "expires_at": null })));
    assert!(usual["expires_at"].is_string() && for_ever["expires_at"].is_null(), "{usual} {for_ever}");
    eventually("the end", || on(&code(&usual)).header("location") == Some("https://example.org/over"));
    eventually("the hidden end", || on(&code(&hidden)).status == 404);
    assert_eq!(on(&code(&longer)).location(), TARGET);
    assert_eq!(on(&code(&for_ever)).location(), TARGET);
    assert_eq!(town.code(&json!({ "long_url": TARGET })).len(), 7);
    town.set("go.example", &json!({ "when_ended": { "status": 404 } }));
    assert_eq!(on(&code(&usual)).status, 404);
    town.set("go.example", &json!({ "when_ended": null, "default_ttl": null }));
    assert_eq!(on(&code(&usual)).status, 410);
    assert!(with(json!({}))["expires_at"].is_null());
}

#[test]
fn aliases_of_a_folded_domain_are_found_in_any_case_and_generated_codes_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    town.domain(&json!({ "host": "go.example", "case": "folded" }));
    let on = |path: &str| town.visit_with(path, &[("Host", "go.example")]);
    let order = |alias: &str| json!({ "long_url": TARGET, "domain": "go.example", "alias": alias });
    let made = town.link(&order("Spring-Sale"));
    assert_eq!(made["code"], "spring-sale");
    for path in ["/spring-sale", "/Spring-Sale", "/SPRING-SALE", "/sPrInG-sAlE."] {
        assert_eq!(on(path).header("location"), Some(TARGET), "{path}");
    }
    let (status, _, code) = town.refused(&order("SPRING-sale"));
    assert_eq!((status, &*code), (409, "alias_taken"));
    assert_eq!(town.api("GET", "/v1/links/Spring-SALE?domain=go.example", &Value::Null).status, 200);
    // Seven characters that could be a generated code: claimed in lower case, by whoever comes first.
    assert_eq!(town.link(&order("SumMer1"))["code"], "summer1");
    assert_eq!(on("/SUMMER1").header("location"), Some(TARGET));
    for alias in ["summer1", "SUMMER1"] {
        assert_eq!(town.refused(&order(alias)).2, "alias_taken", "{alias}");
    }
    assert_eq!(town.api("DELETE", "/v1/links/summer1?domain=go.example", &Value::Null).status, 204);
    assert_eq!(on("/Summer1").status, 404);
    town.link(&order("SUMMER1"));
    // Generated codes are what they are: only an alias is found in another case.
    let generated = town.code(&json!({ "long_url": "https://example.org/own", "domain": "go.example" }));
    assert_eq!(on(&format!("/{generated}")).location(), "https://example.org/own");
    let claimed = town.refused(&order(&generated.to_ascii_lowercase()));
    assert_eq!(claimed.2, "alias_taken", "{generated}");
    // Elsewhere case counts.
    town.link(&json!({ "long_url": TARGET, "alias": "Spring-Sale" }));
    assert_eq!((town.visit("/Spring-Sale").status, town.visit("/spring-sale").status), (302, 404));
}

#[test]
fn a_taken_alias_comes_with_three_that_are_free_and_one_can_be_kept_without_a_target() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["admin.aliases.reserved=[\"acme\"]"]);
    let order = |alias: &str| json!({ "long_url": TARGET, "alias": alias });
    town.link(&order("spring-sale"));
    town.link(&order("spring-sale-2"));
    let refused = town.api("POST", "/v1/links", &order("spring-sale"));
    assert_eq!(refused.status, 409);
    let suggestions = refused.json()["suggestions"].clone();
    assert_eq!(suggestions, json!(["spring-sale-3", "spring-sale-4", "spring-sale-5"]));
    town.link(&order("spring-sale-3"));
    for alias in ["admin", "ACME", "a-shit-day"] {
        assert_eq!(town.refused(&order(alias)).2, "alias_reserved", "{alias}");
    }
    assert_eq!(town.refused(&order("ab")).2, "alias_too_short");
    town.domain(&json!({ "host": "go.example", "alias_length": { "min": 1, "max": 64 } }));
    town.link(&json!({ "long_url": TARGET, "alias": "a", "domain": "go.example" }));

    // Reserved: nobody else gets it, visitors see nothing, and a target makes it a link.
    let kept = town.link(&json!({ "alias": "big-day", "reserve": true }));
    assert_eq!((&kept["state"], &kept["long_url"]), (&json!("reserved"), &json!("")), "{kept}");
    assert!(kept["expires_at"].is_string());
    assert_eq!(town.visit("/big-day").status, 404);
    assert_eq!(town.refused(&order("big-day")).2, "alias_taken");
    let live = town.patch("big-day", &json!({ "long_url": TARGET }));
    assert_eq!((&live["state"], &live["expires_at"]), (&json!("active"), &json!(null)), "{live}");
    assert_eq!(town.visit("/big-day").location(), TARGET);
    // Released by itself when its time is over.
    town.link(&json!({ "alias": "small-day", "reserve": true, "ttl": 1 }));
    eventually("its release", || town.api("POST", "/v1/links", &order("small-day")).status == 201);
    assert_eq!(town.visit("/small-day").location(), TARGET);
    assert_eq!(town.refused(&json!({ "alias": "xyz", "reserve": true, "long_url": TARGET })).1, "long_url");
    assert_eq!(town.refused(&json!({ "reserve": true })).1, "alias");
}

#[test]
fn hosts_that_nobody_declared_are_answered_by_the_configured_rule() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::with(dir.path(), &["proxy.hosts.unknown=https://example.org/elsewhere"]);
    town.domain(&json!({ "host": "go.example" }));
    let code = town.code(&json!({ "long_url": TARGET, "domain": "go.example" }));
    let at = |host: &str| {
        town.visit_with(&format!("/{code}"), &[("Host", host)]).header("location").map(str::to_owned)
    };
    assert_eq!(at("go.example").as_deref(), Some(TARGET));
    assert_eq!(at("GO.example.:80").as_deref(), Some(TARGET));
    assert_eq!(at("other.example").as_deref(), Some("https://example.org/elsewhere"));
}
