//! The description of the API, as it is served.

use serde_json::json;

use super::fixture::{Admin, Client};

#[test]
fn the_description_is_served_to_anybody_and_is_the_one_in_the_repository() {
    let admin = Admin::start(&[]);
    let anybody = Client::new(admin.addresses().http, "");
    let reply = anybody.get("/v1/openapi.json");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/openapi.json");
    assert!(reply.text == std::fs::read_to_string(golden).unwrap(), "it differs from {golden}");
    assert_eq!(reply.json["openapi"], "3.1.0");
    let page = anybody.get("/v1/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for operation in ["create_link", "export_links", "get_problems"] {
        assert!(page.text.contains(&format!("<section id=\"{operation}\">")), "{operation}");
    }
}

#[test]
fn the_type_of_a_problem_is_the_address_of_its_description() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for (reply, code) in [
        (client.get("/v1/links/nothing-here"), "link_not_found"),
        (client.get("/nowhere"), "not_found"),
        (client.post("/v1/links", &json!({})), "validation_failed"),
        (Client::new(admin.addresses().http, "").get("/v1/links"), "token_missing"),
    ] {
        assert_eq!(reply.problem().1, code);
        let (path, anchor) = reply.json["type"].as_str().unwrap().split_once('#').unwrap();
        let page = client.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
}
