//! Which domain a host name leads to, and what each domain answers besides its links.
//!
//! The table follows from the replica: rebuilt from a scan when a replica is opened, changed with every record that touches a host or a
//! domain, always before the record is acknowledged. Readers take a snapshot and never wait. A host nobody declared is the default
//! domain's, unless the configuration says otherwise ([`UnknownHost`]). A record that is damaged is left out, and the log says so; it takes no
//! other host and no other domain with it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use linklog::codec::value;
use linklog::entity::{DomainAnswers, Host};
use linklog::store::{Reader, StoreError};
use linklog::{DecodeError, DomainId, StateKey};

use crate::answer::on_domain::OnDomain;
use crate::hash::SeededXxh3;

/// Longest host name that can be declared, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// A snapshot of the table.
#[derive(Clone, Default, Debug)]
pub struct HostTable {
    domains: HashMap<Box<[u8]>, DomainId, SeededXxh3>,
    /// What domains answer that have anything to say about it.
    answers: HashMap<u16, Arc<OnDomain>>,
    /// Hosts nobody declared are nobody's.
    strict: bool,
    /// True if every host leads to the default domain: nothing to look up.
    only_default: bool,
}

impl HostTable {
    /// Finds the domain of a Host header's value: any case, with or without port and final dot. `None`: nobody declared it, and such
    /// hosts are nobody's.
    pub fn domain(&self, host: &[u8]) -> Option<DomainId> {
        if self.only_default && !self.strict {
            return Some(DomainId::DEFAULT);
        }
        self.declared(host).or((!self.strict).then_some(DomainId::DEFAULT))
    }

    /// What a domain answers besides its links, if it has anything to say about it.
    pub fn answers(&self, domain: DomainId) -> Option<&OnDomain> {
        self.answers.get(&domain.0).map(|answers| &**answers)
    }

    fn declared(&self, host: &[u8]) -> Option<DomainId> {
        let name = without_port(host);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.domains.get(&*lower).copied()
    }

    /// How many hosts are declared.
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// Says whether no host is declared.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Takes over a record of a replica, unless it is damaged.
    fn take(&mut self, key: &[u8], value: &[u8]) {
        if let Err(error) = self.set(key, Some(value)) {
            tracing::error!(%error, "a host's or a domain's record in the replica is damaged and was left out");
        }
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        match (key.split_first(), StateKey::decode(key)) {
            (Some((&StateKey::HOSTS, host)), _) => self.set_host(host, value),
            (_, Ok(StateKey::Domain(domain))) => self.set_answers(domain, value),
            _ => Ok(()),
        }
    }

    fn set_answers(&mut self, domain: DomainId, value: Option<&[u8]>) -> Result<(), DecodeError> {
        let answers = match value.map(value::split).transpose()? {
            Some((stamp, body)) if stamp.live => DomainAnswers::decode(body)?,
            _ => DomainAnswers::default(),
        };
        match answers == DomainAnswers::default() {
            true => drop(self.answers.remove(&domain.0)),
            false => drop(self.answers.insert(domain.0, Arc::new(answers.into()))),
        }
        Ok(())
    }

    fn set_host(&mut self, host: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
        let domain = match value {
            Some(value) => domain_of(value)?,
            None => None,
        };
        match domain {
            Some(domain) => drop(self.domains.insert(host.into(), domain)),
            None => drop(self.domains.remove(host)),
        }
        self.only_default = self.domains.values().all(|domain| *domain == DomainId::DEFAULT);
        Ok(())
    }
}

/// `None` for a host that was declared and is not any more.
fn domain_of(value: &[u8]) -> Result<Option<DomainId>, DecodeError> {
    let (stamp, body) = value::split(value)?;
    if !stamp.live {
        return Ok(None);
    }
    Host::decode(body).map(|host| Some(host.domain))
}

fn without_port(host: &[u8]) -> &[u8] {
    let in_brackets = host.iter().rposition(|b| *b == b']').map_or(0, |end| end + 1);
    match memchr::memchr(b':', &host[in_brackets..]) {
        Some(colon) => &host[..in_brackets + colon],
        None => host,
    }
}

/// Why the table cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The replica cannot be read.
    #[error("cannot read the hosts")]
    Store(#[from] StoreError),
}

/// The table in force.
#[derive(Debug, Default)]
pub struct Hosts {
    table: ArcSwap<HostTable>,
    unknown: UnknownHost,
}

/// What is answered on a host that nobody declared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum UnknownHost {
    /// The default domain's links.
    #[default]
    DefaultDomain,
    /// 404.
    NotFound,
    /// 302 to a place.
    Redirect(Box<[u8]>),
}

impl Hosts {
    /// Builds the table from a replica.
    ///
    /// # Errors
    /// The replica cannot be read.
    pub fn load(reader: &Reader) -> Result<Hosts, HostsError> {
        Hosts::with(reader, UnknownHost::DefaultDomain)
    }

    /// As [`Hosts::load`], with a rule for hosts nobody declared.
    ///
    /// # Errors
    /// As [`Hosts::load`].
    pub fn with(reader: &Reader, unknown: UnknownHost) -> Result<Hosts, HostsError> {
        let hosts = Hosts { unknown, ..Hosts::default() };
        hosts.reload(reader)?;
        Ok(hosts)
    }

    /// Builds it anew, for another replica.
    ///
    /// # Errors
    /// As [`Hosts::load`]; the table is then as before.
    pub fn reload(&self, reader: &Reader) -> Result<(), HostsError> {
        let strict = self.unknown != UnknownHost::DefaultDomain;
        let mut table = HostTable { only_default: true, strict, ..HostTable::default() };
        for kind in [StateKey::HOSTS, StateKey::DOMAINS] {
            reader.scan_served(&[kind], |key, value| {
                let is_of_kind = key.first() == Some(&kind);
                if is_of_kind {
                    table.take(key, value);
                }
                is_of_kind
            })?;
        }
        self.table.store(table.into());
        Ok(())
    }

    /// Takes over changed hosts and domains: their keys and new values; other keys are passed over.
    ///
    /// # Errors
    /// A value is damaged; all others count.
    pub fn change<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), DecodeError> {
        let concerns = |key: &[u8]| matches!(key.first(), Some(&(StateKey::HOSTS | StateKey::DOMAINS)));
        let mut changes = changes.filter(|(key, _)| concerns(key)).peekable();
        if changes.peek().is_none() {
            return Ok(());
        }
        let mut table = HostTable::clone(&self.table.load());
        let mut result = Ok(());
        changes.for_each(|(key, value)| result = result.and(table.set(key, value)));
        self.table.store(table.into());
        result
    }

    /// What is answered on a host that nobody declared.
    pub fn unknown(&self) -> &UnknownHost {
        &self.unknown
    }

    /// Returns the table as it is now.
    pub fn table(&self) -> Guard<std::sync::Arc<HostTable>> {
        self.table.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::{Position, Stamp};

    fn value(domain: u16, live: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let stamp = Stamp { live, version: 1, created: Position::new(1, 1) };
        value::write(&mut out, &stamp, &Host { domain: DomainId(domain) }.encode());
        out
    }

    fn declare(hosts: &Hosts, host: &str, domain: u16, live: bool) {
        let key = StateKey::Host(host.to_owned()).encode();
        hosts.change([(&*key, Some(&*value(domain, live)))].into_iter()).unwrap();
    }

    #[test]
    fn a_host_is_found_in_any_case_with_port_and_final_dot() {
        let hosts = Hosts::default();
        declare(&hosts, "go.example", 7, true);
        declare(&hosts, "[2001:db8::1]", 8, true);
        let table = hosts.table();
        for host in ["go.example", "GO.Example", "go.example:8080", "go.example.", "go.example.:80"] {
            assert_eq!(table.domain(host.as_bytes()), Some(DomainId(7)), "{host}");
        }
        assert_eq!(table.domain(b"[2001:DB8::1]:80"), Some(DomainId(8)));
        for host in ["", "other.example", "go.example.evil", "xgo.example", ":80", "[2001:db8::2]"] {
            assert_eq!(table.domain(host.as_bytes()), Some(DomainId::DEFAULT), "{host}");
        }
        assert_eq!(table.domain(&[b'x'; 300]), Some(DomainId::DEFAULT));
    }

    #[test]
    fn a_host_that_is_withdrawn_falls_to_the_default_domain() {
        let hosts = Hosts::default();
        declare(&hosts, "go.example", 7, true);
        declare(&hosts, "go.example", 7, false);
        assert_eq!(hosts.table().domain(b"go.example"), Some(DomainId::DEFAULT));
        assert!(hosts.table().is_empty());
    }

    #[test]
    fn a_damaged_value_is_an_error_and_takes_no_other_host_with_it() {
        let hosts = Hosts::default();
        declare(&hosts, "before.example", 7, true);
        let key = |host: &str| StateKey::Host(host.to_owned()).encode();
        let sound = value(8, true);
        let changes = [
            (key("damaged.example"), &b"\xff"[..]),
            (key("sound.example"), &*sound),
            (StateKey::Domain(DomainId(9)).encode(), b"\xff"),
        ];
        assert!(hosts.change(changes.iter().map(|(key, value)| (&**key, Some(*value)))).is_err());
        let table = hosts.table();
        for (host, domain) in [("before.example", 7), ("sound.example", 8), ("damaged.example", 0)] {
            assert_eq!(table.domain(host.as_bytes()), Some(DomainId(domain)), "{host}");
        }
    }

    #[test]
    fn a_table_is_built_of_what_is_sound_in_a_replica() {
        let mut table = HostTable { only_default: true, ..HostTable::default() };
        let key = |host: &str| StateKey::Host(host.to_owned()).encode();
        table.take(&key("a.example"), &value(7, true));
        table.take(&key("b.example"), b"\xff");
        table.take(&StateKey::Domain(DomainId(7)).encode(), b"\xff");
        table.take(&key("c.example"), &value(8, true));
        for (host, domain) in [("a.example", 7), ("b.example", 0), ("c.example", 8)] {
            assert_eq!(table.domain(host.as_bytes()), Some(DomainId(domain)), "{host}");
        }
    }
}
