//! Which certificate a visitor is shown: the first with exactly the name asked for, else the first with a wildcard for it, else the
//! first of all.
//!
//! Pure. A wildcard stands for one label, the leftmost (RFC 6125 §6.4.3). Names are compared without regard to case.

use std::collections::HashMap;

/// Names and the places of their certificates.
#[derive(Debug, Default)]
pub(super) struct Choice {
    exact: HashMap<String, usize>,
    /// By what follows `*.`.
    wildcard: HashMap<String, usize>,
}

impl Choice {
    /// Adds a name of the certificate at `place`; a name that is there already stays with its certificate.
    pub(super) fn add(&mut self, name: &str, place: usize) {
        let name = normal(name);
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()).or_insert(place),
            None => self.exact.entry(name).or_insert(place),
        };
    }

    /// The place of the certificate for a visitor who asks for `name`, or for none.
    pub(super) fn choose(&self, name: Option<&str>) -> usize {
        const FIRST: usize = 0;
        let Some(name) = name.map(normal) else { return FIRST };
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(&name).or_else(wildcard).copied().unwrap_or(FIRST)
    }
}

/// Lower case, without the dot of the root.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_come_before_wildcards_and_the_first_certificate_is_for_everybody_else() {
        let mut choice = Choice::default();
        for (place, name) in [
            (0, "go.example"),
            (1, "*.links.example"),
            (2, "A.Links.Example"),
            (3, "go.example"),
            (3, "*.links.example"),
            (4, "*.go.example"),
        ] {
            choice.add(name, place);
        }
        for (name, place) in [
            (None, 0),
            (Some("go.example"), 0),
            (Some("GO.example."), 0),
            (Some("a.links.example"), 2),
            (Some("b.LINKS.example"), 1),
            (Some("b.a.links.example"), 0),
            (Some("links.example"), 0),
            (Some("x.go.example"), 4),
            (Some("other.example"), 0),
            (Some(""), 0),
        ] {
            assert_eq!(choice.choose(name), place, "{name:?}");
        }
    }
}
