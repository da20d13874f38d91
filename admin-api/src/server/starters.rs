//! The small parts of a service, each started with what it needs of the configuration.

use std::sync::Arc;
use std::time::Duration;

use daemon::disk::{DiskReserve, Room};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use super::ServerError;
use super::open::{OpenLog, OpenLogError};
use crate::abuse::Gate;
use crate::abuse::files::BlockFiles;
use crate::abuse::verdict::VerdictService;
use crate::auth::Tokens;
use crate::auth::tally::Tally;
use crate::backup::{Ask, BackupStatus, Backups};
use crate::budgets::Budgets;
use crate::clicks::ClickSource;
use crate::codes::mark::{self, Marks};
use crate::codes::pool::Pool;
use crate::codes::refill::Refill;
use crate::codes::{Codes, release};
use crate::config::Config;
use crate::domains::Domains;
use crate::feed::{FeedServer, FeedSource};
use crate::links::Links;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::replication::{MemberStatus, Replication};
use crate::search::Search;
use crate::search::clicked::ClickSource as ClicksOfIndex;
use crate::search::indexer::{Indexer, Source};
use crate::snapshots::SnapshotService;
use crate::succession::SuccessionService;
use crate::sweep::Sweep;
use crate::sweep::window::Window;

/// How often the members' lag is looked up for metrics and readiness.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Begins to sweep, if that is wanted. Only here, where there is a writer.
pub(super) fn start_sweep(
    config: &Config,
    links: &Links,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Sweep {
    let cursor = config.data_dir.join("sweep");
    let sweep = Sweep::new(config.sweep, links.clone(), links.metrics.sweep.clone(), cursor);
    if config.sweep.window != Window::Off {
        tasks.spawn(sweep.clone().run(stop.clone()));
    }
    sweep
}

/// Starts the thread that keeps the search index, if there is to be one.
pub(super) fn start_search(
    config: &Config,
    opened: &OpenLog,
    search: Search,
) -> Result<Option<Indexer>, ServerError> {
    if !config.search.enabled {
        return Ok(None);
    }
    let clicks = ClicksOfIndex { accounts: opened.accounts.handle(), journal: opened.accounts.journal() };
    let source = Source { reader: opened.writer.reader(), journal: opened.writer.journal(), clicks };
    Ok(Some(Indexer::start(search, config.search.clone(), source)?))
}

/// Begins to make backups, if there is a place for them.
pub(super) fn start_backups(
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
pub(super) fn keep_room(
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
pub(super) fn start_tally(
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

/// Opens the stock of codes and begins to keep it full.
pub(super) fn start_codes(
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
pub(super) fn start_gate(
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

/// Serves followers and reporters of clicks until `stop`.
pub(super) async fn serve_feed(
    feed: FeedServer,
    source: FeedSource,
    clicks: ClickSource,
    budgets: Budgets,
    succession: SuccessionService,
    snapshots: SnapshotService,
    stop: CancellationToken,
) {
    if let Err(error) = feed.serve(source, clicks, budgets, succession, snapshots, stop).await {
        tracing::error!(%error, "the feed has ended");
    }
}

/// Looks up the members' lag now and then; it takes reads of the journal, which those who ask for it must not wait for.
pub(super) async fn look(
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
