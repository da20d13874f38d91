//! The daemon: starts the parts, waits, ends them in order.
//!
//! Order of the end: unready, no new calls, calls finished, refilling stopped, database closed, and only then the process:
//! RocksDB's threads must not outlive it. The same order after an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daemon::config::{ConfigError, Loaded, Problem};
use daemon::control::ControlSocket;
use daemon::exit::Exit;
use daemon::health::{HealthServer, Probe, Readiness};
use daemon::{notify, shutdown, telemetry};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use wire::identity::{Identity, Role};
use wire::listen::{Listener, keys_routes};

use crate::config::Config;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::refill::Refill;
use crate::service::{CALLS_AT_ONCE, Service};
use crate::store::OpenError;
use crate::supply::{Supply, SupplyError};

/// Threads of the runtime: they only parse and encode.
const RUNTIME_THREADS: usize = 2;

/// The credential bundle is not for a key pool.
#[derive(Debug, thiserror::Error)]
#[error("the bundle in grpc.tls_dir is that of a {found}: make one with `signpost-admin keypool add`")]
struct WrongRole {
    found: Role,
}

/// Runs until a signal comes or a write fails.
///
/// # Errors
/// Something could not be started, or failed so that the process must end.
pub fn run(loaded: Loaded<Config>, config_name: &str) -> Result<(), Exit> {
    let config = loaded.config;
    telemetry::init(&config.log);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let stop = shutdown::on_signals().map_err(Exit::failure)?;
    let identity = identity(&config)?;
    let metrics = Arc::new(Metrics::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let probe = PoolProbe { metrics: Arc::clone(&metrics), stopping: Arc::clone(&stopping) };
    let health = HealthServer::start(config.http_listen, Arc::new(probe)).map_err(Exit::failure)?;
    let supply = Supply::open(&config.data_dir, &config.pool, metrics);
    let supply = Arc::new(supply.map_err(|error| refused(error, config_name))?);
    announce(&supply);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(CALLS_AT_ONCE)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(Exit::failure)?;
    let refill = Refill::start(Arc::clone(&supply), &config.pool).map_err(Exit::failure)?;
    let served = runtime.block_on(async {
        let serving = Serving { supply: &supply, stop: &stop, stopping: &stopping, health: &health };
        serving.run(&config, identity.as_ref()).await
    });
    stopping.store(true, Ordering::Release);
    // Waits for the calls that are at work on the database.
    drop(runtime);
    drop(refill);
    let ended = match supply.failure() {
        Some(failure) => Err(Exit::failure(failure.to_owned())),
        None => served,
    };
    if Arc::into_inner(supply).is_none() {
        tracing::error!("the database was not closed: a part of the daemon still uses it");
    }
    health.stop();
    tracing::info!("stopped");
    ended
}

/// What serving needs, between start and end.
struct Serving<'s> {
    supply: &'s Arc<Supply>,
    stop: &'s CancellationToken,
    stopping: &'s AtomicBool,
    health: &'s HealthServer,
}

impl Serving<'_> {
    async fn run(self, config: &Config, identity: Option<&Identity>) -> Result<(), Exit> {
        let listener = Listener::bind(config.grpc_listen, identity).await.map_err(Exit::failure)?;
        let control = ControlSocket::bind(&config.control_socket).map_err(Exit::failure)?;
        let service = Service::new(Arc::clone(self.supply));
        let commands = Control::new(Arc::clone(self.supply), service.clone());
        tracing::info!(
            grpc = %listener.local_addr(),
            tls = listener.is_tls(),
            http = %self.health.local_addr(),
            control = %config.control_socket.display(),
            "listening"
        );
        notify::ready();
        let end = self.stop.child_token();
        let control = control.serve(Arc::new(commands), end.clone());
        let served = listener.serve(keys_routes(service), end.clone().cancelled_owned());
        let watch = async {
            tokio::select! {
                () = end.cancelled() => {}
                () = self.supply.failed().cancelled() => {}
            }
            self.stopping.store(true, Ordering::Release);
            notify::stopping();
            end.cancel();
        };
        let (served, (), ()) = tokio::join!(
            async {
                let served = served.await;
                // A server that ends unasked ends the daemon.
                end.cancel();
                served
            },
            control,
            watch
        );
        served.map_err(Exit::failure)
    }
}

/// What health checks see. It holds no database, so it may outlive the pool.
struct PoolProbe {
    metrics: Arc<Metrics>,
    stopping: Arc<AtomicBool>,
}

impl Probe for PoolProbe {
    fn readiness(&self) -> Readiness {
        let unused = self.metrics.unused();
        let stopping = self.stopping.load(Ordering::Acquire) || self.metrics.is_stopped();
        Readiness {
            ready: unused > 0 && !stopping,
            detail: json!({
                "unused": unused,
                "used": self.metrics.used(),
                "refilling": self.metrics.is_refilling(),
                "refill_codes_per_second": self.metrics.refill_codes_per_second(),
                "stopping": stopping,
            }),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

fn identity(config: &Config) -> Result<Option<Identity>, Exit> {
    let Some(dir) = &config.tls_dir else { return Ok(None) };
    let identity = Identity::load(dir).map_err(Exit::failure)?;
    match identity.own().role {
        Role::Keypool => Ok(Some(identity)),
        found => Err(Exit::failure(WrongRole { found })),
    }
}

fn announce(supply: &Supply) {
    let stats = supply.stats();
    tracing::info!(
        pool_id = %stats.pool_id,
        slots = stats.slots,
        unused = stats.unused,
        used = stats.used,
        last_lease_number = stats.last_lease_number,
        "opened the pool"
    );
}

/// What the operator wrote is a matter of configuration, also where only the database can tell: a restart cannot mend it.
fn refused(error: SupplyError, config_name: &str) -> Exit {
    let path = match &error {
        SupplyError::Open(OpenError::SlotsNotHeld { .. }) => "pool.slots",
        SupplyError::Blocklist(_) => "pool.blocklist",
        SupplyError::Open(_) | SupplyError::Store(_) => return Exit::failure(error),
    };
    let problem =
        Problem { path: path.to_owned(), line: None, found: None, text: wire::channel::reason(&error) };
    Exit::BadConfig(ConfigError::Refused { name: config_name.to_owned(), problems: vec![problem] })
}

/// Checks what can be checked without binding or opening anything: the credential bundle and the words.
///
/// # Errors
/// One of them is not usable.
pub fn check(config: &Config) -> Result<(), Exit> {
    identity(config)?;
    if let Some(path) = &config.pool.blocklist {
        crate::blocklist::Blocklist::with_file(path)
            .map_err(|error| refused(error.into(), &path.display().to_string()))?;
    }
    Ok(())
}
