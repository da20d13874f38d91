//! Opening the log, and what it must hold before anything else: which fleet it belongs to, and the default domain.

use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clicklog::accounts::{Accounts, AccountsOptions};
use daemon::turn;
use linklog::codec::{FORMAT_LEVEL, value};
use linklog::entity::{Domain, DomainAnswers, Fleet, Restored};
use linklog::store::{Reader, StoreError, StoreOptions};
use linklog::writer::{Commit, Decision, OpenError, ProposeError, Writer, WriterOptions};
use linklog::{Change, DecodeError, DomainId, Operation, Part, Precondition, StateKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::identity::{FleetId, Identity};

use crate::clock;
use crate::config::Config;
use crate::domains::{self, Domains, ShortUrlBase};
use crate::nonce;

/// How many proposals may wait for the writer: one per connection of the API is the most that can be.
const QUEUE_MAX: usize = 4096;
/// How long an orderly end may take after a failed write.
const ORDERLY_END_MAX: Duration = Duration::from_secs(30);

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The counts of clicks cannot be opened.
    #[error(
        "the counts of clicks in {dir} cannot be used; if they cannot be recovered, move that folder away: counting begins anew, and links are \
         not touched"
    )]
    Clicks {
        /// Where they are.
        dir: String,
        /// Why not.
        source: OpenError,
    },
    /// Its folder cannot be made.
    #[error("cannot make {dir}")]
    Directory {
        /// Which one.
        dir: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A standby's is damaged.
    #[error(
        "the log of this standby in {dir} is damaged. While the writer is there, move that folder away and start again: another log is fetched. \
         With the writer gone, keep it: it may hold what nobody else has"
    )]
    Damaged {
        /// Where it is.
        dir: String,
        /// What was found.
        source: OpenError,
    },
    /// One that was fetched cannot take its place.
    #[error("cannot put the log that was fetched in its place in {dir}")]
    Renewed {
        /// Where both are.
        dir: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written.
    #[error("the first records of the log could not be written")]
    Write(#[from] ProposeError),
    /// It refused its first records.
    #[error("the first records of the log were refused: {0}")]
    Refused(String),
    /// It is another fleet's.
    #[error(
        "the log in {dir} belongs to fleet {found}, the credential bundle to fleet {own}: use the bundle that was made for this log, or \
         another data_dir"
    )]
    OtherFleet {
        /// Where the log is.
        dir: String,
        /// Whose it is.
        found: FleetId,
        /// Who we are.
        own: FleetId,
    },
    /// No random numbers.
    #[error("cannot make a fleet id: the random source of the operating system failed")]
    Random(#[source] std::io::Error),
}

/// The open log.
pub(super) struct OpenLog {
    pub writer: Writer,
    pub accounts: Accounts,
    pub commits: watch::Receiver<Commit>,
    pub fleet: FleetId,
    /// Where the log was put back to, if it ever was.
    pub restored: Option<Restored>,
}

/// The writer's turns are short, and everybody waits for them.
fn first_in_turn() {
    if let Err(error) = turn::comes_at_once() {
        tracing::info!(%error, "the system does not let the writer come before other work: it may wait for it some milliseconds");
    }
}

/// Opens the log, writing its first records if they are missing, and the counts of clicks. After a failed write to either `stop` is
/// cancelled and `fatal` set.
pub(super) fn open(
    config: &Config,
    identity: Option<&Identity>,
    fatal: Arc<AtomicBool>,
    stop: CancellationToken,
) -> Result<OpenLog, OpenLogError> {
    private_directory(&config.data_dir)
        .map_err(|source| OpenLogError::Directory { dir: config.data_dir.display().to_string(), source })?;
    let (announce, commits) = watch::channel(Commit::default());
    let announce = Arc::new(announce);
    let on_commit = announce.clone();
    let options = WriterOptions {
        store: StoreOptions::default(),
        journal_bytes_kept: config.journal_retention_bytes,
        queue_max: QUEUE_MAX,
        clock_us: Box::new(clock::now_us),
        on_commit: Box::new(move |commit| {
            on_commit.send_replace(*commit);
        }),
        at_start: Box::new(first_in_turn),
        nonce: nonce::source().map_err(OpenLogError::Random)?,
        on_fatal: {
            let (fatal, stop) = (fatal.clone(), stop.clone());
            Box::new(move |error| end_in_order(error, &fatal, &stop))
        },
    };
    let writer = Writer::open(&config.data_dir.join("log"), options)?;
    let accounts = open_accounts(config, fatal, stop)?;
    announce.send_replace(writer.handle().commit());
    let fleet = fleet(config, identity, &writer)?;
    if let Some(base) = &config.short_url_base {
        default_domain(base, &writer)?;
    }
    let restored = fleet_record(&writer.reader())?.and_then(|record| record.restored);
    Ok(OpenLog { writer, accounts, commits, fleet, restored })
}

pub(super) fn open_accounts(
    config: &Config,
    fatal: Arc<AtomicBool>,
    stop: CancellationToken,
) -> Result<Accounts, OpenLogError> {
    let dir = config.data_dir.join("clicks");
    let options = AccountsOptions {
        store: StoreOptions::default(),
        journal_bytes_kept: config.clicks_retention_bytes,
        queue_max: QUEUE_MAX,
        clock_ms: Box::new(clock::now_ms),
        on_fatal: Box::new(move |error| end_in_order(error, &fatal, &stop)),
    };
    Accounts::open(&dir, options)
        .map_err(|source| OpenLogError::Clicks { dir: dir.display().to_string(), source })
}

pub(super) fn end_in_order(error: &dyn std::error::Error, fatal: &AtomicBool, stop: &CancellationToken) {
    tracing::error!(%error, "a write failed, ending: what was acknowledged is safe");
    fatal.store(true, Ordering::Release);
    stop.cancel();
    end_anyway_after(ORDERLY_END_MAX);
}

/// Makes the folder of everything that customers entrusted to us, for nobody else to look into. One that exists is left as it is.
pub(super) fn private_directory(dir: &std::path::Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// An end that hangs on the failed disk must not go on pretending to be a writer.
fn end_anyway_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        tracing::error!("the orderly end took too long");
        std::process::exit(i32::from(daemon::exit::FAILURE));
    });
}

fn fleet(config: &Config, identity: Option<&Identity>, writer: &Writer) -> Result<FleetId, OpenLogError> {
    let own = identity.map(|identity| identity.own().fleet);
    if let Some(found) = recorded_fleet(&writer.reader())? {
        return match own {
            Some(own) if own != found => {
                Err(OpenLogError::OtherFleet { dir: config.data_dir.display().to_string(), found, own })
            }
            _ => Ok(found),
        };
    }
    let fleet = own.map_or_else(FleetId::generate, Ok).map_err(OpenLogError::Random)?;
    let record = Fleet::new(*fleet.as_bytes(), FORMAT_LEVEL);
    let operation = Operation::Put { serve: record.encode(), manage: Vec::new() };
    let part = Part { key: StateKey::Fleet, precondition: Precondition::NeverUsed, operation };
    write(writer, Change::new("first-start", vec![part]))?;
    tracing::info!(%fleet, "started the log of a fleet");
    Ok(fleet)
}

pub(crate) fn recorded_fleet(reader: &Reader) -> Result<Option<FleetId>, StoreError> {
    Ok(fleet_record(reader)?.map(|fleet| FleetId::from_bytes(fleet.id)))
}

/// Returns the fleet's record, if there is one.
///
/// # Errors
/// The disk fails or holds bytes that cannot be right.
pub(crate) fn fleet_record(reader: &Reader) -> Result<Option<Fleet>, StoreError> {
    let read = |stored: Option<&[u8]>| -> Result<Option<Fleet>, DecodeError> {
        let Some(stored) = stored else { return Ok(None) };
        let (stamp, body) = value::split(stored)?;
        if stamp.live { Fleet::decode(body).map(Some) } else { Ok(None) }
    };
    let record = reader.serve_value(&StateKey::Fleet.encode(), read)?;
    record.map_err(|source| StoreError::Damaged { what: "fleet", source })
}

fn default_domain(base: &ShortUrlBase, writer: &Writer) -> Result<(), OpenLogError> {
    let table = Domains::load(&writer.reader())?.table();
    let now_ms = clock::now_ms();
    match table.get(DomainId::DEFAULT) {
        None => {
            let plain = (&Domain::default(), &DomainAnswers::default());
            write(writer, domains::declare(DomainId::DEFAULT, base, plain, "first-start", now_ms))
        }
        Some(known) if known.base == *base => Ok(()),
        Some(known) => {
            tracing::info!(from = %known.base, to = %base, "the default domain's short URLs begin differently from now on");
            match table.of_host(base.host()) {
                Some(id) if id != DomainId::DEFAULT => Err(OpenLogError::Refused(format!(
                    "short_url_base names {}, which is the host of another domain already",
                    base.host()
                ))),
                host => write(writer, domains::move_default(known, base, host.is_none())),
            }
        }
    }
}

fn write(writer: &Writer, change: Change) -> Result<(), OpenLogError> {
    match writer.handle().propose_and_wait(vec![change])?.pop() {
        Some(Decision::Applied { .. }) => Ok(()),
        other => Err(OpenLogError::Refused(format!("{other:?}"))),
    }
}
