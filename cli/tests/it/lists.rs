//! Lists of URLs in, lists of links out.

use super::fixture::Api;

#[test]
fn a_list_of_urls_from_standard_input_is_made_in_batches() {
    let api = Api::start();
    let list: String = (0..1203).map(|n| format!("https://example.org/{n} alias-{n}\n")).collect();
    let made = api.run_with(&["create", "--tag", "list"], &format!("# a comment\n\n{list}"));
    assert_eq!(made.err, "");
    let lines: Vec<_> = made.out.lines().collect();
    assert_eq!(lines.len(), 1203);
    assert_eq!(lines[1202], "http://s.test/alias-1202\thttps://example.org/1202");
    let links = api.run(&["list", "--all", "-o", "json"]).json();
    assert_eq!(links.as_array().unwrap().len(), 1203);
    assert_eq!((&links[0]["code"], &links[0]["tags"][0]), (&"alias-1202".into(), &"list".into()));
}

#[test]
fn what_of_a_list_cannot_be_made_is_named_by_its_line_and_the_rest_is_made() {
    let api = Api::start();
    let made = api.run_with(
        &["create", "-"],
        "https://example.org/a first\nnonsense second\nhttps://example.org/b first\n",
    );
    assert_eq!(made.code, 1);
    assert_eq!(made.out, "http://s.test/first\thttps://example.org/a\n");
    assert!(made.err.contains("line 2: long_url"), "{}", made.err);
    assert!(made.err.contains("line 3: the alias belongs to another link"), "{}", made.err);
    assert!(made.err.contains("1 links were made, 2 were not"), "{}", made.err);
}

#[test]
fn a_list_is_a_table_for_people() {
    let api = Api::start();
    api.run_with(&["create"], "https://example.org/a one\nhttps://example.org/b two\n").ok();
    let table = api.run(&["list", "--limit", "1"]).ok();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("SHORT_URL") && lines[0].contains("LONG_URL"), "{table}");
    assert!(lines[1].starts_with("http://s.test/two  https://example.org/b"), "{table}");
}
