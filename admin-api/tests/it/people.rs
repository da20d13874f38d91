//! Users, groups and tokens through the API, and what a token may do.

mod bounds;
mod revoked;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, Reply};

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
