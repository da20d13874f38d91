//! The running standby: the same ports and the same reads as the writer's, over a log that is followed.
//!
//! Deliberately not here: leases of codes, budgets, format levels, streams of clicks. They are the writer's, which [`super::run`] starts in
//! this process once the standby is promoted.

mod operator;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clicklog::accounts::Accounts;
use daemon::disk::DiskReserve;
use daemon::health::HealthServer;
use linklog::entity::MemberState;
use linklog::journal::OpenError;
use linklog::standby::{Standby, StandbyOptions};
use linklog::store::StoreOptions;
use linklog::writer::Decision;
use parking_lot::RwLock;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::identity::Identity;

use super::listen::HttpServer;
use super::open::{self, OpenLogError};
use super::ports::Ports;
use super::probe::HealthProbe;
use super::starters::{start_gate, start_tally};
use super::tables::Tables;
use super::tasks::{Tasks, wait_for_either};
use super::writer::SCRUB_DIR;
use super::{Addresses, ServerError, runtime};
use crate::auth::Tokens;
use crate::backup::BackupStatus;
use crate::budgets::Budgets;
use crate::clicks::{Clicks, Reporters};
use crate::codes::Codes;
use crate::codes::mark::Marks;
use crate::config::{Config, StandbyConfig};
use crate::domains::Domains;
use crate::http::{self, Api};
use crate::levels::Levels;
use crate::links::{Links, Rules};
use crate::log::Log;
use crate::members::{self, Members};
use crate::metrics::{Metrics, Observed};
use crate::people::People;
use crate::replication::Replication;
use crate::scrub;
use crate::search::Search;
use crate::signing::Signing;
use crate::snapshots::{Shelf, ShelfOptions, SnapshotService, choice};
use crate::standby::status::Status;
use crate::standby::{
    CopyOptions, Engine, FollowOptions, Promotion, Renewal, copy_clicks, follow, mend, places,
};
use crate::succession::SuccessionService;
use crate::succession::peer::Asker;
use crate::sweep::Sweep;
use operator::StandbyOperator;

/// Why a standby has ended in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It was promoted: its log is to be opened by a writer.
    Promoted,
    /// It has fetched another log, which it is to be started with.
    Renewed,
}

/// A running standby.
pub struct RunningStandby {
    addresses: Addresses,
    stop: CancellationToken,
    fatal: Arc<AtomicBool>,
    promoted: Arc<AtomicBool>,
    renewed: Arc<AtomicBool>,
    probe: Arc<HealthProbe>,
    // From here on in the order in which they end.
    runtime: Option<Runtime>,
    tasks: Tasks,
    health: Option<HealthServer>,
    accounts: Option<Accounts>,
    engine: Arc<Engine>,
}

/// Says whether this process is to follow: it is configured to, and its log was not promoted to the newest epoch it knows of.
pub(super) fn is_meant(config: &Config) -> Result<bool, ServerError> {
    if config.standby.is_none() {
        return Ok(false);
    }
    let promoted = Standby::was_promoted(&config.data_dir.join("log"), &StoreOptions::default());
    let promoted = promoted.map_err(OpenLogError::from)?;
    if promoted {
        tracing::warn!(
            "this log was promoted: it is written, though [standby] names writers to follow; they are told that they were replaced"
        );
        places::forget(&config.data_dir)?;
    }
    Ok(!promoted)
}

/// Our name as a member.
pub(super) fn name(standby: &StandbyConfig, identity: Option<&Identity>) -> String {
    let certified = identity.map(|identity| identity.own().name.clone());
    certified.or_else(|| standby.name.clone()).unwrap_or_default()
}

/// How often it is tried to note that while something else about the member changes.
const RETIRE_TRIES_MAX: u32 = 5;

/// Notes that this process, now the writer, is no sync member any more: nobody waits for it, and no later promotion asks it.
pub(super) async fn retire_own_member(log: &Log, members: &Members, name: &str) -> Result<(), ServerError> {
    let mut other = None;
    for _ in 0..RETIRE_TRIES_MAX {
        let of = name.to_owned();
        let found = log.read(move |reader| members::with_version(reader, &of)).await;
        let found =
            found.map_err(|error| io::Error::other(error.to_string()))?.map_err(OpenLogError::from)?;
        let Some((member, version)) = found.filter(|(member, _)| member.state.takes_part()) else {
            return Ok(());
        };
        let change = members::set_state(name, &member, version, MemberState::Drained);
        other = log.propose(vec![change]).await.map_err(OpenLogError::from)?.pop();
        match other {
            Some(Decision::Applied { .. }) => {
                members.reload().map_err(OpenLogError::from)?;
                return Ok(());
            }
            // It has just begun to count, or its format level was noted.
            Some(Decision::Conflict(_)) => {}
            _ => break,
        }
    }
    Err(OpenLogError::Refused(format!("{other:?}")).into())
}

impl RunningStandby {
    /// Starts following; it answers when this returns. Not to be called inside a runtime.
    ///
    /// # Errors
    /// What could not be opened.
    pub fn start(config: &Config) -> Result<RunningStandby, ServerError> {
        let Some(standby) = &config.standby else {
            return Err(io::Error::other("[standby] of names no writer to follow").into());
        };
        let runtime = runtime::start()?;
        let probe = Arc::new(HealthProbe::default());
        let health = HealthServer::start(config.health_listen, probe.clone())?;
        let identity = config.tls_dir.as_deref().map(Identity::load).transpose()?;
        let (stop, fatal) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let opened = open_log(config, standby, identity.as_ref(), &fatal, &stop)?;
        let accounts = open::open_accounts(config, fatal.clone(), stop.clone())?;
        let [promoted, renewed] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let parts = Parts {
            config,
            standby,
            identity: identity.as_ref(),
            opened: &opened,
            accounts: &accounts,
            probe: &probe,
            promoted: &promoted,
            renewed: &renewed,
        };
        let starting = parts.start(stop.clone(), health.local_addr());
        let (addresses, tasks) = runtime.block_on(starting)?;
        let engine = opened.engine.clone();
        let head = opened.log.commit().head.position;
        tracing::info!(http = %addresses.http, feed = %addresses.feed, %head, "standby: following");
        Ok(RunningStandby {
            addresses,
            stop,
            fatal,
            promoted,
            renewed,
            probe,
            runtime: Some(runtime),
            tasks,
            health: Some(health),
            accounts: Some(accounts),
            engine,
        })
    }

    /// Says where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Waits until `stop` is cancelled, the standby is promoted or the log has failed.
    pub fn wait(&self, stop: &CancellationToken) {
        if let Some(runtime) = &self.runtime {
            wait_for_either(runtime, stop, &self.stop);
        }
    }

    /// Ends it in order and closes the log.
    ///
    /// # Errors
    /// The log had failed.
    pub fn stop(mut self) -> Result<Ended, ServerError> {
        self.end();
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        match (is(&self.fatal), is(&self.promoted), is(&self.renewed)) {
            (true, _, _) => Err(ServerError::Fatal),
            (false, true, _) => Ok(Ended::Promoted),
            (false, false, true) => Ok(Ended::Renewed),
            (false, false, false) => Ok(Ended::Stopped),
        }
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.probe.close();
        self.stop.cancel();
        self.tasks.end(runtime);
        drop(self.health.take());
        drop(self.accounts.take());
        self.engine.close();
    }
}

impl Drop for RunningStandby {
    fn drop(&mut self) {
        self.end();
    }
}

/// The open log.
struct Opened {
    engine: Arc<Engine>,
    log: Log,
}

fn open_log(
    config: &Config,
    standby: &StandbyConfig,
    identity: Option<&Identity>,
    fatal: &Arc<AtomicBool>,
    stop: &CancellationToken,
) -> Result<Opened, ServerError> {
    let directory = |source| OpenLogError::Directory { dir: config.data_dir.display().to_string(), source };
    open::private_directory(&config.data_dir).map_err(directory)?;
    places::settle(&config.data_dir)?;
    let options =
        StandbyOptions { store: StoreOptions::default(), journal_bytes_kept: config.journal_retention_bytes };
    let dir = config.data_dir.join("log");
    let opened = Standby::open(&dir, &options).map_err(|source| match source {
        OpenError::Store(ref error) if error.is_damage() => {
            OpenLogError::Damaged { dir: dir.display().to_string(), source }
        }
        source => source.into(),
    })?;
    let log = Log::new(opened.handle(), opened.reader(), opened.journal());
    let (fatal, stop) = (fatal.clone(), stop.clone());
    let on_fatal = Arc::new(move |error: &dyn std::error::Error| open::end_in_order(error, &fatal, &stop));
    let certified = identity.map(|identity| identity.own().fleet);
    let reader = opened.reader();
    // Without a certificate it is known as soon as the first records are there.
    let fleet = Box::new(move || certified.or_else(|| open::recorded_fleet(&reader).ok().flatten()));
    let engine = Arc::new(Engine::new(opened, name(standby, identity), fleet, on_fatal));
    Ok(Opened { engine, log })
}

/// What the tasks are made of.
struct Parts<'a> {
    config: &'a Config,
    standby: &'a StandbyConfig,
    identity: Option<&'a Identity>,
    opened: &'a Opened,
    accounts: &'a Accounts,
    probe: &'a Arc<HealthProbe>,
    promoted: &'a Arc<AtomicBool>,
    renewed: &'a Arc<AtomicBool>,
}

impl Parts<'_> {
    async fn start(
        &self,
        stop: CancellationToken,
        health: std::net::SocketAddr,
    ) -> Result<(Addresses, Tasks), ServerError> {
        let Parts { config, standby, identity, opened, .. } = self;
        let metrics = Metrics::default();
        let (log, engine) = (opened.log.clone(), opened.engine.clone());
        let reads_behind = log.reads_behind();
        let reader = log.reader().clone();
        let stop_others = CancellationToken::new();
        let mut others = JoinSet::new();

        let tables = Tables::load(config, &reader)?;
        let Tables { domains, people, tokens, members, .. } = tables.clone();
        start_tally(config, &log, &tokens, &mut others, &stop_others)?;
        let replication = Replication::new(members.clone(), log.journal().clone(), config.replication);

        let Ports { http, feed, control, addresses } = Ports::bind(config, *identity, health).await?;

        let disk = DiskReserve::new(&config.data_dir, config.disk_reserve_bytes);
        others.spawn(disk.clone().watch(stop_others.clone(), |_| {}));
        let scrub_dir = config.data_dir.join(SCRUB_DIR);
        let counts = metrics.scrub.clone();
        others.spawn(scrub::run(reader.clone(), scrub_dir, config.scrub, counts, stop_others.clone()));

        let api_url = standby.api_url.clone();
        let status = Arc::new(Status::new(&standby.of[0], api_url, metrics.scrub.clone()));
        let renewal = Arc::new(Renewal {
            data_dir: config.data_dir.clone(),
            identity: identity.cloned(),
            engine: engine.clone(),
            journal: log.journal().clone(),
            status: status.clone(),
            disk: disk.clone(),
            fetching: Default::default(),
            renewed: self.renewed.clone(),
            stop: stop.clone(),
        });
        let options = FollowOptions {
            urls: standby.of.clone(),
            identity: identity.cloned(),
            engine: engine.clone(),
            status: status.clone(),
            disk: disk.clone(),
            renewal: renewal.clone(),
            on_tables: Arc::new(move || tables.reload()),
        };
        let following = stop_others.child_token();
        others.spawn(follow(options, following.clone()));
        others.spawn(mend(renewal.clone(), following.clone()));
        let copying = CopyOptions {
            urls: standby.of.clone(),
            identity: identity.cloned(),
            engine: engine.clone(),
            accounts: self.accounts.handle(),
            journal: self.accounts.journal(),
            disk: disk.clone(),
            place: copy_clicks::place(&config.data_dir),
            renewal,
        };
        others.spawn(copy_clicks::run(copying, following.clone()));
        let succession = SuccessionService { side: engine.clone(), journal: log.journal().clone() };
        let snapshots = self.snapshots(&members, &status, &mut others, &stop_others)?;
        let stop_feed = stop_others.clone();
        others.spawn(async move {
            if let Err(error) = feed.serve_standby(succession, snapshots, stop_feed).await {
                tracing::error!(%error, "the succession is served no more");
            }
        });
        let asker =
            Asker { identity: identity.cloned(), fleet: engine.fleet_id(), name: engine.member().to_owned() };
        let operator = StandbyOperator {
            promotion: Promotion {
                engine: engine.clone(),
                status: status.clone(),
                members: members.clone(),
                asker,
                others: standby.everybody(),
                min_sync_replicas: standby.writer_min_sync_replicas,
            },
            log: log.clone(),
            promoting: Default::default(),
            promoted: self.promoted.clone(),
            following,
            stop: stop.clone(),
        };
        others.spawn(control.serve(Arc::new(operator), stop_others.clone()));
        let api = self.api(
            log,
            metrics.clone(),
            domains,
            people,
            tokens,
            members,
            replication,
            status,
            disk,
            &mut others,
            &stop_others,
        )?;
        let mut serving = JoinSet::new();
        let server = HttpServer { router: http::router(Arc::new(api)), metrics };
        serving.spawn(server.serve(http, stop));
        Ok((addresses, Tasks { http: serving, others, stop_others, reads_behind }))
    }

    /// Snapshots for whoever needs one while the writer is away, or has none to give. `None`: whose log it is is not known yet.
    fn snapshots(
        &self,
        members: &Members,
        status: &Arc<Status>,
        others: &mut JoinSet<()>,
        stop_others: &CancellationToken,
    ) -> io::Result<Option<SnapshotService>> {
        let Parts { config, opened, .. } = self;
        let Some(fleet) = opened.engine.fleet_id() else { return Ok(None) };
        let options = ShelfOptions::of_log(config, fleet);
        let (source, journal) = (opened.log.reader().into(), opened.log.journal().clone());
        let shelf = Shelf::open(options, source, journal, stop_others.clone())?;
        others.spawn(shelf.clone().tidy());
        let (status, known) = (status.clone(), members.clone());
        let (name, min) = (opened.engine.member().to_owned(), self.standby.writer_min_sync_replicas);
        let not_for_proxies = move || {
            let confirmed = choice::is_confirmed_here(min, known.get(&name).as_ref());
            (!confirmed).then(|| {
                "which of its records enough sync members have is known to the writer only".to_owned()
            })
        };
        let service = SnapshotService::new(shelf, members.clone(), fleet);
        let service = service.unless(Arc::new(move || status.unfit()));
        Ok(Some(service.not_for_proxies_if(Arc::new(not_for_proxies))))
    }

    #[allow(clippy::too_many_arguments)]
    fn api(
        &self,
        log: Log,
        metrics: Metrics,
        domains: Domains,
        people: People,
        tokens: Tokens,
        members: Members,
        replication: Replication,
        status: Arc<Status>,
        disk: DiskReserve,
        others: &mut JoinSet<()>,
        stop_others: &CancellationToken,
    ) -> Result<Api, ServerError> {
        let config = self.config;
        let fleet = self.opened.engine.fleet_id().unwrap_or(wire::identity::FleetId::from_bytes([0; 16]));
        let budgets = Budgets::load(fleet, log.clone(), members.clone(), metrics.budgets.clone())
            .map_err(OpenLogError::from)?;
        // Codes are the writer's: nothing is leased, and the stock stays as it is.
        let epoch = log.commit().head.position.epoch;
        let (codes, _) = Codes::open(&config.data_dir.join("codes"), config.codes, epoch, log.reader(), &[])?;
        let marks = Marks::default();
        let clicks = Clicks::new(self.accounts.handle(), Reporters::default(), members.clone());
        // The index is the writer's: whoever looks for words asks it.
        let search = Search::new(false, log.journal().clone());
        let observed = Arc::new(Observed {
            log: log.clone(),
            codes: codes.clone(),
            marks: marks.clone(),
            clicks: clicks.clone(),
            members: Arc::new(RwLock::new(Vec::new())),
            sweep: metrics.sweep.clone(),
            search: search.clone(),
            backup: BackupStatus::default(),
            disk,
            standby: Some(status.clone()),
        });
        self.probe.open(metrics.registry(observed.clone()), observed.clone());
        let rules = Rules { target: config.targets.rules.clone(), alias: config.aliases.clone() };
        let levels = Levels::new(log.clone(), members);
        let links = Links {
            // It signs with the keys that the writer has made, and makes none.
            signing: Signing::new(log.clone(), levels.clone(), None),
            levels,
            log,
            codes,
            marks,
            domains,
            replication,
            clicks,
            reuse: config.codes.reuse,
            rules,
            gate: start_gate(config, &metrics, others, stop_others)?,
            budgets,
            metrics: metrics.clone(),
            in_flight: Default::default(),
            duplicates: Default::default(),
            passwords: Default::default(),
            search,
            tokens: tokens.clone(),
            people: people.clone(),
        };
        // Shown, and never run: what it would write is the writer's to write.
        let cursor = config.data_dir.join("sweep");
        let sweep = Sweep::new(config.sweep, links.clone(), metrics.sweep.clone(), cursor);
        Ok(Api {
            sweep,
            links,
            tokens,
            people,
            limits: config.limits,
            bodies: Default::default(),
            transfers: Default::default(),
            ready: observed,
            drop_in: config.drop_in,
            metrics,
            standby: Some(status),
        })
    }
}
