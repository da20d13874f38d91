//! Domains over the API: declared, told what to do, and what links on them follow from that.

use linklog::{Code, Code7};
use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool};

fn operator(admin: &Admin) -> Client {
    Client::new(admin.addresses().http, &admin.make_token(&["admin"]))
}

fn patch_at(client: &Client, path: &str, tag: &str, body: &Value) -> super::fixture::Reply {
    client.send(Method::PATCH, path, &[("if-match", tag)], Some(body.to_string()))
}

#[test]
fn many_domains_declared_at_once_all_get_a_number() {
    let admin = Admin::start(&[]);
    let token = admin.make_token(&["admin"]);
    let hosts: Vec<String> = (0..8).map(|n| format!("at-once-{n}.test")).collect();
    std::thread::scope(|scope| {
        for host in &hosts {
            let client = Client::new(admin.addresses().http, &token);
            scope.spawn(move || {
                let made = client.post("/v1/domains", &json!({ "host": host }));
                assert_eq!(made.status, 201, "{made:?}");
            });
        }
    });
    let client = Client::new(admin.addresses().http, &token);
    assert!(hosts.iter().all(|host| client.get(&format!("/v1/domains/{host}")).status == 200));
    assert_eq!(client.post("/v1/domains", &json!({ "host": hosts[0] })).problem(), (409, "domain_taken"));
}

#[test]
fn a_domain_is_changed_only_at_the_version_that_if_match_names() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    let tag = client.post("/v1/domains", &json!({ "host": "two.test" })).header("etag").unwrap().to_owned();
    let path = "/v1/domains/two.test";
    let changed = patch_at(&client, path, &tag, &json!({ "default_ttl": 60 }));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(changed.header("etag"), Some(&*tag));
    let late = patch_at(&client, path, &tag, &json!({ "default_ttl": 90 }));
    assert_eq!(late.problem(), (412, "version_mismatch"));
    assert_eq!(client.get(path).json["default_ttl"], 60);
    assert_eq!(patch_at(&client, path, "*", &json!({ "default_ttl": 90 })).status, 200);
    assert_eq!(patch_at(&client, path, "2", &json!({})).problem(), (400, "if_match_invalid"));
}

#[test]
fn settings_that_come_twice_or_in_great_number_are_found() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    client.post("/v1/domains", &json!({ "host": "two.test" }));
    let send = |body: String| client.send(Method::PATCH, "/v1/domains/two.test", &[], Some(body));
    let twice = send("{\"default_ttl\":60,\"default_ttl\":90}".to_owned());
    assert_eq!((twice.problem().0, twice.errors()), (422, vec![("default_ttl", "duplicate_field")]));
    let many: String = (0..64).map(|n| format!("\"x{n}\":1,")).collect();
    let many = send(format!("{{{many}\"default_ttl\":60}}"));
    assert_eq!(many.problem().0, 422);
    assert!(many.errors().contains(&("", "too_many")), "{many:?}");
    assert_eq!(client.get("/v1/domains/two.test").json["default_ttl"], Value::Null);
}

#[test]
fn the_list_of_domains_names_their_files_and_leaves_out_what_is_in_them() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    let files = json!([{ "name": "assetlinks.json", "body": "[]" }]);
    client.post("/v1/domains", &json!({ "host": "two.test", "well_known": files }));
    let file = json!({ "name": "assetlinks.json", "content_type": "application/json", "body": "[]" });
    assert_eq!(client.get("/v1/domains/two.test").json["well_known"][0], file);
    let listed = client.get("/v1/domains").json["data"][1]["well_known"][0].clone();
    assert_eq!(listed, json!({ "name": "assetlinks.json", "content_type": "application/json" }));
}

#[test]
fn what_a_domain_answers_fits_a_record_even_with_targets_beyond_the_usual_length() {
    let admin = Admin::with(&[], "[limits]\nurl_bytes_max = 65536\n");
    let client = operator(&admin);
    client.post("/v1/domains", &json!({ "host": "two.test" }));
    let long = format!("https://a.example/{}", "x".repeat(60_000));
    let file = |name: &str| json!({ "name": name, "body": "y".repeat(90_000) });
    let body = json!({
        "root_url": long, "not_found_url": long, "when_ended": { "fallback_url": long },
        "well_known": [file("a"), file("b")],
    });
    let refused = client.patch("/v1/domains/two.test", &body);
    assert_eq!((refused.problem().0, refused.errors()), (422, vec![("well_known", "settings_too_long")]));
}

#[test]
fn an_alias_of_a_folded_domain_is_found_in_any_case_even_if_it_could_be_a_generated_code() {
    let pool = FakePool::start(1, 1_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(1);
    let client = operator(&admin);
    client.post("/v1/domains", &json!({ "host": "two.test", "case": "folded" }));
    let order = |more: Value| {
        let mut body = json!({ "long_url": "https://a.example/", "domain": "two.test" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.create(&body)["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(order(json!({ "alias": "SumMer1" })), "summer1");
    let path = "/v1/links/SUMMER1?domain=two.test";
    assert_eq!(client.get(path).json["code"], "summer1");
    assert_eq!(client.get("/v1/links/SUMMER1/qr?domain=two.test").status, 200);
    assert_eq!(client.get("/v1/links/SUMMER1/history?domain=two.test").status, 200);
    assert_eq!(client.patch(path, &json!({ "title": "t" })).json["code"], "summer1");
    // What is there exactly so comes first.
    let generated = order(json!({}));
    assert_eq!(client.get(&format!("/v1/links/{generated}?domain=two.test")).json["code"], json!(generated));
    assert_eq!(client.delete(path).status, 204);
    assert_eq!(client.get("/v1/links/summer1?domain=two.test").status, 404);
    client.create(&json!({ "long_url": "https://a.example/", "alias": "winter1" }));
    assert_eq!(client.get("/v1/links/WINTER1").status, 404, "elsewhere case counts");
}

#[test]
fn a_generated_code_that_folds_to_an_alias_of_its_domain_is_passed_over() {
    let pool = FakePool::start(1, 1_000_000);
    let admin = Admin::start(&[&pool]);
    admin.wait_for_codes(1);
    let client = operator(&admin);
    client.post("/v1/domains", &json!({ "host": "two.test", "case": "folded" }));
    let order = |alias: Option<&str>| {
        let body = json!({ "long_url": "https://a.example/", "domain": "two.test", "alias": alias });
        client.create(&body)["code"].as_str().unwrap().to_owned()
    };
    let number = |code: &str| code.parse::<Code>().unwrap().as_code7().unwrap().value();
    let (first, second) = (number(&order(None)), number(&order(None)));
    // The pool hands them out one after the other.
    assert_eq!(second, first + 1);
    let next = Code7::new(second + 1).unwrap().to_code().to_string();
    let alias = next.to_ascii_lowercase();
    assert_ne!(next, alias);
    assert_eq!(order(Some(&alias)), alias);
    assert_eq!(number(&order(None)), second + 2);
    // Where case counts they are two links.
    client.create(&json!({ "long_url": "https://a.example/", "alias": alias }));
}

#[test]
fn a_qr_code_is_drawn_only_where_it_has_room_for_its_margin() {
    let admin = Admin::start(&[]);
    let client = operator(&admin);
    let host = format!("{0}.{0}.{0}.test", "a".repeat(60));
    client.post("/v1/domains", &json!({ "host": host, "alias_length": { "min": 1, "max": 64 } }));
    let alias = "b".repeat(64);
    client.create(&json!({ "long_url": "https://a.example/", "alias": alias, "domain": host }));
    let get =
        |query: &str| client.get(&format!("/v1/links/{alias}/qr?domain={host}&error_correction=high{query}"));
    let refused = get("&format=png&size=64");
    assert_eq!((refused.problem().0, refused.errors()), (422, vec![("size", "size_too_small")]));
    assert_eq!((get("&format=png&size=300").status, get("&format=svg&size=64").status), (200, 200));
}
