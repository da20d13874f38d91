//! Plain TCP: on loopback, and nowhere else.

use wire::{
    channel,
    identity::Role,
    listen::{ListenError, Listener},
};

use crate::fixture::{Fleet, Server, describe};

#[tokio::test]
async fn on_loopback_without_bundles_calls_pass_and_nobody_is_named() {
    let server = Server::start(None).await;
    for url in [format!("http://{}", server.addr), format!("http://localhost:{}", server.addr.port())] {
        let endpoint = channel::endpoint(&url, None, Role::Keypool).unwrap();
        assert_eq!(describe(endpoint).await.unwrap().version, "nobody");
    }
}

#[tokio::test]
async fn a_member_with_a_bundle_may_dial_a_plain_server_on_loopback() {
    let fleet = Fleet::new();
    let writer = fleet.identity(Role::Writer, "admin-1");
    let server = Server::start(None).await;
    let endpoint =
        channel::endpoint(&format!("http://{}", server.addr), Some(&writer), Role::Keypool).unwrap();
    assert_eq!(describe(endpoint).await.unwrap().version, "nobody");
}

#[tokio::test]
async fn a_member_with_a_bundle_does_not_fall_back_to_plain() {
    let fleet = Fleet::new();
    let writer = fleet.identity(Role::Writer, "admin-1");
    let server = Server::start(None).await;
    let endpoint = channel::endpoint(&server.url(), Some(&writer), Role::Keypool).unwrap();
    describe(endpoint).await.unwrap_err();
}

#[tokio::test]
async fn a_server_without_a_bundle_refuses_an_address_others_can_reach() {
    for addr in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "[2001:db8::1]:0"] {
        let refused = Listener::bind(addr.parse().unwrap(), None).await.unwrap_err();
        assert!(matches!(refused, ListenError::PlainNotLoopback { .. }), "{addr}");
        assert!(refused.to_string().contains("set tls_dir, or listen on 127.0.0.1"), "{refused}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = Server::start(None).await;
    let refused = Listener::bind(server.addr, None).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot listen on {}", server.addr));
    assert!(channel::reason(&refused).contains("in use"), "{}", channel::reason(&refused));
}
