//! Putting a proxy together, and taking it apart in the order that closes the database before the process ends.

mod side;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use daemon::disk::DiskReserve;
use daemon::exit::Exit;
use daemon::health::HealthServer;
use daemon::metrics::Latency;
use daemon::{shutdown, telemetry};
use linklog::Head;
use linklog::replica::Replica;
use linklog::store::{Contents, StoreOptions};
use tokio::sync::mpsc;
use wire::identity::Identity;

use crate::bootstrap::BootstrapOptions;
use crate::budgets::{self, Budgets, Holding};
use crate::census::Census;
use crate::clicks::status::ClickStatus;
use crate::clicks::{Clicks, Started, Telling};
use crate::client::Clients;
use crate::config::{Config, Listener, Writers};
use crate::control::ProxyCommands;
use crate::disk::{DiskOptions, DiskPool};
use crate::follow::status::{Served, Status};
use crate::follow::{self, FollowOptions, Followed, Recovery, SwitchReaders};
use crate::framework_log;
use crate::geo::Geo;
use crate::hosts::Hosts;
use crate::hot_map::HotMap;
use crate::http::begin::Speaks;
use crate::http::render::Pieces;
use crate::listeners;
use crate::lookup::{Lookups, Source, Whole};
use crate::metrics::{Measured, ProxyProbe};
use crate::open_files;
use crate::passwords::attempts::Attempts;
use crate::passwords::{self, Passwords};
use crate::quota::Quotas;
use crate::readiness::ReadyState;
use crate::replica_dirs::ReplicaDirs;
use crate::scrub::Scrub;
use crate::server::{self, Entrance, Stop};
use crate::tls::Tls;
use crate::visitors::Visitors;
use crate::watch::Every;
use crate::worker::{Counters, FailureLog, Shared, Worker};
use side::{Side, Watched};

/// The first replica of a process.
const GENERATION: u64 = 1;
/// How often to look after files that there are none of.
const FILES_UNCHECKED: Duration = Duration::from_secs(24 * 3_600);
/// Where in the data directory the click ledger lies.
const CLICKS_DIR: &str = "clicks";
/// Memory of the database before it is written out: records come back from the writer after a crash, so it may be small.
const MEMTABLE_BYTES: usize = 32 << 20;

/// Runs a proxy until it is told to end.
///
/// # Errors
/// What it needs at start cannot be had: the replica, a port, a credential, a thread.
pub fn run(config: Config) -> Result<(), Exit> {
    telemetry::init(&config.log);
    framework_log::init();
    let started = Instant::now();
    let asked = shutdown::on_signals().map_err(Exit::failure)?;
    let follow_as = follow_options(&config.writers)?;
    let (dirs, number, replica) = open_replica(&config)?;
    let reserve = DiskReserve::new(&config.data_dir, config.disk_reserve_bytes);
    let (on_damage, found) = mpsc::unbounded_channel();
    let scrub = Arc::new(Scrub::new(GENERATION, &replica.reader(), on_damage));
    let tls = config.tls.clone().map(Tls::load).transpose().map_err(Exit::failure)?.map(Arc::new);
    let geo = config.geo.as_ref().map(Geo::load).transpose().map_err(Exit::failure)?.map(Arc::new);
    let entrances: Vec<Entrance> =
        config.listeners.iter().map(|listener| entrance(listener, tls.as_ref())).collect();
    let addresses: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    let (listen, sockets) = listeners::bind(&addresses, config.workers).map_err(Exit::failure)?;

    let hot = Arc::new(HotMap::new(config.cache.hot_map_bytes, config.workers));
    let hosts = Arc::new(Hosts::with(&replica.reader(), config.unknown_host.clone()).map_err(Exit::failure)?);
    // A replica that was there before is taken for a whole one: how old it is, /readyz says.
    let whole = Arc::new(Whole::new(replica.head() != Head::EMPTY));
    let (head, served) = (replica.head(), Served::by(&replica));
    let status = Arc::new(Status::new(head, served, config.ready.lag_max, Arc::clone(&whole)));
    let click_status = config.clicks.enabled.then(Arc::<ClickStatus>::default);
    let clicks = match &click_status {
        Some(measured) => Some(start_clicks(&config, &follow_as, &status, measured, &reserve)?),
        None => None,
    };
    let (clicks, mut rings) =
        clicks.map_or((None, Vec::new()), |started| (Some(started.clicks), started.rings));
    let visitors = Arc::new(Visitors::load(&replica.reader()).map_err(Exit::failure)?);
    let attempts = Arc::new(Attempts::new(config.passwords.attempts_max, config.passwords.attempts_window));
    let guesses = Arc::<passwords::Counts>::default();
    let passwords = Passwords::start(config.passwords, Arc::clone(&attempts), Arc::clone(&guesses));
    let passwords = passwords.map_err(Exit::failure)?;
    let budgets = open_budgets(&config, &follow_as, &replica)?;
    let per_network = config.limits.per_network;
    let census = Arc::new(Census::new(
        open_files::for_connections(config.limits.connections_max),
        per_network.as_ref().map_or(usize::MAX, |limits| limits.connections_max),
    ));
    let quotas = per_network.as_ref().and_then(|limits| Quotas::new(limits.quotas)).map(Arc::new);
    let measured = Measured {
        census: Arc::clone(&census),
        quotas: quotas.clone(),
        clicks: click_status,
        workers: (0..config.workers).map(|_| Arc::new(Counters::default())).collect(),
        hot: Arc::clone(&hot),
        ready: Arc::new(ReadyState::new(Arc::clone(&status), config.ready.without_writer_after)),
        disk_took: Latency::default(),
        replication_lag: Latency::default(),
        tls: tls.clone(),
        geo: geo.clone(),
        credential_expires_at_s: follow_as
            .identity
            .as_ref()
            .map(|identity| identity.expires_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        scrub: Arc::clone(&scrub),
        disk: reserve.clone(),
        guesses,
    };
    let disk = DiskOptions {
        threads: config.cache.disk_threads,
        queue_max: config.cache.disk_queue_max,
        deadline: config.cache.disk_deadline,
    };
    let disk = DiskPool::start(disk, &hot, &measured.disk_took).map_err(Exit::failure)?;
    let source = Source::new(GENERATION, replica.reader());
    let shared = Arc::new(Shared {
        lookups: Lookups::new(Arc::clone(&hot), source, disk, whole),
        hosts: Arc::clone(&hosts),
        pieces: Pieces::new(),
        root_redirect: config.root_redirect.map(|target| target.into_bytes().into()),
        database_failures: FailureLog::default(),
        scrub: Arc::clone(&scrub),
        census,
        clients: per_network.map_or_else(Clients::default, |limits| limits.clients),
        quotas,
        budgets: budgets.clone(),
        geo: geo.clone(),
        visitors: Arc::clone(&visitors),
        passwords,
    });

    let health = HealthServer::start(config.health, Arc::new(ProxyProbe::new(measured.clone())));
    let health = health.map_err(Exit::failure)?;
    let commands = ProxyCommands {
        measured: measured.clone(),
        tls: tls.clone(),
        geo,
        listen: listen.clone(),
        health: health.local_addr(),
        started,
        scrub: Arc::clone(&scrub),
    };
    let files = Every {
        certificates: config.tls.map_or(FILES_UNCHECKED, |files| files.check_every),
        countries: config.geo.map_or(FILES_UNCHECKED, |file| file.check_every),
    };
    let (peers, status_of) = (config.ready.peers.clone(), Arc::clone(&status));
    let watched = Watched { files, disk: reserve.clone(), peers, status: status_of };
    let side = Side::start(&config.control_socket, commands, watched).map_err(Exit::failure)?;
    tracing::info!(
        listen = ?listen,
        health = %health.local_addr(),
        workers = config.workers,
        replica = %head.position,
        keys = served.keys,
        "starting"
    );
    let holding =
        budgets.clone().map(|budgets| budgets::start(follow_as.clone(), Arc::clone(&status), budgets));
    let holding: Option<Holding> = holding.transpose().map_err(Exit::failure)?;
    let scrubbing = scrub.start(config.scrub, dirs.scrub()).map_err(Exit::failure)?;
    let recovery = Recovery {
        known_damage: dirs.damage(number),
        bootstrap: BootstrapOptions {
            dirs,
            store: store_options(config.cache.block_cache_bytes),
            fresh_from_records: config.fresh_from_records,
            disk: reserve,
        },
        number,
        found,
        scrub: Arc::clone(&scrub),
    };
    let readers = Arc::clone(&shared);
    let switch: SwitchReaders = Box::new(move |generation, reader| {
        readers.lookups.switch(Source::new(generation, reader.clone()));
        scrub.switch(generation, reader);
    });
    let lag = measured.replication_lag.clone();
    let followed = Followed { hot, hosts, status, budgets, visitors, attempts, lag, switch };
    let following =
        follow::start(follow_as, replica, GENERATION, recovery, followed).map_err(Exit::failure)?;

    let limits = config.limits.limits;
    let workers = measured.workers.iter().zip(sockets).map(|(counters, sockets)| {
        let worker = Worker::new(Arc::clone(&shared), Arc::clone(counters), limits);
        let worker = match rings.pop() {
            Some(ring) => worker.recording(ring),
            None => worker,
        };
        (Arc::new(worker), sockets)
    });
    let stop =
        Stop { asked, ready: Arc::clone(&measured.ready), unready_for: config.ready.unready_before_stop };
    server::run(workers.collect(), &entrances, config.real_time, stop);

    // No worker records any more. The feed still knows whom to tell.
    if let Some(holding) = holding {
        holding.stop();
    }
    if let Some(clicks) = clicks {
        clicks.stop();
    }
    following.stop();
    scrubbing.stop();
    side.stop();
    match Arc::try_unwrap(shared) {
        // The disk threads end, then the last reader goes, and with it the database is closed.
        Ok(shared) => drop(shared),
        Err(_) => tracing::warn!(
            "a connection outlived the server: the database is closed by the end of the process"
        ),
    }
    health.stop();
    tracing::info!("stopped");
    Ok(())
}

fn follow_options(writers: &Writers) -> Result<FollowOptions, Exit> {
    let identity = writers.tls_dir.as_deref().map(Identity::load).transpose().map_err(Exit::failure)?;
    let certified = identity.as_ref().map(|identity| identity.own().name.clone());
    let name = match (certified, &writers.name) {
        (Some(certified), Some(name)) if certified != *name => {
            return Err(Exit::failure(format!(
                "[writers] name is {name:?}, but the certificate in tls_dir is that of {certified:?}: take one of them out"
            )));
        }
        (Some(certified), _) => certified,
        (None, name) => name.clone().unwrap_or_default(),
    };
    Ok(FollowOptions { urls: writers.urls.clone(), identity, name })
}

fn entrance(listener: &Listener, tls: Option<&Arc<Tls>>) -> Entrance {
    let speaks = match tls {
        Some(tls) if listener.tls => Speaks::Tls { tls: Arc::clone(tls), http2: listener.http2 },
        _ if listener.h2c => Speaks::PlainWithHttp2,
        _ => Speaks::Plain,
    };
    Entrance { known_by: listener.client_address.clone(), speaks }
}

fn start_clicks(
    config: &Config,
    follow_as: &FollowOptions,
    followed: &Arc<Status>,
    status: &Arc<ClickStatus>,
    disk: &DiskReserve,
) -> Result<Started, Exit> {
    let dir = config.data_dir.join(CLICKS_DIR);
    let (report_as, followed, status) = (follow_as.clone(), Arc::clone(followed), Arc::clone(status));
    let telling = Telling { report_as, followed, status };
    Clicks::start(&config.clicks, &dir, config.workers, telling, disk.clone()).map_err(Exit::failure)
}

/// Budgets lie beside the click rings, whose folder is on tmpfs and ours alone by now. Without clicks there are none.
fn open_budgets(
    config: &Config,
    follow_as: &FollowOptions,
    replica: &Replica,
) -> Result<Option<Arc<Budgets>>, Exit> {
    if !config.clicks.enabled {
        return Ok(None);
    }
    let dir = &config.clicks.ring_dir;
    let budgets = Budgets::open(dir, follow_as.name.clone(), replica.reader()).map_err(|error| {
        Exit::failure(format!("cannot use {} for the clicks of limited links: {error}", dir.display()))
    })?;
    Ok(Some(Arc::new(budgets)))
}

fn store_options(block_cache_bytes: usize) -> StoreOptions {
    StoreOptions { block_cache_bytes, memtable_bytes: MEMTABLE_BYTES, ..StoreOptions::default() }
}

/// Opens the replica that counts, and removes those it has replaced. One that is too damaged to be opened is given up: everything in
/// it can be had from the writer.
fn open_replica(config: &Config) -> Result<(ReplicaDirs, u64, Replica), Exit> {
    let failed = |error: std::io::Error| {
        Exit::failure(format!("cannot use the data directory {}: {error}", config.data_dir.display()))
    };
    let dirs = ReplicaDirs::new(&config.data_dir).map_err(failed)?;
    let number = dirs.current().map_err(failed)?;
    let options = store_options(config.cache.block_cache_bytes);
    let (number, replica) = match Replica::open(&dirs.replica(number), Contents::Serve, &options) {
        Err(error) if error.is_damage() => {
            tracing::error!(
                %error,
                dir = %dirs.replica(number).display(),
                "the replica is damaged and cannot be opened: beginning with an empty one"
            );
            let replica = Replica::open(&dirs.replica(number + 1), Contents::Serve, &options);
            (number + 1, replica.map_err(Exit::failure)?)
        }
        opened => (number, opened.map_err(Exit::failure)?),
    };
    if let Err(error) = dirs.remove_before(number) {
        tracing::warn!(%error, "cannot remove an old replica");
    }
    Ok((dirs, number, replica))
}
