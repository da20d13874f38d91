//! Clicks so far, which come with a link.

use super::*;

#[test]
fn clicks_so_far_come_with_a_link_once_and_are_told_apart_from_those_counted_here() {
    let mut admin = Admin::start(&[]);
    let client = admin.client();
    let line = json!({ "code": "spring", "long_url": "https://example.org/", "clicks": 70_000 });
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&line)))[1], 1);
    let seen = |client: &Client| {
        let link = client.get("/v1/links/spring").json;
        let clicks = client.get("/v1/links/spring/clicks").json;
        let listed = client.get("/v1/links").json["data"][0].clone();
        assert_eq!(
            (&listed["clicks"], &listed["imported_clicks"]),
            (&link["clicks"], &link["imported_clicks"])
        );
        assert_eq!((&clicks["total"], &clicks["imported"]), (&link["clicks"], &link["imported_clicks"]));
        (link["clicks"].as_u64().unwrap(), link["imported_clicks"].as_u64().unwrap())
    };
    assert_eq!(seen(&client), (70_000, 70_000));
    // Again, with more, and in place of what is there: never twice.
    let more = json!({ "code": "spring", "long_url": "https://example.org/", "clicks": 80_000 });
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&line)))[2], 1);
    assert_eq!(done(&import(&client, "", std::slice::from_ref(&more)))[2], 1);
    let other = json!({ "code": "spring", "long_url": "https://example.org/2", "clicks": 80_000 });
    assert_eq!(done(&import(&client, "?collisions=replace", &[other]))[3], 1);
    assert_eq!(seen(&client), (70_000, 70_000));
    client.patch("/v1/links/spring", &json!({ "title": "Spring" }));
    assert_eq!(
        client
            .send(
                Method::PUT,
                "/v1/links/spring",
                &[],
                Some(json!({ "long_url": "https://example.org/3" }).to_string())
            )
            .status,
        200
    );
    admin.restart();
    let client = admin.client();
    assert_eq!(seen(&client), (70_000, 70_000), "and they stay");

    let out = export(&client, "");
    let out: Vec<Value> = links(&out).into_iter().cloned().collect();
    assert_eq!((&out[0]["clicks"], &out[0]["imported_clicks"]), (&json!(70_000), &json!(70_000)));
    assert_eq!(done(&import(&client, "", &out))[2], 1, "an export changes nothing where it comes from");
    let elsewhere = Admin::start(&[]);
    assert_eq!(done(&import(&elsewhere.client(), "", &out))[1], 1);
    assert_eq!(seen(&elsewhere.client()), (70_000, 70_000));

    client.delete("/v1/links/spring");
    client.create(&json!({ "long_url": "https://example.org/", "alias": "spring" }));
    assert_eq!(seen(&client), (0, 0), "another link");
    for clicks in [json!(-1), json!("many"), json!(1.5), json!(2_000_000_000_000_u64)] {
        let said = import(
            &client,
            "",
            &[json!({ "code": "x", "long_url": "https://example.org/", "clicks": clicks })],
        );
        assert_eq!(said[0]["problem"]["errors"][0]["field"], "clicks", "{said:?}");
    }
}

#[test]
fn clicks_so_far_are_used_of_a_link_that_ends_with_a_number_of_them() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let link = |code: &str, more: Value| {
        let mut line = json!({ "code": code, "long_url": "https://example.org/", "max_clicks": 100 });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let lines = [
        link("some", json!({ "clicks": 60 })),
        link("told", json!({ "clicks": 60, "max_clicks_used": 75 })),
        link("over", json!({ "clicks": 100 })),
        link("anew", json!({})),
    ];
    assert_eq!(done(&import(&client, "", &lines))[1], 4);
    for (code, used, left) in [("some", 60, 40), ("told", 75, 25), ("over", 100, 0), ("anew", 0, 100)] {
        let limit = client.get(&format!("/v1/links/{code}/limit")).json;
        assert_eq!(
            (&limit["max_clicks"], &limit["used"], &limit["left"]),
            (&json!(100), &json!(used), &json!(left)),
            "{code}"
        );
    }
    assert_eq!(done(&import(&client, "", &lines))[2], 4, "again: nothing changes");
    let out = export(&client, "");
    let out: Vec<Value> = links(&out).into_iter().cloned().collect();
    assert_eq!(done(&import(&client, "", &out))[2], 4);
}
