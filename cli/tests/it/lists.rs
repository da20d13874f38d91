//! Lists of URLs in, lists of links out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::fixture::{Api, run};

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

/// Reads a head; returns how long the body is.
fn head(reader: &mut BufReader<TcpStream>) -> usize {
    let lines = reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lengths =
        lines.filter_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    lengths.last().unwrap_or(0)
}

fn answer(reader: &mut BufReader<TcpStream>, links: usize) {
    let link = "{\"link\":{\"short_url\":\"http://s.test/x\",\"long_url\":\"https://e.test/\"}}";
    let body = format!("{{\"results\":[{}]}}", vec![link; links].join(","));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    reader.get_mut().write_all((head + &body).as_bytes()).unwrap();
}

#[test]
fn a_connection_that_does_not_become_ready_again_is_given_up_for_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        // Answers before it has read the batch, and reads no more of it.
        let mut first = BufReader::new(listener.accept().unwrap().0);
        assert!(head(&mut first) > 16 << 20, "more than the sockets take by themselves");
        answer(&mut first, 1000);
        let mut second = BufReader::new(listener.accept().unwrap().0);
        let bytes = head(&mut second);
        std::io::copy(&mut second.by_ref().take(bytes as u64), &mut std::io::sink()).unwrap();
        answer(&mut second, 1);
        first
    });
    let long = "x".repeat(20_000);
    let list: String = (0..1001).map(|n| format!("https://e.test/{n}/{long}\n")).collect();
    let made = run(&["create"], &[("SIGNPOST_URL", &url), ("SIGNPOST_TOKEN", "sp_x")], &list);
    assert_eq!(made.ok().lines().count(), 1001);
    server.join().unwrap();
}
