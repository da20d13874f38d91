//! Taking down, or putting back, every link that leads to a host.
//!
//! The links are gone through once, newest first, a thousand at a time; each is changed under the precondition that it is still as it was
//! when it was looked at. Links that are made meanwhile are not seen: whoever wants none puts the host on a blocklist first. Done
//! again it changes what is left, so a request that broke off is simply repeated.

use linklog::limits::PROPOSAL_CHANGES_MAX;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::writer::Decision;
use linklog::{Key, Link, LinkState, Position, Seq};
use url::Url;

use super::targets::targets;
use super::{ChangeError, Links, TRIES_MAX};
use crate::auth::Caller;
use crate::clock;
use crate::replication::ReplicationReport;

/// How many codes are named in the answer.
pub const NAMED_MAX: usize = 100;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakeDown {
    /// The host, in lower case and ASCII.
    pub host: String,
    /// Whether what is under it is meant too.
    pub subdomains: bool,
    /// The state that links are to have.
    pub state: LinkState,
    /// Only counts.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenDown {
    /// Links that lead there.
    pub matched: u64,
    /// Those of them that had, or have, to be changed.
    pub changed: u64,
    /// The first of those.
    pub named: Vec<Key>,
    /// Who has all of it.
    pub replication: ReplicationReport,
}

impl TakeDown {
    /// Says whether a link leads there, for whichever visitor and whether or not it has ended.
    fn is_of(&self, link: &Link) -> bool {
        link.state != LinkState::Reserved && targets(link).any(|(_, target)| self.matches(target))
    }

    /// Says whether a target is there.
    fn matches(&self, target: &str) -> bool {
        let url = Url::parse(target).ok();
        let Some(host) = url.as_ref().and_then(Url::host_str) else { return false };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let under = |host: &str| host.strip_suffix(&self.host).is_some_and(|before| before.ends_with('.'));
        host == self.host || self.subdomains && under(&host)
    }
}

impl Links {
    /// Changes the state of every link that leads to a host.
    ///
    /// # Errors
    /// The state cannot be read, or a change could not be decided; what was changed before stays so.
    pub async fn take_down(&self, caller: Caller, what: &TakeDown) -> Result<TakenDown, ChangeError> {
        let now_ms = clock::now_ms();
        let (mut matched, mut changed, mut named) = (0, 0, Vec::new());
        let (mut before, mut last) = (None, Position::ZERO);
        loop {
            let asked = what.clone();
            let read = move |reader: &Reader| matching(reader, before, &asked);
            let page = self.log.read(read).await??;
            matched += page.links.len() as u64;
            let mut open: Vec<(Key, StoredLink)> =
                page.links.into_iter().filter(|(_, link)| link.link.state != what.state).collect();
            changed += open.len() as u64;
            named.extend(open.iter().map(|(key, _)| *key).take(NAMED_MAX - named.len()));
            for _ in 0..TRIES_MAX {
                if open.is_empty() || what.dry_run {
                    break;
                }
                let change = |(key, old): &(Key, StoredLink)| {
                    let mut new = old.clone();
                    new.link.state = what.state;
                    self.changing(caller, *key, old, &mut new, now_ms)
                };
                let changes = open.iter().map(change).collect();
                let decisions = self.log.propose(changes).await?;
                let mut again = Vec::new();
                for ((key, _), decision) in open.iter().zip(decisions) {
                    match decision {
                        Decision::Applied { position, .. } => last = last.max(position),
                        Decision::Invalid(invalid) => return Err(invalid.into()),
                        // Somebody changed it meanwhile.
                        Decision::Conflict(_) | Decision::Replayed(_) => again.push(*key),
                    }
                }
                let asked = what.clone();
                let read = move |reader: &Reader| read_again(reader, &again, &asked);
                open = self.log.read(read).await??;
            }
            if !open.is_empty() && !what.dry_run {
                return Err(ChangeError::Contended);
            }
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        let replication = self.replicated(last, false).await?;
        Ok(TakenDown { matched, changed, named, replication })
    }
}

struct Matching {
    links: Vec<(Key, StoredLink)>,
    next: Option<Seq>,
}

fn matching(reader: &Reader, before: Option<Seq>, what: &TakeDown) -> Result<Matching, StoreError> {
    let rows = reader.links_by_age(before, PROPOSAL_CHANGES_MAX)?;
    let next = rows.last().filter(|_| rows.len() == PROPOSAL_CHANGES_MAX).map(|row| row.created_seq);
    let mut links = Vec::new();
    for row in &rows {
        let link = reader.link(&row.key)?.filter(|link| link.stamp.created.seq == row.created_seq);
        links.extend(link.filter(|link| what.is_of(&link.link)).map(|link| (row.key, link)));
    }
    Ok(Matching { links, next })
}

fn read_again(reader: &Reader, keys: &[Key], what: &TakeDown) -> Result<Vec<(Key, StoredLink)>, StoreError> {
    let mut links = Vec::new();
    for key in keys {
        let link = reader.link(key)?;
        let wanted = |link: &StoredLink| what.is_of(&link.link) && link.link.state != what.state;
        links.extend(link.filter(wanted).map(|link| (*key, link)));
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_alias_leads_nowhere_whatever_was_written_with_it() {
        let what = TakeDown {
            host: "bad.example".to_owned(),
            subdomains: false,
            state: LinkState::Banned,
            dry_run: false,
        };
        let mut link = Link { state: LinkState::Reserved, ..Link::default() };
        link.extras.ended = Some(linklog::Ended::Redirect("https://bad.example/".to_owned()));
        assert!(!what.is_of(&link));
        assert!(what.is_of(&Link { state: LinkState::Active, ..link }));
    }

    #[test]
    fn a_host_is_met_whole_and_what_is_under_it_if_wanted() {
        let what = |host: &str, subdomains| TakeDown {
            host: host.to_owned(),
            subdomains,
            state: LinkState::Banned,
            dry_run: false,
        };
        for (host, subdomains, target, expected) in [
            ("bad.example", false, "https://BAD.example./x", true),
            ("bad.example", false, "https://a.bad.example/", false),
            ("bad.example", true, "https://a.bad.example:8443/", true),
            ("bad.example", true, "https://notbad.example/", false),
            ("bad.example", true, "https://x.example/?u=https://bad.example/", false),
            ("192.0.2.7", true, "http://0xc0000207/", true),
        ] {
            assert_eq!(what(host, subdomains).matches(target), expected, "{host} {target}");
        }
    }
}
