//! The visitors' side, assembled from Pingora's parts: as many services as workers, each with one thread and its own sockets.
//!
//! One service with several threads would do all accepting and polling in one of them. Stopping follows Pingora's order: the ports
//! close, idle connections go, requests in flight are answered, and after a second the threads end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use daemon::turn::{self, Ahead, LOOK_EVERY, Witness};
use futures::future::join_all;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::Service as PingoraService;
use pingora::services::listening::Service;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::allocations::{self, Role};
use crate::arrival;
use crate::client::ClientAddress;
use crate::http::begin::{self, Speaks};
use crate::listeners::WorkerSockets;
use crate::readiness::ReadyState;
use crate::worker::Worker;

/// How long requests in flight may take once the ports are closed. Pingora sleeps that long, whole seconds, whatever happens.
const GRACE: Duration = Duration::from_secs(1);
/// How long the threads may take to end after that.
const THREADS_END: Duration = Duration::from_secs(2);

/// What ends the server.
pub struct Stop {
    /// Cancelled when the process is asked to end.
    pub asked: CancellationToken,
    /// Told first.
    pub ready: Arc<ReadyState>,
    /// How long to be unready before the ports close.
    pub unready_for: Duration,
}

/// How connections that come in by a listener begin.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Whose they are.
    pub known_by: ClientAddress,
    /// What is spoken.
    pub speaks: Speaks,
}

/// Serves visitors until told to stop, then drains; returns when the last thread has ended. `entrances` are the listeners, in the
/// order of the sockets; `real_time`: workers come before everything else on their cores, if the system allows it.
pub fn run(workers: Vec<(Arc<Worker>, WorkerSockets)>, entrances: &[Entrance], real_time: bool, stop: Stop) {
    let witness = real_time.then(Witness::start).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot start the thread that tells whether others come along: no worker gets real-time priority");
        None
    });
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        grace_period_seconds: Some(GRACE.as_secs()),
        graceful_shutdown_timeout_seconds: Some(THREADS_END.as_secs()),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    for (index, (worker, sockets)) in workers.into_iter().enumerate() {
        server.add_service(WorkerService::new(index, worker, sockets, entrances, witness.clone()));
    }
    server.run(RunArgs { shutdown_signal: Box::new(stop) });
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        // The sockets listen since before the threads were started.
        daemon::notify::ready();
        tracing::info!("serving");
        self.asked.cancelled().await;
        self.ready.stop();
        daemon::notify::stopping();
        tracing::info!(unready_for = ?self.unready_for, "stopping");
        tokio::time::sleep(self.unready_for).await;
        ShutdownSignal::GracefulTerminate
    }
}

/// Serves the connections that one listener has for one worker.
struct Connections {
    worker: Arc<Worker>,
    entrance: Entrance,
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let arrived = arrival::admit(&self.worker, &self.entrance.known_by, stream).await?;
        begin::serve(&self.worker, &self.entrance.speaks, arrived.stream, &arrived.client).await;
        None
    }
}

/// A worker's listeners, each a service that knows what is spoken there, all on the worker's thread. Their sockets are in tables of
/// their own: Pingora keeps one per process, by address, and those of the other workers have the same.
struct WorkerService {
    name: String,
    listeners: Vec<(Service<Connections>, ListenFds)>,
    worker: Arc<Worker>,
    /// Who must come along; `None`: the worker is no more than others.
    witness: Option<Arc<Witness>>,
}

impl WorkerService {
    fn new(
        index: usize,
        worker: Arc<Worker>,
        sockets: WorkerSockets,
        entrances: &[Entrance],
        witness: Option<Arc<Witness>>,
    ) -> WorkerService {
        let listeners = sockets.into_services(|listener| Connections {
            worker: Arc::clone(&worker),
            entrance: entrances[listener].clone(),
        });
        WorkerService { name: format!("worker-{index}"), listeners, worker, witness }
    }

    /// Sees to it that the calling thread, the worker's, does not wait for others.
    fn come_first(&mut self) {
        match self.witness.take().map(Ahead::begin) {
            Some(Ok(ahead)) => {
                tokio::spawn(stay_ahead(ahead, Arc::clone(&self.worker)));
                return;
            }
            Some(Err(error)) => {
                tracing::info!(%error, "the system gives workers no real-time priority (LimitRTPRIO=1 would): they may wait for others some milliseconds");
            }
            None => {}
        }
        if let Err(error) = turn::comes_at_once() {
            tracing::info!(%error, "the system lets no worker come before background work: it may wait for it some milliseconds");
        }
    }
}

#[async_trait]
impl PingoraService for WorkerService {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // This is the worker's thread.
        self.come_first();
        allocations::count_as(Role::Worker);
        let (worker, mut told) = (Arc::clone(&self.worker), shutdown.clone());
        // Ends with the runtime if the sender goes without a word.
        tokio::spawn(async move {
            let _ = told.wait_for(|stop| *stop).await;
            worker.stop();
        });
        join_all(self.listeners.iter_mut().map(|(service, sockets)| {
            service.start_service(Some(Arc::clone(sockets)), shutdown.clone(), listeners_per_fd)
        }))
        .await;
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Keeps a worker before everything else on its core for as long as the others come along, to be run by its own thread.
async fn stay_ahead(mut ahead: Ahead, worker: Arc<Worker>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match ahead.look(worker.leaves_no_time_to_count()) {
            Ok(is_ahead) => worker.counters.set_ahead(is_ahead),
            Err(error) => {
                tracing::warn!(%error, "cannot change a worker's priority any more: it stays as it is");
                return;
            }
        }
    }
}
