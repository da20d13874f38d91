//! The running service: what is started in which order, and how it ends.
//!
//! Start: health port, log, what the log must hold (`open`), tables in memory, stock of codes, ports. Stop, in the reverse order of
//! who needs whom: no new requests; requests that were accepted are answered, while followers still acknowledge; followers and reporters of
//! clicks; the counts and the writer, which answer everything they took; the databases. A failed write stops in the same order, with exit code 1.

mod listen;
pub(crate) mod open;
mod probe;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clicklog::accounts::Accounts;
use daemon::control::ControlSocket;
use daemon::disk::{DiskReserve, Room};
use daemon::health::HealthServer;
use linklog::writer::{Writer, WriterHandle};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::channel::ChannelError;
use wire::identity::{Identity, IdentityError};

use crate::abuse::Gate;
use crate::abuse::files::{BlockFiles, FileError};
use crate::abuse::verdict::VerdictService;
use crate::auth::Tokens;
use crate::auth::tally::Tally;
use crate::backup::{Ask, BackupStatus, Backups};
use crate::budgets::Budgets;
use crate::clicks::{ClickSource, Clicks, Reporters};
use crate::codes::mark::{self, Marks};
use crate::codes::pool::Pool;
use crate::codes::refill::Refill;
use crate::codes::{Codes, CodesError};
use crate::config::Config;
use crate::control::Operator;
use crate::domains::Domains;
use crate::feed::{FeedError, FeedServer, FeedSource};
use crate::http::{self, Api};
use crate::levels::Levels;
use crate::links::{Links, Rules};
use crate::log::Log;
use crate::members::Members;
use crate::metrics::{Metrics, Observed};
use crate::people::People;
use crate::replication::{MemberStatus, Replication};
use crate::snapshots::{Shelf, ShelfOptions};
use listen::HttpServer;
use open::OpenLog;
use probe::HealthProbe;

pub use open::OpenLogError;

/// Where in the data directory the snapshots for followers lie.
const SNAPSHOTS_DIR: &str = "snapshots";
/// How long requests that were accepted may take once the service is told to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long everything else may take to end after that, before it is left behind.
const END_MAX: Duration = Duration::from_secs(10);
/// How often the members' lag is looked up for metrics and readiness.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port, a socket, the runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The credential bundle.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The stock of codes.
    #[error("cannot open the stock of codes")]
    Codes(#[from] CodesError),
    /// A key pool's address.
    #[error("key pool")]
    Pool(#[from] ChannelError),
    /// The feed.
    #[error("cannot serve followers")]
    Feed(#[from] FeedError),
    /// A blocklist.
    #[error(transparent)]
    Blocklist(#[from] FileError),
    /// A write failed while the service ran.
    #[error(
        "the log could not be written; the log of this process says why. What was acknowledged is safe: start again"
    )]
    Fatal,
}

/// Where a running service listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The API.
    pub http: SocketAddr,
    /// Health, readiness and metrics.
    pub health: SocketAddr,
    /// The feed.
    pub feed: SocketAddr,
}

/// A running service.
pub struct Running {
    addresses: Addresses,
    stop: CancellationToken,
    fatal: Arc<AtomicBool>,
    probe: Arc<HealthProbe>,
    // From here on in the order in which they end.
    runtime: Option<Runtime>,
    tasks: Tasks,
    health: Option<HealthServer>,
    accounts: Option<Accounts>,
    log: Option<Writer>,
}

/// What runs on the runtime.
struct Tasks {
    http: JoinSet<()>,
    others: JoinSet<()>,
    stop_others: CancellationToken,
}

/// Starts the service, runs it until `stop` or a failure, and ends it in order.
///
/// # Errors
/// It could not start, or the log failed.
pub fn run(config: &Config, stop: &CancellationToken) -> Result<(), ServerError> {
    let running = Running::start(config)?;
    daemon::notify::ready();
    running.wait(stop);
    daemon::notify::stopping();
    running.stop()
}

impl Running {
    /// Starts the service; it answers when this returns. Not to be called inside a runtime.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn start(config: &Config) -> Result<Running, ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("api").enable_all().build()?;
        let probe = Arc::new(HealthProbe::default());
        let health = HealthServer::start(config.health_listen, probe.clone())?;
        let identity = config.tls_dir.as_deref().map(Identity::load).transpose()?;
        let stop = CancellationToken::new();
        let fatal = Arc::new(AtomicBool::new(false));
        let opened = open::open(config, identity.as_ref(), fatal.clone(), stop.clone())?;
        let starting =
            start_tasks(config, identity.as_ref(), &opened, &probe, stop.clone(), health.local_addr());
        let (addresses, tasks) = runtime.block_on(starting)?;
        tracing::info!(http = %addresses.http, feed = %addresses.feed, health = %addresses.health, "listening");
        Ok(Running {
            addresses,
            stop,
            fatal,
            probe,
            runtime: Some(runtime),
            tasks,
            health: Some(health),
            accounts: Some(opened.accounts),
            log: Some(opened.writer),
        })
    }

    /// Says where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Waits until `stop` is cancelled or the log has failed.
    pub fn wait(&self, stop: &CancellationToken) {
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.stop.cancelled() => {}
            }
        });
    }

    /// Ends it in order: everything accepted is answered, everything open is closed.
    ///
    /// # Errors
    /// The log had failed.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.end();
        if self.fatal.load(Ordering::Acquire) { Err(ServerError::Fatal) } else { Ok(()) }
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.probe.close();
        self.stop.cancel();
        runtime.block_on(async {
            // The listener cuts what is still running after its own time.
            while self.tasks.http.join_next().await.is_some() {}
            self.tasks.stop_others.cancel();
            let ended = tokio::time::timeout(END_MAX, async {
                while self.tasks.others.join_next().await.is_some() {}
            });
            if ended.await.is_err() {
                tracing::warn!("some tasks did not end in time");
            }
        });
        // Every task ends here at the latest, and with it every reader of the database.
        runtime.shutdown_timeout(END_MAX);
        drop(self.health.take());
        drop(self.accounts.take());
        drop(self.log.take());
        tracing::info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

async fn start_tasks(
    config: &Config,
    identity: Option<&Identity>,
    opened: &OpenLog,
    probe: &Arc<HealthProbe>,
    stop: CancellationToken,
    health: SocketAddr,
) -> Result<(Addresses, Tasks), ServerError> {
    let metrics = Metrics::default();
    let reader = opened.writer.reader();
    let log = Log::new(opened.writer.handle(), reader.clone(), opened.writer.journal());
    let stop_others = CancellationToken::new();
    let mut others = JoinSet::new();

    let domains = Domains::load(&reader).map_err(OpenLogError::from)?;
    let people = People::load(&reader).map_err(OpenLogError::from)?;
    let tokens = Tokens::load(&reader, people.clone(), config.limits.requests_per_s_per_token)
        .map_err(OpenLogError::from)?;
    start_tally(config, &log, &tokens, &mut others, &stop_others)?;
    let members = Members::load(&reader).map_err(OpenLogError::from)?;
    let replication = Replication::new(members.clone(), opened.writer.journal(), config.replication);

    // Ports are bound before anything runs: a port that is taken must not leave half a service behind.
    let http = TcpListener::bind(config.http_listen).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {} for the API: {error}", config.http_listen))
    })?;
    let feed = FeedServer::bind(config.feed_listen, identity).await?;
    let control = ControlSocket::bind(&config.control_socket)?;
    let addresses = Addresses { http: http.local_addr()?, health, feed: feed.local_addr() };

    let (codes, marks) = start_codes(config, identity, &log, &domains, &metrics, &mut others, &stop_others)?;
    let levels = Levels::new(log.clone(), members.clone());
    others.spawn(levels.clone().run(stop_others.clone()));
    let source = FeedSource {
        fleet: opened.fleet,
        restored: opened.restored,
        journal: opened.writer.journal(),
        commits: opened.commits.clone(),
        members: members.clone(),
        replication: replication.clone(),
        levels: levels.clone(),
        on_higher_epoch: stop_writing_when_replaced(opened.writer.handle(), probe.clone()),
    };
    let reporters = Reporters::default();
    let clicks = Clicks::new(opened.accounts.handle(), reporters.clone(), members.clone());
    let click_source = ClickSource {
        fleet: opened.fleet,
        members: members.clone(),
        accounts: opened.accounts.handle(),
        reporters,
    };
    let budgets = Budgets::load(opened.fleet, log.clone(), members.clone(), metrics.budgets.clone())
        .map_err(OpenLogError::from)?;
    let shelf = ShelfOptions {
        dir: config.data_dir.join(SNAPSHOTS_DIR),
        fleet: opened.fleet,
        bytes_per_s: config.snapshot_bytes_per_s,
    };
    let shelf = Shelf::open(shelf, &reader, opened.writer.journal(), stop_others.clone())?;
    others.spawn(shelf.clone().tidy());
    others.spawn(serve_feed(feed, source, click_source, budgets.clone(), shelf, stop_others.clone()));
    let (backup, ask_backup) = start_backups(config, opened, &mut others, &stop_others);
    let operator = Operator {
        backup: ask_backup,
        backup_status: backup.clone(),
        log: log.clone(),
        tokens: tokens.clone(),
        members,
        domains: domains.clone(),
        levels: levels.clone(),
        replication: replication.clone(),
        budgets: budgets.clone(),
        fleet: opened.fleet,
        writing: Default::default(),
    };
    others.spawn(control.serve(Arc::new(operator), stop_others.clone()));

    let disk = keep_room(config, opened, &mut others, &stop_others);
    let lags = Arc::new(RwLock::new(Vec::new()));
    others.spawn(look(replication.clone(), log.clone(), lags.clone(), stop_others.clone()));
    let observed = Arc::new(Observed {
        log: log.clone(),
        codes: codes.clone(),
        marks: marks.clone(),
        clicks: clicks.clone(),
        disk,
        backup,
        members: lags,
    });
    probe.open(metrics.registry(observed.clone()), observed.clone());

    let rules = Rules { target: config.targets.rules.clone(), alias: config.aliases.clone() };
    let gate = start_gate(config, &metrics, &mut others, &stop_others)?;
    let links = Links {
        log,
        codes,
        marks,
        domains,
        levels,
        replication,
        clicks,
        rules,
        gate,
        budgets,
        metrics: metrics.clone(),
        in_flight: Default::default(),
        duplicates: Default::default(),
        tokens: tokens.clone(),
        people: people.clone(),
    };
    let limits = config.limits;
    let api = Api {
        links,
        tokens,
        people,
        limits,
        bodies: Default::default(),
        transfers: Default::default(),
        ready: observed,
        drop_in: config.drop_in,
        metrics: metrics.clone(),
    };
    let mut serving = JoinSet::new();
    let server = HttpServer { router: http::router(Arc::new(api)), metrics };
    serving.spawn(server.serve(http, stop));
    Ok((addresses, Tasks { http: serving, others, stop_others }))
}

/// Begins to make backups, if there is a place for them.
fn start_backups(
    config: &Config,
    opened: &OpenLog,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> (BackupStatus, mpsc::Sender<Ask>) {
    let (ask, asked) = mpsc::channel(1);
    let status = BackupStatus::default();
    if config.backup.url.is_some() {
        let backups = Backups {
            fleet: opened.fleet,
            data_dir: config.data_dir.clone(),
            reserve: config.disk_reserve_bytes,
            source: (&opened.writer.reader()).into(),
            journal: opened.writer.journal(),
            accounts: opened.accounts.handle(),
            status: status.clone(),
        };
        tasks.spawn(backups.run(config.backup.clone(), asked, stop.clone()));
    }
    (status, ask)
}

/// Takes no more changes while the disk is low; while it is very low, no more clicks either: the proxies keep those.
fn keep_room(
    config: &Config,
    opened: &OpenLog,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> DiskReserve {
    let disk = DiskReserve::new(&config.data_dir, config.disk_reserve_bytes);
    let (writer, accounts) = (opened.writer.handle(), opened.accounts.handle());
    let tell = move |room| {
        writer.hold_back(room != Room::Enough);
        accounts.hold_back(room == Room::VeryLow);
    };
    tell(disk.room());
    tasks.spawn(disk.clone().watch(stop.clone(), tell));
    disk
}

/// Brings up to date what tokens have used, and keeps it so.
fn start_tally(
    config: &Config,
    log: &Log,
    tokens: &Tokens,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(), ServerError> {
    let journal = log.journal();
    let tally = Tally::restore(&config.data_dir, journal, tokens, crate::clock::now_ms())
        .map_err(|error| ServerError::Log(OpenLogError::Open(error.into())))?;
    tasks.spawn(tally.run(config.data_dir.clone(), journal.clone(), tokens.clone(), stop.clone()));
    Ok(())
}

fn start_codes(
    config: &Config,
    identity: Option<&Identity>,
    log: &Log,
    domains: &Domains,
    metrics: &Metrics,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(Codes, Marks), ServerError> {
    let pools: Arc<[Pool]> =
        config.keypools.iter().map(|url| Pool::new(url, identity)).collect::<Result<_, _>>()?;
    let epoch = log.commit().head.position.epoch;
    let ids: Vec<_> = domains.table().all().map(|domain| domain.id).collect();
    let dir = config.data_dir.join("codes");
    let (codes, store) = Codes::open(&dir, config.codes, epoch, log.reader(), &ids)?;
    let marks = Marks::default();
    tasks.spawn(mark::run(marks.clone(), pools.clone(), dir, log.journal().clone(), stop.clone()));
    let refill = Refill {
        codes: codes.clone(),
        store,
        log: log.clone(),
        pools,
        options: config.codes,
        epoch,
        metrics: metrics.clone(),
    };
    tasks.spawn(refill.run(stop.clone()));
    Ok((codes, marks))
}

/// Reads the blocklists and begins to watch them.
fn start_gate(
    config: &Config,
    metrics: &Metrics,
    others: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Gate, ServerError> {
    let targets = &config.targets;
    let (hosts, patterns) = (targets.blocked_hosts.clone(), targets.blocked_patterns.clone());
    let mut lists = None;
    if !hosts.is_empty() || !patterns.is_empty() {
        let files = Arc::new(BlockFiles::load(hosts, patterns)?);
        let watch = files.clone().watch(targets.check_files, stop.clone());
        others.spawn(async move {
            if let Err(error) = watch.await {
                tracing::error!(%error, "cannot listen for SIGHUP: blocklists are not read again");
            }
        });
        lists = Some(files);
    }
    Ok(Gate::new(lists, targets.verdicts.clone().map(VerdictService::new), metrics.targets.clone()))
}

/// Returns what is called when a follower knows a writer with a higher epoch.
fn stop_writing_when_replaced(
    writer: WriterHandle,
    probe: Arc<HealthProbe>,
) -> Arc<dyn Fn(u32) + Send + Sync> {
    Arc::new(move |epoch| {
        tracing::error!(
            epoch,
            "a follower knows a higher epoch: another writer has taken over, this one writes no more"
        );
        writer.fence();
        probe.replaced(epoch);
    })
}

async fn serve_feed(
    feed: FeedServer,
    source: FeedSource,
    clicks: ClickSource,
    budgets: Budgets,
    shelf: Shelf,
    stop: CancellationToken,
) {
    if let Err(error) = feed.serve(source, clicks, budgets, shelf, stop).await {
        tracing::error!(%error, "the feed has ended");
    }
}

/// Looks up the members' lag now and then; it takes reads of the journal, which those who ask for it must not wait for.
async fn look(
    replication: Replication,
    log: Log,
    lags: Arc<RwLock<Vec<MemberStatus>>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let replication = replication.clone();
        if let Ok(status) = log.read(move |_| replication.status()).await {
            *lags.write() = status;
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}
