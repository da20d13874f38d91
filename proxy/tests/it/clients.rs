//! What real clients send is answered on the fast path: their headers as they were written down, one file each.

use std::path::{Path, PathBuf};

use signpost_proxy::worker::Event;

use crate::author::Author;
use crate::client::Visitor;
use crate::site::Site;

/// Name and headers, lines ended as on the wire.
fn recorded() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/data/headers");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, text.lines().map(|line| format!("{line}\r\n")).collect())
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_recorded_client_stays_on_the_fast_path() {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    let site = Site::new(&author);
    let recorded = recorded();
    assert!(recorded.len() >= 20);
    for (n, (name, headers)) in recorded.iter().enumerate() {
        let mut visitor = Visitor::new(site.address);
        visitor.send(format!("GET /Ab3xY9z HTTP/1.1\r\n{headers}\r\n"));
        let answer = visitor.answer();
        assert_eq!(answer.location(), "https://a.example/", "{name}");
        let closes = headers.contains("Connection: close");
        assert_eq!(answer.header("connection"), closes.then_some("close"), "{name}");
        assert_eq!((site.events(Event::Fast), site.events(Event::Session)), (n as u64 + 1, 0), "{name}");
    }
}

#[test]
fn recorded_browsers_send_what_browsers_send() {
    let browsers: Vec<(String, String)> =
        recorded().into_iter().filter(|(name, _)| name.starts_with("browser-")).collect();
    assert!(browsers.len() >= 20);
    for (name, headers) in &browsers {
        assert!((580..=960).contains(&headers.len()), "{name}: {} bytes", headers.len());
        for header in ["User-Agent", "Referer", "Accept-Language", "Cookie"] {
            assert!(headers.contains(&format!("\r\n{header}: ")), "{name} has no {header}");
        }
    }
    let bytes: usize = browsers.iter().map(|(_, headers)| headers.len()).sum();
    assert!((650..=750).contains(&(bytes / browsers.len())), "{} bytes on average", bytes / browsers.len());
}
