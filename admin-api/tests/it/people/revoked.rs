//! What is taken away from somebody is gone at once.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{operator, token, user};
use crate::fixture::{Admin, Client, until};

#[test]
fn what_is_revoked_or_switched_off_is_so_at_once_although_no_replica_confirms_it() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let ada = user(&boss, "Ada");
    let (revoked, id) = token(&admin, &boss, json!({}));
    let (of_ada, _) = token(&admin, &boss, json!({ "user": ada }));
    admin.set_config(|text| text + "[replication]\nmin_sync_replicas = 1\n");
    admin.restart();
    let again = |client: &Client| Client::new(admin.addresses().http, client.token());
    let (boss, revoked, of_ada) = (again(&boss), again(&revoked), again(&of_ada));
    assert_eq!((revoked.get("/v1/links").status, of_ada.get("/v1/links").status), (200, 200));
    let path = format!("/v1/tokens/{id}");
    assert_eq!(boss.delete(&path).problem(), (503, "outcome_unknown"));
    assert_eq!(revoked.get("/v1/links").problem(), (401, "token_invalid"));
    assert_eq!(boss.delete(&path).status, 204);
    let off = boss.patch(&format!("/v1/users/{ada}"), &json!({ "disabled": true }));
    assert_eq!(off.problem(), (503, "outcome_unknown"));
    assert_eq!(of_ada.get("/v1/links").problem(), (401, "token_invalid"));
}

/// Sends a request that revokes a token, and leaves the answer to whoever has the connection.
fn revoking(admin: &Admin, boss: &Client, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin.addresses().http).unwrap();
    let head = format!(
        "DELETE /v1/tokens/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        boss.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn a_revocation_whose_client_goes_away_is_done_whole_or_not_at_all() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let tokens: Vec<(Client, String)> = (0..40).map(|_| token(&admin, &boss, json!({}))).collect();
    for (n, (_, id)) in (0..).zip(&tokens) {
        let stream = revoking(&admin, &boss, id);
        // Not to wait for anything: each goes away at another moment of its request.
        std::thread::sleep(Duration::from_micros(50 * n));
        drop(stream);
    }
    let accepted = |admin: &Admin| -> Vec<bool> {
        let works = |client: &Client| {
            Client::new(admin.addresses().http, client.token()).get("/v1/links").status == 200
        };
        tokens.iter().map(|(client, _)| works(client)).collect()
    };
    // What was begun is through when nothing changes any more from one record to the next.
    let (mut settled, mut rounds) = (accepted(&admin), 0);
    while rounds < 3 {
        user(&boss, "somebody");
        let now = accepted(&admin);
        rounds = if now == settled { rounds + 1 } else { 0 };
        settled = now;
    }
    admin.restart();
    assert_eq!(accepted(&admin), settled, "what is in force is what the log has");
}

#[test]
fn a_revocation_is_in_force_although_its_client_does_not_wait_for_replicas() {
    let mut admin = Admin::start(&[]);
    let boss = operator(&admin);
    let (revoked, id) = token(&admin, &boss, json!({}));
    admin.set_config(|text| text + "[replication]\nmin_sync_replicas = 1\n");
    admin.restart();
    let revoked = Client::new(admin.addresses().http, revoked.token());
    assert_eq!(revoked.get("/v1/links").status, 200);
    // No replica confirms it, so there is no answer yet.
    let stream = revoking(&admin, &boss, &id);
    until("the end of the token", || (revoked.get("/v1/links").status == 401).then_some(()));
    drop(stream);
    admin.restart();
    assert_eq!(Client::new(admin.addresses().http, revoked.token()).get("/v1/links").status, 401);
}
