//! Lists of hosts and of patterns that no link may lead to. Pure: text in, a list out.
//!
//! A list of hosts has a host a line, which stands for its subdomains too; lines of a hosts file (`0.0.0.0 host`) are understood. A list
//! of patterns has a pattern a line (`*` stands for anything), compared in lower case with the whole target from its host on:
//! `*.example/login*`; a port is left out. It is tried on the target as it is and with its percent-escapes undone. `#` begins a comment.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};
use xxhash_rust::xxh3::xxh3_128;

use super::Refused;
use super::pattern::fits;

/// Most hosts in all lists: 16 bytes each.
pub const HOSTS_MAX: usize = 10_000_000;
/// Most patterns in all lists: every one is tried on every new target.
pub const PATTERNS_MAX: usize = 10_000;
/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// What is wrong with a list.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListError {
    /// A line is no host.
    #[error("line {line} is no host: write one as in `bad.example`")]
    NoHost {
        /// Which, from 1.
        line: usize,
    },
    /// A pattern that is too long.
    #[error("line {line} is longer than {PATTERN_BYTES_MAX} bytes")]
    PatternTooLong {
        /// Which, from 1.
        line: usize,
    },
    /// A pattern that fits everything.
    #[error("line {line} fits every target")]
    Everything {
        /// Which, from 1.
        line: usize,
    },
    /// Too many lines.
    #[error("there are more than {max} entries in the lists")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// What no link may lead to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blocklist {
    /// Sorted hashes of hosts: a list of millions is 16 bytes a host.
    hosts: Vec<u128>,
    patterns: Vec<Box<[u8]>>,
}

impl Blocklist {
    /// Adds a list of hosts.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn add_hosts(&mut self, text: &str) -> Result<(), ListError> {
        for (index, line) in lines(text) {
            let no_host = ListError::NoHost { line: index + 1 };
            // As in a hosts file: an address first.
            let host = match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
                [host] => host,
                [address, host] if address.parse::<IpAddr>().is_ok() => host,
                _ => return Err(no_host),
            };
            let host = host.trim_start_matches("*.").trim_matches('.');
            let host = Host::parse(host).map_err(|_| no_host)?;
            self.hosts.push(hash(&host.to_string()));
            if self.hosts.len() > HOSTS_MAX {
                return Err(ListError::TooMany { max: HOSTS_MAX });
            }
        }
        self.hosts.sort_unstable();
        self.hosts.dedup();
        Ok(())
    }

    /// Adds a list of patterns.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn add_patterns(&mut self, text: &str) -> Result<(), ListError> {
        for (index, line) in lines(text) {
            let line_number = index + 1;
            if line.len() > PATTERN_BYTES_MAX {
                return Err(ListError::PatternTooLong { line: line_number });
            }
            if line.bytes().all(|byte| byte == b'*') {
                return Err(ListError::Everything { line: line_number });
            }
            self.patterns.push(line.to_lowercase().into_bytes().into());
            if self.patterns.len() > PATTERNS_MAX {
                return Err(ListError::TooMany { max: PATTERNS_MAX });
            }
        }
        Ok(())
    }

    /// How many hosts and patterns there are.
    pub fn entries(&self) -> (usize, usize) {
        (self.hosts.len(), self.patterns.len())
    }

    /// Says why a target is refused, if it is.
    pub fn blocks(&self, target: &str) -> Option<Refused> {
        let url = Url::parse(target).ok()?;
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        if self.has_host(&host) {
            return Some(Refused::Host);
        }
        if self.patterns.is_empty() {
            return None;
        }
        // As browsers read it: dots in paths resolved, the host in its ASCII form; whatever the port.
        let plain = format!("{host}{}", &url[Position::BeforePath..]).to_ascii_lowercase();
        let decoded = percent_decode_str(&plain).decode_utf8_lossy().to_lowercase();
        let is_blocked =
            |pattern: &[u8]| fits(pattern, plain.as_bytes()) || fits(pattern, decoded.as_bytes());
        self.patterns.iter().any(|pattern| is_blocked(pattern)).then_some(Refused::Pattern)
    }

    /// The host, or a domain it is under.
    fn has_host(&self, host: &str) -> bool {
        let ends = std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, above)| above));
        !self.hosts.is_empty() && ends.into_iter().any(|end| self.hosts.binary_search(&hash(end)).is_ok())
    }
}

fn hash(host: &str) -> u128 {
    xxh3_128(host.as_bytes())
}

/// The lines that say something, with their numbers from 0.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let said = text.lines().map(|line| line.split_once('#').map_or(line, |(said, _)| said).trim());
    said.enumerate().filter(|(_, line)| !line.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_stand_for_what_is_under_them_and_nothing_else() {
        let mut list = Blocklist::default();
        list.add_hosts("# bad ones\nBad.example\n*.worse.example # a comment\n0.0.0.0 ads.example\nbücher.example\n192.0.2.7\n").unwrap();
        assert_eq!(list.entries(), (5, 0));
        for target in [
            "https://bad.example/",
            "https://BAD.example./x",
            "http://a.b.bad.example:8080/",
            "https://worse.example",
            "https://ads.example/",
            "https://xn--bcher-kva.example/",
            "http://192.0.2.7/x",
            "http://0xc0000207/",
        ] {
            assert_eq!(list.blocks(target), Some(Refused::Host), "{target}");
        }
        for target in [
            "https://notbad.example/",
            "https://example/",
            "https://x.example/bad.example",
            "http://192.0.2.70/",
        ] {
            assert_eq!(list.blocks(target), None, "{target}");
        }
    }

    #[test]
    fn patterns_are_tried_on_the_target_as_browsers_read_it() {
        let mut list = Blocklist::default();
        list.add_patterns("*.example/*Login*\n*.exe\n").unwrap();
        for target in [
            "https://bank.example/x/LOGIN?y",
            "https://bank.example/lo%67in",
            "https://a.test/b/../c.exe",
            "https://bank.example:8443/login",
            "https://bank.example./login",
        ] {
            assert_eq!(list.blocks(target), Some(Refused::Pattern), "{target}");
        }
        for target in ["https://bank.test/login", "https://a.test/c.exe?x", "https://bank.example/"] {
            assert_eq!(list.blocks(target), None, "{target}");
        }
    }

    #[test]
    fn lists_with_mistakes_are_refused_with_the_line() {
        let mut list = Blocklist::default();
        assert_eq!(list.add_hosts("a.example\n\nno host/at all\n"), Err(ListError::NoHost { line: 3 }));
        assert_eq!(list.add_hosts("a.example b.example\n"), Err(ListError::NoHost { line: 1 }));
        assert_eq!(list.add_patterns("**\n"), Err(ListError::Everything { line: 1 }));
        assert_eq!(list.add_patterns(&"x".repeat(513)), Err(ListError::PatternTooLong { line: 1 }));
    }
}
