//! A link that was changed is never followed to its old target again, once the change was acknowledged by every proxy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use signpost_loadtest::fleet::{Fleet, Options};
use signpost_loadtest::http1::{Connection, Endpoint, get, post_json};

use super::bin_dir;

/// Links that are changed all the time.
const LINKS: usize = 8;
/// How often each is changed.
const CHANGES: u64 = 300;
/// Readers a proxy.
const READERS: usize = 2;
const TIMEOUT: Duration = Duration::from_secs(10);

/// One link: its code and the last version every proxy is known to have.
struct Watched {
    code: String,
    acknowledged: AtomicU64,
}

fn target(version: u64) -> String {
    format!("https://example.org/version/{version}")
}

fn version_of(target: &str) -> u64 {
    target.rsplit('/').next().unwrap().parse().unwrap_or_else(|_| panic!("{target} was never a target"))
}

fn dial(address: &str) -> Connection {
    Connection::new(address.parse::<Endpoint>().unwrap(), TIMEOUT)
}

fn change(admin: &mut Connection, headers: &str, watched: &Watched, version: u64) {
    let body = format!(r#"{{"long_url":"{}"}}"#, target(version));
    let request = format!(
        "PATCH /v1/links/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/merge-patch+json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        watched.code,
        admin.endpoint().authority(),
        body.len()
    );
    let answer = admin.exchange(request.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
    let link: Value = serde_json::from_slice(answer.body).unwrap();
    // A proxy that was too slow to be waited for is named, and then nothing was promised about it.
    if link["replication"]["applied"] == 2 {
        watched.acknowledged.fetch_max(version, Ordering::SeqCst);
    }
}

#[test]
fn no_proxy_redirects_to_an_old_target_after_an_acknowledged_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path(), 2).unwrap();
    options.bin_dir = bin_dir();
    let fleet = Fleet::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let ready = fleet.ready();
    let headers = format!("Authorization: Bearer {}\r\n", ready.token);
    let mut admin = dial(&ready.admin);
    let links: Vec<Watched> = (0..LINKS)
        .map(|_| {
            let body = format!(r#"{{"long_url":"{}"}}"#, target(0));
            let request = post_json(admin.endpoint(), "/v1/links", &headers, body.as_bytes());
            let answer = admin.exchange(&request).unwrap();
            assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(answer.body));
            let link: Value = serde_json::from_slice(answer.body).unwrap();
            Watched { code: link["code"].as_str().unwrap().to_owned(), acknowledged: AtomicU64::new(0) }
        })
        .collect();

    let (links, headers) = (&links, headers.as_str());
    let done = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .flat_map(|_| &ready.proxies)
            .map(|proxy| scope.spawn(|| read(proxy, links, &done)))
            .collect();
        let writers: Vec<_> = links
            .iter()
            .map(|watched| {
                scope.spawn(move || {
                    let mut admin = dial(&ready.admin);
                    (1..=CHANGES).for_each(|version| change(&mut admin, headers, watched, version));
                })
            })
            .collect();
        // A writer that failed must still end the readers, or the test would never end.
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        let asked: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        written.into_iter().for_each(|written| written.unwrap());
        asked
    });
    let promised = links.iter().filter(|watched| watched.acknowledged.load(Ordering::SeqCst) > 0).count();
    assert_eq!(promised, LINKS, "no change of some link reached both proxies in time: nothing was tested");
    assert!(asked > CHANGES, "only {asked} redirects while {CHANGES} changes were made: nothing was tested");
}

/// Follows the links until `done`; returns how often.
fn read(proxy: &str, links: &[Watched], done: &AtomicBool) -> u64 {
    let mut connection = dial(proxy);
    let mut asked = 0;
    while !done.load(Ordering::SeqCst) {
        for watched in links {
            let promised = watched.acknowledged.load(Ordering::SeqCst);
            let request = get(connection.endpoint(), &format!("/{}", watched.code), "");
            let answer = connection.exchange(&request).unwrap();
            let location = String::from_utf8(answer.location.expect("a redirect").to_vec()).unwrap();
            let seen = version_of(&location);
            assert!(seen >= promised, "{proxy} leads to version {seen} after {promised} was acknowledged");
            asked += 1;
        }
    }
    asked
}
