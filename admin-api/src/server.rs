//! The running service: what is started in which order, and how it ends.
//!
//! Start: health port, log, what the log must hold (`open`), tables in memory, stock of codes, ports. Stop, in the reverse order of
//! who needs whom: no new requests; requests that were accepted are answered, while followers still acknowledge; followers and reporters of
//! clicks; the counts and the writer, which answer everything they took; the databases. A failed write stops in the same order, with exit code 1.

mod listen;
pub(crate) mod open;
mod probe;
mod standby;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clicklog::accounts::Accounts;
use daemon::control::ControlSocket;
use daemon::disk::{DiskReserve, Room};
use daemon::health::HealthServer;
use linklog::Position;
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
use crate::auth::tally::Tally;
use crate::auth::{Tokens, pass};
use crate::backup::{Ask, BackupStatus, Backups};
use crate::budgets::Budgets;
use crate::clicks::{ClickSource, Clicks, Reporters};
use crate::codes::mark::{self, Marks};
use crate::codes::pool::Pool;
use crate::codes::refill::Refill;
use crate::codes::release;
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
use crate::scrub;
use crate::search::Search;
use crate::search::clicked::ClickSource as ClicksOfIndex;
use crate::search::indexer::{Indexer, Source};
use crate::signing::Signing;
use crate::snapshots::{Shelf, ShelfOptions};
use crate::standby::tell;
use crate::succession::peer::Asker;
use crate::succession::{SuccessionService, WriterSide};
use crate::sweep::Sweep;
use crate::sweep::window::Window;
use listen::HttpServer;
use open::OpenLog;
use probe::HealthProbe;

pub use open::OpenLogError;
pub(crate) use open::recorded_fleet;
pub use standby::{Ended, RunningStandby};

/// Where in the data directory the snapshots for followers lie.
const SNAPSHOTS_DIR: &str = "snapshots";
/// Where in it the disk is looked at.
const SCRUB_DIR: &str = "scrub";
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
    /// It reads from all that follows.
    search: Option<Indexer>,
    accounts: Option<Accounts>,
    log: Option<Writer>,
}

/// What runs on the runtime.
struct Tasks {
    http: JoinSet<()>,
    others: JoinSet<()>,
    stop_others: CancellationToken,
}

/// Starts the service, runs it until `stop` or a failure, and ends it in order. A standby that is promoted goes on as the writer.
///
/// # Errors
/// It could not start, or the log failed.
pub fn run(config: &Config, stop: &CancellationToken) -> Result<(), ServerError> {
    if standby::is_meant(config)? {
        let running = RunningStandby::start(config)?;
        daemon::notify::ready();
        running.wait(stop);
        if running.stop()? == Ended::Stopped {
            return Ok(());
        }
    }
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
        let search = Search::new(config.search.enabled, opened.writer.journal());
        let starting = start_tasks(
            config,
            identity.as_ref(),
            &opened,
            &probe,
            &search,
            stop.clone(),
            health.local_addr(),
        );
        let (addresses, tasks) = runtime.block_on(starting)?;
        let search = start_search(config, &opened, search)?;
        tracing::info!(http = %addresses.http, feed = %addresses.feed, health = %addresses.health, "listening");
        Ok(Running {
            addresses,
            stop,
            fatal,
            probe,
            runtime: Some(runtime),
            tasks,
            health: Some(health),
            search,
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
        drop(self.search.take());
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
    search: &Search,
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
    // The operator's own changes are let through: without them no sync member could be added.
    let ungated = log.clone();
    let log = log.gated(replication.clone());

    // Ports are bound before anything runs: a port that is taken must not leave half a service behind.
    let http = TcpListener::bind(config.http_listen).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {} for the API: {error}", config.http_listen))
    })?;
    let feed = FeedServer::bind(config.feed_listen, identity).await?;
    let control = ControlSocket::bind(&config.control_socket)?;
    let addresses = Addresses { http: http.local_addr()?, health, feed: feed.local_addr() };

    let (codes, marks) = start_codes(config, identity, &log, &domains, &metrics, &mut others, &stop_others)?;
    let levels = Levels::new(ungated.clone(), members.clone());
    others.spawn(levels.clone().run(stop_others.clone()));
    let was_replaced = CancellationToken::new();
    let replaced = stop_writing_when_replaced(opened.writer.handle(), probe.clone(), was_replaced.clone());
    let source = FeedSource {
        fleet: opened.fleet,
        restored: opened.restored,
        journal: opened.writer.journal(),
        commits: opened.commits.clone(),
        members: members.clone(),
        replication: replication.clone(),
        levels: levels.clone(),
        on_claimed_epoch: stop_writing_when_told(opened.writer.handle(), probe.clone(), was_replaced.clone()),
        on_higher_epoch: replaced.clone(),
        replaced: was_replaced,
        on_behind: stop_writing_when_behind(opened.writer.handle(), probe.clone()),
    };
    let side = WriterSide::new(opened.writer.handle(), opened.fleet, replaced.clone());
    let succession = SuccessionService { side: Arc::new(side), journal: opened.writer.journal() };
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
        // A snapshot must not be what makes the writer refuse changes.
        reserve_bytes: config.disk_reserve_bytes.saturating_add(config.disk_reserve_bytes / 4),
    };
    let shelf = Shelf::open(shelf, &reader, opened.writer.journal(), stop_others.clone())?;
    others.spawn(shelf.clone().tidy());
    let scrub_dir = config.data_dir.join(SCRUB_DIR);
    let counts = metrics.scrub.clone();
    others.spawn(scrub::run(reader.clone(), scrub_dir, config.scrub, counts, stop_others.clone()));
    others.spawn(serve_feed(
        feed,
        source,
        click_source,
        budgets.clone(),
        succession,
        shelf,
        stop_others.clone(),
    ));
    if let Some(standby) = &config.standby {
        let name = standby::name(standby, identity);
        let asker = Asker { identity: identity.cloned(), fleet: Some(opened.fleet), name: name.clone() };
        let writer = opened.writer.handle();
        others.spawn(tell::run(standby.of.clone(), asker, writer, replaced, stop_others.clone()));
        standby::retire_own_member(&ungated, &members, &name).await?;
    }

    let (backup, ask_backup) = start_backups(config, opened, &mut others, &stop_others);
    let disk = keep_room(config, opened, &mut others, &stop_others);
    let lags = Arc::new(RwLock::new(Vec::new()));
    others.spawn(look(replication.clone(), log.clone(), lags.clone(), stop_others.clone()));
    let observed = Arc::new(Observed {
        log: log.clone(),
        codes: codes.clone(),
        marks: marks.clone(),
        clicks: clicks.clone(),
        sweep: metrics.sweep.clone(),
        search: search.clone(),
        disk,
        backup: backup.clone(),
        members: lags,
        standby: None,
    });
    probe.open(metrics.registry(observed.clone()), observed.clone());

    let rules = Rules { target: config.targets.rules.clone(), alias: config.aliases.clone() };
    let gate = start_gate(config, &metrics, &mut others, &stop_others)?;
    let signing = Signing::new(log.clone(), levels.clone(), config.signing_key_rotate_after_ms);
    others.spawn(signing.clone().run(stop_others.clone()));
    if let Err(error) = pass::write_missing(&log, &tokens).await {
        tracing::warn!(%error, "proxies do not know every token of a user yet; tried again at the next start");
    }
    let links = Links {
        log,
        codes,
        reuse: config.codes.reuse,
        marks,
        domains,
        levels,
        replication,
        clicks,
        rules,
        gate,
        budgets,
        search: search.clone(),
        metrics: metrics.clone(),
        in_flight: Default::default(),
        duplicates: Default::default(),
        passwords: Default::default(),
        signing,
        tokens: tokens.clone(),
        people: people.clone(),
    };
    let sweep = start_sweep(config, &links, &mut others, &stop_others);
    let operator = Operator {
        backup: ask_backup,
        backup_status: backup.clone(),
        log: ungated,
        tokens: tokens.clone(),
        people: people.clone(),
        members,
        domains: links.domains.clone(),
        levels: links.levels.clone(),
        replication: links.replication.clone(),
        budgets: links.budgets.clone(),
        sweep: sweep.clone(),
        fleet: opened.fleet,
        writing: Default::default(),
    };
    others.spawn(control.serve(Arc::new(operator), stop_others.clone()));
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
        sweep,
        metrics: metrics.clone(),
        standby: None,
    };
    let mut serving = JoinSet::new();
    let server = HttpServer { router: http::router(Arc::new(api)), metrics };
    serving.spawn(server.serve(http, stop));
    Ok((addresses, Tasks { http: serving, others, stop_others }))
}

/// Begins to sweep, if that is wanted. Only here, where there is a writer.
fn start_sweep(config: &Config, links: &Links, tasks: &mut JoinSet<()>, stop: &CancellationToken) -> Sweep {
    let cursor = config.data_dir.join("sweep");
    let sweep = Sweep::new(config.sweep, links.clone(), links.metrics.sweep.clone(), cursor);
    if config.sweep.window != Window::Off {
        tasks.spawn(sweep.clone().run(stop.clone()));
    }
    sweep
}

/// Starts the thread that keeps the search index, if there is to be one.
fn start_search(config: &Config, opened: &OpenLog, search: Search) -> Result<Option<Indexer>, ServerError> {
    if !config.search.enabled {
        return Ok(None);
    }
    let clicks = ClicksOfIndex { accounts: opened.accounts.handle(), journal: opened.accounts.journal() };
    let source = Source { reader: opened.writer.reader(), journal: opened.writer.journal(), clicks };
    Ok(Some(Indexer::start(search, config.search.clone(), source)?))
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
    tasks.spawn(mark::run(marks.clone(), pools.clone(), dir.clone(), log.journal().clone(), stop.clone()));
    if config.codes.reuse.after_ms.is_some() {
        tasks.spawn(release::run(pools.clone(), dir.clone(), log.journal().clone(), stop.clone()));
    }
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
    replaced: CancellationToken,
) -> Arc<dyn Fn(u32) + Send + Sync> {
    Arc::new(move |epoch| {
        tracing::error!(
            epoch,
            "a follower knows a higher epoch: another writer has taken over, this one writes no more"
        );
        writer.fence(epoch);
        probe.replaced(epoch);
        replaced.cancel();
    })
}

/// Returns what is called when a proxy says that there is a writer with a higher epoch.
fn stop_writing_when_told(
    writer: WriterHandle,
    probe: Arc<HealthProbe>,
    replaced: CancellationToken,
) -> Arc<dyn Fn(u32) + Send + Sync> {
    Arc::new(move |epoch| {
        tracing::error!(epoch, "a proxy knows a higher epoch: this writer stops, until it is started again");
        writer.fence_for_now();
        probe.replaced(epoch);
        replaced.cancel();
    })
}

/// Returns what is called when a sync member has what this writer has lost.
fn stop_writing_when_behind(
    writer: WriterHandle,
    probe: Arc<HealthProbe>,
) -> Arc<dyn Fn(&str, Position) + Send + Sync> {
    Arc::new(move |member, at| {
        tracing::error!(
            member,
            %at,
            head = %writer.commit().head.position,
            "a sync member has records that this writer has lost, it writes no more: stop it and run `signpost-admin recover`"
        );
        writer.stop_behind();
        probe.behind();
    })
}

async fn serve_feed(
    feed: FeedServer,
    source: FeedSource,
    clicks: ClickSource,
    budgets: Budgets,
    succession: SuccessionService,
    shelf: Shelf,
    stop: CancellationToken,
) {
    if let Err(error) = feed.serve(source, clicks, budgets, succession, shelf, stop).await {
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
