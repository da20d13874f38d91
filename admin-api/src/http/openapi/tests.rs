#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::links::fields::LinkFields;
use crate::problem::kind;

fn document() -> Value {
    serde_json::to_value(api()).unwrap()
}

/// Compares a file of the repository with what it has to be; `RENEW_GOLDEN=1` writes it instead.
fn golden(path: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("RENEW_GOLDEN").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{} is not what the code says any more (first difference in line {}): look at the difference that\n  \
         RENEW_GOLDEN=1 cargo nextest run --release -p signpost-admin openapi\nmakes, and commit it if it is meant",
        path.display(),
        differs.map_or(found.lines().count().min(wanted.lines().count()), |line| line) + 1,
    );
}

#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    golden("tests/golden/openapi.json", &text(&api()));
}

#[test]
fn every_route_of_the_router_is_in_the_document() {
    // A route that is added with `routes!` is described; nothing else may add one.
    for (file, source) in [("http.rs", include_str!("../../http.rs"))] {
        let code = source.split("#[cfg(test)]").next().unwrap();
        for way in [".route(", ".nest(", ".merge(", ".route_service(", ".fallback_service("] {
            assert!(
                !code.contains(way),
                "{file} adds a route with {way}…): use .routes(routes!(…)), which describes it"
            );
        }
    }
    let document = document();
    for (path, method) in [("/v1/links", "post"), ("/v1/links/{code}", "patch"), ("/healthz", "get")] {
        assert!(document["paths"][path][method]["operationId"].is_string(), "{method} {path}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_a_summary_and_the_statuses_that_all_have() {
    let document = document();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{what}");
            assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{what}");
            let open = operation["security"].is_array();
            for status in ["401", "403", "422", "429", "500", "503"] {
                assert_eq!(operation["responses"][status].is_object(), !open, "{what}: {status}");
            }
            let changes = method != "get" && method != "head";
            assert_eq!(operation["responses"]["507"].is_object(), changes && !open, "{what}: 507");
        }
    }
}

#[test]
fn the_document_knows_every_field_of_a_link_and_no_other() {
    let document = document();
    let of = |schema: &str| -> BTreeSet<String> {
        document["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let described: BTreeSet<String> = of("NewLink").union(&of("LinkPatch")).cloned().collect();
    let known: BTreeSet<String> = LinkFields::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(described, known, "http/openapi/parts.rs describes the fields that links/fields.rs reads");
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value {
                Value::String(text) if name == "$ref" => found.push(text),
                value => references(value, found),
            }),
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_type_of_every_problem_leads_to_its_place_on_a_page() {
    let page = page::problems();
    for kind in kind::ALL {
        let (path, anchor) = (kind.uri(), kind.code);
        assert_eq!(path, format!("/v1/problems#{anchor}"));
        assert!(page.contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
}

#[test]
fn the_document_of_problems_in_the_repository_is_the_page_that_is_served() {
    let mut text = String::from(
        "# Problems\n\nEvery error of the API is `application/problem+json` (RFC 9457). `type` is a reference to the kind's place on the page that the \
         API\nserves under `/v1/problems`, `code` never changes, and `errors` names each field that is wrong. This file is made from\n\
         `admin-api/src/problem/kind.rs`; a test keeps it equal.\n\n| code | status | when | what to do |\n|---|---|---|---|\n",
    );
    for kind in kind::ALL {
        text += &format!("| `{}` | {} | {} | {} |\n", kind.code, kind.status, kind.meaning, kind.remedy);
    }
    golden("../docs/problems.md", &text);
}

#[test]
fn the_pages_ask_nobody_for_anything() {
    for page in [page::problems(), page::reference(&document())] {
        for foreign in ["<script", "src=", "http://", "https://c", "<link", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
