//! Shlink: the CSV that its web client exports and that it imports itself, and the answers of its REST API.
//!
//! Sources: `ExportShortUrlsBtn` in shlinkio/shlink-web-component (columns `createdAt, domain, shortCode, shortUrl, longUrl, title, tags, visits`, tags
//! joined by `|`); shlink.io/documentation/advanced/import-short-urls (columns in any spelling, tags joined by `|` or `,`); the API's
//! description at api-spec.shlink.io (`GET /rest/v3/short-urls`). `maxVisits` is counted by Shlink over visits of all kinds, so that many are used; the
//! clicks so far are those of people, if it tells them apart. The rules of a link with `hasRedirectRules` are not in the list, so it is refused.

use serde_json::Value;

use super::{Column, Foreign, Row, count, count_in, short_url, text, time};

pub(super) const COLUMNS: &[Column] = &[
    Column { names: &["longurl"], required: true },
    Column { names: &["shortcode"], required: false },
    Column { names: &["shorturl"], required: false },
    Column { names: &["domain"], required: false },
    Column { names: &["title"], required: false },
    Column { names: &["tags"], required: false },
    Column { names: &["createdat", "datecreated"], required: false },
    Column { names: &["visits", "visitscount"], required: false },
];

pub(super) const LISTS: &[&str] = &["/shortUrls/data"];

pub(super) fn of_row(row: &Row<'_>) -> Result<Foreign, String> {
    let (host, code) = match row.get("shorturl").map(short_url).transpose()? {
        Some((host, code)) => (Some(host), Some(code)),
        None => (None, None),
    };
    Ok(Foreign {
        long_url: row.get("longurl").ok_or("there is no long URL")?.to_owned(),
        code: row.get("shortcode").map(str::to_owned).or(code),
        domain: row.get("domain").map(str::to_owned).or(host),
        title: row.get("title").map(str::to_owned),
        tags: row
            .get("tags")
            .map(|tags| tags.split(['|', ',']).map(|tag| tag.trim().to_owned()).collect())
            .unwrap_or_default(),
        created_at: time::read_any(row.get("createdat"))?,
        clicks: count_in(row.get("visits"))?,
        ..Foreign::default()
    })
}

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let meta = &link["meta"];
    let code = text(&link["shortCode"]).ok_or("there is no shortCode")?;
    if link["hasRedirectRules"] == true {
        return Err(format!("{code} has redirect rules, which are not in the file: make this link by hand"));
    }
    let summary = &link["visitsSummary"];
    let visits = count(&summary["total"])?.or(count(&link["visitsCount"])?);
    let max_clicks = count(&meta["maxVisits"])?;
    let host = text(&link["shortUrl"]).and_then(|url| short_url(&url).ok()).map(|(host, _)| host);
    Ok(Foreign {
        long_url: text(&link["longUrl"]).ok_or("there is no longUrl")?,
        code: Some(code),
        domain: text(&link["domain"]).or(host),
        title: text(&link["title"]),
        tags: link["tags"].as_array().into_iter().flatten().filter_map(text).collect(),
        created_at: time::read_any(link["dateCreated"].as_str())?,
        expires_at: time::read_any(meta["validUntil"].as_str())?,
        not_before: time::read_any(meta["validSince"].as_str())?,
        clicks: count(&summary["nonBots"])?.or(visits),
        max_clicks,
        max_clicks_used: max_clicks.and(visits),
        forward_query: link["forwardQuery"] == true,
        ..Foreign::default()
    })
}
