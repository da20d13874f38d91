//! Users, groups, tokens and domains, and pictures of short URLs.

use serde_json::{Value, json};

use super::fixture::{Api, run};
use super::setup::answering;

/// An API, and what a token with the scope `admin` adds to the environment of the client.
fn as_admin() -> (Api, String) {
    let api = Api::start();
    let made = api.control("token.create", json!({ "name": "root", "scopes": ["admin"] }));
    let token = made["token"].as_str().unwrap().to_owned();
    (api, token)
}

#[test]
fn users_and_groups_are_made_listed_changed_and_switched_off() {
    let (api, token) = as_admin();
    let url = api.url();
    let run = |args: &[&str]| run(args, &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", &token)], "");
    let json = |args: &[&str]| run(&[args, &["-o", "json"]].concat()).json();
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();

    let group = id(&json(&["groups", "create", "Press"]));
    let user = id(&json(&["users", "create", "Ada", "--email", "ada@example.org", "--group", &group]));
    let shown = json(&["users", "get", &user]);
    assert_eq!((&shown["name"], &shown["groups"]), (&json!("Ada"), &json!([group])));
    let changed =
        json(&["users", "edit", &user, "--name", "Ada L.", "--clear", "email", "--if-version", "1"]);
    assert_eq!(
        (&changed["name"], &changed["email"], &changed["groups"]),
        (&json!("Ada L."), &json!(null), &json!([group]))
    );
    assert_eq!(run(&["users", "edit", &user, "--name", "late", "--if-version", "1"]).code, 1);
    assert_eq!(json(&["users", "disable", &user])["disabled"], true);
    assert_eq!(json(&["users", "enable", &user])["disabled"], false);
    let table = run(&["users", "list"]).ok();
    assert!(
        table.lines().nth(1).unwrap().starts_with(&format!("{user}  Ada L.  -      {group}  false")),
        "{table}"
    );
    assert_eq!(json(&["groups", "edit", &group, "--set", "name=\"News\""])["name"], "News");
    assert_eq!(json(&["groups", "get", &group])["name"], "News");
    assert_eq!(run(&["groups", "delete", &group]).code, 1, "somebody is in it");
    json(&["users", "edit", &user, "--clear", "groups"]);
    assert_eq!(run(&["groups", "delete", &group]).ok(), "");
    assert_eq!(json(&["groups", "list"]), json!([]));
    for n in 0..3 {
        json(&["users", "create", &format!("user {n}")]);
    }
    assert_eq!(json(&["users", "list", "--limit", "2"]).as_array().unwrap().len(), 2);
    assert_eq!(json(&["users", "list", "--all"]).as_array().unwrap().len(), 4);
    let nothing = run(&["users", "edit", &user]);
    assert_eq!(nothing.code, 2);
    assert!(nothing.err.contains("say what is to change"), "{nothing:?}");
    assert_eq!(run(&["users", "get", "../links"]).code, 1);
}

#[test]
fn a_token_is_made_with_its_limits_shown_once_changed_and_revoked() {
    let (api, token) = as_admin();
    let url = api.url();
    let run_as =
        |token: &str, args: &[&str]| run(args, &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", token)], "");
    let json = |args: &[&str]| run_as(&token, &[args, &["-o", "json"]].concat()).json();
    let user = json(&["users", "create", "Ada"])["id"].as_str().unwrap().to_owned();
    let made = run_as(
        &token,
        &[
            "tokens",
            "create",
            "shop",
            "--user",
            &user,
            "--domain",
            "s.test",
            "--alias-prefix",
            "shop_",
            "--creates",
            "10/3600",
            "--requests-per-s",
            "50",
            "--expires-at",
            "2099-01-01T00:00:00Z",
        ],
    );
    let err = made.err.clone();
    let out = made.ok();
    let theirs = out.trim_end();
    assert!(theirs.starts_with("sp_") && out.lines().count() == 1, "{out}");
    let id = theirs.split('_').nth(1).unwrap();
    assert_eq!(err, format!("made token {id}; it is shown this once:\n"));
    let shown = json(&["tokens", "get", id]);
    for (field, value) in [
        ("scopes", json!(["links:read", "links:write"])),
        ("domains", json!(["s.test"])),
        ("alias_prefix", json!("shop_")),
        ("creates", json!({ "count": 10, "period_s": 3600, "left": 10 })),
        ("requests_per_s", json!(50)),
        ("expires_at", json!("2099-01-01T00:00:00Z")),
        ("user", json!(user)),
        ("token", json!(null)),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!(run_as(theirs, &["tokens", "get", "self", "-o", "json"]).json()["id"], id);
    assert_eq!(
        run_as(theirs, &["create", "https://example.org/", "--alias", "shop_a"]).ok(),
        "http://s.test/shop_a\n"
    );
    let changed =
        json(&["tokens", "edit", id, "--name", "stall", "--clear", "creates", "--scope", "links:read"]);
    assert_eq!(
        (&changed["name"], &changed["creates"], &changed["scopes"]),
        (&json!("stall"), &json!(null), &json!(["links:read"]))
    );
    let table = run_as(&token, &["tokens", "list", "--user", &user]).ok();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("{id}  stall  links:read")), "{table}");
    assert_eq!(run_as(&token, &["tokens", "revoke", id]).ok(), "");
    assert!(json(&["tokens", "get", id])["revoked_at"].is_string());
    assert_eq!(run_as(theirs, &["list"]).code, 1);
    let usage = run_as(&token, &["tokens", "create", "x", "--creates", "10"]);
    assert_eq!(usage.code, 2);
    assert!(usage.err.contains("write a quota as COUNT/SECONDS"), "{usage:?}");
}

#[test]
fn a_domain_is_declared_shown_and_told_what_to_do() {
    let (api, token) = as_admin();
    let url = api.url();
    let run = |args: &[&str]| run(args, &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", &token)], "");
    let json = |args: &[&str]| run(&[args, &["-o", "json"]].concat()).json();
    let made =
        json(&["domains", "create", "go.test", "--case", "folded", "--root-url", "https://example.org/"]);
    assert_eq!(
        (&made["host"], &made["case"], &made["version"]),
        (&json!("go.test"), &json!("folded"), &json!(1))
    );
    let told =
        ["domains", "edit", "go.test", "--default-ttl", "3600", "--clear", "root_url", "--if-version", "1"];
    let told = json(&[&told[..], &["--set", "robots_txt=\"User-agent: *\\n\""]].concat());
    assert_eq!((&told["default_ttl"], &told["root_url"]), (&json!(3600), &json!(null)));
    assert_eq!(json(&["domains", "get", "go.test"])["robots_txt"], "User-agent: *\n");
    let table = run(&["domains", "list"]).ok();
    let hosts: Vec<_> = table.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(hosts, ["HOST", "s.test", "go.test"]);
}

#[test]
fn a_short_url_is_drawn_into_a_file_or_a_pipe() {
    let api = Api::start();
    api.run(&["create", "https://example.org/", "--alias", "spring"]).ok();
    let svg = api.run(&["qr", "spring"]).ok();
    assert!(svg.starts_with("<svg ") && svg.contains("width=\"300\""), "{svg}");
    assert_eq!(api.run(&["qr", "http://s.test/spring", "--format", "svg"]).ok(), svg);
    let file = api.dir().join("spring.PNG").display().to_string();
    let args = ["qr", "spring", "--out", &file, "--size", "400", "--error-correction", "high"];
    assert_eq!(api.run(&args).ok(), "");
    let png = std::fs::read(&file).unwrap();
    assert_eq!((&png[..8], &png[16..24]), (&b"\x89PNG\r\n\x1a\n"[..], &[0, 0, 1, 144, 0, 0, 1, 144][..]));
    let unknown = api.run(&["qr", "nobody", "--out", &file]);
    assert_eq!(unknown.code, 1);
    assert_eq!(std::fs::read(&file).unwrap(), png, "what is there stays when there is no picture");
    let refused = api.run(&["qr", "spring", "--out", "/nowhere/x.svg"]);
    assert!(refused.err.contains("cannot write /nowhere/x.svg"), "{refused:?}");
}

#[test]
fn a_list_goes_on_where_a_page_ends() {
    const FIRST: &str = "200 OK|{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"next_after\":\"b\"}";
    const LAST: &str = "200 OK|{\"data\":[{\"id\":\"c\"}],\"next_after\":null}";
    for list in ["users", "groups", "tokens"] {
        let (url, asked) = answering(&[FIRST, LAST]);
        let listed = run(
            &[list, "list", "--all", "-o", "json"],
            &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", "sp_x")],
            "",
        );
        assert_eq!(listed.json(), json!([{ "id": "a" }, { "id": "b" }, { "id": "c" }]), "{list}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    }
}
