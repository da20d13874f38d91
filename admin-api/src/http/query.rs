//! Parameters of the query. A parameter nobody knows is refused: a misspelt `cursor` would otherwise list from the start for ever.

use std::borrow::Cow;

use http::Uri;
use linklog::{Code, DomainId, Key};
use url::form_urlencoded;

use crate::domains::DomainTable;
use crate::links::list::{Cursor, LIMIT_DEFAULT, LIMIT_MAX};
use crate::links::order::domain_named;
use crate::problem::Problem;

/// The parameters of a query.
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Most parameters that are looked at.
const PARAMETERS_MAX: usize = 16;

impl<'a> Query<'a> {
    /// Reads a query in which only `known` parameters may be, each once.
    ///
    /// # Errors
    /// An unknown or repeated parameter.
    pub fn read(uri: &'a Uri, known: &[&str]) -> Result<Query<'a>, Problem> {
        let mut found: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).take(PARAMETERS_MAX)
        {
            if !known.contains(&&*name) {
                let detail = match known {
                    [] => "this resource has no parameters".to_owned(),
                    known => format!("there is no such parameter, there is {}", known.join(", ")),
                };
                return Err(Problem::parameter(&name, "unknown_parameter", detail));
            }
            if found.iter().any(|(before, _)| *before == name) {
                return Err(Problem::parameter(&name, "duplicate_parameter", "the parameter is there twice"));
            }
            found.push((name, value));
        }
        Ok(Query(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// Returns the domain asked for, or the default one.
    ///
    /// # Errors
    /// Nobody declared it.
    pub fn domain(&self, domains: &DomainTable) -> Result<DomainId, Problem> {
        domain_named(self.get("domain"), domains).map_err(|name| Problem::no_domain(&name))
    }

    /// Returns how many links a page has.
    ///
    /// # Errors
    /// It is no number in range.
    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| {
            Problem::parameter("limit", "limit_out_of_range", format!("a number from 1 to {LIMIT_MAX}"))
        })
    }

    /// Returns where the page begins.
    ///
    /// # Errors
    /// It is no cursor of ours.
    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        let cursor = self.get("cursor").map(Cursor::decode).transpose();
        cursor.map_err(|error| Problem::parameter("cursor", "cursor_invalid", error.to_string()))
    }
}

/// Returns the key of a link named by a path and the domain of a query. A text that is no code names no link.
///
/// # Errors
/// There is no such domain, or no link can have this code.
pub fn key_of(code: &str, uri: &Uri, domains: &DomainTable) -> Result<Key, Problem> {
    let domain = Query::read(uri, &["domain"])?.domain(domains)?;
    let code = Code::from_bytes(code.as_bytes()).map_err(|_| Problem::no_link())?;
    Ok(Key::new(domain, code))
}
