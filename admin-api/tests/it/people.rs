//! Users, groups and tokens through the API, and what a token may do.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, Reply, until};

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

fn made(reply: Reply) -> Value {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json
}

fn user(operator: &Client, name: &str) -> String {
    made(operator.post("/v1/users", &json!({ "name": name })))["id"].as_str().unwrap().to_owned()
}

/// Makes a token and gives its client and its id.
fn token(admin: &Admin, operator: &Client, more: Value) -> (Client, String) {
    let mut body = json!({ "name": "t", "scopes": ["links:read", "links:write"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let token = made(operator.post("/v1/tokens", &body));
    let client = Client::new(admin.addresses().http, token["token"].as_str().unwrap());
    (client, token["id"].as_str().unwrap().to_owned())
}

#[test]
fn users_and_groups_are_made_changed_and_kept() {
    let mut admin = Admin::start(&[]);
    let client = operator(&admin);
    let group = made(client.post("/v1/groups", &json!({ "name": "Crew" })));
    let ada = json!({ "name": "Ada", "email": "ada@a.example", "groups": [group["id"]] });
    let ada = made(client.post("/v1/users", &ada));
    let path = format!("/v1/users/{}", ada["id"].as_str().unwrap());
    assert_eq!((&ada["disabled"], &ada["version"]), (&json!(false), &json!(1)));
    let off = client.patch(&path, &json!({ "disabled": true, "email": null }));
    assert_eq!((off.status, off.header("etag")), (200, Some("\"2\"")), "{off:?}");
    assert_eq!((&off.json["disabled"], &off.json["email"]), (&json!(true), &json!(null)));
    let stale = client.send(Method::PATCH, &path, &[("if-match", "\"1\"")], Some("{\"name\":\"x\"}".into()));
    assert_eq!(stale.problem(), (412, "version_mismatch"));
    let group_path = format!("/v1/groups/{}", group["id"].as_str().unwrap());
    assert_eq!(client.delete(&group_path).problem(), (409, "group_in_use"));
    admin.restart();
    let client = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let again = client.get(&path).json;
    assert_eq!(
        (&again["name"], &again["groups"], &again["disabled"]),
        (&json!("Ada"), &json!([group["id"]]), &json!(true))
    );
    assert_eq!(client.get("/v1/users").json["data"], json!([again]));
    assert_eq!(client.patch(&path, &json!({ "groups": [] })).status, 200);
    assert_eq!(client.patch(&group_path, &json!({ "name": "Team" })).json["name"], "Team");
    assert_eq!(client.delete(&group_path).status, 204);
    assert_eq!(client.get(&group_path).problem(), (404, "group_not_found"));
    assert_eq!(client.get("/v1/users/0123456789abcdef").problem(), (404, "user_not_found"));
}

#[test]
fn only_operators_manage_people_and_tokens() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for path in ["/v1/users", "/v1/groups", "/v1/tokens", "/v1/users/0123456789abcdef"] {
        assert_eq!(client.get(path).problem(), (403, "scope_missing"), "{path}");
    }
    assert_eq!(client.post("/v1/users", &json!({ "name": "x" })).problem(), (403, "scope_missing"));
    let own = client.get("/v1/tokens/self");
    assert_eq!((own.status, &own.json["scopes"]), (200, &json!(["links:read", "links:write"])));
    assert!(own.json["last_used_at"].is_string() && own.json.get("token").is_none());
}

#[test]
fn what_makes_no_sense_is_refused_by_its_field() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    for (path, body, errors) in [
        ("/v1/users", json!({}), vec![("name", "required")]),
        ("/v1/users", json!({ "name": "" }), vec![("name", "name_not_allowed")]),
        ("/v1/users", json!({ "name": "a", "email": "nobody" }), vec![("email", "email_not_allowed")]),
        ("/v1/users", json!({ "name": "a", "groups": "x" }), vec![("groups", "wrong_type")]),
        ("/v1/users", json!({ "name": "a", "groups": ["x"] }), vec![("groups", "id_not_valid")]),
        (
            "/v1/users",
            json!({ "name": "a", "groups": ["0123456789abcdef"] }),
            vec![("groups", "group_not_found")],
        ),
        ("/v1/users", json!({ "name": "a", "admin": true }), vec![("admin", "unknown_field")]),
        ("/v1/groups", json!({ "name": 5 }), vec![("name", "wrong_type")]),
        ("/v1/tokens", json!({ "name": "a" }), vec![("scopes", "required")]),
        ("/v1/tokens", json!({ "name": "a", "scopes": [] }), vec![("scopes", "scopes_empty")]),
        ("/v1/tokens", json!({ "name": "a", "scopes": ["all"] }), vec![("scopes", "scope_not_allowed")]),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "user": "0123456789abcdef" }),
            vec![("user", "user_not_found")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "own_links_only": true }),
            vec![("own_links_only", "user_missing")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "creates": { "count": 1 } }),
            vec![("creates", "creates_not_allowed")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "requests_per_s": 0 }),
            vec![("requests_per_s", "out_of_range")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "domains": ["x.test"] }),
            vec![("domains", "domain_not_found")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "alias_prefix": "a b" }),
            vec![("alias_prefix", "alias_prefix_not_allowed")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["links:read"], "expires_at": "2001-01-01T00:00:00Z" }),
            vec![("expires_at", "expires_at_in_the_past")],
        ),
        (
            "/v1/tokens",
            json!({ "name": "a", "scopes": ["admin"], "alias_prefix": "abc" }),
            vec![("scopes", "admin_with_limits")],
        ),
    ] {
        let reply = client.post(path, &body);
        assert_eq!((reply.problem().0, reply.errors()), (422, errors), "{path} {body}");
    }
    for query in ["limit=0", "after=x"] {
        assert_eq!(client.get(&format!("/v1/users?{query}")).problem().0, 422, "{query}");
    }
}

#[test]
fn a_token_of_a_user_sees_and_changes_that_users_links() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (ada, bob) = (user(&boss, "Ada"), user(&boss, "Bob"));
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada }));
    let (of_bob, _) = token(&admin, &boss, json!({ "user": bob }));
    let link = of_ada.create(&json!({ "long_url": "https://a.example/", "alias": "adas" }));
    assert_eq!(link["owner"], *ada);
    of_bob.create(&json!({ "long_url": "https://b.example/", "alias": "bobs" }));
    admin.client().create(&json!({ "long_url": "https://c.example/", "alias": "nobodys" }));
    let path = "/v1/links/adas";
    for reply in [
        of_bob.get(path),
        of_bob.patch(path, &json!({ "title": "x" })),
        of_bob.delete(path),
        of_bob.get("/v1/links/adas/clicks"),
        of_bob.get("/v1/links/adas/history"),
    ] {
        assert_eq!(reply.problem(), (404, "link_not_found"));
    }
    let put = of_bob.send(Method::PUT, path, &[], Some("{\"long_url\":\"https://b.example/\"}".into()));
    assert_eq!(put.problem(), (409, "alias_taken"));
    let codes = |client: &Client, query: &str| {
        let page = client.get(&format!("/v1/links?{query}")).json;
        page["data"].as_array().unwrap().iter().map(|link| link["code"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&of_ada, ""), ["adas"]);
    assert_eq!(codes(&of_bob, &format!("owner={ada}")), Vec::<Value>::new());
    assert_eq!(codes(&boss, ""), ["nobodys", "bobs", "adas"]);
    assert_eq!(codes(&boss, &format!("owner={bob}")), ["bobs"]);
    assert_eq!(of_ada.patch(path, &json!({ "owner": bob })).problem(), (403, "owner_not_allowed"));
    assert_eq!(
        boss.patch(path, &json!({ "owner": "0123456789abcdef" })).errors(),
        [("owner", "user_not_found")]
    );
    assert_eq!(boss.patch(path, &json!({ "owner": bob })).status, 200);
    assert_eq!((of_ada.get(path).status, of_bob.get(path).status), (404, 200));
    boss.patch(&format!("/v1/users/{bob}"), &json!({ "disabled": true }));
    assert_eq!(of_bob.get(path).problem(), (401, "token_invalid"));
}

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

#[test]
fn a_quota_of_links_holds_over_restarts_and_kills_and_what_is_not_made_is_not_counted() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, id) = token(&admin, &boss, json!({ "creates": { "count": 4, "period_s": 31_536_000 } }));
    let make = |client: &Client, alias: &str| {
        client.post("/v1/links", &json!({ "long_url": "https://a.example/", "alias": alias }))
    };
    let first = make(&client, "one");
    assert_eq!(first.status, 201);
    assert_eq!(first.header("ratelimit-policy"), Some("\"creates\";q=4;w=31536000"));
    assert!(first.header("ratelimit").unwrap().starts_with("\"creates\";r=3;t="), "{first:?}");
    assert_eq!(make(&client, "one").status, 409, "not made");
    assert_eq!(make(&client, "x").status, 422, "not made");
    assert_eq!(client.delete("/v1/links/one").status, 204, "deleted links were made");
    let batch: Vec<_> = ["two", "one"]
        .iter()
        .map(|alias| json!({ "long_url": "https://a.example/", "alias": alias }))
        .collect();
    assert_eq!(client.post("/v1/links/batch", &json!({ "links": batch })).status, 200);
    let token = client.get("/v1/tokens/self").json;
    assert_eq!(token["creates"], json!({ "count": 4, "period_s": 31_536_000, "left": 1 }));
    // The file of what was used is gone, as after a kill before it was written: the log knows.
    admin.stop();
    let _ = std::fs::remove_file(admin.dir().join("data/tally"));
    let secret = client.token().to_owned();
    for round in 0..2 {
        admin.restart();
        let client = Client::new(admin.addresses().http, &secret);
        assert_eq!(client.get("/v1/tokens/self").json["creates"]["left"], 1 - round, "round {round}");
        if round == 0 {
            let whole = Some("{\"long_url\":\"https://a.example/\"}".to_owned());
            assert_eq!(client.send(Method::PUT, "/v1/links/four", &[], whole).status, 201);
        }
        let refused = make(&client, "five-a");
        assert_eq!(refused.problem(), (429, "quota_used_up"));
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    }
    let boss = operator(&admin);
    boss.patch(&format!("/v1/tokens/{id}"), &json!({ "creates": { "count": 5, "period_s": 31_536_000 } }));
    assert_eq!(make(&Client::new(admin.addresses().http, &secret), "five").status, 201);
}

#[test]
fn requests_per_second_are_a_tokens_own_and_answers_say_what_is_left() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (client, _) = token(&admin, &boss, json!({ "requests_per_s": 2 }));
    let replies: Vec<_> = (0..12).map(|_| client.get("/v1/links")).collect();
    let first = &replies[0];
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, Some("\"requests\";q=2;w=1")));
    assert_eq!(first.header("ratelimit"), Some("\"requests\";r=1;t=1"));
    let refused = replies.iter().find(|reply| reply.status == 429).expect("twelve at once are too many");
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="));
    assert_eq!(boss.get("/v1/links").header("ratelimit"), None, "no limit, no header");
}

#[test]
fn a_token_is_listed_changed_and_revoked() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let (client, id) = token(&admin, &boss, json!({ "user": ada, "expires_at": "2999-01-01T00:00:00Z" }));
    let list = boss.get(&format!("/v1/tokens?user={ada}")).json;
    let listed = &list["data"][0];
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!((&listed["id"], &listed["own_links_only"]), (&json!(id), &json!(true)));
    assert!(listed.get("token").is_none() && !list.to_string().contains(client.token()));
    let path = format!("/v1/tokens/{id}");
    assert_eq!(boss.patch(&path, &json!({ "scopes": ["links:read"] })).json["scopes"], json!(["links:read"]));
    assert_eq!(client.post("/v1/links", &json!({})).problem(), (403, "scope_missing"));
    assert_eq!(boss.delete(&path).status, 204);
    assert_eq!(boss.delete(&path).status, 204, "and again");
    assert_eq!(client.get("/v1/links").problem(), (401, "token_invalid"));
    assert_eq!(client.get("/v1/links").header("ratelimit"), None);
    assert!(boss.get(&path).json["revoked_at"].is_string());
    assert_eq!(boss.delete("/v1/tokens/0123456789abcdef").problem(), (404, "token_not_found"));
}

#[test]
fn what_is_revoked_or_switched_off_is_so_at_once_although_no_replica_confirms_it() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let (revoked, id) = token(&admin, &boss, json!({}));
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada }));
    admin.set_config(|text| text + "[replication]\nmin_sync_replicas = 1\n");
    admin.restart();
    let again = |client: &Client| Client::new(admin.addresses().http, client.token());
    let (boss, revoked, of_ada) = (again(&boss), again(&revoked), again(&of_ada));
    assert_eq!((revoked.get("/v1/links").status, of_ada.get("/v1/links").status), (200, 200));
    let path = format!("/v1/tokens/{id}");
    assert_eq!(boss.delete(&path).problem(), (503, "outcome_unknown"));
    assert_eq!(revoked.get("/v1/links").problem(), (401, "token_invalid"));
    assert_eq!(boss.delete(&path).status, 204);
    let off = boss.patch(&format!("/v1/users/{ada}"), &json!({ "disabled": true }));
    assert_eq!(off.problem(), (503, "outcome_unknown"));
    assert_eq!(of_ada.get("/v1/links").problem(), (401, "token_invalid"));
}

/// Sends a request that revokes a token, and leaves the answer to whoever has the connection.
fn revoking(admin: &Admin, boss: &Client, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    let head = format!(
        "DELETE /v1/tokens/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        boss.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn a_revocation_whose_client_goes_away_is_done_whole_or_not_at_all() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let tokens: Vec<(Client, String)> = (0..40).map(|_| token(&admin, &boss, json!({}))).collect();
    for (n, (_, id)) in (0..).zip(&tokens) {
        let stream = revoking(&admin, &boss, id);
        // Not to wait for anything: each goes away at another moment of its request.
        std::thread::sleep(Duration::from_micros(50 * n));
        drop(stream);
    }
    let accepted = |admin: &Admin| -> Vec<bool> {
        let works = |client: &Client| {
            Client::new(admin.addresses().http, client.token()).get("/v1/links").status == 200
        };
        tokens.iter().map(|(client, _)| works(client)).collect()
    };
    // What was begun is through when nothing changes any more from one record to the next.
    let (mut settled, mut rounds) = (accepted(&admin), 0);
    while rounds < 3 {
        user(&boss, "somebody");
        let now = accepted(&admin);
        rounds = if now == settled { rounds + 1 } else { 0 };
        settled = now;
    }
    admin.restart();
    assert_eq!(accepted(&admin), settled, "what is in force is what the log has");
}

#[test]
fn a_revocation_is_in_force_although_its_client_does_not_wait_for_replicas() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (revoked, id) = token(&admin, &boss, json!({}));
    admin.set_config(|text| text + "[replication]\nmin_sync_replicas = 1\n");
    admin.restart();
    let revoked = Client::new(admin.addresses().http, revoked.token());
    assert_eq!(revoked.get("/v1/links").status, 200);
    // No replica confirms it, so there is no answer yet.
    let stream = revoking(&admin, &boss, &id);
    until("the end of the token", || (revoked.get("/v1/links").status == 401).then_some(()));
    drop(stream);
    admin.restart();
    assert_eq!(Client::new(admin.addresses().http, revoked.token()).get("/v1/links").status, 401);
}

#[test]
fn a_token_does_not_see_everybodys_links_because_its_user_was_taken_away() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let (_, id) = token(&admin, &boss, json!({ "user": ada }));
    let path = format!("/v1/tokens/{id}");
    let refused = boss.patch(&path, &json!({ "user": null }));
    assert_eq!(refused.errors(), [("own_links_only", "user_missing")]);
    let opened = boss.patch(&path, &json!({ "user": null, "own_links_only": false }));
    assert_eq!((opened.status, &opened.json["own_links_only"]), (200, &json!(false)));
}

#[test]
fn a_repeated_request_does_not_show_a_link_that_was_given_to_somebody_else() {
    let admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (ada, bob) = (user(&boss, "Ada"), user(&boss, "Bob"));
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada }));
    let make = || {
        let body = json!({ "long_url": "https://a.example/", "alias": "adas" }).to_string();
        of_ada.send(Method::POST, "/v1/links", &[("idempotency-key", "key")], Some(body))
    };
    assert_eq!(make().status, 201);
    let secret = json!({ "owner": bob, "title": "Bob's secret" });
    assert_eq!(boss.patch("/v1/links/adas", &secret).status, 200);
    let again = make();
    assert_eq!(again.problem(), (410, "link_deleted_since"), "{again:?}");
}
