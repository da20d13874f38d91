//! `[targets]`: where links may lead.

use std::path::PathBuf;
use std::time::Duration;

use daemon::config::Section;

use crate::abuse::verdict::{self, VerdictOptions, WhenSilent};
use crate::target::{self, TargetRules};

/// Where links may lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Targets {
    /// By the text of a target alone.
    pub rules: TargetRules,
    /// Lists of hosts.
    pub blocked_hosts: Vec<PathBuf>,
    /// Lists of patterns.
    pub blocked_patterns: Vec<PathBuf>,
    /// How often to look whether a list has changed.
    pub check_files: Duration,
    /// Who is asked besides.
    pub verdicts: Option<VerdictOptions>,
}

/// Reads the section; `bytes_max` stands elsewhere.
pub(super) fn read(section: &mut Section, bytes_max: usize) -> Targets {
    let schemes: Vec<String> = section.value("schemes", vec!["http".to_owned(), "https".to_owned()]);
    if schemes.is_empty() {
        section.problem("schemes", "expected at least one scheme");
    }
    for scheme in &schemes {
        if !target::may_be_allowed(scheme) {
            let never = target::SCHEMES_NEVER.join(", ");
            section.problem(
                "schemes",
                format!("{scheme:?} cannot be allowed: expected names in lower case, and none of {never}"),
            );
        }
    }
    let private_allowed = section.value("allow_private", false);
    let blocked_hosts = section.value("blocked_hosts", Vec::new());
    let blocked_patterns = section.value("blocked_patterns", Vec::new());
    let check_files = Duration::from_secs(section.in_range("check_files_s", 60, 1..=86_400));
    let verdict_url: Option<String> = section.optional("verdict_url");
    let timeout = Duration::from_millis(section.in_range("verdict_timeout_ms", 500, 10..=60_000));
    let words = [("allow", WhenSilent::Allow), ("refuse", WhenSilent::Refuse)];
    let when_silent = section.one_of("verdict_when_silent", "allow", &words);
    let verdicts = verdict_url.and_then(|text| match verdict::address(&text) {
        Ok(url) => Some(VerdictOptions { url, timeout, when_silent }),
        Err(problem) => {
            section.problem("verdict_url", problem);
            None
        }
    });
    let rules = TargetRules { bytes_max, schemes: schemes.into(), private_allowed };
    Targets { rules, blocked_hosts, blocked_patterns, check_files, verdicts }
}
