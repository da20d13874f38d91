//! `[standby]`: following another writer.

use daemon::config::Section;
use wire::channel::ChannelError;
use wire::identity::Role;

/// Whom to follow, as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyConfig {
    /// The feeds of all writers there are or may be, this one's excepted; at least one.
    pub of: Vec<String>,
    /// Our name as a member; `None`: the certificate's.
    pub name: Option<String>,
    /// The feeds of the other sync members, which a promotion asks.
    pub peers: Vec<String>,
    /// Where clients reach the writer's API; `None`: they are told the address of its feed.
    pub api_url: Option<String>,
    /// How many sync members the writer waits for.
    pub writer_min_sync_replicas: usize,
}

impl StandbyConfig {
    /// The feeds of all others that have the whole log, each once: an epoch is accepted once.
    pub fn everybody(&self) -> Vec<String> {
        let mut all: Vec<String> = self.of.iter().chain(&self.peers).cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Reads the section; none without a writer to follow.
pub(super) fn read(
    section: &mut Section,
    min_sync_replicas: usize,
    have_identity: bool,
) -> Option<StandbyConfig> {
    let of: Vec<String> = section.value("of", Vec::new());
    let peers: Vec<String> = section.value("peers", Vec::new());
    check(section, "of", &of, have_identity);
    check(section, "peers", &peers, have_identity);
    let name: Option<String> = section.optional("name");
    let api_url = section.optional("api_url");
    let writer_min_sync_replicas = section.optional("writer_min_sync_replicas").unwrap_or(min_sync_replicas);
    if writer_min_sync_replicas > 2 {
        section.problem("writer_min_sync_replicas", "it is from 0 to 2");
    }
    if of.is_empty() {
        return None;
    }
    if name.is_none() && !have_identity {
        section.problem("name", "without a certificate the member has to be named");
    }
    Some(StandbyConfig { of, name, peers, api_url, writer_min_sync_replicas })
}

fn check(section: &mut Section, key: &str, urls: &[String], have_identity: bool) {
    for url in urls {
        match wire::channel::endpoint(url, None, Role::Writer) {
            Err(ChannelError::NoIdentity { .. }) if have_identity => {}
            Err(error) => section.problem(key, error.to_string()),
            Ok(_) => {}
        }
    }
}
