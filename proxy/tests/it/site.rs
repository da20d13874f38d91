//! One worker in this process, with a replica on disk behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::metrics::Latency;
use linklog::replica::Replica;
use linklog::store::Contents;
use pingora::protocols::Stream;
use signpost_proxy::census::Census;
use signpost_proxy::clicks::ClickRing;
use signpost_proxy::clicks::record::RECORD_BYTES_MAX;
use signpost_proxy::clicks::ring::file::RingFile;
use signpost_proxy::clicks::ring::{Found, Reader};
use signpost_proxy::clicks::ring_dir::RingDir;
use signpost_proxy::client::Clients;
use signpost_proxy::disk::{DiskOptions, DiskPool};
use signpost_proxy::hosts::Hosts;
use signpost_proxy::hot_map::HotMap;
use signpost_proxy::http::begin::{self, Speaks};
use signpost_proxy::http::render::Pieces;
use signpost_proxy::lookup::{Lookups, Source, Whole};
use signpost_proxy::passwords::attempts::Attempts;
use signpost_proxy::passwords::{PasswordOptions, Passwords};
use signpost_proxy::quota::{QuotaOptions, Quotas};
use signpost_proxy::scrub::Scrub;
use signpost_proxy::visitors::Visitors;
use signpost_proxy::worker::{Counters, Event, FailureLog, Limits, STATUSES, Shared, Worker};
use tokio_util::sync::CancellationToken;

use crate::author::{Author, SMALL};

/// One worker with a replica of what an author wrote.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) worker: Arc<Worker>,
    pub(crate) replica: Replica,
    ring: Arc<RingFile>,
    stop: CancellationToken,
    runtime: tokio::runtime::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(author: &Author) -> Site {
        Site::with(author, Limits::default(), None)
    }

    pub(crate) fn with(author: &Author, limits: Limits, root: Option<&str>) -> Site {
        Site::limited(author, limits, root, None)
    }

    /// A site whose visitors are counted by the address of their socket.
    pub(crate) fn limited(
        author: &Author,
        limits: Limits,
        root: Option<&str>,
        quotas: Option<QuotaOptions>,
    ) -> Site {
        Site::speaking(author, limits, root, quotas, Speaks::Plain)
    }

    pub(crate) fn speaking(
        author: &Author,
        limits: Limits,
        root: Option<&str>,
        quotas: Option<QuotaOptions>,
        speaks: Speaks,
    ) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let mut replica = Replica::open(dir.path(), Contents::Serve, &SMALL).unwrap();
        for (frame, _) in &author.frames {
            replica.apply(frame).unwrap();
        }
        let hot = Arc::new(HotMap::new(1 << 20, 1));
        let options = DiskOptions { threads: 1, queue_max: 16, deadline: Duration::from_secs(10) };
        let disk = DiskPool::start(options, &hot, &Latency::default()).unwrap();
        let options = PasswordOptions::default();
        let attempts = Arc::new(Attempts::new(options.attempts_max, options.attempts_window));
        let shared = Shared {
            lookups: Lookups::new(hot, Source::new(1, replica.reader()), disk, Arc::new(Whole::new(true))),
            hosts: Arc::new(Hosts::load(&replica.reader()).unwrap()),
            pieces: Pieces::new(),
            root_redirect: root.map(|root| root.as_bytes().into()),
            database_failures: FailureLog::default(),
            scrub: Arc::new(Scrub::new(1, &replica.reader(), tokio::sync::mpsc::unbounded_channel().0)),
            census: Arc::new(Census::new(usize::MAX, usize::MAX)),
            clients: Clients::default(),
            quotas: quotas.and_then(Quotas::new).map(Arc::new),
            budgets: None,
            geo: None,
            visitors: Arc::new(Visitors::load(&replica.reader()).unwrap()),
            passwords: Passwords::start(options, attempts, Arc::default()).unwrap(),
        };
        let rings = RingDir::open(&dir.path().join("rings"), true).unwrap();
        let ring = rings.create(8 << 20, [1; 16], 1).unwrap();
        let worker = Worker::new(Arc::new(shared), Arc::new(Counters::default()), limits);
        let worker = Arc::new(worker.recording(ClickRing::new(Arc::clone(&ring))));
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, stopped) = (Arc::clone(&worker), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, visitor) = listener.accept().await.unwrap();
                    // As Pingora does for every connection it accepts.
                    stream.set_nodelay(true).unwrap();
                    let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(stream));
                    let (worker, speaks) = (Arc::clone(&serving), speaks.clone());
                    let client = worker.shared.clients.at(visitor.ip());
                    tokio::spawn(async move { begin::serve(&worker, &speaks, stream, &client).await });
                }
            }));
        });
        Site { address, worker, replica, ring, stop, runtime: handle, thread: Some(thread), _dir: dir }
    }

    /// Runs something on the worker's thread.
    pub(crate) fn on_worker(&self, run: impl FnOnce() + Send + 'static) {
        let done = self.runtime.spawn(async move { run() });
        self.runtime.block_on(done).unwrap();
    }

    /// Redirects that were recorded so far.
    pub(crate) fn recorded(&self) -> usize {
        let mut reader = Reader::new(Arc::clone(&self.ring), self.ring.header().secret, 0);
        let mut room = [0; RECORD_BYTES_MAX];
        std::iter::from_fn(|| matches!(reader.read(&mut room), Found::Record(_)).then_some(())).count()
    }

    pub(crate) fn answered(&self, status: u16) -> u64 {
        let index = STATUSES.iter().position(|known| *known == status).unwrap();
        self.worker.counters.answers(index)
    }

    pub(crate) fn events(&self, event: Event) -> u64 {
        self.worker.counters.events(event)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}
