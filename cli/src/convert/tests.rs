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
    assert_eq!(json[0], promo);
    assert_eq!(json[1]["expires_at"], "2031-01-01T00:00:00Z");
    assert_eq!(json.len(), 2);
    let limited =
        r#"{"shortUrls":{"data":[{"shortCode":"x","longUrl":"https://e.test/","meta":{"maxVisits":5}}]}}"#;
    assert!(refusal(Format::ShlinkJson, limited).contains("may be visited 5 times only"));
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
fn bitly_takes_the_custom_back_half() {
    let links = converted(Format::BitlyJson, fixture!("bitly.json"));
    assert_eq!(
        links,
        [
            json!({ "long_url": "https://example.org/a", "code": "3SD8bAQ", "domain": "bit.ly", "created_at": "2022-10-24T10:40:37Z" }),
            json!({ "long_url": "https://example.org/b", "code": "launch", "domain": "go.test", "title": "Launch", "tags": ["a", "b"],
                "created_at": "2022-10-25T00:00:00Z" }),
        ]
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
    assert_eq!(json[1]["state"], "disabled");
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
        lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).collect()
    };
    let found = lines(Format::ShlinkCsv, fixture!("shlink.csv"));
    assert_eq!(found.len(), 1);
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
