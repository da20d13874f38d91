//! What a peer cannot do to a server: too large, too silent, too late.

use std::time::Duration;

use tokio::net::TcpStream;
use tonic::Code;
use wire::{
    channel,
    identity::Role,
    keys::{LeaseRequest, MarkUsedRequest, ReleaseRequest},
    limits::{KEYS_MESSAGE_BYTES_MAX, LEASE_CODES_MAX, MARK_CODES_MAX},
};

use crate::fixture::{DEADLINE, Fleet, Server, describe};

#[tokio::test]
async fn the_largest_lease_and_mark_pass_and_larger_messages_do_not() {
    let server = Server::start(None).await;
    let endpoint = channel::endpoint(&format!("http://{}", server.addr), None, Role::Keypool).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = channel::keys_client(channel.clone());

    let lease = LeaseRequest { count: LEASE_CODES_MAX, ..LeaseRequest::default() };
    assert_eq!(client.lease(lease).await.unwrap().into_inner().codes.len(), LEASE_CODES_MAX as usize);
    let mark = MarkUsedRequest { codes: vec![u64::MAX; MARK_CODES_MAX] };
    assert_eq!(client.mark_used(mark).await.unwrap().into_inner().newly_marked, MARK_CODES_MAX as u32);

    let too_much = || MarkUsedRequest { codes: vec![u64::MAX; KEYS_MESSAGE_BYTES_MAX / 8] };
    assert_eq!(client.mark_used(too_much()).await.unwrap_err().code(), Code::Internal, "our own bound");
    let mut unbounded = wire::keys::key_supply_client::KeySupplyClient::new(channel);
    assert_eq!(
        unbounded.mark_used(too_much()).await.unwrap_err().code(),
        Code::OutOfRange,
        "the server's bound"
    );
}

#[tokio::test]
async fn connections_that_never_begin_their_handshake_delay_nobody() {
    let fleet = Fleet::new();
    let server = Server::start(Some(&fleet.identity(Role::Keypool, "pool-a"))).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let writer = fleet.identity(Role::Writer, "admin-1");
    let endpoint = channel::endpoint(&server.url(), Some(&writer), Role::Keypool).unwrap();
    describe(endpoint).await.unwrap();
}

#[tokio::test]
async fn stopping_lets_running_calls_finish_and_takes_no_new_connection() {
    let server = Server::start(None).await;
    let (addr, gate, entered) = (server.addr, server.gate.clone(), server.entered.clone());
    let endpoint = channel::endpoint(&format!("http://{addr}"), None, Role::Keypool).unwrap();
    let mut client = channel::keys_client(endpoint.connect().await.unwrap());
    let running = tokio::spawn(async move { client.release(ReleaseRequest { codes: vec![1] }).await });
    entered.acquire().await.unwrap().forget();

    let stopped = server.stop();
    tokio::time::timeout(DEADLINE, async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port closes at once");

    gate.add_permits(1);
    let answer = tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
    assert_eq!(answer.unwrap().into_inner().quarantined, 1);
    tokio::time::timeout(DEADLINE, stopped).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_keep_the_server_from_stopping() {
    let server = Server::start_draining(None, Duration::from_millis(1)).await;
    let entered = server.entered.clone();
    let endpoint = channel::endpoint(&format!("http://{}", server.addr), None, Role::Keypool).unwrap();
    let mut client = channel::keys_client(endpoint.connect().await.unwrap());
    let _running = tokio::spawn(async move { client.release(ReleaseRequest { codes: vec![1] }).await });
    entered.acquire().await.unwrap().forget();
    tokio::time::timeout(DEADLINE, server.stop()).await.unwrap().unwrap().unwrap();
}
