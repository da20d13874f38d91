//! Who owns a code.

use std::collections::HashSet;

use super::index::{Index, Link};
use super::{Objection, object};
use crate::fault::writes::Write;

pub(super) fn check(index: &Index<'_>, objections: &mut Vec<Objection>) {
    let mut given = HashSet::new();
    for code in index.generated.iter().filter(|code| !given.insert(**code)) {
        object(objections, "code twice", format!("{code} was given out twice"));
    }
    for (code, link) in &index.links {
        owners(code, link, objections);
        refusals(code, link, objections);
    }
}

/// Between two who got it there is somebody who may have deleted it.
fn owners(code: &str, link: &Link<'_>, objections: &mut Vec<Objection>) {
    let mut got: Vec<&Write> =
        link.writes.iter().filter(|write| write.makes && write.is_acknowledged()).collect();
    got.sort_by_key(|write| (write.version, write.end_us));
    for pair in got.windows(2) {
        let between = |write: &Write| {
            write.target.is_none() && write.begin_us <= pair[1].end_us && write.end_us >= pair[0].begin_us
        };
        if !link.writes.iter().any(between) {
            object(objections, "two owners", format!("{code}: {:?} and {:?}", pair[0], pair[1]));
        }
    }
}

/// Nobody is told that an alias is taken that nobody can have taken.
fn refusals(code: &str, link: &Link<'_>, objections: &mut Vec<Objection>) {
    let first_us = link.writes.iter().filter(|write| write.makes).map(|write| write.begin_us).min();
    for refused in &link.refused_claims {
        if first_us.is_none_or(|first| first > refused.end_us) {
            object(objections, "refused though free", format!("{code}: {refused:?}"));
        }
    }
}
