//! Every place a link can lead to, judged by the operator's lists and the service that is asked ([`crate::abuse`]).

use linklog::Link;
use linklog::link::extras::Ended;

use super::Links;
use crate::abuse::Refused;

/// A target that may not be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{refused}")]
pub struct RefusedTarget {
    /// The field of the link that has it.
    pub field: &'static str,
    /// Why.
    pub refused: Refused,
}

/// Returns the targets of a link with the fields they are in.
pub(super) fn targets(link: &Link) -> impl Iterator<Item = (&'static str, &str)> {
    let extras = &link.extras;
    let fallback = match &extras.ended {
        Some(Ended::Redirect(target)) => Some(("when_ended", target.as_str())),
        _ => None,
    };
    // One that is only reserved leads nowhere.
    let own = Some(("long_url", link.target.as_str())).filter(|(_, target)| !target.is_empty());
    let rules = extras.rules.iter().map(|rule| ("rules", rule.target.as_str()));
    let variants = extras.variants.iter().map(|variant| ("variants", variant.target.as_str()));
    own.into_iter().chain(fallback).chain(rules).chain(variants)
}

impl Links {
    /// Judges links; for each the first target that is refused, if one is.
    pub(super) async fn judge_targets(&self, links: &[&Link]) -> Vec<Option<RefusedTarget>> {
        let all = links.iter().enumerate();
        let all: Vec<_> = all.flat_map(|(index, link)| targets(link).map(move |of| (index, of))).collect();
        let texts: Vec<&str> = all.iter().map(|(_, (_, target))| *target).collect();
        let mut judged = vec![None; links.len()];
        for ((index, (field, _)), refused) in all.iter().zip(self.gate.judge(&texts).await) {
            if let Some(refused) = refused {
                judged[*index].get_or_insert(RefusedTarget { field, refused });
            }
        }
        judged
    }

    /// Judges the targets a link has that it did not have before.
    ///
    /// # Errors
    /// One is refused.
    pub(super) async fn check_targets(
        &self,
        link: &Link,
        before: Option<&Link>,
    ) -> Result<(), RefusedTarget> {
        let is_old = |target| before.is_some_and(|before| targets(before).any(|(_, old)| old == target));
        let (fields, texts): (Vec<_>, Vec<_>) = targets(link).filter(|(_, target)| !is_old(*target)).unzip();
        if texts.is_empty() {
            return Ok(());
        }
        let judged = fields.into_iter().zip(self.gate.judge(&texts).await);
        let refused = judged.filter_map(|(field, refused)| Some(RefusedTarget { field, refused: refused? }));
        refused.into_iter().next().map_or(Ok(()), Err)
    }
}
