//! Where links may be that somebody is to find: on some domains, under codes that begin alike. Seen from the key alone, so that what is
//! elsewhere is neither read nor counted.

use crate::key::{DomainId, Key};

/// Where links may be; the default: anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Within {
    /// On one of these domains; none: on any.
    pub domains: Vec<DomainId>,
    /// Under a code that begins so, its case included.
    pub prefix: String,
}

impl Within {
    /// Says whether that is anywhere.
    pub fn is_anywhere(&self) -> bool {
        self.domains.is_empty() && self.prefix.is_empty()
    }

    /// Says whether links of a domain may be meant.
    pub fn has_domain(&self, domain: DomainId) -> bool {
        self.domains.is_empty() || self.domains.contains(&domain)
    }

    /// Says whether the link with this key is meant.
    pub fn has(&self, key: &Key) -> bool {
        self.has_domain(key.domain) && key.code.as_str().starts_with(&self.prefix)
    }
}
