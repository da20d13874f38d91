//! Links that are not for everybody.

use serde_json::json;

use super::fixture::{Api, run};

#[test]
fn a_private_link_is_made_and_signed_and_a_password_comes_from_standard_input() {
    let api = Api::start();
    let admin = api.control("token.create", json!({ "name": "admin", "scopes": ["admin"] }));
    let (url, token) = (api.url(), admin["token"].as_str().unwrap());
    let as_admin = [("SIGNPOST_URL", &*url), ("SIGNPOST_TOKEN", token)];
    let user = run(&["api", "POST", "/v1/users", "{\"name\": \"ada\"}"], &as_admin, "").json();
    let user = user["id"].as_str().unwrap();
    let create = ["create", "https://example.org/plan", "--alias", "plan", "--private", "--allow", user];
    let made = api.run_with(&[&create[..], &["--password-stdin", "-o", "json"]].concat(), "open sesame\n");
    let made = made.json();
    let expected = (json!("private"), json!([user]), json!(true));
    assert_eq!((made["visibility"].clone(), made["allowed"].clone(), made["has_password"].clone()), expected);
    let signed = api.run(&["sign", "plan", "--user", user, "--ttl", "60"]).ok();
    assert!(signed.starts_with("http://s.test/plan?sp_sig="), "{signed}");
    let signed = api.run(&["sign", "http://s.test/plan", "-o", "json"]).json();
    assert_eq!(signed["user"], json!(null));

    api.run(&["create", "https://example.org/", "--alias", "open"]).ok();
    let refused = api.run(&["sign", "open"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("the link is public"), "{refused:?}");
    for usage in [&["create", "https://a.example/", "--allow", user][..], &["create", "--password-stdin"]] {
        assert_eq!(api.run(usage).code, 2, "{usage:?}");
    }
    assert_eq!(api.run_with(&["create", "https://a.example/", "--password-stdin"], "\n").code, 2);
}
