//! Kutt: the answers of `GET /api/v2/links`.
//!
//! Source: docs.kutt.it (`data: [{address, target, domain, description, password, banned, expire_in, created_at, visit_count}]`). A link with a password would
//! lose it, so it is refused. Without `domain` the host is that of `link`.

use serde_json::Value;

use super::{Foreign, count, short_url, text, time};

pub(super) const LISTS: &[&str] = &["/data"];

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let code = text(&link["address"]).ok_or("there is no address")?;
    if link["password"] == true {
        return Err(format!("{code} has a password, which is not in the export: make this link by hand"));
    }
    let host = text(&link["link"]).and_then(|url| short_url(&url).ok()).map(|(host, _)| host);
    Ok(Foreign {
        long_url: text(&link["target"]).ok_or("there is no target")?,
        code: Some(code),
        domain: text(&link["domain"]).or(host),
        title: text(&link["description"]),
        created_at: time::read_any(link["created_at"].as_str())?,
        expires_at: time::read_any(link["expire_in"].as_str())?,
        is_disabled: link["banned"] == true,
        clicks: count(&link["visit_count"])?,
        ..Foreign::default()
    })
}
