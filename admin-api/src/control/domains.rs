//! `domain add | list`.

use linklog::DomainId;
use linklog::entity::{Domain, DomainAnswers};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, failed};
use crate::clock;
use crate::domains::{KnownDomain, ShortUrlBase, declare, host_name};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    host: String,
    short_url_base: Option<String>,
    #[serde(default)]
    folded: bool,
}

pub(super) async fn add(operator: &Operator, args: &Add) -> Result<Value, String> {
    let table = operator.domains.table();
    let default = table.get(DomainId::DEFAULT).ok_or("the default domain is missing")?;
    let host = host_name(&args.host)
        .ok_or_else(|| format!("{:?} is not a host name (no scheme, no port)", args.host))?;
    let base = args.short_url_base.clone().unwrap_or_else(|| format!("{}://{host}", default.base.scheme()));
    let base: ShortUrlBase =
        base.parse().map_err(|error| format!("{base:?} cannot begin short URLs: {error}"))?;
    if base.host() != host {
        return Err(format!("short URLs that begin with {base} do not lead to {host}"));
    }
    if let Some(id) = table.of_host(&host) {
        return Err(format!("{host} is already a host of domain {}", id.0));
    }
    let id = table.next_id().ok_or("there are 65536 domains already, which is the most there may be")?;
    let answers = DomainAnswers { folded: args.folded, ..DomainAnswers::default() };
    let change = declare(id, &base, (&Domain::default(), &answers), "operator", clock::now_ms());
    operator.levels.check(&change).map_err(|error| error.to_string())?;
    if operator.write(change).await?.is_err() {
        return Err("the domain was declared meanwhile: look with `domain list`".to_owned());
    }
    operator.domains.reload().map_err(failed)?;
    tracing::info!(domain = id.0, host, "declared a domain");
    let table = operator.domains.table();
    let known = table.get(id).ok_or("the domain is missing")?;
    Ok(shown(known, vec![&host]))
}

pub(super) fn list(operator: &Operator) -> Value {
    let table = operator.domains.table();
    let domains: Vec<_> = table.all().map(|domain| shown(domain, table.hosts(domain.id))).collect();
    json!({ "domains": domains })
}

fn shown(domain: &KnownDomain, hosts: Vec<&str>) -> Value {
    json!({
        "id": domain.id.0,
        "short_url_base": domain.base.to_string(),
        "hosts": hosts,
        "case": domain.case(),
    })
}
