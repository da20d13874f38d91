//! Taking links down is the operator's: a token that may write links can neither do it nor undo it.

use reqwest::Method;
use serde_json::json;

use super::fixture::{Admin, Client};

#[test]
fn only_an_admin_token_takes_links_down_and_puts_them_back() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let path = "/v1/links/taken-down";
    client.create(&json!({ "long_url": "https://a.example/", "alias": "taken-down" }));
    assert_eq!(client.patch(path, &json!({ "state": "banned" })).problem(), (403, "scope_missing"));
    let down = operator.patch(path, &json!({ "state": "banned" }));
    assert_eq!((down.status, &down.json["state"]), (200, &json!("banned")), "{down:?}");

    let whole = Some(json!({ "long_url": "https://a.example/" }).to_string());
    for state in ["active", "disabled"] {
        assert_eq!(client.patch(path, &json!({ "state": state })).problem(), (403, "link_banned"), "{state}");
    }
    assert_eq!(client.patch(path, &json!({ "state": null })).problem(), (403, "link_banned"));
    assert_eq!(client.delete(path).problem(), (403, "link_banned"), "or it could be made again");
    assert_eq!(client.send(Method::PUT, path, &[], whole).problem(), (403, "link_banned"));
    let renamed = client.patch(path, &json!({ "title": "still mine" }));
    assert_eq!((renamed.status, &renamed.json["state"]), (200, &json!("banned")));

    assert_eq!(operator.patch(path, &json!({ "state": "active" })).json["state"], "active");
    assert_eq!(client.delete(path).status, 204);
}

#[test]
fn a_link_cannot_be_put_as_taken_down_by_who_may_only_write() {
    let admin = Admin::start(&[]);
    let body = Some(json!({ "long_url": "https://a.example/", "state": "banned" }).to_string());
    let put = |client: &Client| client.send(Method::PUT, "/v1/links/born-banned", &[], body.clone());
    assert_eq!(put(&admin.client()).problem(), (403, "scope_missing"));
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    assert_eq!((put(&operator).status, put(&operator).status), (201, 200));
}
