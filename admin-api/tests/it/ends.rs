//! How the service ends: in order, under load, and by kill -9. Whatever was acknowledged is there afterwards.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, FakePool, PATIENCE, config_text, own_address, until};

#[test]
fn a_restart_keeps_everything() {
    let pool = FakePool::start(1, 0);
    let mut admin = Admin::start(&[&pool]);
    let client = admin.client();
    let generated = client.create(&json!({ "long_url": "https://a.example/", "title": "t", "tags": ["x"] }));
    client.create(&json!({ "long_url": "https://b.example/", "alias": "abc", "status": 301 }));
    client.patch("/v1/links/abc", &json!({ "state": "disabled" }));
    client.create(&json!({ "long_url": "https://c.example/", "alias": "gone" }));
    client.delete("/v1/links/gone");
    let before = client.get("/v1/links").json;
    let head = client.get("/v1/replication").json["head"].clone();
    admin.restart();
    let client = admin.client();
    assert_eq!(client.get("/v1/links").json, before);
    assert_eq!(client.get("/v1/replication").json["head"], head);
    assert_eq!(client.get("/v1/links/gone").status, 404);
    let code = generated["code"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/links/{code}")).json["title"], "t");
}

#[test]
fn a_second_service_on_the_same_folder_is_refused() {
    let admin = Admin::start(&[]);
    let mut config = admin.config();
    config.control_socket = admin.dir().join("other.sock");
    let refused = signpost_admin::server::Running::start(&config).err().unwrap().to_string();
    assert!(refused.to_lowercase().contains("lock"), "{refused}");
    assert_eq!(admin.client().get("/v1/links").status, 200);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut admin = Admin::start(&[]);
    admin.stop();
    let config = signpost_admin::config::Config { http_listen: address, ..admin.config() };
    let refused = signpost_admin::server::Running::start(&config).err().unwrap().to_string();
    assert!(refused.contains(&address.to_string()), "{refused}");
}

#[test]
fn connections_without_a_request_are_closed_by_a_stop() {
    let mut admin = Admin::start(&[]);
    let http = admin.addresses().http;
    let fresh = TcpStream::connect(http).unwrap();
    let mut kept = TcpStream::connect(http).unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
    let mut half = TcpStream::connect(http).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    admin.stop();
    for mut stream in [fresh, kept, half] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "still open");
    }
}

/// Creates links until told to stop or until nobody answers; returns what was acknowledged, code and target.
fn create_until(client: &Client, stop: &AtomicBool, name: &str, acknowledged: &Mutex<Vec<(String, String)>>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let target = format!("https://a.example/{name}/{n}");
        let body = Some(json!({ "long_url": target }).to_string());
        match client.try_send(Method::POST, "/v1/links", &[], body) {
            Ok(reply) if reply.status == 201 => {
                let code = reply.json["code"].as_str().unwrap().to_owned();
                acknowledged.lock().unwrap().push((code, target));
            }
            Ok(reply) => assert_eq!(reply.status, 503, "{reply:?}"),
            Err(_) => return,
        }
    }
}

fn verify(client: &Client, acknowledged: &[(String, String)]) {
    let codes: HashSet<_> = acknowledged.iter().map(|(code, _)| code).collect();
    assert_eq!(codes.len(), acknowledged.len(), "a code was given out twice");
    let mut found = HashMap::new();
    let mut path = "/v1/links?limit=1000".to_owned();
    loop {
        let page: Value = client.get(&path).json;
        for link in page["data"].as_array().unwrap() {
            found.insert(
                link["code"].as_str().unwrap().to_owned(),
                link["long_url"].as_str().unwrap().to_owned(),
            );
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/links?limit=1000&cursor={cursor}");
    }
    for (code, target) in acknowledged {
        assert_eq!(found.get(code), Some(target), "{code} was acknowledged");
    }
}

#[test]
fn a_stop_under_load_answers_what_was_accepted_and_loses_nothing_that_was_answered() {
    let pool = FakePool::start(1, 0);
    let mut admin = Admin::start(&[&pool]);
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..3 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (client, stop, acknowledged) = (admin.client(), &stop, &acknowledged);
                scope.spawn(move || create_until(&client, stop, &format!("{round}-{n}"), acknowledged));
            }
            let enough = (round + 1) * 300;
            until("some load", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            admin.stop();
            stop.store(true, Ordering::Relaxed);
        });
        admin.restart();
    }
    verify(&admin.client(), &acknowledged.into_inner().unwrap());
}

/// The real binary, on ports of its own choice.
struct Process {
    child: Child,
    http: SocketAddr,
}

impl Process {
    fn start(config: &std::path::Path, log: &std::path::Path, http: SocketAddr) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_signpost-admin"));
        let child = command
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let process = Process { child, http };
        let client = Client::new(http, "");
        until("the service to answer", || client.try_send(Method::GET, "/healthz", &[], None).ok());
        process
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap().success()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn kill_9_at_random_instants_loses_nothing_that_was_answered() {
    let pool = FakePool::start(1, 0);
    let dir = tempfile::tempdir().unwrap();
    let (config, log, http) = (dir.path().join("admin.toml"), dir.path().join("log"), own_address());
    let text = config_text(dir.path(), &[&pool], "[codes]\nblock = 1000\nlow_watermark = 500\n");
    std::fs::write(&config, text.replacen("127.0.0.1:0", &http.to_string(), 1)).unwrap();
    let mut process = Process::start(&config, &log, http);
    let made = daemon::control::call(
        &dir.path().join("control.sock"),
        "token.create",
        json!({ "name": "t", "scopes": ["admin"] }),
    );
    let token = made.unwrap()["token"].as_str().unwrap().to_owned();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..6_u64 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (client, stop, acknowledged) = (Client::new(process.http, &token), &stop, &acknowledged);
                scope.spawn(move || create_until(&client, stop, &format!("{round}-{n}"), acknowledged));
            }
            let before = acknowledged.lock().unwrap().len();
            until("some load", || (acknowledged.lock().unwrap().len() > before + 100).then_some(()));
            // Anywhere within a group, different in every round.
            std::thread::sleep(Duration::from_micros(round * 1713 % 5000));
            process.signal("-KILL");
            stop.store(true, Ordering::Relaxed);
        });
        process.child.wait().unwrap();
        process = Process::start(&config, &log, http);
    }
    verify(&Client::new(http, &token), &acknowledged.lock().unwrap());
    process.signal("-TERM");
    let ended = process.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", std::fs::read_to_string(&log).unwrap());
}
