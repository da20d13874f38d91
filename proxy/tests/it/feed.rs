//! A writer that says what the test tells it to say, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use linklog::{Digest, Head, Position, SlotSum};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::feed::feed_server::Feed;
use wire::feed::follower_message::Message as FromFollower;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as ToFollower;
use wire::feed::{Ack, FollowerMessage, Heartbeat, Hello, Records, Refusal, Welcome, WriterMessage};
use wire::identity::Identity;
use wire::listen::{Listener, feed_routes, with_clicks};

use crate::accountant::Accountant;
use crate::author::{Author, FLEET, now_ms};
use crate::client::DEADLINE;

/// A feed port.
pub(crate) struct FakeWriter {
    pub(crate) address: SocketAddr,
    pub(crate) accountant: Accountant,
    streams: Mutex<mpsc::Receiver<Stream>>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    runtime: tokio::runtime::Handle,
}

/// One follower's stream.
pub(crate) struct Stream {
    pub(crate) hello: Hello,
    to_follower: mpsc::Sender<Result<WriterMessage, Status>>,
    from_follower: Streaming<FollowerMessage>,
    runtime: tokio::runtime::Handle,
}

impl FakeWriter {
    pub(crate) fn start() -> FakeWriter {
        FakeWriter::start_at(FakeWriter::own_address(), None)
    }

    /// A free port of a loopback address that no other writer of this run has: a proxy that goes on asking for a writer that is gone
    /// must not find another test's.
    pub(crate) fn own_address() -> SocketAddr {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let run = std::process::id() as u8;
        SocketAddr::from(([127, 1 + run % 200, high, low], 0))
    }

    pub(crate) fn start_at(address: SocketAddr, identity: Option<&Identity>) -> FakeWriter {
        FakeWriter::start_with(address, identity, Accountant::default())
    }

    /// As another process that goes on with the accounts of one before.
    pub(crate) fn start_counting(address: SocketAddr, accountant: Accountant) -> FakeWriter {
        FakeWriter::start_with(address, None, accountant)
    }

    fn start_with(address: SocketAddr, identity: Option<&Identity>, accountant: Accountant) -> FakeWriter {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            loop {
                match Listener::bind(address, identity).await {
                    Ok(listener) => return listener.drain_timeout(Duration::ZERO),
                    // The port of the writer before may take a moment to become free.
                    Err(_) if address.port() != 0 => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let (stop, handle) = (CancellationToken::new(), runtime.handle().clone());
        let (accepted, streams) = mpsc::channel(16);
        let address = listener.local_addr();
        let stopped = stop.clone();
        accountant.begin();
        let routes = with_clicks(feed_routes(Accepting(accepted)), accountant.clone());
        let thread = std::thread::spawn(move || {
            let served = listener.serve(routes, stopped.clone().cancelled_owned());
            let _ = runtime.block_on(served);
            runtime.shutdown_background();
        });
        FakeWriter {
            address,
            accountant,
            streams: Mutex::new(streams),
            stop,
            thread: Some(thread),
            runtime: handle,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next stream a follower opens.
    pub(crate) fn accept(&self) -> Stream {
        self.runtime.block_on(async {
            let mut streams = self.streams.lock().await;
            let next = tokio::time::timeout(DEADLINE, streams.recv()).await;
            next.expect("a follower in time").expect("the server runs")
        })
    }

    /// The next stream, welcomed at the author's head.
    pub(crate) fn welcome(&self, author: &Author) -> Stream {
        let stream = self.accept();
        stream.welcome_with(FLEET, author.head().position);
        stream
    }
}

impl Drop for FakeWriter {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Accepting(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Feed for Accepting {
    type FollowStream = ReceiverStream<Result<WriterMessage, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowerMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (to_follower, messages) = mpsc::channel(64);
        let (accepted, runtime) = (self.0.clone(), tokio::runtime::Handle::current());
        let mut from_follower = request.into_inner();
        tokio::spawn(async move {
            if let Ok(Some(FollowerMessage { message: Some(FromFollower::Hello(hello)) })) =
                from_follower.message().await
            {
                let _ = accepted.send(Stream { hello, to_follower, from_follower, runtime }).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

pub(crate) fn on_wire(position: Position) -> Option<wire::feed::Position> {
    Some(wire::feed::Position { epoch: position.epoch.0, seq: position.seq.0 })
}

impl Stream {
    pub(crate) fn say(&self, message: ToFollower) {
        let said = self.to_follower.blocking_send(Ok(WriterMessage { message: Some(message) }));
        // A follower that has left does not hear it.
        drop(said);
    }

    pub(crate) fn welcome_with(&self, fleet: [u8; 16], head: Position) {
        self.say(ToFollower::Welcome(Welcome {
            fleet_id: fleet.to_vec(),
            head: on_wire(head),
            format_level: 1,
            version: "fake".into(),
        }));
    }

    pub(crate) fn records(&self, frame: &[u8]) {
        let synced_at_us = signpost_proxy::wall_clock::now_us();
        self.say(ToFollower::Records(Records { frame: frame.to_vec().into(), synced_at_us }));
    }

    pub(crate) fn refuse(&self, reason: Reason) {
        let refusal =
            Refusal { reason: reason.into(), detail: "as the test says".into(), first_retained_seq: 0 };
        self.say(ToFollower::Refusal(refusal));
    }

    /// A heartbeat that is right.
    pub(crate) fn heartbeat(&self, author: &Author) {
        self.heartbeat_with(author.head(), Some(author.sum()), author.head().position);
    }

    pub(crate) fn heartbeat_with(&self, at: Head, sum: Option<SlotSum>, head: Position) {
        self.say(ToFollower::Heartbeat(Heartbeat {
            active_proxies: 1,
            position: on_wire(at.position),
            digest: at.digest.to_bytes().to_vec(),
            serve_sum: sum.map_or(Vec::new(), |sum| sum.to_bytes().to_vec()),
            clock_ms: now_ms(),
            head: on_wire(head),
        }));
    }

    /// Sends what the follower lacks, then a heartbeat; returns when it has acknowledged the head.
    pub(crate) fn catch_up(&mut self, author: &Author) {
        let from = self.hello.applied.as_ref().map_or(0, |at| at.seq);
        for (frame, _) in author.frames.iter().filter(|(_, head)| head.position.seq.0 > from) {
            self.records(frame);
        }
        self.heartbeat(author);
        self.await_ack(author.head().position);
    }

    /// Sends the newest frame and waits until it is visible.
    pub(crate) fn publish(&mut self, author: &Author) {
        self.records(&author.frames.last().unwrap().0);
        self.await_ack(author.head().position);
    }

    pub(crate) fn await_ack(&mut self, position: Position) -> Ack {
        loop {
            let ack = self.next_ack().expect("an acknowledgement, not the end of the stream");
            if ack.applied == on_wire(position) {
                return ack;
            }
        }
    }

    /// The next acknowledgement; `None` if the follower has left.
    pub(crate) fn next_ack(&mut self) -> Option<Ack> {
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, self.from_follower.message()).await });
        match next.expect("something in time") {
            Ok(Some(FollowerMessage { message: Some(FromFollower::Ack(ack)) })) => Some(ack),
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) | Err(_) => None,
        }
    }

    /// Waits until the follower has left.
    pub(crate) fn await_end(&mut self) {
        while self.next_ack().is_some() {}
    }
}

pub(crate) fn other_digest(head: Head) -> Head {
    Head { digest: Digest::from_bytes([9; 16]), ..head }
}
