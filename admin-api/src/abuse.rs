//! Which targets are refused although they are well-formed: by the operator's blocklists, and by a service that is asked.
//!
//! Owned here: a target is asked about when a link is made or gets another one, never when it is followed. What [`crate::target`]
//! decides from the text alone is not repeated here. A request that was decided before is not judged again: its retry gets the same
//! answer, whatever the lists say by then.

pub mod blocklist;
pub mod files;
mod pattern;
pub mod verdict;

use std::sync::Arc;

use daemon::metrics::{Counter, EncodeLabelSet, Family};

use self::files::BlockFiles;
use self::verdict::{VerdictError, VerdictService, WhenSilent};

/// Why a target is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Its host is on a list.
    #[error("the host of the target is on a blocklist of this service")]
    Host,
    /// A pattern of a list fits it.
    #[error("the target fits a pattern on a blocklist of this service")]
    Pattern,
    /// The service that is asked says so.
    #[error("the target was judged harmful{}", .reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))]
    Verdict {
        /// What it says.
        reason: Option<String>,
    },
    /// The service that has to be asked does not answer.
    #[error("the service that judges targets does not answer: try again")]
    NoVerdict,
}

impl Refused {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::NoVerdict => "no_verdict",
            _ => "url_blocked",
        }
    }
}

/// Says which targets may be.
#[derive(Clone, Default)]
pub struct Gate {
    lists: Option<Arc<BlockFiles>>,
    verdicts: Option<Arc<VerdictService>>,
    counts: Counts,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What happened to targets, for metrics.
#[derive(Clone, Default)]
pub struct Counts {
    refused: Family<Reason, Counter>,
}

impl Counts {
    /// Targets refused, by why; the verdicts that could not be had among them, whatever followed from that.
    pub fn register(&self, registry: &mut daemon::metrics::Registry) {
        let help =
            "Targets refused by blocklists and verdicts, and verdicts that could not be had (no_verdict)";
        registry.register("targets_refused", help, self.refused.clone());
    }

    fn count(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}

impl Gate {
    /// Asks the lists first, then the service, each if there is one.
    pub fn new(lists: Option<Arc<BlockFiles>>, verdicts: Option<VerdictService>, counts: Counts) -> Gate {
        Gate { lists, verdicts: verdicts.map(Arc::new), counts }
    }

    /// Judges targets; for each why it is refused, if it is.
    pub async fn judge(&self, targets: &[&str]) -> Vec<Option<Refused>> {
        let blocked = |target: &&str| self.lists.as_ref().and_then(|lists| lists.current().blocks(target));
        let mut judged: Vec<Option<Refused>> = targets.iter().map(blocked).collect();
        for refused in judged.iter().flatten() {
            self.counts.count(if *refused == Refused::Host { "host" } else { "pattern" });
        }
        let Some(service) = &self.verdicts else { return judged };
        let open: Vec<usize> = (0..targets.len()).filter(|&index| judged[index].is_none()).collect();
        if open.is_empty() {
            return judged;
        }
        let asked: Vec<&str> = open.iter().map(|&index| targets[index]).collect();
        match service.ask(&asked).await {
            Ok(verdicts) => {
                for (&index, verdict) in open.iter().zip(verdicts) {
                    if verdict.block {
                        self.counts.count("verdict");
                        judged[index] = Some(Refused::Verdict { reason: verdict.reason });
                    }
                }
            }
            Err(error) => {
                self.counts.count("no_verdict");
                let error: &VerdictError = &error;
                tracing::warn!(error = wire::channel::reason(error), "no verdict on targets");
                if service.when_silent() == WhenSilent::Refuse {
                    open.iter().for_each(|&index| judged[index] = Some(Refused::NoVerdict));
                }
            }
        }
        judged
    }
}
