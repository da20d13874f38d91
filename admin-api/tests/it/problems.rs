//! Problems that take more than one request, or a broken connection, to come about.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use super::fixture::{Admin, Client, PATIENCE, until};

/// Begins a request whose body comes in chunks, and sends nothing of it yet.
fn begin(admin: &Admin, client: &Client, path: &str, content_type: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    // Longer than the service waits for a body.
    stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {}\r\nContent-Type: {content_type}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        client.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let mut stream = begin(&admin, &client, "/v1/links", "application/json");
    stream.write_all(b"12\r\n{\"alias\": \"broken\"\r\nno length\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"body_broken\""), "{answer}");
    assert_eq!(client.get("/v1/links/broken").problem(), (404, "link_not_found"));
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let mut stream = begin(&admin, &client, "/v1/links", "application/json");
    stream.write_all(b"12\r\n{\"alias\": \"unsent\"\r\n").unwrap();
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"body_too_slow\""), "{answer}");
    assert_eq!(client.get("/v1/links/unsent").problem(), (404, "link_not_found"));
}

#[test]
fn more_imports_than_there_are_places_for_are_told_to_come_back() {
    let admin = Admin::start(&[]);
    let client = admin.client();
    let import = || {
        let headers = [("content-type", "application/x-ndjson")];
        client.send(Method::POST, "/v1/import", &headers, Some(String::new()))
    };
    let mut others = Vec::new();
    let busy = until("every place to be taken", || {
        others.push(begin(&admin, &client, "/v1/import", "application/x-ndjson"));
        Some(import()).filter(|reply| reply.status != 200)
    });
    assert_eq!(busy.problem(), (503, "transfers_busy"));
    assert!(busy.header("retry-after").is_some(), "{busy:?}");
    drop(others);
    until("a place to be free", || (import().status == 200).then_some(()));
}

#[test]
fn of_many_who_change_one_user_at_once_each_is_told_whether_it_took_effect() {
    let admin = Admin::start(&[]);
    let operator = Client::new(admin.addresses().http, &admin.make_token(&["admin"]));
    let user = operator.post("/v1/users", &json!({ "name": "Ada" })).json;
    let path = format!("/v1/users/{}", user["id"].as_str().unwrap());
    let contended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let client = Client::new(admin.addresses().http, operator.token());
            let (path, contended) = (&path, &contended);
            scope.spawn(move || {
                for round in 0.. {
                    assert!(round < 10_000, "nobody lost in {round} rounds");
                    if contended.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("Ada {number} {round}");
                    let reply = client.patch(path, &json!({ "name": name }));
                    if reply.status == 200 {
                        assert_eq!(reply.json["name"], name);
                        continue;
                    }
                    assert_eq!(reply.problem(), (409, "contended"));
                    contended.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    let now: Value = operator.get(&path).json;
    assert!(now["name"].as_str().unwrap().starts_with("Ada "), "{now}");
}
