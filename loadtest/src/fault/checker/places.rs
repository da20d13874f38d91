//! What was seen of links, at the writer and at proxies, against what was done to them.

use std::collections::BTreeMap;

use super::index::{Index, Link, Look, Place};
use super::{Objection, object};
use crate::fault::history::Entry;
use crate::fault::writes::Write;

pub(super) fn check(index: &Index<'_>, objections: &mut Vec<Objection>) {
    for (code, link) in &index.links {
        for look in &link.looks {
            match look.target {
                Some(target) => shown(index, code, link, look, target, objections),
                None if look.ended => ended(index, code, link, look, objections),
                None => absent(index, code, link, look, objections),
            }
        }
        went_back(index, code, link, objections);
    }
    listing(index, objections);
}

/// A target was seen.
fn shown(
    index: &Index<'_>,
    code: &str,
    link: &Link<'_>,
    look: &Look<'_>,
    target: &str,
    objections: &mut Vec<Objection>,
) {
    let Some(write) = link.writes.iter().find(|write| write.target.as_deref() == Some(target)) else {
        // A create whose answer was lost may have got any code.
        if index.targets.get(target) != Some(&None) {
            object(objections, "never its target", format!("{code}: {look:?}"));
        }
        return;
    };
    if write.begin_us > look.end_us {
        object(objections, "never its target", format!("{code}: {look:?} before it was asked for"));
    }
    let newer = |later: &&Write| later.is_after(write) && index.must_show(later, look);
    if let Some(later) = link.writes.iter().find(newer) {
        object(objections, "stale", format!("{code}: {look:?} although {later:?} was acknowledged"));
    }
}

/// There was no such link.
fn absent(index: &Index<'_>, code: &str, link: &Link<'_>, look: &Look<'_>, objections: &mut Vec<Objection>) {
    let deletes = || link.writes.iter().filter(|write| write.target.is_none());
    for put in link.writes.iter().filter(|write| write.target.is_some() && index.must_show(write, look)) {
        let may_be_gone =
            deletes().any(|delete| delete.begin_us <= look.end_us && delete.end_us >= put.begin_us);
        if !may_be_gone {
            object(objections, "lost", format!("{code}: {look:?} although {put:?} was acknowledged"));
            return;
        }
    }
}

/// The link was said to have ended.
fn ended(index: &Index<'_>, code: &str, link: &Link<'_>, look: &Look<'_>, objections: &mut Vec<Objection>) {
    let followed = link.attempts_us.iter().filter(|at| **at <= look.end_us).count() as u64;
    if link.max_clicks.is_none_or(|max| followed.saturating_add(index.may_be_lost(code)) < max) {
        let seen = format!("{code}: {look:?} after {followed} visits of {:?}", link.max_clicks);
        object(objections, "ended early", seen);
    }
}

/// No place shows an earlier version than it has shown before.
fn went_back(index: &Index<'_>, code: &str, link: &Link<'_>, objections: &mut Vec<Objection>) {
    let version = |look: &Look<'_>| {
        let made = link.writes.iter().find(|write| write.target.as_deref() == look.target)?;
        look.target.and(made.version)
    };
    let mut places: BTreeMap<Place, Vec<(&Look<'_>, u64)>> = BTreeMap::new();
    for look in &link.looks {
        if let Some(version) = version(look) {
            places.entry(look.place).or_default().push((look, version));
        }
    }
    for (place, mut looks) in places {
        looks.sort_by_key(|(look, _)| look.begin_us);
        let mut by_end = looks.clone();
        by_end.sort_by_key(|(look, _)| look.end_us);
        let mut over = by_end.into_iter().peekable();
        // The latest version of all looks that were over before this one began.
        let mut latest: Option<(&Look<'_>, u64)> = None;
        for (look, version) in looks {
            while let Some(earlier) = over.next_if(|(earlier, _)| earlier.end_us < look.begin_us) {
                latest = latest.filter(|(_, known)| *known > earlier.1).or(Some(earlier));
            }
            let Some((earlier, known)) = latest else { continue };
            if version >= known {
                continue;
            }
            if index.was_away(place, earlier.begin_us, look.end_us) {
                latest = None;
            } else {
                object(objections, "went back", format!("{code}: {look:?} after {earlier:?}"));
                return;
            }
        }
    }
}

/// The list at the end has every link that is there and none that nobody asked for.
fn listing(index: &Index<'_>, objections: &mut Vec<Objection>) {
    let Some(listed) = index.entries.iter().find_map(|entry| match entry {
        Entry::Listing { links } => Some(links),
        _ => None,
    }) else {
        return;
    };
    let mut codes_by_target: BTreeMap<&str, &str> = BTreeMap::new();
    for (code, target) in listed {
        match index.targets.get(target.as_str()) {
            None => object(objections, "never its target", format!("{code} is listed with {target}")),
            Some(Some(own)) if own != code => {
                object(objections, "effect twice", format!("{target} is on {code} and was put on {own}"));
            }
            Some(_) => {}
        }
        if let Some(other) = codes_by_target.insert(target, code) {
            object(objections, "effect twice", format!("{target} is on {code} and on {other}"));
        }
    }
    let listed: BTreeMap<&str, &str> =
        listed.iter().map(|(code, target)| (code.as_str(), target.as_str())).collect();
    for (code, link) in &index.links {
        let is_deleted = link.writes.iter().any(|write| write.target.is_none());
        let is_made = link.writes.iter().any(|write| write.makes && write.is_acknowledged());
        if is_made && !is_deleted && !listed.contains_key(code) {
            object(objections, "lost", format!("{code} is not in the list"));
        }
    }
}
