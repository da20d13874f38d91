#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn converted(format: Format, text: &str) -> Vec<Value> {
    let lines = lines(format, std::io::Cursor::new(text.to_owned()), Options::default()).unwrap();
    lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).collect()
}

fn refusal(format: Format, text: &str) -> String {
    match lines(format, std::io::Cursor::new(text.to_owned()), Options::default()) {
        Err(error) => error.to_string(),
        Ok(mut lines) => lines.find_map(Result::err).unwrap().to_string(),
    }
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/", $name))
    };
}

#[test]
fn shlink_as_csv_and_as_json() {
    let promo = json!({
        "long_url": "https://example.org/spring?a=1", "code": "promo", "domain": "s.test", "title": "Spring, and more",
        "tags": ["spring", "fair"], "created_at": "2016-08-21T18:34:16Z"
    });
    let csv = converted(Format::ShlinkCsv, fixture!("shlink.csv"));
    assert_eq!(csv[0], promo);
    assert_eq!(
        csv[1],
        json!({ "long_url": "https://example.org/plain", "code": "12C18", "domain": "other.test", "created_at": "2023-01-02T03:04:05Z" })
    );
    let json = converted(Format::ShlinkJson, fixture!("shlink.json"));
    let mut with_query = promo;
    with_query["forward_query"] = true.into();
    assert_eq!(json[0], with_query);
    assert_eq!(json[1]["expires_at"], "2031-01-01T00:00:00Z");
    assert_eq!(json.len(), 2);
    let limited =
        r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{"maxVisits":5}}]}}"#;
    assert!(refusal(Format::ShlinkJson, limited).contains("may be visited 5 times only"));
    let ruled = r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{},"hasRedirectRules":true}]}}"#;
    assert!(refusal(Format::ShlinkJson, ruled).contains("x has redirect rules"));
    let later = r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{"validSince":"2031-01-01T00:00:00+01:00"},"forwardQuery":false}]}}"#;
    assert_eq!(
        converted(Format::ShlinkJson, later),
        [json!({ "long_url": "https://e.test/", "code": "x", "not_before": "2030-12-31T23:00:00Z" })]
    );
}

#[test]
fn shlink_csv_in_the_spelling_of_its_own_importer() {
    let text = "Long URL;Short code\n";
    assert!(refusal(Format::ShlinkCsv, text).contains("no column longurl"));
    let text = "Short URL,Long URL,Tags\nhttps://s.test/a/b,https://example.org/,\"x,y\"\n";
    assert_eq!(
        converted(Format::ShlinkCsv, text),
        [
            json!({ "long_url": "https://example.org/", "code": "a/b", "domain": "s.test", "tags": ["x", "y"] })
        ]
    );
}

#[test]
fn yourls_as_csv_and_as_json() {
    let ozh = json!({ "long_url": "https://ozh.org/", "code": "ozh", "title": "planetOzh", "created_at": "2011-02-03T04:05:06Z" });
    assert_eq!(converted(Format::YourlsCsv, fixture!("yourls.csv"))[0], ozh);
    let json = converted(Format::YourlsJson, fixture!("yourls.json"));
    assert_eq!(json[0]["domain"], "s.test");
    assert_eq!((&json[0]["code"], &json[0]["created_at"]), (&ozh["code"], &ozh["created_at"]));
}

#[test]
fn bitly_takes_the_custom_back_halves_and_the_archive() {
    let links = converted(Format::BitlyJson, fixture!("bitly.json"));
    assert_eq!(
        links,
        [
            json!({ "long_url": "https://example.org/a", "code": "3SD8bAQ", "domain": "bit.ly", "created_at": "2022-10-24T10:40:37Z" }),
            json!({ "long_url": "https://example.org/b", "code": "launch", "domain": "go.test", "title": "Launch", "tags": ["a", "b"],
                "created_at": "2022-10-25T00:00:00Z" }),
        ]
    );
    let several = r#"{"links":[{"link":"https://bit.ly/3","long_url":"https://e.test/","archived":true,
        "custom_bitlinks":["https://go.test/a","https://bit.ly/b"]}]}"#;
    let found = converted(Format::BitlyJson, several);
    assert_eq!(
        found,
        [("go.test", "a"), ("bit.ly", "b")]
            .map(|(host, code)| json!({ "long_url": "https://e.test/", "code": code, "domain": host, "archived": true }))
    );
}

#[test]
fn kutt_keeps_expiry_and_what_is_banned_and_refuses_passwords() {
    let links = converted(Format::KuttJson, fixture!("kutt.json"));
    assert_eq!(links[0]["expires_at"], "2031-05-06T07:08:09Z");
    assert_eq!((&links[0]["domain"], &links[0]["title"]), (&json!("kutt.test"), &json!("a note")));
    assert_eq!(links[1]["state"], "disabled");
    let secret = r#"{"data":[{"address":"x","target":"https://e.test/","password":true}]}"#;
    assert!(refusal(Format::KuttJson, secret).contains("has a password"));
}

#[test]
fn dub_as_csv_and_as_json() {
    let csv = converted(Format::DubCsv, fixture!("dub.csv"));
    assert_eq!(
        csv[0],
        json!({ "long_url": "https://example.org/dub", "code": "launch/now", "domain": "dub.test", "tags": ["one", "two"],
            "created_at": "2024-01-15T10:00:00Z" })
    );
    let json = converted(Format::DubJson, fixture!("dub.json"));
    assert_eq!((&json[0]["tags"], &json[0]["expires_at"]), (&json!(["one"]), &json!("2031-01-01T00:00:00Z")));
    assert_eq!((&json[1]["state"], &json[1]["archived"]), (&json!("disabled"), &json!(true)));
    let link = |more: Value| {
        let mut link = json!({ "key": "x", "url": "https://e.test/", "geo": {}, "ios": null });
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([link]).to_string()
    };
    let kept = converted(Format::DubJson, &link(json!({ "comments": "for later", "externalId": "crm-7" })));
    assert_eq!((&kept[0]["notes"], &kept[0]["external_id"]), (&json!("for later"), &json!("crm-7")));
    for targets in [json!({ "ios": "https://i.test/" }), json!({ "geo": { "FR": "https://fr.test/" } })] {
        assert!(refusal(Format::DubJson, &link(targets)).contains("x has targets of its own"));
    }
    let csv = "Short link,Destination URL,Archived,Comments\nhttps://d.test/a,https://e.test/,true,kept\n";
    let csv = converted(Format::DubCsv, csv);
    assert_eq!((&csv[0]["archived"], &csv[0]["notes"]), (&json!(true), &json!("kept")));
}

#[test]
fn options_choose_a_host_and_change_what_every_link_has() {
    let options = Options {
        domain: Some("new.test".to_owned()),
        only: vec!["OTHER.test".to_owned()],
        tags: vec!["moved".to_owned()],
    };
    let lines = |format, text: &str| -> Vec<Value> {
        let lines = super::lines(format, std::io::Cursor::new(text.to_owned()), options.clone()).unwrap();
        lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap_or_default()).collect()
    };
    let mut found = lines(Format::ShlinkCsv, fixture!("shlink.csv"));
    assert_eq!((found.len(), found.remove(0)), (2, Value::Null), "the record that is left out is counted");
    assert_eq!((&found[0]["domain"], &found[0]["tags"]), (&json!("new.test"), &json!(["moved"])));
    let own = "{\"long_url\":\"https://e.test/\",\"code\":\"a\",\"domain\":\"other.test\",\"tags\":[\"x\"]}\n{\"end\":true}\n";
    let found = lines(Format::Signpost, own);
    assert_eq!((&found[0]["domain"], &found[0]["tags"]), (&json!("new.test"), &json!(["x", "moved"])));
}

#[test]
fn what_is_something_else_is_refused_and_says_so() {
    for (format, text) in [
        (Format::ShlinkJson, "code,url\n"),
        (Format::DubJson, "{\"error\": 1}"),
        (Format::YourlsCsv, "{\"links\": []}"),
    ] {
        assert!(refusal(format, text).contains("--from"), "{format:?}");
    }
}

#[test]
fn a_record_that_cannot_be_taken_over_stops_none_of_the_others() {
    let text = "keyword,url,timestamp\na,https://e.test/,2011-02-03 04:05:06\nb,https://e.test/,yesterday\nc,https://e.test/,\n";
    let lines = lines(Format::YourlsCsv, std::io::Cursor::new(text), Options::default()).unwrap();
    let found: Vec<_> = lines.map(|line| line.map(|_| ()).map_err(|error| error.to_string())).collect();
    assert_eq!(found, [Ok(()), Err("record 2: \"yesterday\" is no time".to_owned()), Ok(())]);
    let mut latin = b"keyword,url,title\na,https://e.test/,\xe4\n".to_vec();
    latin.extend_from_slice(b"b,https://e.test/,x\n");
    let lines = super::lines(Format::YourlsCsv, std::io::Cursor::new(latin), Options::default()).unwrap();
    assert_eq!(lines.map(|line| line.is_ok()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn short_urls_are_read_as_urls() {
    let read = |text: &str| short_url(text).ok();
    let found = |host: &str, code: &str| Some((host.to_owned(), code.to_owned()));
    assert_eq!(read("https://S.test/a/b/?x=1#y"), found("s.test", "a/b"));
    assert_eq!(read("s.test:8080/a"), found("s.test", "a"));
    assert_eq!(read("http://me:secret@s.test/a"), found("s.test", "a"));
    for text in ["", "s.test", "https://s.test/", "ftp://s.test/a", "https://[/a", "https:///"] {
        assert_eq!(read(text), None, "{text}");
    }
}
