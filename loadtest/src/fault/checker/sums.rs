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

fn replicas(index: &Index<'_>, objections: &mut Vec<Objection>) {
    let mut at: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
    for (at_us, head_seq, replicas) in &index.quiets {
        for (proxy, replica) in replicas.iter().enumerate() {
            let seen = || format!("{at_us} µs, head {head_seq}: proxy-{proxy} {replica:?}");
            if replica.state != "following" || replica.seq < *head_seq {
                object(objections, "not following", seen());
            }
            let own = (replica.digest.as_str(), replica.keys);
            let known = *at.entry(replica.seq).or_insert(own);
            if known != own {
                object(objections, "replicas differ", format!("{} where {known:?} was seen", seen()));
            }
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
    let (received, attempted) = match index.links.get(code) {
        Some(link) => (link.received, link.attempts_us.len() as u64),
        None => (0, 0),
    };
    if !(received..=attempted).contains(&counted) {
        let seen = format!("{code}: {counted} counted, {received} received, {attempted} attempted");
        object(objections, "clicks", seen);
    }
}
