//! Dub: the CSV of its dashboard, and the answers of `GET /links`.
//!
//! Sources: dub.co/help, exporting links (columns `Short link, Destination URL, Clicks, Created at`, and by choice `Updated at, Tags, Archived, …`, tags joined by
//! commas); dub.co/docs/api-reference (`[{domain, key, url, expiresAt, expiredUrl, archived, disabledAt, password, title, comments, externalId, ios,
//! android, geo, tags: [{name}], clicks, createdAt}]`). A link with a password or with targets by device or country would lose them, so it is refused.

use serde_json::Value;

use super::{Column, Foreign, Row, count, count_in, short_url, text, time};

pub(super) const COLUMNS: &[Column] = &[
    Column { names: &["shortlink", "link"], required: true },
    Column { names: &["destinationurl", "url"], required: true },
    Column { names: &["title"], required: false },
    Column { names: &["tags"], required: false },
    Column { names: &["createdat"], required: false },
    Column { names: &["expiresat"], required: false },
    Column { names: &["archived"], required: false },
    Column { names: &["comments"], required: false },
    Column { names: &["clicks"], required: false },
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
        archived: row.get("archived").is_some_and(|word| word.eq_ignore_ascii_case("true")),
        notes: row.get("comments").map(str::to_owned),
        clicks: count_in(row.get("clicks"))?,
        ..Foreign::default()
    })
}

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let code = text(&link["key"]).ok_or("there is no key")?;
    if text(&link["password"]).is_some() {
        return Err(format!("{code} has a password, which cannot be taken over: make this link by hand"));
    }
    let has_targets = |field: &str| {
        text(&link[field]).is_some() || link[field].as_object().is_some_and(|targets| !targets.is_empty())
    };
    if let Some(field) = ["ios", "android", "geo"].into_iter().find(|field| has_targets(field)) {
        return Err(format!(
            "{code} has targets of its own for some visitors ({field}), which are not taken over: make this link by hand, with rules"
        ));
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
        archived: link["archived"] == true,
        notes: text(&link["comments"]),
        external_id: text(&link["externalId"]),
        clicks: count(&link["clicks"])?,
        ..Foreign::default()
    })
}
