//! The life of a token, through the real command line.

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
        (&["token", "create", "--name", "x", "--scope", "everything"][..], "no scope \"everything\""),
        (&["token", "create", "--name", ""], "a token's name has 1 to 100"),
        (&["token", "revoke", "xyz"], "16 hex digits"),
        (&["token", "revoke", "0123456789abcdef"], "there is no token 0123456789abcdef"),
    ] {
        let failed = cli.run(args);
        assert_eq!((failed.code, &*failed.stdout), (1, ""), "{args:?}");
        assert!(failed.stderr.contains(why), "{args:?}: {}", failed.stderr);
    }
    assert_eq!(cli.run(&["token", "create"]).code, 2);
}
