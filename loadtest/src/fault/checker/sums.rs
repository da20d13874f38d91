//! Replicas against each other, limits and clicks against visits.

use std::collections::BTreeMap;

use super::index::Index;
use super::{Objection, object};
use crate::fault::history::Entry;

pub(super) fn check(index: &Index<'_>, objections: &mut Vec<Objection>) {
    replicas(index, objections);
    for (code, link) in &index.links {
        if link.max_clicks.is_some_and(|max| link.received > max) {
            let seen = format!("{code}: {} redirects of {:?}", link.received, link.max_clicks);
            object(objections, "over the limit", seen);
        }
    }
    for entry in index.entries {
        match entry {
            Entry::Standing { code, used, burned } => standing(index, code, *used, *burned, objections),
            Entry::Clicks { code, counted } => clicks(index, code, *counted, objections),
            _ => {}
        }
    }
}

/// At one record all are equal: proxies among each other, and with the writer and its standbys, whose sums over what is served say that they
/// made the same of the same records.
fn replicas(index: &Index<'_>, objections: &mut Vec<Objection>) {
    let mut keys_at: BTreeMap<u64, u64> = BTreeMap::new();
    let mut states_at: BTreeMap<u64, (&str, &str)> = BTreeMap::new();
    for ((at_us, head_seq, replicas), servers) in index.quiets.iter().zip(&index.servers) {
        let mut look = |seen: String, seq: u64, state, is_well: bool, keys: Option<u64>| {
            let seen = format!("{at_us} µs, head {head_seq}: {seen}");
            if !is_well || seq < *head_seq {
                object(objections, "not following", seen.clone());
            }
            let known = *states_at.entry(seq).or_insert(state);
            let known_keys = keys.map(|keys| *keys_at.entry(seq).or_insert(keys));
            if known != state || known_keys != keys {
                let known = format!("{known:?} {known_keys:?}");
                object(objections, "replicas differ", format!("{seen} where {known} was seen"));
            }
        };
        for server in *servers {
            let state = (server.digest.as_str(), server.sum.as_str());
            look(format!("{server:?}"), server.seq, state, server.follows_or_writes(), None);
        }
        for (proxy, replica) in replicas.iter().enumerate() {
            let state = (replica.digest.as_str(), replica.sum.as_str());
            let is_well = replica.state == "following";
            look(format!("proxy-{proxy} {replica:?}"), replica.seq, state, is_well, Some(replica.keys));
        }
    }
}

fn standing(index: &Index<'_>, code: &str, used: u64, burned: u64, objections: &mut Vec<Objection>) {
    let Some(link) = index.links.get(code) else { return };
    let (received, attempted) = (link.received, link.attempts_us.len() as u64);
    let lost = index.may_be_lost(code).min(burned);
    let within = received <= used + lost && used <= attempted;
    if !within || burned > lost || link.max_clicks.is_some_and(|max| used + burned > max) {
        let seen = format!(
            "{code}: {used} used and {burned} burned of {:?}, with {received} received and {attempted} attempted",
            link.max_clicks
        );
        object(objections, "over the limit", seen);
    }
}

fn clicks(index: &Index<'_>, code: &str, counted: u64, objections: &mut Vec<Objection>) {
    let (received, attempted, lost) = match index.links.get(code) {
        Some(link) => (link.received, link.attempts_us.len() as u64, index.may_be_uncounted(link)),
        None => (0, 0, 0),
    };
    if !(received - lost..=attempted).contains(&counted) {
        let seen = format!(
            "{code}: {counted} counted, {received} received ({lost} just before a loss of power), {attempted} attempted"
        );
        object(objections, "clicks", seen);
    }
}
