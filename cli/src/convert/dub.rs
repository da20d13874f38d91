//! Dub: the CSV of its dashboard, and the answers of `GET /links`.
//!
//! Sources: dub.co/help, exporting links (columns `Short link, Destination URL, Clicks, Created at`, and by choice `Updated at, Tags, Archived, …`, tags joined by
//! commas); dub.co/docs/api-reference (`[{domain, key, url, expiresAt, archived, disabledAt, password, title, tags: [{name}], createdAt}]`). A link
//! with a password would lose it, so it is refused.

use serde_json::Value;

use super::{Column, Foreign, Row, short_url, text, time};

pub(super) const COLUMNS: &[Column] = &[
    Column { names: &["shortlink", "link"], required: true },
    Column { names: &["destinationurl", "url"], required: true },
    Column { names: &["title"], required: false },
    Column { names: &["tags"], required: false },
    Column { names: &["createdat"], required: false },
    Column { names: &["expiresat"], required: false },
];

pub(super) const LISTS: &[&str] = &["/links"];

pub(super) fn of_row(row: &Row<'_>) -> Result<Foreign, String> {
    let (host, code) = short_url(row.get("shortlink").ok_or("there is no short link")?)?;
    Ok(Foreign {
        long_url: row.get("destinationurl").ok_or("there is no destination URL")?.to_owned(),
        code: Some(code),
        domain: Some(host),
        title: row.get("title").map(str::to_owned),
        tags: row
            .get("tags")
            .map(|tags| tags.split(',').map(|tag| tag.trim().to_owned()).collect())
            .unwrap_or_default(),
        created_at: time::read_any(row.get("createdat"))?,
        expires_at: time::read_any(row.get("expiresat"))?,
        is_disabled: false,
    })
}

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let code = text(&link["key"]).ok_or("there is no key")?;
    if text(&link["password"]).is_some() {
        return Err(format!("{code} has a password, which cannot be taken over: make this link by hand"));
    }
    let tags = link["tags"].as_array().into_iter().flatten();
    Ok(Foreign {
        long_url: text(&link["url"]).ok_or("there is no url")?,
        code: Some(code),
        domain: text(&link["domain"]),
        title: text(&link["title"]),
        tags: tags.filter_map(|tag| text(&tag["name"])).collect(),
        created_at: time::read_any(link["createdAt"].as_str())?,
        expires_at: time::read_any(link["expiresAt"].as_str())?,
        is_disabled: !link["disabledAt"].is_null(),
    })
}
