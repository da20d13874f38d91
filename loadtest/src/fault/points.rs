//! The named points: where in a part's work it is killed or stopped. Each is a call of the part to the system, before it is made or when it
//! has been made, known by its file or by the port of its socket; so the binaries are the ones that are shipped, and a new kind of record or
//! file does not need a new point in the code.

use std::path::Path;

use anyhow::Context;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Bytes into a file.
    Write,
    /// `fsync` or `fdatasync`.
    Sync,
    /// A file or folder gets this name.
    Rename,
    /// A file is removed.
    Unlink,
    /// Bytes to a socket.
    Send,
    /// Bytes from a socket.
    Receive,
}

/// What the call is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Files whose path is like this: `*` stands for anything, `+([0-9])` for a number.
    File(&'static str),
    /// Connections with a port of the part's configuration: table and key of an address or URL.
    Port(&'static str, &'static str),
}

impl Place {
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Place::File(pattern) => pattern,
            Place::Port(..) => "",
        }
    }
}

/// Which kind of part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The writer.
    Admin,
    /// A key pool.
    Keypool,
    /// A proxy.
    Proxy,
    /// A standby of the writer.
    Standby,
}

/// When a part gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Again and again while it works: the first few times may be let pass.
    Often,
    /// Now and then while it works.
    Seldom,
    /// While it starts: it is killed and started to get there.
    Starting,
    /// While a damaged replica is replaced: the proxy is killed, its replica damaged, and it is started.
    Replacing,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT some seconds later.
    Stop,
}

impl Form {
    pub(super) fn signal(self) -> u64 {
        match self {
            Form::Kill => nix::libc::SIGKILL as u64,
            Form::Stop => nix::libc::SIGSTOP as u64,
        }
    }
}

/// A named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Whose.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: &'static str,
    /// Which call.
    pub call: Call,
    /// On what.
    pub place: Place,
    /// When the call has been made; otherwise before it is.
    pub after: bool,
    /// When a part gets there.
    pub when: When,
}

const fn before(kind: Kind, when: When, name: &'static str, call: Call, place: Place) -> Point {
    Point { kind, name, call, place, after: false, when }
}

const fn after(kind: Kind, when: When, name: &'static str, call: Call, place: Place) -> Point {
    Point { kind, name, call, place, after: true, when }
}

use Call::{Receive, Rename, Send, Sync, Unlink, Write};
use Kind::{Admin, Keypool, Proxy, Standby};
use When::{Often, Replacing, Seldom, Starting};

const LOG: Place = Place::File("*/data/log/db/*.log");
const LOG_CURRENT: Place = Place::File("*/data/log/db/CURRENT");
const LOG_MANIFEST: Place = Place::File("*/data/log/db/MANIFEST-*");
const LOG_TABLE: Place = Place::File("*/data/log/db/*.sst");
const LOG_HEAD: Place = Place::File("*/data/log/HEAD");
const ACCOUNTS: Place = Place::File("*/data/clicks/db/*.log");
const LEASE: Place = Place::File("*/data/codes/*.lease");
const SEEN: Place = Place::File("*/data/codes/seen");
const API: Place = Place::Port("http", "listen");
const FEED: Place = Place::Port("feed", "listen");
const POOL: Place = Place::Port("keypool", "url");
const LEDGER: Place = Place::File("*/data/pool/*.log");
const LEDGER_CURRENT: Place = Place::File("*/data/pool/CURRENT");
const LEDGER_HEAD: Place = Place::File("*/data/head");
const GRPC: Place = Place::Port("grpc", "listen");
const REPLICA: Place = Place::File("*/data/replica*/*.log");
const REPLICA_CURRENT: Place = Place::File("*/data/replica*/CURRENT");
const REPLICA_MANIFEST: Place = Place::File("*/data/replica*/MANIFEST-*");
const NEW_REPLICA: Place = Place::File("*/data/replica-*/CURRENT");
const RECEIVED_PART: Place = Place::File("*/data/bootstrap/part-*");
const RECEIVED: Place = Place::File("*/data/bootstrap/MANIFEST");
const UNFINISHED_REPLICA: Place = Place::File("*/data/replica-*.partial");
const REPLICA_NAME: Place = Place::File("*/data/replica-+([0-9])");
const WRITER: Place = Place::Port("writers", "urls");
const VISITOR: Place = Place::Port("listen", "addresses");

/// Every point, in the order in which they come.
pub const POINTS: &[Point] = &[
    before(Admin, Often, "before a record is written", Write, LOG),
    after(Admin, Often, "between a record's write and its sync", Write, LOG),
    before(Admin, Often, "before the sync of the log", Sync, LOG),
    after(Admin, Often, "between the sync of the log and the answer", Sync, LOG),
    before(Admin, Often, "before the first byte of an answer", Send, API),
    after(Admin, Often, "when an answer was sent", Send, API),
    before(Admin, Often, "before a frame of the feed", Send, FEED),
    after(Admin, Often, "when a frame of the feed was sent", Send, FEED),
    after(Admin, Seldom, "when an acknowledgement or clicks came", Receive, FEED),
    before(Admin, Seldom, "before the accounts are written", Write, ACCOUNTS),
    after(Admin, Seldom, "between the accounts' write and the reply", Write, ACCOUNTS),
    after(Admin, Seldom, "between the accounts' sync and the reply", Sync, ACCOUNTS),
    after(Admin, Seldom, "when a lease was asked for", Send, POOL),
    after(Admin, Seldom, "between a lease's arrival and its record", Receive, POOL),
    before(Admin, Seldom, "before a lease gets its name", Rename, LEASE),
    after(Admin, Seldom, "when a lease has its name", Rename, LEASE),
    before(Admin, Seldom, "before a lease's number is remembered", Rename, SEEN),
    after(Admin, Seldom, "when a lease's number is remembered", Rename, SEEN),
    before(Admin, Seldom, "before a used lease is removed", Unlink, LEASE),
    after(Admin, Seldom, "when a used lease was removed", Unlink, LEASE),
    before(Admin, Often, "between the sync of the log and HEAD", Write, LOG_HEAD),
    after(Admin, Often, "between HEAD and the answer", Write, LOG_HEAD),
    before(Admin, Starting, "before a table is synced", Sync, LOG_TABLE),
    before(Admin, Starting, "before the manifest is synced", Sync, LOG_MANIFEST),
    before(Admin, Starting, "before the manifest is the current one", Rename, LOG_CURRENT),
    after(Admin, Starting, "when the manifest is the current one", Rename, LOG_CURRENT),
    after(Keypool, Seldom, "when a lease was asked for", Receive, GRPC),
    before(Keypool, Seldom, "before the sync of the ledger", Sync, LEDGER),
    after(Keypool, Seldom, "between the ledger's sync and the answer", Sync, LEDGER),
    before(Keypool, Seldom, "before the first byte of an answer", Send, GRPC),
    after(Keypool, Seldom, "when an answer was sent", Send, GRPC),
    before(Keypool, Seldom, "before the head file is replaced", Rename, LEDGER_HEAD),
    after(Keypool, Seldom, "when the head file was replaced", Rename, LEDGER_HEAD),
    before(Keypool, Starting, "before the manifest is the current one", Rename, LEDGER_CURRENT),
    after(Keypool, Starting, "when the manifest is the current one", Rename, LEDGER_CURRENT),
    after(Proxy, Often, "when a frame of the feed came", Receive, WRITER),
    before(Proxy, Often, "before a frame is applied", Write, REPLICA),
    after(Proxy, Often, "between applying and the acknowledgement", Write, REPLICA),
    before(Proxy, Often, "before an acknowledgement or clicks", Send, WRITER),
    after(Proxy, Often, "when an acknowledgement or clicks were sent", Send, WRITER),
    before(Proxy, Often, "between a click's record and the redirect", Send, VISITOR),
    after(Proxy, Often, "when a redirect was sent", Send, VISITOR),
    before(Proxy, Starting, "before the manifest is synced", Sync, REPLICA_MANIFEST),
    before(Proxy, Starting, "before the manifest is the current one", Rename, REPLICA_CURRENT),
    after(Proxy, Starting, "when the manifest is the current one", Rename, REPLICA_CURRENT),
    before(Proxy, Replacing, "while an empty replica is begun for a damaged one", Rename, NEW_REPLICA),
    after(Proxy, Replacing, "when an empty replica was begun for a damaged one", Rename, NEW_REPLICA),
    after(Proxy, Replacing, "while a damaged replica is removed", Unlink, REPLICA_CURRENT),
    before(Proxy, Replacing, "before a piece of a snapshot is written", Write, RECEIVED_PART),
    after(Proxy, Replacing, "between a piece of a snapshot and the next", Write, RECEIVED_PART),
    before(Proxy, Replacing, "before a snapshot is complete", Rename, RECEIVED),
    after(Proxy, Replacing, "between a snapshot and the replica that is made of it", Rename, RECEIVED),
    before(
        Proxy,
        Replacing,
        "before the replica that was made of a snapshot is synced",
        Sync,
        UNFINISHED_REPLICA,
    ),
    before(
        Proxy,
        Replacing,
        "before the replica that was made of a snapshot has its name",
        Rename,
        REPLICA_NAME,
    ),
    after(
        Proxy,
        Replacing,
        "when the replica that was made of a snapshot has its name",
        Rename,
        REPLICA_NAME,
    ),
    after(Proxy, Replacing, "while a snapshot that was used is removed", Unlink, RECEIVED_PART),
];

/// Whom a point of a promotion is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The standby that is to be the writer.
    Promoted,
    /// The one that accepts the new epoch.
    Other,
}

/// The points of a promotion, for `promotions --points`: whose, which, and how often it is let pass before. A standby syncs its log when it
/// accepts the epoch and when it begins it.
pub const PROMOTION: &[(Side, Point, u64)] = &[
    (Side::Promoted, before(Standby, Seldom, "before the new epoch is accepted", Sync, LOG), 0),
    (Side::Promoted, after(Standby, Seldom, "when the new epoch was accepted", Sync, LOG), 0),
    (Side::Promoted, before(Standby, Seldom, "before the record of the epoch", Write, LOG), 1),
    (Side::Promoted, after(Standby, Seldom, "between the record of the epoch and its sync", Write, LOG), 1),
    (Side::Promoted, after(Standby, Seldom, "when the record of the epoch was synced", Sync, LOG), 1),
    (Side::Promoted, before(Standby, Seldom, "before HEAD says so", Write, LOG_HEAD), 0),
    (Side::Promoted, after(Standby, Seldom, "when HEAD says so", Write, LOG_HEAD), 0),
    (Side::Other, before(Standby, Seldom, "before another's epoch is accepted", Sync, LOG), 0),
    (Side::Other, after(Standby, Seldom, "between accepting another's epoch and the answer", Sync, LOG), 0),
];

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Admin => "admin",
            Kind::Keypool => "keypool",
            Kind::Proxy => "proxy",
            Kind::Standby => "standby",
        };
        write!(f, "{kind}: {}", self.name)
    }
}

impl Point {
    /// Whether its part is killed and started to get there.
    pub(super) fn is_of_a_start(&self) -> bool {
        matches!(self.when, When::Starting | When::Replacing)
    }

    /// The port of a point at a socket, from the configuration of the part; 0 for the others.
    pub(super) fn port(&self, config: &Path) -> anyhow::Result<u16> {
        let Place::Port(table, key) = self.place else { return Ok(0) };
        let text = std::fs::read_to_string(config);
        let parsed: toml::Table =
            text.with_context(|| format!("cannot read {}", config.display()))?.parse()?;
        // The first of several: a pool, a writer, an address.
        let first = |value: &toml::Value| match value {
            toml::Value::Array(values) => values.first().cloned(),
            other => Some(other.clone()),
        };
        let address = parsed
            .get(table)
            .and_then(first)
            .and_then(|table| first(table.get(key)?))
            .and_then(|address| address.as_str()?.rsplit(':').next()?.parse().ok());
        address.with_context(|| format!("{} has no port in {table}.{key}", config.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own_and_a_pattern_that_fits() {
        for (index, point) in POINTS.iter().enumerate() {
            assert!(POINTS[..index].iter().all(|other| other.to_string() != point.to_string()), "{point}");
            assert!(point.place.pattern().len() < 256, "{point}");
        }
    }

    #[test]
    fn ports_are_read_from_addresses_and_urls_the_first_of_several() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let text = "[http]\nlisten = \"127.0.0.1:81\"\n[listen]\naddresses = [\"127.0.0.1:82\"]\n[[keypool]]\nurl = \"https://127.0.0.1:83\"\n";
        std::fs::write(&config, text).unwrap();
        let port = |place| before(Admin, Often, "", Send, place).port(&config);
        assert_eq!(port(API).unwrap(), 81);
        assert_eq!(port(VISITOR).unwrap(), 82);
        assert_eq!(port(POOL).unwrap(), 83);
        assert_eq!(port(LOG).unwrap(), 0);
        assert!(port(WRITER).is_err_and(|error| error.to_string().contains("writers.urls")));
    }
}
