//! One file a command: what it takes, what it asks the API, what it shows.

pub mod api;
pub mod clicks;
pub mod create;
pub mod delete;
pub mod domains;
pub mod edit;
pub mod export;
pub mod get;
pub mod groups;
pub mod import;
pub mod list;
pub mod qr;
mod records;
pub mod tokens;
pub mod users;

use std::time::Duration;

use clap::Args;
use daemon::exit::Exit;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use crate::problem::CallError;

/// Which link.
#[derive(Args, Clone, Debug)]
pub struct Name {
    /// Code or alias; a whole short URL will do
    #[arg(value_name = "CODE")]
    pub code: String,
    /// Host of its domain; without it the default domain
    #[arg(long, value_name = "HOST")]
    pub domain: Option<String>,
}

impl Name {
    /// Returns the path of the link and what is under it.
    fn path(&self, under: &str) -> String {
        self.path_with(under, &[])
    }

    /// The same, with parameters.
    fn path_with(&self, under: &str, parameters: &[(&str, &str)]) -> String {
        let (code, host) = split_short_url(&self.code);
        let code = utf8_percent_encode(&code, NON_ALPHANUMERIC);
        let domain = self.domain.as_deref().or(host.as_deref()).map(|domain| ("domain", domain));
        let all: Vec<_> = domain.into_iter().chain(parameters.iter().copied()).collect();
        format!("/v1/links/{code}{under}{}", query(&all))
    }
}

/// Takes a short URL apart into its code and its host; anything else is a code.
fn split_short_url(text: &str) -> (String, Option<String>) {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match url.as_ref().and_then(|url| Some((url.path().trim_matches('/'), url.host_str()?))) {
        Some((code, host)) if !code.is_empty() => (code.to_owned(), Some(host.to_owned())),
        _ => (text.to_owned(), None),
    }
}

/// Returns how long to pause before a transfer that failed so goes on after `tries` tries in vain; `None`: it does not.
fn pause(error: &Exit, tries: u32) -> Option<Duration> {
    let Exit::Failure(cause) = error else { return None };
    cause.downcast_ref::<CallError>()?.pause(tries)
}

/// Returns a query of these parameters, with its question mark; nothing without any.
fn query<T: AsRef<str>>(parameters: &[(&str, T)]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let mut query = form_urlencoded::Serializer::new("?".to_owned());
    // The serializer separates by `&` from what is there already, the question mark included.
    for (name, value) in parameters {
        query.append_pair(name, value.as_ref());
    }
    query.finish().replacen("?&", "?", 1)
}

/// Collects the members of a body: those that were given.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.insert(name.to_owned(), values.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_by_its_code_or_its_short_url() {
        let path = |code: &str, domain: Option<&str>| {
            Name { code: code.to_owned(), domain: domain.map(str::to_owned) }.path("/clicks")
        };
        assert_eq!(path("a-b_1", None), "/v1/links/a%2Db%5F1/clicks");
        assert_eq!(path("x", Some("sho.rt")), "/v1/links/x/clicks?domain=sho.rt");
        assert_eq!(path("https://sho.rt/x", None), "/v1/links/x/clicks?domain=sho.rt");
        assert_eq!(path("http://127.0.0.1:8080/x", None), "/v1/links/x/clicks?domain=127.0.0.1");
        assert_eq!(path("HTTPS://Sho.RT/x/?from=mail#top", None), "/v1/links/x/clicks?domain=sho.rt");
        assert_eq!(path("http://me@[::1]:8080/x", None), "/v1/links/x/clicks?domain=%5B%3A%3A1%5D");
        assert_eq!(path("a/../b", None), "/v1/links/a%2F%2E%2E%2Fb/clicks");
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(query::<&str>(&[]), "");
        assert_eq!(query(&[("a", "b c"), ("d", "&e")]), "?a=b+c&d=%26e");
    }
}
