//! Bitly: the answers of `GET /v4/groups/{group_guid}/bitlinks`.
//!
//! Source: dev.bitly.com/api-reference (`links: [{id, link, long_url, title, created_at, archived, tags, custom_bitlinks}]`, times with the
//! offset `+0000`). A link that was given a custom back-half has it in `custom_bitlinks`, and that is what is printed somewhere; the generated one
//! leads to it too, so both become links only if the file is imported twice, which it is not: the custom one is taken.

use serde_json::Value;

use super::{Foreign, short_url, text, time};

pub(super) const LISTS: &[&str] = &["/links"];

pub(super) fn of_json(link: &Value) -> Result<Foreign, String> {
    let custom = link["custom_bitlinks"].as_array().and_then(|custom| custom.first()).and_then(text);
    let named =
        custom.or_else(|| text(&link["link"])).or_else(|| text(&link["id"])).ok_or("there is no link")?;
    let (host, code) = short_url(&named)?;
    Ok(Foreign {
        long_url: text(&link["long_url"]).ok_or("there is no long_url")?,
        code: Some(code),
        domain: Some(host),
        title: text(&link["title"]),
        tags: link["tags"].as_array().into_iter().flatten().filter_map(text).collect(),
        created_at: time::read_any(link["created_at"].as_str())?,
        ..Foreign::default()
    })
}
