//! What nodes say to each other, and what happens.

use linklog::{Change, Epoch, Head, Position, SlotSum};
use signpost_admin::succession::Standing;
use wire::feed::refusal::Reason;

use super::client::Answer;
use super::snapshots::{Asks, Making, Offer, Piece, SnapshotId};
use super::{Node, Stream, World};

/// What is said on a stream, or asked and answered.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Hello {
        stream: Stream,
        member: String,
        at: Head,
        highest_epoch: Epoch,
    },
    Welcome {
        stream: Stream,
        head: Position,
    },
    Refused {
        stream: Stream,
        reason: Reason,
    },
    Records {
        stream: Stream,
        frame: bytes::Bytes,
    },
    Heartbeat {
        stream: Stream,
        at: Head,
        serve_sum: Option<SlotSum>,
    },
    Ack {
        stream: Stream,
        applied: Position,
        synced_seq: u64,
    },
    Fence {
        question: u64,
        epoch: Epoch,
    },
    Standing {
        question: u64,
        standing: Standing,
    },
    Tail {
        question: u64,
        after: Head,
    },
    Tailed {
        question: u64,
        frames: Option<Vec<bytes::Bytes>>,
    },
    Request {
        command: u64,
        attempt: u64,
        change: Change,
    },
    Response {
        command: u64,
        attempt: u64,
        answer: Answer,
    },
    OpenSnapshot {
        call: Stream,
        asks: Asks,
    },
    Snapshot {
        call: Stream,
        id: SnapshotId,
        manifest: bytes::Bytes,
    },
    /// There is none to be had here, or no more.
    NoSnapshot {
        call: Stream,
    },
    ReadSnapshot {
        call: Stream,
        piece: Piece,
    },
    Chunk {
        call: Stream,
        part: usize,
        data: bytes::Bytes,
    },
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: Node,
        to: Node,
        message: Message,
    },
    /// A server's writer works.
    Turn {
        server: Node,
        life: u64,
    },
    Heartbeat {
        server: Node,
        life: u64,
    },
    /// A follower looks for a writer.
    Dial {
        node: Node,
        life: u64,
    },
    /// A follower looks whether it has heard anything.
    Silence {
        node: Node,
        stream: Stream,
    },
    /// A stream is over for one side.
    Over {
        node: Node,
        stream: Stream,
    },
    /// Nobody has confirmed in time.
    Unconfirmed {
        server: Node,
        life: u64,
        ticket: u64,
    },
    /// A promotion waits no longer.
    PollEnds {
        server: Node,
        life: u64,
        question: u64,
    },
    Client {
        client: usize,
    },
    /// A client waits no longer.
    GiveUp {
        command: u64,
        attempt: u64,
    },
    /// A snapshot is whole.
    Made {
        server: Node,
        life: u64,
        making: Making,
    },
    /// A snapshot that waits to be confirmed is looked at.
    OfferLater {
        server: Node,
        life: u64,
        waits: Offer,
    },
    /// More of a part is sent.
    SendOn {
        server: Node,
        life: u64,
        to: Node,
        call: Stream,
        piece: Piece,
    },
    /// A follower looks whether it has heard anything of its snapshot.
    FetchSilent {
        node: Node,
        call: Stream,
    },
    /// A snapshot that was received is made a replica, or a log.
    Install {
        node: Node,
        call: Stream,
    },
    /// A standby ends, to begin anew with another log.
    Renew {
        server: Node,
        life: u64,
        is_decided: bool,
    },
    /// A standby whose log is damaged looks for another one.
    Mend {
        server: Node,
        life: u64,
    },
    Damage,
    Fault,
    Operator,
    Start {
        node: Node,
    },
    Heal {
        a: Node,
        b: Node,
    },
    Peace,
}

impl World {
    /// Notes an event in the trace, if there is one.
    pub(super) fn note(&mut self, event: &Event) {
        if self.tracing {
            use std::fmt::Write;
            let _ = match event {
                Event::Deliver { from, to, message: Message::Records { stream, frame } } => {
                    writeln!(
                        self.trace,
                        "{:>12} {from}>{to} records {stream} {}",
                        self.queue.now_us(),
                        frame.len()
                    )
                }
                Event::Deliver { from, to, message: Message::Snapshot { call, manifest, .. } } => {
                    writeln!(
                        self.trace,
                        "{:>12} {from}>{to} snapshot {call} {}",
                        self.queue.now_us(),
                        manifest.len()
                    )
                }
                Event::Deliver { from, to, message: Message::Chunk { call, part, data } } => {
                    writeln!(
                        self.trace,
                        "{:>12} {from}>{to} chunk {call} of part {part} {}",
                        self.queue.now_us(),
                        data.len()
                    )
                }
                Event::Made { server, making, .. } => {
                    writeln!(self.trace, "{:>12} made by {server}: {making:?}", self.queue.now_us())
                }
                event => writeln!(self.trace, "{:>12} {event:?}", self.queue.now_us()),
            };
        }
    }
}
