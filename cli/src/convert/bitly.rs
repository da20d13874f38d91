//! Bitly: the answers of `GET /v4/groups/{group_guid}/bitlinks`.
//!
//! Source: dev.bitly.com/api-reference (`links: [{id, link, long_url, title, created_at, archived, tags, custom_bitlinks}]`, times with the
//! offset `+0000`). A link that was given custom back-halves has them in `custom_bitlinks`, and those are what is printed somewhere: each becomes a
//! link. The generated one is taken where there is none.

use serde_json::Value;

use super::{Foreign, short_url, text, time};

pub(super) const LISTS: &[&str] = &["/links"];

pub(super) fn of_json(link: &Value) -> Vec<Result<Foreign, String>> {
    let custom: Vec<_> = link["custom_bitlinks"].as_array().into_iter().flatten().filter_map(text).collect();
    if !custom.is_empty() {
        return custom.iter().map(|named| of_name(link, named)).collect();
    }
    let named = text(&link["link"]).or_else(|| text(&link["id"])).ok_or("there is no link".to_owned());
    vec![named.and_then(|named| of_name(link, &named))]
}

fn of_name(link: &Value, named: &str) -> Result<Foreign, String> {
    let (host, code) = short_url(named)?;
    Ok(Foreign {
        long_url: text(&link["long_url"]).ok_or("there is no long_url")?,
        code: Some(code),
        domain: Some(host),
        title: text(&link["title"]),
        tags: link["tags"].as_array().into_iter().flatten().filter_map(text).collect(),
        created_at: time::read_any(link["created_at"].as_str())?,
        archived: link["archived"] == true,
        ..Foreign::default()
    })
}
