//! The domains that short links live on, and the hosts that lead to them.
//!
//! Owned here: the table in memory says what the log says. It is read once at the start and again whenever a record about a domain
//! has become durable. Domain 0 is the default one: its base comes from the configuration, and hosts nobody declared end up there.

mod base;
pub mod settings;

pub use base::{BaseError, ShortUrlBase, host_name};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use linklog::codec::{Cursor, value};
use linklog::entity::{Domain, DomainAnswers, Host};
use linklog::store::{Reader, StoreError};
use linklog::{Change, DecodeError, DomainId, Operation, Part, Precondition, StateKey};
use parking_lot::{Mutex, RwLock};

/// A domain as answers show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownDomain {
    /// Its number.
    pub id: DomainId,
    /// What its short URLs begin with.
    pub base: ShortUrlBase,
    /// What its owner keeps with it.
    pub manage: Domain,
    /// What proxies answer on it besides its links.
    pub answers: DomainAnswers,
    /// The version of its record.
    pub version: u64,
}

impl KnownDomain {
    /// Returns whether the case of letters in aliases counts: `sensitive` or `folded`.
    pub fn case(&self) -> &'static str {
        if self.answers.folded { "folded" } else { "sensitive" }
    }
}

/// Every domain and host, as of the last reading.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DomainTable {
    by_id: BTreeMap<u16, KnownDomain>,
    by_host: HashMap<String, DomainId>,
}

impl DomainTable {
    /// Returns a domain.
    pub fn get(&self, id: DomainId) -> Option<&KnownDomain> {
        self.by_id.get(&id.0)
    }

    /// Returns the domain a host (lower case, no port) was declared for.
    pub fn of_host(&self, host: &str) -> Option<DomainId> {
        self.by_host.get(host).copied()
    }

    /// Returns all domains in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = &KnownDomain> {
        self.by_id.values()
    }

    /// Returns all hosts of a domain, sorted.
    pub fn hosts(&self, id: DomainId) -> Vec<&str> {
        let mut hosts: Vec<_> =
            self.by_host.iter().filter(|(_, of)| **of == id).map(|(host, _)| host.as_str()).collect();
        hosts.sort_unstable();
        hosts
    }

    /// Returns the number the next domain gets; `None` if all are taken.
    pub fn next_id(&self) -> Option<DomainId> {
        let highest = self.by_id.last_key_value().map_or(0, |(id, _)| *id);
        highest.checked_add(1).map(DomainId)
    }

    /// Says whether `host` with `port` serves short links: a link there would lead in a circle.
    pub fn serves(&self, host: &str, port: u16) -> bool {
        let Some(domain) = self.of_host(host).and_then(|id| self.get(id)) else { return false };
        match domain.base.port() {
            // Behind a balancer both are ours: the one usually redirects to the other.
            80 | 443 => matches!(port, 80 | 443),
            own => port == own,
        }
    }
}

/// The table, shared; cheap to clone.
#[derive(Clone)]
pub struct Domains {
    table: Arc<RwLock<Arc<DomainTable>>>,
    reader: Reader,
    /// Held from reading until what was read is in place: of two at once the one that read last is also the last to store.
    reloading: Arc<Mutex<()>>,
}

impl Domains {
    /// Reads the domains from the log's state.
    ///
    /// # Errors
    /// If the database fails or holds a damaged record.
    pub fn load(reader: &Reader) -> Result<Domains, StoreError> {
        let table = Arc::new(RwLock::new(Arc::new(read_all(reader)?)));
        Ok(Domains { table, reader: reader.clone(), reloading: Arc::default() })
    }

    /// Reads them again after a record about one has become durable.
    ///
    /// # Errors
    /// As [`Domains::load`]; the table then stays as it was.
    pub fn reload(&self) -> Result<(), StoreError> {
        let _alone = self.reloading.lock();
        let table = Arc::new(read_all(&self.reader)?);
        *self.table.write() = table;
        Ok(())
    }

    /// Returns the table as it is now.
    pub fn table(&self) -> Arc<DomainTable> {
        self.table.read().clone()
    }
}

fn read_all(reader: &Reader) -> Result<DomainTable, StoreError> {
    let mut table = DomainTable::default();
    let mut damaged = None;
    let mut keep = |what, result: Result<(), DecodeError>| {
        if let Err(source) = result {
            damaged.get_or_insert(StoreError::Damaged { what, source });
        }
        damaged.is_none()
    };
    reader.scan_managed(&[StateKey::DOMAINS], |key, stored| {
        let Ok(StateKey::Domain(id)) = StateKey::decode(key) else { return false };
        keep(
            "domain",
            read_domain(id, stored).map(|domain| table.by_id.extend(domain.map(|known| (id.0, known)))),
        )
    })?;
    reader.scan_served(&[StateKey::DOMAINS], |key, stored| {
        let Ok(StateKey::Domain(id)) = StateKey::decode(key) else { return false };
        keep(
            "domain",
            read_answers(stored).map(|answers| {
                if let Some(known) = table.by_id.get_mut(&id.0) {
                    known.answers = answers;
                }
            }),
        )
    })?;
    reader.scan_served(&[StateKey::HOSTS], |key, stored| {
        let Ok(StateKey::Host(name)) = StateKey::decode(key) else { return false };
        keep("host", read_host(stored).map(|host| table.by_host.extend(host.map(|host| (name, host.domain)))))
    })?;
    damaged.map_or(Ok(table), Err)
}

fn read_domain(id: DomainId, stored: &[u8]) -> Result<Option<KnownDomain>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if !stamp.live {
        return Ok(None);
    }
    let manage = Domain::decode(body)?;
    let base = manage.short_url_base.parse().map_err(|_| DecodeError::invalid(0, "short URL base"))?;
    Ok(Some(KnownDomain { id, base, manage, answers: DomainAnswers::default(), version: stamp.version }))
}

fn read_answers(stored: &[u8]) -> Result<DomainAnswers, DecodeError> {
    Ok(live(stored)?.map(DomainAnswers::decode).transpose()?.unwrap_or_default())
}

fn read_host(stored: &[u8]) -> Result<Option<Host>, DecodeError> {
    live(stored)?.map(Host::decode).transpose()
}

fn live(stored: &[u8]) -> Result<Option<Cursor<'_>>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    Ok(stamp.live.then_some(body))
}

/// The change that declares a new domain with its host; refused if the number or the host was ever used.
pub fn declare(
    id: DomainId,
    base: &ShortUrlBase,
    (manage, answers): (&Domain, &DomainAnswers),
    actor: &str,
    now_ms: u64,
) -> Change {
    let domain = Domain { short_url_base: base.to_string(), created_at_ms: now_ms, ..manage.clone() };
    let operation = Operation::Put { serve: answers.encode(), manage: domain.encode() };
    let part = Part { key: StateKey::Domain(id), precondition: Precondition::NeverUsed, operation };
    Change::new(actor, vec![part, host_part(base, id)])
}

/// The change that gives the default domain another base, and with it another host; the old host keeps leading there.
pub fn move_default(known: &KnownDomain, base: &ShortUrlBase, host_is_new: bool) -> Change {
    let manage = Domain { short_url_base: base.to_string(), ..known.manage.clone() };
    let mut parts = vec![settings_part(known, &manage, &known.answers)];
    if host_is_new {
        parts.push(host_part(base, DomainId::DEFAULT));
    }
    Change::new("config", parts)
}

/// The change that gives a domain other settings; refused if it was changed since it was read.
pub fn change(known: &KnownDomain, manage: &Domain, answers: &DomainAnswers, actor: &str) -> Change {
    Change::new(actor, vec![settings_part(known, manage, answers)])
}

fn settings_part(known: &KnownDomain, manage: &Domain, answers: &DomainAnswers) -> Part {
    Part {
        key: StateKey::Domain(known.id),
        precondition: Precondition::Version(known.version),
        operation: Operation::Put { serve: answers.encode(), manage: manage.encode() },
    }
}

fn host_part(base: &ShortUrlBase, domain: DomainId) -> Part {
    let operation = Operation::Put { serve: Host { domain }.encode(), manage: Vec::new() };
    Part { key: StateKey::Host(base.host().to_owned()), precondition: Precondition::Absent, operation }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::store::StoreOptions;
    use linklog::writer::{Decision, Writer, WriterOptions};

    /// A writer over a folder.
    pub(crate) fn writer(dir: &std::path::Path) -> Writer {
        let options = WriterOptions {
            store: StoreOptions {
                block_cache_bytes: 4 << 20,
                memtable_bytes: 2 << 20,
                background_threads: 1,
            },
            journal_bytes_kept: u64::MAX,
            queue_max: 10,
            clock_us: Box::new(crate::clock::now_us),
            nonce: Box::new(|| [7; 16]),
            at_start: Box::new(|| {}),
            on_commit: Box::new(|_| {}),
            on_fatal: Box::new(|error| panic!("{error}")),
        };
        Writer::open(dir, options).unwrap()
    }

    #[test]
    fn reloads_at_once_take_nothing_back() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path());
        let domains = Domains::load(&writer.reader()).unwrap();
        let (count, each) = (4, 25);
        std::thread::scope(|scope| {
            for thread in 0..count {
                let (domains, handle) = (&domains, writer.handle());
                scope.spawn(move || {
                    for n in 1..=each {
                        let id = DomainId(thread * each + n);
                        let base = format!("https://d{}.example", id.0).parse().unwrap();
                        let change =
                            declare(id, &base, (&Domain::default(), &DomainAnswers::default()), "t", 1);
                        handle.propose_and_wait(vec![change]).unwrap();
                        domains.reload().unwrap();
                        // And it stays, whoever reads the log at the same time.
                        assert!((1..=n).all(|n| domains.table().get(DomainId(thread * each + n)).is_some()));
                    }
                });
            }
        });
        assert_eq!(domains.table().all().count(), usize::from(count * each));
    }

    #[test]
    fn damage_is_an_error_whatever_is_sound_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path());
        let base = "https://go.example".parse().unwrap();
        let mut change = declare(DomainId(1), &base, (&Domain::default(), &DomainAnswers::default()), "t", 1);
        let damaged = Domain { short_url_base: "nowhere".to_owned(), created_at_ms: 1, ..Domain::default() };
        change.parts[0].operation = Operation::Put { serve: Vec::new(), manage: damaged.encode() };
        let decided = writer.handle().propose_and_wait(vec![change]).unwrap();
        assert!(matches!(decided[0], Decision::Applied { .. }), "{decided:?}");
        assert!(matches!(
            Domains::load(&writer.reader()).err(),
            Some(StoreError::Damaged { what: "domain", .. })
        ));
    }
}
