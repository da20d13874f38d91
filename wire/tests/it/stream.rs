//! The feed's stream between two members, with the sizes it has in practice.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Code, Request, Response, Status, Streaming};
use wire::{
    channel,
    feed::{
        Ack, FollowerMessage, Hello, Records, Welcome, WriterMessage, feed_server::Feed, follower_message,
        writer_message,
    },
    identity::{Role, authorize},
    limits::{FOLLOWER_MESSAGE_BYTES_MAX, WRITER_MESSAGE_BYTES_MAX},
    listen::{Listener, feed_routes},
};

use crate::fixture::Fleet;

/// Answers a hello with the member's name and one frame as large as may be, then echoes acknowledgements as frames.
struct Stub;

#[tonic::async_trait]
impl Feed for Stub {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<WriterMessage, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowerMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy])?.ok_or_else(|| Status::unauthenticated("plain"))?;
        let mut up = request.into_inner();
        up.message().await?.ok_or_else(|| Status::invalid_argument("no hello"))?;
        let welcome = Welcome { version: peer.name, ..Welcome::default() };
        let first = vec![message(writer_message::Message::Welcome(welcome)), records(LARGEST_FRAME)];
        let echoed = up.map(|ack| ack.and_then(|_| records(1)));
        Ok(Response::new(Box::pin(stream::iter(first).chain(echoed))))
    }
}

const LARGEST_FRAME: usize = WRITER_MESSAGE_BYTES_MAX - 64;

fn message(message: writer_message::Message) -> Result<WriterMessage, Status> {
    Ok(WriterMessage { message: Some(message) })
}

fn records(len: usize) -> Result<WriterMessage, Status> {
    message(writer_message::Message::Records(Records { frame: vec![7; len].into(), synced_at_us: 1 }))
}

fn hello(version: String) -> FollowerMessage {
    FollowerMessage { message: Some(follower_message::Message::Hello(Hello { version, ..Hello::default() })) }
}

fn ack() -> FollowerMessage {
    FollowerMessage { message: Some(follower_message::Message::Ack(Ack::default())) }
}

fn frame_len(message: WriterMessage) -> usize {
    match message.message {
        Some(writer_message::Message::Records(records)) => records.frame.len(),
        other => panic!("records expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_follower_is_known_by_name_and_takes_the_largest_frame() {
    let fleet = Fleet::new();
    let writer = fleet.identity(Role::Writer, "admin-1");
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&writer)).await.unwrap();
    let url = format!("https://{}", listener.local_addr());
    tokio::spawn(listener.serve(feed_routes(Stub), std::future::pending()));

    let proxy = fleet.identity(Role::Proxy, "proxy-0");
    let endpoint = channel::endpoint(&url, Some(&proxy), Role::Writer).unwrap();
    let mut client = channel::feed_client(endpoint.connect().await.unwrap());
    let up = stream::iter([hello("0.1.0".into()), ack()]).chain(stream::pending());
    let mut down = client.follow(up).await.unwrap().into_inner();
    let Some(writer_message::Message::Welcome(welcome)) = down.message().await.unwrap().unwrap().message
    else {
        panic!("welcome expected")
    };
    assert_eq!(welcome.version, "proxy-0");
    assert_eq!(frame_len(down.message().await.unwrap().unwrap()), LARGEST_FRAME);
    assert_eq!(frame_len(down.message().await.unwrap().unwrap()), 1);
}

#[tokio::test]
async fn a_follower_that_says_too_much_is_cut_off() {
    let fleet = Fleet::new();
    let writer = fleet.identity(Role::Writer, "admin-1");
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&writer)).await.unwrap();
    let url = format!("https://{}", listener.local_addr());
    tokio::spawn(listener.serve(feed_routes(Stub), std::future::pending()));

    let proxy = fleet.identity(Role::Proxy, "proxy-0");
    let endpoint = channel::endpoint(&url, Some(&proxy), Role::Writer).unwrap();
    let mut unbounded = wire::feed::feed_client::FeedClient::new(endpoint.connect().await.unwrap());
    let too_much = hello("v".repeat(FOLLOWER_MESSAGE_BYTES_MAX));
    let refused = unbounded.follow(stream::iter([too_much]).chain(stream::pending())).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
}
