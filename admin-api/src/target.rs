//! Where a link may lead: checks a target and makes it fit for a `Location` header. Pure.
//!
//! Owned here: what [`check`] returns is an absolute URL of an allowed scheme with a host, without credentials, of printable
//! ASCII, and not longer than allowed; it does not lead to a private address unless that is allowed. A target of printable ASCII is kept byte for byte, because it is not ours to
//! tidy: signatures and caches depend on the exact spelling. Anything else is percent-encoded, its host put into the
//! ASCII form of internationalised names (RFC 3490), and nothing else about it is changed.
//!
//! Two programs may read a sloppy URL differently: browsers (WHATWG URL) take `\` for `/` and skip missing slashes,
//! other clients (RFC 3986) do not. Where the two readings disagree about the host, the target is refused.

mod address;

use std::sync::Arc;

use percent_encoding::{CONTROLS, utf8_percent_encode};
use url::Url;

/// Which targets are allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetRules {
    /// Longest target in bytes, before and after encoding.
    pub bytes_max: usize,
    /// Schemes that may be, in lower case.
    pub schemes: Arc<[String]>,
    /// Whether targets may lead to loopback and private addresses.
    pub private_allowed: bool,
}

/// Schemes that do something in the browser that follows a link, in place of leading somewhere: never allowed.
pub const SCHEMES_NEVER: [&str; 9] =
    ["javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source", "chrome"];

/// Says whether a configuration may allow a scheme: a name (RFC 3986 section 3.1) in lower case, and none of [`SCHEMES_NEVER`].
pub fn may_be_allowed(scheme: &str) -> bool {
    is_scheme(scheme) && scheme == scheme.to_ascii_lowercase() && !SCHEMES_NEVER.contains(&scheme)
}

/// Why a target is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing there.
    #[error("the target is empty")]
    Empty,
    /// Too long.
    #[error("the target has {found} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A space, a line break or another control character.
    #[error("byte {at} is a space or a control character; write a space as %20")]
    Whitespace {
        /// Which byte, from 0.
        at: usize,
    },
    /// No scheme, or not followed by a host.
    #[error("the target is not absolute: it must begin with a scheme such as https:// and a host")]
    NotAbsolute,
    /// Another scheme.
    #[error("scheme {scheme:?} is not allowed, but {allowed}")]
    Scheme {
        /// The beginning of what was found.
        scheme: String,
        /// Those that are.
        allowed: String,
    },
    /// A user name or a password.
    #[error("the target holds a user name or password, which everybody who follows the link would learn")]
    Credentials,
    /// The host or port cannot be right.
    #[error("the host or port of the target is not valid: {why}")]
    Host {
        /// What the URL parser says.
        why: String,
    },
    /// It leads to somebody's own machine or network.
    #[error(
        "the target leads to {host}, an address that is private or reserved: visitors would reach another machine, or one of their own"
    )]
    Private {
        /// The host.
        host: String,
    },
    /// It leads back to the short domain.
    #[error("the target is on {host}, which serves short links itself: following it would go in circles")]
    Loop {
        /// The host.
        host: String,
    },
}

impl TargetError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            TargetError::Empty => "url_empty",
            TargetError::TooLong { .. } => "url_too_long",
            TargetError::Whitespace { .. } => "url_bad_character",
            TargetError::NotAbsolute => "url_not_absolute",
            TargetError::Scheme { .. } => "url_scheme",
            TargetError::Credentials => "url_credentials",
            TargetError::Host { .. } => "url_host",
            TargetError::Private { .. } => "url_private",
            TargetError::Loop { .. } => "url_loop",
        }
    }
}

/// Checks a target and returns it as it is to be stored. `is_ours` says whether a host (lower case, no final dot) with
/// that port serves short links of ours.
///
/// # Errors
/// The first rule that is broken.
pub fn check(
    text: &str,
    rules: &TargetRules,
    is_ours: impl Fn(&str, u16) -> bool,
) -> Result<String, TargetError> {
    check_length(text, rules)?;
    if let Some(at) = text.bytes().position(|b| b <= b' ' || b == 0x7f) {
        return Err(TargetError::Whitespace { at });
    }
    let parts = split(text, rules)?;
    if parts.authority.contains('@') {
        return Err(TargetError::Credentials);
    }
    // Only the beginning decides about the host: what follows is opaque to us and may be thousands of bytes.
    let start = text.len() - parts.rest.len();
    let url = Url::parse(&text[..start]).map_err(|error| TargetError::Host { why: error.to_string() })?;
    let host = url.host_str().ok_or(TargetError::NotAbsolute)?;
    let known_as = host.strip_suffix('.').unwrap_or(host);
    if is_ours(known_as, url.port_or_known_default().unwrap_or(0)) {
        return Err(TargetError::Loop { host: known_as.to_owned() });
    }
    if !rules.private_allowed && address::is_private(known_as) {
        return Err(TargetError::Private { host: known_as.to_owned() });
    }
    if text.is_ascii() {
        return Ok(text.to_owned());
    }
    let encoded = encode(&parts, host);
    check_length(&encoded, rules)?;
    Ok(encoded)
}

fn check_length(text: &str, rules: &TargetRules) -> Result<(), TargetError> {
    match text.len() {
        0 => Err(TargetError::Empty),
        found if found > rules.bytes_max => Err(TargetError::TooLong { found, max: rules.bytes_max }),
        _ => Ok(()),
    }
}

/// A target taken apart: `scheme://authority` and what follows, which begins with `/`, `?` or `#` if it is not empty.
struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    rest: &'a str,
}

fn split<'t>(text: &'t str, rules: &TargetRules) -> Result<Parts<'t>, TargetError> {
    let (scheme, after) = text.split_once(':').ok_or(TargetError::NotAbsolute)?;
    if !is_scheme(scheme) {
        return Err(TargetError::NotAbsolute);
    }
    if !rules.schemes.iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed)) {
        let allowed = rules.schemes.join(", ");
        return Err(TargetError::Scheme { scheme: scheme.chars().take(32).collect(), allowed });
    }
    let after = after.strip_prefix("//").ok_or(TargetError::NotAbsolute)?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    if authority.is_empty() {
        return Err(TargetError::NotAbsolute);
    }
    if authority.contains('\\') {
        return Err(TargetError::Host { why: "it holds a backslash".to_owned() });
    }
    Ok(Parts { scheme, authority, rest })
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn encode(parts: &Parts<'_>, ascii_host: &str) -> String {
    // A port cannot hold a colon and a name that is not ASCII is no IPv6 literal, so the last colon begins the port.
    let port = match parts.authority.rsplit_once(':') {
        Some((_, port)) if !parts.authority.ends_with(']') => port,
        _ => "",
    };
    let mut url = format!("{}://{ascii_host}", parts.scheme);
    if !port.is_empty() {
        url.push(':');
        url.push_str(port);
    }
    url.extend(utf8_percent_encode(parts.rest, CONTROLS));
    url
}

#[cfg(test)]
mod tests;
