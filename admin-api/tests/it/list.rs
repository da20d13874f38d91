//! Pages of links: order, filters, cursors, totals.

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
        (format!("sort=created_at&cursor={cursor}"), ("cursor", "cursor_invalid")),
        ("sort=title".to_owned(), ("sort", "sort_not_allowed")),
        ("state=gone".to_owned(), ("state", "state_not_allowed")),
        ("total=1".to_owned(), ("total", "total_not_allowed")),
        ("tag=".to_owned(), ("tag", "tag_length")),
        (["tag=t"; 9].join("&"), ("tag", "too_many_tags")),
        (["tag=t"; 40].join("&"), ("tag", "too_many_parameters")),
        ("host=".to_owned(), ("host", "host_invalid")),
        ("host=a/b".to_owned(), ("host", "host_invalid")),
        ("host=user@a.example".to_owned(), ("host", "host_invalid")),
        ("created_from=yesterday".to_owned(), ("created_from", "not_a_time")),
        ("created_before=2020-01-01".to_owned(), ("created_before", "not_a_time")),
    ] {
        let reply = client.get(&format!("/v1/links?{query}"));
        assert_eq!((reply.problem().0, reply.errors()), (422, vec![error]), "{query}");
    }
}

/// Follows the cursors to the end.
fn all(client: &Client, query: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/links?{query}{cursor}"));
        assert_eq!(page.status, 200, "{page:?}");
        all.extend(codes(&page.json));
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[test]
fn links_are_found_by_what_they_have_in_common() {
    let mut admin = Admin::start(&[]);
    admin.control("domain.add", json!({ "host": "two.test", "short_url_base": "https://two.test" })).unwrap();
    let client = admin.client();
    for (alias, url, tags, more) in [
        ("one-a", "https://A.example/1", json!(["red", "new"]), json!({})),
        ("two-a", "https://a.example:8443/2", json!(["red"]), json!({ "domain": "two.test" })),
        ("one-b", "https://b.example", json!(["red", "green"]), json!({})),
        ("off-b", "https://b.example./x", json!([]), json!({})),
        ("one-u", "https://bücher.example/", json!(["ü, ä&"]), json!({})),
    ] {
        let mut body = json!({ "long_url": url, "alias": alias, "tags": tags });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.create(&body);
    }
    client.patch("/v1/links/off-b", &json!({ "state": "disabled" }));
    let check = |client: &Client| {
        for (query, expected) in [
            ("tag=red", &["one-b", "two-a", "one-a"][..]),
            ("tag=red&tag=green", &["one-b"]),
            ("tag=red&tag=blue", &[]),
            ("tag=RED", &[]),
            ("tag=%C3%BC,%20%C3%A4%26", &["one-u"]),
            ("host=a.example", &["two-a", "one-a"]),
            ("host=A.Example", &["two-a", "one-a"]),
            ("host=b%C3%BCcher.example", &["one-u"]),
            ("host=b.example&state=active", &["one-b"]),
            ("state=disabled", &["off-b"]),
            ("state=banned", &[]),
            ("domain=two.test", &["two-a"]),
            ("domain=s.test&tag=red", &["one-b", "one-a"]),
            ("domain=s.test&tag=red&sort=created_at", &["one-a", "one-b"]),
            ("created_from=2020-01-01T00:00:00Z&tag=new", &["one-a"]),
            ("created_before=2020-01-01T00:00:00Z", &[]),
            ("created_from=2999-01-01T00:00:00Z", &[]),
        ] {
            for limit in ["limit=1", "limit=100"] {
                assert_eq!(all(client, &format!("{query}&{limit}")), expected, "{query} {limit}");
            }
        }
    };
    check(&client);
    admin.restart();
    check(&admin.client());
    let client = admin.client();
    client.patch("/v1/links/one-a", &json!({ "tags": ["blue"], "long_url": "https://c.example/" }));
    client.delete("/v1/links/one-b");
    for (query, expected) in [
        ("tag=red", &["two-a"][..]),
        ("tag=blue&host=c.example", &["one-a"]),
        ("host=a.example", &["two-a"]),
        ("tag=green", &[]),
    ] {
        assert_eq!(all(&client, query), expected, "{query}");
    }
}

#[test]
fn links_that_change_between_pages_are_found_where_they_are() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    for n in 0..6 {
        let alias = format!("link-{n}");
        client.create(&json!({ "long_url": "https://a.example/", "alias": alias, "tags": ["t"] }));
    }
    let first = client.get("/v1/links?tag=t&limit=2").json;
    assert_eq!(codes(&first), ["link-5", "link-4"]);
    client.delete("/v1/links/link-4");
    client.patch("/v1/links/link-3", &json!({ "tags": [] }));
    client.patch("/v1/links/link-2", &json!({ "title": "still t" }));
    client.create(&json!({ "long_url": "https://a.example/", "alias": "newer", "tags": ["t"] }));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = client.get(&format!("/v1/links?tag=t&limit=2&cursor={cursor}")).json;
    assert_eq!(codes(&second), ["link-2", "link-1"]);
}

#[test]
fn a_total_is_given_only_to_those_who_ask() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    fill(&client, 30);
    let page = client.get("/v1/links?limit=3").json;
    assert_eq!(page.get("total"), None);
    let page = client.get("/v1/links?limit=3&total=true&host=a.example").json;
    assert_eq!((codes(&page).len(), &page["total"]), (3, &json!({ "count": 30, "is_exact": true })));
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = client.get(&format!("/v1/links?limit=3&total=true&host=a.example&cursor={cursor}")).json;
    assert_eq!(next["total"]["count"], 30, "of all pages, not of those that follow");
}
