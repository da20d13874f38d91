//! The running writer: its ports, and everything that only a writer does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clicklog::accounts::Accounts;
use daemon::health::HealthServer;
use linklog::writer::Writer;
use parking_lot::RwLock;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use super::alarms::{stop_writing_when_behind, stop_writing_when_replaced, stop_writing_when_told};
use super::listen::HttpServer;
use super::open::{self, OpenLog, OpenLogError};
use super::ports::Ports;
use super::probe::HealthProbe;
use super::starters::{
    keep_room, look, serve_feed, start_backups, start_codes, start_gate, start_search, start_sweep,
    start_tally,
};
use super::tables::Tables;
use super::tasks::{Tasks, wait_for_either};
use super::{Addresses, ServerError, runtime, standby};
use crate::auth::pass;
use crate::budgets::Budgets;
use crate::clicks::{ClickSource, Clicks, Copies, Reporters};
use crate::config::Config;
use crate::control::Operator;
use crate::feed::FeedSource;
use crate::http::{self, Api};
use crate::levels::Levels;
use crate::links::{Links, Rules};
use crate::log::Log;
use crate::members::Joins;
use crate::metrics::{Metrics, Observed};
use crate::replication::Replication;
use crate::scrub;
use crate::search::Search;
use crate::search::indexer::Indexer;
use crate::signing::Signing;
use crate::snapshots::{Shelf, ShelfOptions, SnapshotService};
use crate::standby::tell;
use crate::succession::peer::Asker;
use crate::succession::{SuccessionService, WriterSide};

/// Where in the data directory the disk is looked at.
pub(super) const SCRUB_DIR: &str = "scrub";

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

impl Running {
    /// Starts the service; it answers when this returns. Not to be called inside a runtime.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn start(config: &Config) -> Result<Running, ServerError> {
        let runtime = runtime::start()?;
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
        if let Some(runtime) = &self.runtime {
            wait_for_either(runtime, stop, &self.stop);
        }
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
        self.tasks.end(runtime);
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
    let reads_behind = log.reads_behind();
    let stop_others = CancellationToken::new();
    let mut others = JoinSet::new();

    let Tables { domains, people, tokens, members, .. } = Tables::load(config, &reader)?;
    start_tally(config, &log, &tokens, &mut others, &stop_others)?;
    let replication = Replication::new(members.clone(), opened.writer.journal(), config.replication);
    // The operator's own changes are let through: without them no sync member could be added.
    let ungated = log.clone();
    let log = log.gated(replication.clone());

    let Ports { http, feed, control, addresses } = Ports::bind(config, identity, health).await?;

    let (codes, marks) = start_codes(config, identity, &log, &domains, &metrics, &mut others, &stop_others)?;
    let levels = Levels::new(ungated.clone(), members.clone());
    others.spawn(levels.clone().run(stop_others.clone()));
    let joins = Joins { log: ungated.clone(), members: members.clone(), replication: replication.clone() };
    others.spawn(joins.run(stop_others.clone()));
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
        journal: opened.accounts.journal(),
        copies: Copies::new(config.replication.min_sync_replicas),
    };
    let budgets = Budgets::load(opened.fleet, log.clone(), members.clone(), metrics.budgets.clone())
        .map_err(OpenLogError::from)?;
    let shelf = ShelfOptions::of_log(config, opened.fleet);
    let shelf = Shelf::open(shelf, (&reader).into(), opened.writer.journal(), stop_others.clone())?;
    others.spawn(shelf.clone().tidy());
    let counts = ShelfOptions::of_counts(config, opened.fleet);
    let (rows, journal) = (opened.accounts.handle().snapshot_source(), opened.accounts.journal());
    let counts = Shelf::open(counts, rows, journal, stop_others.clone())?;
    others.spawn(counts.clone().tidy());
    let snapshots = SnapshotService::new(shelf, members.clone(), opened.fleet)
        .with_counts(counts)
        .once_confirmed(replication.confirmed());
    let scrub_dir = config.data_dir.join(SCRUB_DIR);
    let counts = metrics.scrub.clone();
    others.spawn(scrub::run(reader.clone(), scrub_dir, config.scrub, counts, stop_others.clone()));
    others.spawn(serve_feed(
        feed,
        source,
        click_source,
        budgets.clone(),
        succession,
        snapshots,
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
        restored: opened.restored,
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
    Ok((addresses, Tasks { http: serving, others, stop_others, reads_behind }))
}
