//! Keeping links in order: notes, external ids, the archive, history, and links that are there already.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool};

fn codes(client: &Client, query: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/links?{query}"));
    assert_eq!(page.status, 200, "{page:?}");
    page.json["data"].as_array().unwrap().iter().map(|link| link["code"].clone()).collect()
}

#[test]
fn notes_and_the_archive_are_kept_and_cleared() {
    let mut admin = Admin::start(&[]);
    let client = admin.client();
    let body = json!({ "long_url": "https://a.example/", "alias": "noted", "notes": "for\nlater" });
    assert_eq!(client.create(&body)["notes"], "for\nlater");
    client.create(&json!({ "long_url": "https://a.example/", "alias": "other" }));
    let path = "/v1/links/noted";
    let archived = client.patch(path, &json!({ "archived": true })).json;
    assert!(archived["archived"] == true && archived["archived_at"].is_string(), "{archived}");
    admin.restart();
    let client = admin.client();
    assert_eq!(codes(&client, ""), ["other"], "what is put aside is not in the way");
    assert_eq!(codes(&client, "archived=true"), ["noted"]);
    assert_eq!(codes(&client, "archived=any"), ["other", "noted"]);
    assert_eq!(client.get(path).json["notes"], "for\nlater");
    let back = client.patch(path, &json!({ "archived": false, "notes": null })).json;
    assert_eq!(
        (&back["archived"], &back["archived_at"], &back["notes"]),
        (&json!(false), &json!(null), &json!(null))
    );
    for (body, error) in [
        (json!({ "notes": "x".repeat(5001) }), ("notes", "notes_too_long")),
        (json!({ "notes": 1 }), ("notes", "wrong_type")),
        (json!({ "archived": "yes" }), ("archived", "wrong_type")),
        (json!({ "owner": "me" }), ("owner", "id_not_valid")),
        (json!({ "external_id": "" }), ("external_id", "external_id_not_allowed")),
        (json!({ "external_id": "x".repeat(201) }), ("external_id", "external_id_not_allowed")),
        (json!({ "dedupe": true }), ("dedupe", "unknown_field")),
    ] {
        let reply = client.patch(path, &body);
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![error]), "{body}");
    }
}

#[test]
fn an_external_id_names_one_live_link_of_its_owner() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let body =
        |alias: &str| json!({ "long_url": "https://a.example/", "alias": alias, "external_id": "crm:ä 7" });
    client.create(&body("first"));
    let taken = client.post("/v1/links", &body("second"));
    assert_eq!(
        (taken.problem(), taken.errors()),
        ((409, "external_id_taken"), vec![("external_id", "external_id_taken")])
    );
    assert_eq!(client.get("/v1/links/second").status, 404, "all or nothing");
    let generated = json!({ "long_url": "https://a.example/", "external_id": "crm:ä 7" });
    assert_eq!(client.post("/v1/links", &generated).problem(), (409, "external_id_taken"));
    client.create(&json!({ "long_url": "https://a.example/", "alias": "second" }));
    assert_eq!(
        client.patch("/v1/links/second", &json!({ "external_id": "crm:ä 7" })).problem(),
        (409, "external_id_taken")
    );
    let query = "external_id=crm:%C3%A4%207";
    assert_eq!(codes(&client, query), ["first"]);
    assert_eq!(codes(&client, &format!("{query}&tag=none")), Vec::<Value>::new());
    assert_eq!(codes(&client, "external_id=unknown"), Vec::<Value>::new());
    // It moves on when it is given up, by a change and by a deletion.
    client.patch("/v1/links/first", &json!({ "external_id": "another" }));
    assert_eq!(client.patch("/v1/links/second", &json!({ "external_id": "crm:ä 7" })).status, 200);
    assert_eq!(codes(&client, query), ["second"]);
    client.delete("/v1/links/second");
    assert_eq!(codes(&client, query), Vec::<Value>::new());
    client.create(&body("third"));
    assert_eq!(codes(&client, query), ["third"]);
    let whole = Some("{\"long_url\":\"https://b.example/\"}".to_owned());
    client.send(Method::PUT, "/v1/links/third", &[], whole);
    assert_eq!(codes(&client, query), Vec::<Value>::new(), "a put says everything");
}

#[test]
fn the_link_with_an_external_id_is_found_among_many_of_its_moment_and_counted_alone() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let line = |n: u32| {
        let id = if n == 0 { json!("wanted") } else { json!(null) };
        json!({ "long_url": "https://a.example/", "code": format!("code-{n}"), "external_id": id,
            "created_at": "2020-01-01T00:00:00Z", "tags": ["t"] })
    };
    let lines: String = (0..1200).map(|n| format!("{}\n", line(n))).collect();
    let imported =
        client.send(Method::POST, "/v1/import", &[("content-type", "application/x-ndjson")], Some(lines));
    assert_eq!(imported.status, 200);
    for (query, codes, total) in [
        ("", vec!["code-0"], 1),
        (
            "&tag=t&host=a.example&state=active&domain=s.test&created_from=2020-01-01T00:00:00Z",
            vec!["code-0"],
            1,
        ),
        ("&sort=created_at", vec!["code-0"], 1),
        ("&tag=other", vec![], 0),
        ("&archived=true", vec![], 0),
        ("&created_before=2020-01-01T00:00:00Z", vec![], 0),
    ] {
        let page = client.get(&format!("/v1/links?external_id=wanted&total=true{query}")).json;
        let found: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|link| link["code"].clone()).collect();
        assert_eq!(
            (found, &page["total"]),
            (codes.into_iter().map(Value::from).collect(), &json!({ "count": total, "is_exact": true })),
            "{query}: {page}"
        );
    }
}

#[test]
fn whose_external_ids_there_are_is_told_to_nobody_else() {
    let admin = Admin::start(&[]);
    let boss = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let ada = boss.post("/v1/users", &json!({ "name": "Ada" })).json["id"].clone();
    boss.create(
        &json!({ "long_url": "https://a.example/", "alias": "adas", "external_id": "known", "owner": ada }),
    );
    let put = |id: &str| {
        let body = json!({ "long_url": "https://a.example/", "alias": "mine", "owner": ada }).to_string();
        admin.client().send(Method::PUT, &format!("/v1/links?external_id={id}"), &[], Some(body))
    };
    for id in ["known", "unknown"] {
        assert_eq!(put(id).problem(), (403, "owner_not_allowed"), "{id}");
    }
}

#[test]
fn of_many_who_claim_an_external_id_one_gets_it() {
    let admin = Admin::start(&[]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let client = admin.client();
                let body = json!({ "long_url": "https://a.example/", "alias": format!("claim-{n}"), "external_id": "one" });
                scope.spawn(move || client.post("/v1/links", &body).status)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(codes(&admin.client(), "").len(), 1);
}

#[test]
fn the_history_says_who_changed_what_and_when() {
    let mut admin = Admin::start(&[]);
    let client = admin.client();
    client.create(&json!({ "long_url": "https://a.example/", "alias": "told", "title": "t" }));
    let path = "/v1/links/told";
    client.patch(path, &json!({ "long_url": "https://b.example/", "title": null }));
    client.patch(path, &json!({ "title": null }));
    admin.restart();
    let client = admin.client();
    let other = Client::new(admin.addresses().http, &admin.make_token(&["links:read", "links:write"]));
    let changed = other.patch(path, &json!({ "tags": ["x"], "archived": true })).json;
    let id = |client: &Client| client.token().split('_').nth(1).unwrap().to_owned();
    assert_eq!(
        (&changed["created_by"], &changed["last_changed_by"]),
        (&json!(id(&client)), &json!(id(&other)))
    );
    let history = client.get("/v1/links/told/history").json;
    let entries = history["data"].as_array().unwrap();
    let told: Vec<_> =
        entries.iter().map(|e| (e["version"].clone(), e["action"].clone(), e["by"].clone())).collect();
    assert_eq!(
        told,
        [
            (json!(3), json!("changed"), json!(id(&other))),
            (json!(2), json!("changed"), json!(id(&client))),
            (json!(1), json!("created"), json!(id(&client))),
        ]
    );
    assert_eq!(history["is_complete"], true);
    assert_eq!(
        entries[1]["changes"],
        json!({
            "long_url": { "from": "https://a.example/", "to": "https://b.example/" },
            "title": { "from": "t", "to": null },
        })
    );
    assert_eq!(entries[0]["changes"]["tags"], json!({ "from": [], "to": ["x"] }));
    assert_eq!(entries[0]["changes"]["archived"], json!({ "from": false, "to": true }));
    assert_eq!(entries[2]["changes"]["long_url"], json!({ "from": null, "to": "https://a.example/" }));
    let short = client.get("/v1/links/told/history?limit=2").json;
    assert_eq!((short["data"].as_array().unwrap().len(), &short["is_complete"]), (2, &json!(false)));
    assert!(!short["data"][1]["changes"].is_null());
    client.delete(path);
    let gone = client.get("/v1/links/told/history").json;
    assert_eq!((&gone["data"][0]["action"], &gone["data"][0]["version"]), (&json!("deleted"), &json!(4)));
    client.create(&json!({ "long_url": "https://c.example/", "alias": "told" }));
    let anew = client.get("/v1/links/told/history").json;
    assert_eq!((anew["data"].as_array().unwrap().len(), &anew["data"][0]["action"]), (1, &json!("created")));
    assert_eq!(client.get("/v1/links/nobody/history").problem(), (404, "link_not_found"));
    assert_eq!(client.get("/v1/links/told/history?limit=x").errors(), [("limit", "limit_out_of_range")]);
}

#[test]
fn a_link_that_is_there_is_given_back_in_place_of_a_new_one() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.control("domain.add", json!({ "host": "two.test", "short_url_base": "https://two.test" })).unwrap();
    let client = admin.client();
    let first = client.create(&json!({ "long_url": "https://A.example:443", "alias": "there" }));
    let ask = |body: &Value| client.post("/v1/links", body);
    let same = ask(&json!({ "long_url": "https://a.example/", "dedupe": true, "title": "other" }));
    assert_eq!((same.status, same.header("location")), (200, Some("/v1/links/there")), "{same:?}");
    assert_eq!(
        (&same.json["code"], &same.json["title"]),
        (&first["code"], &json!(null)),
        "it is not changed"
    );
    for body in [
        json!({ "long_url": "https://a.example/" }),
        json!({ "long_url": "https://a.example/?x", "dedupe": true }),
        json!({ "long_url": "https://a.example/", "dedupe": true, "status": 301 }),
        json!({ "long_url": "https://a.example/", "dedupe": true, "domain": "two.test" }),
        json!({ "long_url": "https://a.example/", "dedupe": true, "expires_at": "2999-01-01T00:00:00Z" }),
    ] {
        let reply = ask(&body);
        assert_eq!(reply.status, 201, "{body}");
        assert_ne!(reply.json["code"], first["code"], "{body}");
    }
    client.patch("/v1/links/there", &json!({ "state": "disabled" }));
    let again = ask(&json!({ "long_url": "https://a.example/", "dedupe": true }));
    assert_eq!(again.status, 200, "the one that was made without asking");
    let batch = json!({ "links": [
        { "long_url": "https://new.example/", "dedupe": true },
        { "long_url": "https://NEW.example", "dedupe": true },
        { "long_url": "https://a.example/", "dedupe": true },
    ] });
    let results = client.post("/v1/links/batch", &batch).json["results"].clone();
    let statuses: Vec<_> = (0..3).map(|n| results[n]["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 200]);
    assert_eq!(results[0]["link"]["code"], results[1]["link"]["code"]);
    let named = ask(&json!({ "long_url": "https://a.example/", "dedupe": true, "alias": "x-y-z" }));
    assert_eq!(named.errors(), [("dedupe", "dedupe_with_name")]);
    assert_eq!(
        ask(&json!({ "long_url": "https://a.example/", "dedupe": 1 })).errors(),
        [("dedupe", "wrong_type")]
    );
}

#[test]
fn many_who_ask_for_one_target_at_once_get_one_link() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(10);
    let replies: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let client = admin.client();
                scope.spawn(move || {
                    let reply = client
                        .post("/v1/links", &json!({ "long_url": "https://a.example/", "dedupe": true }));
                    (reply.status, reply.json["code"].clone())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(replies.iter().filter(|(status, _)| *status == 201).count(), 1, "{replies:?}");
    assert!(replies.iter().all(|(_, code)| *code == replies[0].1), "{replies:?}");
}

#[test]
fn a_link_is_put_by_what_it_is_called_elsewhere() {
    let pool = FakePool::start(1, 0);
    let admin = Admin::start(&[&pool]);
    let client = admin.client();
    let put = |id: &str, body: Value| {
        client.send(Method::PUT, &format!("/v1/links?external_id={id}"), &[], Some(body.to_string()))
    };
    let made = put("crm-1", json!({ "long_url": "https://a.example/", "title": "t" }));
    assert_eq!((made.status, &made.json["external_id"]), (201, &json!("crm-1")), "{made:?}");
    let code = made.json["code"].as_str().unwrap();
    client.patch(&format!("/v1/links/{code}"), &json!({ "state": "disabled" }));
    let again = put("crm-1", json!({ "long_url": "https://b.example/" }));
    assert_eq!((again.status, again.json["code"].as_str()), (200, Some(code)));
    for (field, value) in [
        ("long_url", json!("https://b.example/")),
        ("title", json!(null)),
        ("state", json!("disabled")),
        ("external_id", json!("crm-1")),
    ] {
        assert_eq!(again.json[field], value, "{field}");
    }
    assert_eq!(
        put("crm-1", json!({ "long_url": "https://b.example/" })).json["version"],
        again.json["version"]
    );
    let named = put("crm-2", json!({ "long_url": "https://a.example/", "alias": "second" }));
    assert_eq!((named.status, named.header("location")), (201, Some("/v1/links/second")));
    let other = put("crm-2", json!({ "long_url": "https://a.example/", "alias": "third" }));
    assert_eq!(other.problem(), (409, "external_id_taken"));
    assert_eq!(
        put("crm-3", json!({ "long_url": "https://a.example/", "alias": "second" })).problem(),
        (409, "alias_taken")
    );
    assert_eq!(
        put("", json!({ "long_url": "https://a.example/" })).errors(),
        [("external_id", "external_id_not_allowed")]
    );
    assert_eq!(
        put("x", json!({ "long_url": "https://a.example/", "external_id": "y" })).errors(),
        [("external_id", "unknown_field")]
    );
    let codes: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|n| {
                let client = admin.client();
                let body = json!({ "long_url": format!("https://a.example/{n}") }).to_string();
                scope.spawn(move || {
                    let reply = client.send(Method::PUT, "/v1/links?external_id=raced", &[], Some(body));
                    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
                    reply.json["code"].clone()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
}

#[test]
fn a_reserved_alias_leads_nowhere_until_it_has_a_target() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let elsewhere = json!([{ "weight": 1, "long_url": "https://bad.example/" }]);
    for (field, value) in [
        ("variants", elsewhere.clone()),
        ("rules", json!([{ "device": "ios", "long_url": "https://bad.example/" }])),
        ("when_ended", json!({ "fallback_url": "https://bad.example/" })),
        ("cache", json!({ "scope": "public" })),
        ("forward_query", json!(true)),
        ("forward_path", json!(true)),
        ("not_before", json!("2040-01-01T00:00:00Z")),
    ] {
        let mut body = json!({ "alias": "big-day", "reserve": true });
        body[field] = value;
        let refused = client.post("/v1/links", &body);
        assert_eq!((refused.problem().0, refused.errors()), (422, vec![(field, "unknown_field")]), "{body}");
    }
    let reserved = json!({ "alias": "big-day", "reserve": true, "external_id": "crm-1" });
    assert_eq!(client.create(&reserved)["state"], "reserved");
    let refused = client.patch("/v1/links/big-day", &json!({ "variants": elsewhere }));
    assert_eq!((refused.problem().0, refused.errors()), (422, vec![("long_url", "required")]));
    assert_eq!(client.patch("/v1/links/big-day", &json!({ "title": "t" })).status, 200);

    // Put by its external id it becomes a link, and no link becomes a reservation.
    let put =
        |body: Value| client.send(Method::PUT, "/v1/links?external_id=crm-1", &[], Some(body.to_string()));
    let taken = put(json!({ "long_url": "https://a.example/" }));
    assert_eq!((taken.status, &taken.json["state"]), (200, &json!("active")), "{taken:?}");
    assert_eq!(taken.json["expires_at"], json!(null), "the end of the reservation is gone");
    let back = put(json!({ "alias": "big-day", "reserve": true }));
    assert_eq!((back.problem().0, back.errors()), (422, vec![("reserve", "unknown_field")]));
}

#[test]
fn the_targets_of_rules_and_variants_are_bounded_together() {
    let admin = Admin::with(&[], "[limits]\nurl_bytes_max = 65536\n");
    let client = admin.client();
    let long = format!("https://a.example/{}", "x".repeat(40_000));
    let rules = json!([{ "device": "ios", "long_url": long }]);
    let variants = json!([{ "weight": 1, "long_url": long }]);
    let whole = json!({ "long_url": long, "alias": "long", "rules": rules, "variants": variants });
    let refused = client.post("/v1/links", &whole);
    assert_eq!((refused.problem().0, refused.errors()), (422, vec![("variants", "targets_too_long")]));
    client.create(&json!({ "long_url": long, "alias": "long", "rules": rules }));
    let refused = client.patch("/v1/links/long", &json!({ "variants": variants }));
    assert_eq!((refused.problem().0, refused.errors()), (422, vec![("rules", "targets_too_long")]));
    let moved = client.patch("/v1/links/long", &json!({ "rules": null, "variants": variants }));
    assert_eq!(moved.status, 200, "{moved:?}");
    let never = json!([{ "from": "2040-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z", "long_url": "https://a.example/" }]);
    assert_eq!(
        client.patch("/v1/links/long", &json!({ "rules": never })).errors(),
        [("rules", "rule_never_holds")]
    );
}
