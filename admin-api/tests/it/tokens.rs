//! The life of a token, through the real command line.

use serde_json::json;

use super::fixture::{Admin, Client};
use super::operator::Cli;

#[test]
fn a_token_is_made_listed_used_and_revoked_through_the_command_line() {
    let mut admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    let made = cli.ok(&[
        "token",
        "create",
        "--name",
        "my script",
        "--scope",
        "links:read",
        "--scope",
        "links:write",
    ]);
    let token = made.stdout.strip_suffix('\n').unwrap().to_owned();
    let parts: Vec<_> = token.split('_').collect();
    assert_eq!(
        (parts[0], parts[1].len(), parts.len()),
        ("sp", 16, 3),
        "stdout is the token and nothing else"
    );
    let ask = |admin: &Admin| Client::new(admin.addresses().http, &token).get("/v1/links").status;
    assert_eq!(ask(&admin), 200);

    let list = cli.ok(&["token", "list"]).stdout;
    let line = list.lines().find(|line| line.starts_with(parts[1])).unwrap();
    assert!(line.contains("my script") && line.contains("links:read,links:write"), "{list}");
    assert!(!list.contains(parts[2]), "the secret is shown once");

    admin.restart();
    assert_eq!(ask(&admin), 200, "tokens are in the log");
    Cli::new(&admin).ok(&["token", "revoke", parts[1]]);
    assert_eq!(ask(&admin), 401, "at once");
    Cli::new(&admin).ok(&["token", "revoke", parts[1]]);
    admin.restart();
    assert_eq!(ask(&admin), 401, "and for good");
}

#[test]
fn without_scopes_a_token_may_read_and_write_links() {
    let admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    let token = cli.ok(&["token", "create", "--name", "usual"]).stdout;
    let client = Client::new(admin.addresses().http, token.trim_end());
    let body = serde_json::json!({ "long_url": "https://a.example/", "alias": "abc" });
    assert_eq!(client.post("/v1/links", &body).status, 201);
    assert_eq!(client.get("/v1/links/abc").status, 200);
}

#[test]
fn a_command_that_cannot_be_done_says_why() {
    let admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    for (args, why) in [
        (
            &["token", "create", "--name", "x", "--scope", "everything"][..],
            "scopes: a scope is links:read, links:write, stats:read or admin",
        ),
        (&["token", "create", "--name", ""], "name: a name has 1 to 100"),
        (&["token", "create", "--name", "x", "--user", "0123456789abcdef"], "user: there is no such user"),
        (&["token", "create", "--name", "x", "--set", "colour=1"], "colour"),
        (&["token", "revoke", "xyz"], "16 hex digits"),
        (&["token", "revoke", "0123456789abcdef"], "there is no token 0123456789abcdef"),
    ] {
        let failed = cli.run(args);
        assert_eq!((failed.code, &*failed.stdout), (1, ""), "{args:?}");
        assert!(failed.stderr.contains(why), "{args:?}: {}", failed.stderr);
    }
    for usage in [&["token", "create"][..], &["token", "create", "--name", "x", "--creates", "many"]] {
        assert_eq!(cli.run(usage).code, 2, "{usage:?}");
    }
}

#[test]
fn the_operator_can_give_a_token_every_limit_the_api_knows() {
    let admin = Admin::start(&[]);
    let cli = Cli::new(&admin);
    let root = cli.ok(&["token", "create", "--name", "root", "--scope", "admin"]).stdout;
    let root = Client::new(admin.addresses().http, root.trim_end());
    let user = root.post("/v1/users", &json!({ "name": "Ada" })).json["id"].as_str().unwrap().to_owned();
    let made = cli.ok(&[
        "token",
        "create",
        "--name",
        "shop",
        "--user",
        &user,
        "--expires-at",
        "2099-01-01T00:00:00Z",
        "--domain",
        "s.test",
        "--alias-prefix",
        "shop_",
        "--creates",
        "10/3600",
        "--requests-per-s",
        "50",
        "--set",
        "own_links_only=false",
    ]);
    let token = made.stdout.trim_end().to_owned();
    let by_operator = root.get(&format!("/v1/tokens/{}", token.split('_').nth(1).unwrap())).json;
    let body = json!({
        "name": "shop", "scopes": ["links:read", "links:write"], "user": user, "expires_at": "2099-01-01T00:00:00Z",
        "domains": ["s.test"], "alias_prefix": "shop_", "creates": { "count": 10, "period_s": 3600 },
        "requests_per_s": 50, "own_links_only": false,
    });
    let by_api = root.post("/v1/tokens", &body).json;
    let fields = by_api.as_object().unwrap().keys();
    for field in
        fields.filter(|field| !["id", "token", "created_at", "last_used_at"].contains(&field.as_str()))
    {
        assert_eq!(by_operator[field], by_api[field], "{field}");
    }
    let list = cli.ok(&["token", "list"]).stdout;
    assert!(list.lines().any(|line| line.contains(&user) && line.contains("2099-01-01T00:00:00Z")), "{list}");
    let link = json!({ "long_url": "https://a.example/", "alias": "shop_a" });
    assert_eq!(Client::new(admin.addresses().http, &token).post("/v1/links", &link).status, 201);
}
