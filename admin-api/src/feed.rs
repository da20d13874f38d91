//! The feed: every follower's stream of records, heartbeats and acknowledgements.
//!
//! One task per follower. It sends from the journal what the follower lacks, never more than the follower's window of
//! unacknowledged bytes, so a slow follower falls behind by itself and delays nobody. What is sent was durable before it was read.

pub mod frames;
pub mod handshake;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use linklog::Position;
use linklog::entity::Restored;
use linklog::journal::JournalReader;
use linklog::writer::Commit;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::feed::feed_server::Feed;
use wire::feed::refusal::Reason;
use wire::feed::writer_message::Message as FromWriter;
use wire::feed::{FollowerMessage, Refusal, WriterMessage};
use wire::identity::{FleetId, Identity, Role, authorize};
use wire::listen::{
    ListenError, Listener, feed_routes, with_budgets, with_clicks, with_copies, with_snapshots,
    with_succession,
};

use crate::budgets::{Budgets, HoldService};
use crate::clicks::{ClickSource, CopyService, ReportService};
use crate::levels::Levels;
use crate::members::Members;
use crate::replication::Replication;
use crate::snapshots::SnapshotService;
use crate::succession::SuccessionService;
use frames::FrameCache;

/// Messages that may wait between a follower's task and its connection.
const OUTBOX_MESSAGES: usize = 4;

/// Why the feed cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server failed as a whole.
    #[error("the feed's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// What the feed needs of the writer; cheap to clone.
#[derive(Clone)]
pub struct FeedSource {
    /// The fleet every follower must belong to.
    pub fleet: FleetId,
    /// Where the log was put back to, if it ever was.
    pub restored: Option<Restored>,
    /// The records.
    pub journal: JournalReader,
    /// Announces what has become durable.
    pub commits: watch::Receiver<Commit>,
    /// Who may follow.
    pub members: Members,
    /// Where acknowledgements go.
    pub replication: Replication,
    /// Who is told which format level they read.
    pub levels: Levels,
    /// Called when a proxy says that it knows a higher epoch: this writer stops, and is not kept from starting again, since a proxy that was
    /// broken into can say anything.
    pub on_claimed_epoch: OnHigherEpoch,
    /// Called when a sync member knows a higher epoch than ours: another writer has taken over, and this one must stop writing for good.
    pub on_higher_epoch: OnHigherEpoch,
    /// Cancelled when another writer has taken over: nobody is to follow this one any more.
    pub replaced: CancellationToken,
    /// Called when a sync member has records beyond our head: we have lost them, and must not use their places again.
    pub on_behind: OnBehind,
}

/// Called with an epoch that is higher than ours.
pub type OnHigherEpoch = Arc<dyn Fn(u32) + Send + Sync>;

/// Called with a sync member's name and the newest record it has.
pub type OnBehind = Arc<dyn Fn(&str, Position) + Send + Sync>;

/// A bound feed port.
#[derive(Debug)]
pub struct FeedServer {
    listener: Listener,
}

impl FeedServer {
    /// Binds the port; without an identity plain TCP, on loopback only.
    ///
    /// # Errors
    /// The port is taken, others could reach a plain one, or TLS cannot be set up.
    pub async fn bind(listen: SocketAddr, identity: Option<&Identity>) -> Result<FeedServer, FeedError> {
        Ok(FeedServer { listener: Listener::bind(listen, identity).await? })
    }

    /// Returns the address bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves followers, reporters of clicks and readers of snapshots until `stop`; each is told that the writer is shutting down.
    ///
    /// # Errors
    /// If the server fails as a whole.
    pub(crate) async fn serve(
        self,
        source: FeedSource,
        clicks: ClickSource,
        budgets: Budgets,
        succession: SuccessionService,
        snapshots: SnapshotService,
        stop: CancellationToken,
    ) -> Result<(), FeedError> {
        let copies = CopyService::new(clicks.clone(), stop.clone());
        let clicks = ReportService::new(clicks, stop.clone());
        let service = FeedService { source: Arc::new(source), frames: Arc::default(), stop: stop.clone() };
        let routes = with_copies(with_clicks(feed_routes(service), clicks), copies);
        let routes = with_budgets(routes, HoldService::new(budgets, stop.clone()));
        let routes = with_succession(routes, succession);
        let routes = with_snapshots(routes, snapshots);
        Ok(self.listener.serve(routes, stop.cancelled_owned()).await?)
    }

    /// Serves a standby's side until `stop`: whoever wants to follow is sent to the writer, snapshots are to be had.
    ///
    /// # Errors
    /// If the server fails as a whole.
    pub(crate) async fn serve_standby(
        self,
        succession: SuccessionService,
        snapshots: Option<SnapshotService>,
        stop: CancellationToken,
    ) -> Result<(), FeedError> {
        let routes = with_succession(feed_routes(NotTheWriter), succession);
        let routes = match snapshots {
            Some(snapshots) => with_snapshots(routes, snapshots),
            None => routes,
        };
        Ok(self.listener.serve(routes, stop.cancelled_owned()).await?)
    }
}

/// The feed of a standby: there is none.
struct NotTheWriter;

#[tonic::async_trait]
impl Feed for NotTheWriter {
    type FollowStream = ReceiverStream<Result<WriterMessage, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowerMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        authorize(&request, &[Role::Proxy, Role::Writer])?;
        let (outbox, messages) = mpsc::channel(1);
        let detail = "this is a standby: follow the writer".to_owned();
        let refusal = Refusal { reason: Reason::Standby as i32, detail, first_retained_seq: 0 };
        // The channel is new and has room.
        let _ = outbox.try_send(Ok(WriterMessage { message: Some(FromWriter::Refusal(refusal)) }));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

struct FeedService {
    source: Arc<FeedSource>,
    frames: Arc<FrameCache>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Feed for FeedService {
    type FollowStream = ReceiverStream<Result<WriterMessage, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowerMessage>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let peer = authorize(&request, &[Role::Proxy, Role::Writer])?;
        let inbound = request.into_inner();
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        let (source, frames, stop) = (self.source.clone(), self.frames.clone(), self.stop.clone());
        tokio::spawn(async move { stream::follow(&source, &frames, peer, inbound, outbox, stop).await });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

#[cfg(test)]
mod tests;
