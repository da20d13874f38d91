//! What a `create` run found out: the report, the summary, and what makes it a failure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures;
use crate::latency::Record;
use crate::saturation::Generator;
use crate::series::{Calm, Second};
use crate::verdict::Checked;

/// What `create` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// `open loop` or `closed loop`.
    pub kind: &'static str,
    /// Links per second that were wanted, in an open loop.
    pub rate_wanted: Option<f64>,
    /// Connections used.
    pub connections: u16,
    /// Links per request.
    pub batch: u64,
    /// Requests sent, the warm-up among them.
    pub requests: u64,
    /// Links acknowledged, the warm-up among them.
    pub created: u64,
    /// Links acknowledged per second, after the warm-up.
    pub created_per_s: f64,
    /// Links not acknowledged, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Links acknowledged with another target than was sent.
    pub altered: u64,
    /// Codes acknowledged more than once.
    pub duplicate_codes: u64,
    /// Whether the run was ended from outside.
    pub interrupted: bool,
    /// Seconds measured, after the warm-up.
    pub seconds: f64,
    /// From the intended start to the answer read, of answers that acknowledged a link.
    pub latency: Record,
    /// The latencies of the seconds in which the hypervisor let this machine work.
    pub calm: Calm,
    /// From the send to the answer read.
    pub service: Record,
    /// Requests that found every connection waiting for an answer when their time came.
    pub no_connection_free: u64,
    /// What the proxies answered right after the acknowledgement; `None` when not following.
    pub followed: Option<Checked>,
    /// From the acknowledgement read to the last proxy's answer read.
    pub follow: Option<Record>,
    /// Whether the generator was the limit.
    pub generator: Generator,
    /// Each second.
    pub series: Vec<Second>,
}

impl Results {
    /// The summary, for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "create ({}): {} links acknowledged, {:.0}/s over {:.1} s\n  latency    {}\n  calm       {}\n  service    {}\n  generator  {}\n",
            self.kind,
            figures::count(self.created),
            self.created_per_s,
            self.seconds,
            self.latency.summary.line(),
            self.calm.line(),
            self.service.summary.line(),
            self.generator.line(),
        );
        if self.no_connection_free > 0 {
            let waited = figures::count(self.no_connection_free);
            text += &format!("  {waited} requests found every connection waiting for an answer\n");
        }
        let errors: Vec<String> = self.errors.iter().map(|(why, links)| format!("{links} × {why}")).collect();
        text +=
            &format!("  errors     {}\n", if errors.is_empty() { "0".to_owned() } else { errors.join(", ") });
        if self.altered + self.duplicate_codes > 0 {
            text += &format!(
                "  BROKEN     {} altered targets, {} codes given twice\n",
                self.altered, self.duplicate_codes
            );
        }
        if let (Some(followed), Some(follow)) = (&self.followed, &self.follow) {
            text += &format!("  followed   {}\n             {}\n", followed.line(), follow.summary.line());
            text += &followed.listing();
        }
        text
    }

    /// Fails the run for what broke a promise or was not done; `allow_errors` accepts links that were not acknowledged,
    /// `may_stop` a run that was ended from outside.
    pub(super) fn check(&self, allow_errors: bool, may_stop: bool) -> anyhow::Result<()> {
        let errors: u64 = self.errors.values().sum();
        let not_right = self.followed.as_ref().map_or(0, Checked::failed);
        anyhow::ensure!(self.duplicate_codes == 0, "{} codes were given to two links", self.duplicate_codes);
        anyhow::ensure!(self.altered == 0, "{} targets came back altered", self.altered);
        anyhow::ensure!(not_right == 0, "{not_right} answers of proxies were not right, right after the 201");
        anyhow::ensure!(errors == 0 || allow_errors, "{errors} links were not acknowledged");
        anyhow::ensure!(!self.interrupted || may_stop, "stopped before every line was sent");
        Ok(())
    }
}
