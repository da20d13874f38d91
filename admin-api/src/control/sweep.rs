//! `sweep`: which links would be swept now.

use linklog::store::End;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Operator;
use crate::clock;
use crate::links::view::Rfc3339;

/// Most links that are named.
const NAMED_MAX: usize = 1_000;

/// What is asked.
#[derive(Deserialize)]
pub(super) struct DryRun {
    /// How many links are to be named.
    #[serde(default)]
    limit: usize,
}

pub(super) async fn dry_run(operator: &Operator, args: &DryRun) -> Result<Value, String> {
    let sweep = &operator.sweep;
    let due = sweep.due(clock::now_ms()).await.map_err(super::failed)?;
    let links = sweep.dry_run(args.limit.min(NAMED_MAX)).await.map_err(super::failed)?;
    let domains = operator.domains.table();
    let named = |End { at_ms, key, .. }: &End| {
        let host = domains.get(key.domain).map_or("", |known| known.base.host());
        json!({ "code": key.code.as_str(), "domain": host, "ended_at": Rfc3339(*at_ms) })
    };
    Ok(json!({
        "window": sweep.options().window.to_string(),
        "due": due.links,
        "exact": due.is_exact,
        "links": links.iter().map(named).collect::<Vec<_>>(),
    }))
}
