//! Pages of links, newest first.

use serde_json::{Value, json};

use super::fixture::{Admin, Client};

fn fill(client: &Client, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let links: Vec<_> = chunk
            .iter()
            .map(|n| json!({ "long_url": format!("https://a.example/{n}"), "alias": format!("link-{n}") }))
            .collect();
        let reply = client.post("/v1/links/batch", &json!({ "links": links }));
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

fn codes(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|link| link["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pages_cover_everything_once_newest_first() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    fill(&client, 25);
    let mut all = Vec::new();
    let mut path = "/v1/links?limit=10".to_owned();
    let mut pages = 0;
    loop {
        let page = client.get(&path);
        assert_eq!(page.status, 200, "{page:?}");
        all.extend(codes(&page.json));
        pages += 1;
        match page.json["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/links?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..25).rev().map(|n| format!("link-{n}")).collect();
    assert_eq!((all, pages), (expected, 3));
}

#[test]
fn a_page_has_a_hundred_links_unless_said_otherwise_and_a_thousand_at_most() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    assert_eq!(client.get("/v1/links").json, json!({ "data": [], "next_cursor": null }));
    fill(&client, 1001);
    let page = client.get("/v1/links").json;
    assert_eq!((codes(&page).len(), page["next_cursor"].is_string()), (100, true));
    let page = client.get("/v1/links?limit=1000").json;
    assert_eq!((codes(&page).len(), page["next_cursor"].is_string()), (1000, true));
    let last =
        client.get(&format!("/v1/links?limit=1000&cursor={}", page["next_cursor"].as_str().unwrap())).json;
    assert_eq!((codes(&last), &last["next_cursor"]), (vec!["link-0".to_owned()], &json!(null)));
    let exactly =
        client.get(&format!("/v1/links?limit=1&cursor={}", page["next_cursor"].as_str().unwrap())).json;
    assert_eq!((codes(&exactly).len(), &exactly["next_cursor"]), (1, &json!(null)));
}

#[test]
fn links_made_and_deleted_between_pages_disturb_nothing() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    fill(&client, 6);
    let first = client.get("/v1/links?limit=2").json;
    assert_eq!(codes(&first), ["link-5", "link-4"]);
    client.create(&json!({ "long_url": "https://a.example/new", "alias": "newer" }));
    client.delete("/v1/links/link-3");
    client.patch("/v1/links/link-1", &json!({ "title": "changed" }));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = client.get(&format!("/v1/links?limit=2&cursor={cursor}")).json;
    assert_eq!(codes(&second), ["link-2", "link-1"]);
    assert_eq!(second["data"][1]["title"], "changed");
}

#[test]
fn parameters_that_make_no_sense_are_422() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    fill(&client, 3);
    let cursor = client.get("/v1/links?limit=1").json["next_cursor"].as_str().unwrap().to_owned();
    let mut tampered = cursor.clone();
    let at = tampered.len() / 2;
    let other = if &tampered[at..=at] == "A" { "B" } else { "A" };
    tampered.replace_range(at..=at, other);
    for (query, error) in [
        ("limit=0".to_owned(), ("limit", "limit_out_of_range")),
        ("limit=1001".to_owned(), ("limit", "limit_out_of_range")),
        ("limit=ten".to_owned(), ("limit", "limit_out_of_range")),
        (format!("cursor={tampered}"), ("cursor", "cursor_invalid")),
        ("cursor=".to_owned(), ("cursor", "cursor_invalid")),
        ("page=2".to_owned(), ("page", "unknown_parameter")),
        ("limit=1&limit=2".to_owned(), ("limit", "duplicate_parameter")),
    ] {
        let reply = client.get(&format!("/v1/links?{query}"));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![error]), "{query}");
    }
}
