//! Which domain a host name leads to.
//!
//! The table follows from the replica: rebuilt from a scan when a replica is opened, changed with every record that touches a host,
//! always before the record is acknowledged. Readers take a snapshot and never wait. A host nobody declared is the default domain's.

use std::collections::HashMap;

use arc_swap::{ArcSwap, Guard};
use linklog::codec::value;
use linklog::entity::Host;
use linklog::store::{Reader, StoreError};
use linklog::{DecodeError, DomainId, StateKey};

use crate::hash::SeededXxh3;

/// Longest host name that can be declared, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// A snapshot of the table.
#[derive(Clone, Default, Debug)]
pub struct HostTable {
    domains: HashMap<Box<[u8]>, DomainId, SeededXxh3>,
    /// True if every host leads to the default domain: nothing to look up.
    only_default: bool,
}

impl HostTable {
    /// Finds the domain of a Host header's value: any case, with or without port and final dot.
    pub fn domain(&self, host: &[u8]) -> DomainId {
        if self.only_default {
            return DomainId::DEFAULT;
        }
        let name = without_port(host);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else { return DomainId::DEFAULT };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.domains.get(&*lower).copied().unwrap_or(DomainId::DEFAULT)
    }

    /// How many hosts are declared.
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// Says whether no host is declared.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    fn set(&mut self, host: &[u8], value: Option<&[u8]>) -> Result<(), DecodeError> {
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
    /// A host's record is damaged.
    #[error("the replica holds a damaged host")]
    Damaged(#[from] DecodeError),
}

/// The table in force.
#[derive(Debug, Default)]
pub struct Hosts {
    table: ArcSwap<HostTable>,
}

impl Hosts {
    /// Builds the table from a replica.
    ///
    /// # Errors
    /// The replica cannot be read or is damaged.
    pub fn load(reader: &Reader) -> Result<Hosts, HostsError> {
        let hosts = Hosts::default();
        hosts.reload(reader)?;
        Ok(hosts)
    }

    /// Builds it anew, for another replica.
    ///
    /// # Errors
    /// As [`Hosts::load`]; the table is then as before.
    pub fn reload(&self, reader: &Reader) -> Result<(), HostsError> {
        let mut table = HostTable { only_default: true, ..HostTable::default() };
        let mut damage = Ok(());
        reader.scan_served(&[StateKey::HOSTS], |key, value| match key.split_first() {
            Some((&StateKey::HOSTS, host)) => {
                damage = table.set(host, Some(value));
                damage.is_ok()
            }
            _ => false,
        })?;
        damage?;
        self.table.store(table.into());
        Ok(())
    }

    /// Takes over changed hosts: names without the key's first byte, with their new values.
    ///
    /// # Errors
    /// A value is damaged; what came before it counts.
    pub fn change<'a>(
        &self,
        changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), DecodeError> {
        let mut changes = changes.peekable();
        if changes.peek().is_none() {
            return Ok(());
        }
        let mut table = HostTable::clone(&self.table.load());
        let result = changes.try_for_each(|(host, value)| table.set(host, value));
        self.table.store(table.into());
        result
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
        hosts.change([(host.as_bytes(), Some(&*value(domain, live)))].into_iter()).unwrap();
    }

    #[test]
    fn a_host_is_found_in_any_case_with_port_and_final_dot() {
        let hosts = Hosts::default();
        declare(&hosts, "go.example", 7, true);
        declare(&hosts, "[2001:db8::1]", 8, true);
        let table = hosts.table();
        for host in ["go.example", "GO.Example", "go.example:8080", "go.example.", "go.example.:80"] {
            assert_eq!(table.domain(host.as_bytes()), DomainId(7), "{host}");
        }
        assert_eq!(table.domain(b"[2001:DB8::1]:80"), DomainId(8));
        for host in ["", "other.example", "go.example.evil", "xgo.example", ":80", "[2001:db8::2]"] {
            assert_eq!(table.domain(host.as_bytes()), DomainId::DEFAULT, "{host}");
        }
        assert_eq!(table.domain(&[b'x'; 300]), DomainId::DEFAULT);
    }

    #[test]
    fn a_host_that_is_withdrawn_falls_to_the_default_domain() {
        let hosts = Hosts::default();
        declare(&hosts, "go.example", 7, true);
        declare(&hosts, "go.example", 7, false);
        assert_eq!(hosts.table().domain(b"go.example"), DomainId::DEFAULT);
        assert!(hosts.table().is_empty());
    }

    #[test]
    fn a_damaged_value_is_an_error() {
        let hosts = Hosts::default();
        assert!(hosts.change([(&b"x"[..], Some(&b"\xff"[..]))].into_iter()).is_err());
    }
}
