//! What a `redirect` run found out: the report and the summary.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures;
use crate::latency::Record;
use crate::saturation::Generator;
use crate::series::{Calm, Second};
use crate::server_cpu::ServerCpu;
use crate::stalls::Untouched;

/// What `redirect` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// `open loop` or `closed loop`.
    pub kind: &'static str,
    /// Requests per second that were wanted, in an open loop.
    pub rate_wanted: Option<f64>,
    /// Redirects per second that came, after the warm-up.
    pub redirected_per_s: f64,
    /// Whether the redirects of an open loop came at the wanted rate. If not, the latencies grow with the length of the run, and
    /// say only that.
    pub kept_up: Option<bool>,
    /// Connections used at a time.
    pub connections: u16,
    /// Whether each request had a connection of its own; then no latency has the time of connecting in it.
    pub connection_per_request: bool,
    /// Header sets the requests took in turn.
    pub header_sets: usize,
    /// Keys to choose from.
    pub keys: usize,
    /// Whether the Location of every answer was compared with the target.
    pub locations_compared: bool,
    /// Seconds measured, after the warm-up.
    pub seconds: f64,
    /// Requests of the warm-up.
    pub warm_up: u64,
    /// Redirects read, those of the warm-up among them: what the server has to have counted.
    pub received: u64,
    /// Requests answered with a redirect.
    pub redirected: u64,
    /// Everything else, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Requests whose time came but that were never sent, because no connection came free in time.
    pub unsent: u64,
    /// Requests that found every connection waiting for an answer when their time came.
    pub no_connection_free: u64,
    /// Connections opened again.
    pub reconnects: u64,
    /// Whether the run was ended from outside.
    pub interrupted: bool,
    /// From the intended start (in a closed loop: the send) to the answer read, of redirects.
    pub latency: Record,
    /// The latencies of the seconds in which the hypervisor let this machine work.
    pub calm: Calm,
    /// The latencies without the answers touched by a stall of the machine, if it was watched.
    pub untouched: Option<Untouched>,
    /// From the send to the answer read, of redirects.
    pub service: Record,
    /// What the server used, if it was to be looked at.
    pub server: Option<ServerCpu>,
    /// Whether the generator was the limit.
    pub generator: Generator,
    /// Each second, the warm-up among them.
    pub series: Vec<Second>,
}

impl Results {
    /// The summary, for people.
    pub(super) fn text(&self) -> String {
        let errors: Vec<String> = self.errors.iter().map(|(why, count)| format!("{count} × {why}")).collect();
        let wanted = self.rate_wanted.map_or(String::new(), |rate| format!(" of {rate} wanted"));
        let mut text = format!(
            "redirect ({}): {} redirects, {:.1}/s{wanted}, over {:.1} s\n  latency    {}\n  calm       {}\n  service    {}\n  generator  {}\n  errors     {}\n",
            self.kind,
            figures::count(self.redirected),
            self.redirected_per_s,
            self.seconds,
            self.latency.summary.line(),
            self.calm.line(),
            self.service.summary.line(),
            self.generator.line(),
            if errors.is_empty() { "0".to_owned() } else { errors.join(", ") },
        );
        if let Some(untouched) = &self.untouched {
            text += &format!("  untouched  {}\n", untouched.line());
        }
        if self.kept_up == Some(false) {
            text += "  DID NOT KEEP UP: the latencies grow with the length of the run\n";
        }
        if let Some(server) = &self.server {
            text += &format!("  server     {}\n", server.line());
        }
        if self.unsent + self.no_connection_free > 0 {
            text += &format!(
                "  {} requests found no free connection, {} were never sent\n",
                figures::count(self.no_connection_free),
                figures::count(self.unsent)
            );
        }
        text
    }
}
