//! Bitly: the answers of `GET /v4/groups/{group_guid}/bitlinks`.
//!
//! Source: dev.bitly.com/api-reference (`links: [{id, link, long_url, title, created_at, archived, tags, custom_bitlinks}]`, times with the
//! offset `+0000`). A link that was given custom back-halves has them in `custom_bitlinks`, and those are what is printed somewhere: each becomes a
//! link. The generated one is taken where there is none. Clicks are in the sorted list alone (`GET /v4/groups/{group_guid}/bitlinks/clicks`, which has
//! `sorted_links: [{id, clicks}]` besides); they are of all names of a link together, and go to the first.

use std::collections::HashMap;

use serde_json::Value;

use super::{Foreign, count, short_url, text, time};

pub(super) const LISTS: &[&str] = &["/links"];

/// Puts the clicks of a sorted list to their links.
pub(super) fn add_clicks(document: &mut Value) {
    let sorted = document["sorted_links"].as_array().into_iter().flatten();
    let clicks: HashMap<String, Value> =
        sorted.filter_map(|link| Some((text(&link["id"])?, link["clicks"].clone()))).collect();
    if clicks.is_empty() {
        return;
    }
    for link in document["links"].as_array_mut().into_iter().flatten() {
        let found = text(&link["id"]).and_then(|id| clicks.get(&id));
        if let (Some(found), Value::Object(link)) = (found, link) {
            link.insert("clicks".to_owned(), found.clone());
        }
    }
}

pub(super) fn of_json(link: &Value) -> Vec<Result<Foreign, String>> {
    let custom: Vec<_> = link["custom_bitlinks"].as_array().into_iter().flatten().filter_map(text).collect();
    if !custom.is_empty() {
        let all = custom.iter().enumerate().map(|(at, named)| {
            let foreign = of_name(link, named)?;
            Ok(Foreign { clicks: foreign.clicks.filter(|_| at == 0), ..foreign })
        });
        return all.collect();
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
        clicks: count(&link["clicks"])?,
        ..Foreign::default()
    })
}
