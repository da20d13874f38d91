//! YOURLS: a CSV of its table `yourls_url`, as its export plugins write it, and the answers of its API.
//!
//! Sources: the table in `includes/functions-install.php` of YOURLS/YOURLS (`keyword, url, title, timestamp, ip, clicks`); docs.yourls.org, API
//! (`action=stats`: `links: {link_1: {shorturl, url, title, timestamp, ip, clicks}}`). Times have no zone and are taken for UTC. YOURLS
//! knows one domain and no tags.

use serde_json::Value;

use super::{Column, Foreign, Row, count, count_in, short_url, text, time};

pub(super) const COLUMNS: &[Column] = &[
    Column { names: &["keyword", "shorturl"], required: true },
    Column { names: &["url", "longurl"], required: true },
    Column { names: &["title"], required: false },
    Column { names: &["timestamp", "date"], required: false },
    Column { names: &["clicks"], required: false },
];

pub(super) const LISTS: &[&str] = &["/links", "/result"];

/// A keyword alone, or a whole short URL.
fn name(text: &str) -> Result<(Option<String>, Option<String>), String> {
    if text.contains('/') {
        return short_url(text).map(|(host, code)| (Some(host), Some(code)));
    }
    Ok((None, Some(text.to_owned())))
}

pub(super) fn of_row(row: &Row<'_>) -> Result<Foreign, String> {
    let (domain, code) = name(row.get("keyword").ok_or("there is no keyword")?)?;
    Ok(Foreign {
        long_url: row.get("url").ok_or("there is no url")?.to_owned(),
        code,
        domain,
        title: row.get("title").map(str::to_owned),
        created_at: time::read_any(row.get("timestamp"))?,
        clicks: count_in(row.get("clicks"))?,
        ..Foreign::default()
    })
}

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let named = text(&link["keyword"])
        .or_else(|| text(&link["shorturl"]))
        .ok_or("there is no keyword or shorturl")?;
    let (domain, code) = name(&named)?;
    Ok(Foreign {
        long_url: text(&link["url"]).ok_or("there is no url")?,
        code,
        domain,
        title: text(&link["title"]),
        created_at: time::read_any(link["timestamp"].as_str())?,
        clicks: count(&link["clicks"])?,
        ..Foreign::default()
    })
}
