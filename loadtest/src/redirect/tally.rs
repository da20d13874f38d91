//! What one thread of `redirect` counted; merged at the end.

use std::collections::BTreeMap;

use crate::http1::Response;
use crate::latency::Latency;

/// Counts and times of a thread. Only what was meant to start after the warm-up is in the figures.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests of the warm-up, whatever became of them.
    pub(super) warm_up: u64,
    /// Redirects read, those of the warm-up among them: what the server has to have counted.
    pub(super) received: u64,
    /// Requests answered with a redirect.
    pub(super) redirected: u64,
    /// Everything else, by reason.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests whose time came but that were never sent, because no connection came free in time.
    pub(super) unsent: u64,
    /// Requests that found every connection waiting for an answer when their time came.
    pub(super) no_connection_free: u64,
    /// Connections opened again, the ones the server closed in good order among them.
    pub(super) reconnects: u64,
    /// When the last answer was read, in ns from the start of the run.
    pub(super) last_answer_ns: u64,
    /// From the intended start to the answer read, of redirects.
    pub(super) latency: Latency,
    /// Intended start and latency of every redirect, in ns, if they are kept.
    pub(super) answers: Vec<(u64, u64)>,
    /// From the send to the answer read, of redirects.
    pub(super) service: Latency,
    /// From the intended start (or the moment a connection came free, if later) to the send.
    pub(super) send_delay: Latency,
    /// The least share of time a thread had nothing to do.
    pub(super) idle_share: f64,
}

impl Tally {
    /// Counts a request that ended in no redirect.
    pub(super) fn failed(&mut self, reason: &str) {
        match self.errors.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(reason.to_owned(), 1);
            }
        }
    }

    /// Adds what another thread counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.warm_up += other.warm_up;
        self.received += other.received;
        self.redirected += other.redirected;
        for (reason, count) in &other.errors {
            *self.errors.entry(reason.clone()).or_default() += count;
        }
        self.unsent += other.unsent;
        self.no_connection_free += other.no_connection_free;
        self.reconnects += other.reconnects;
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
        self.latency.merge(&other.latency);
        self.answers.extend_from_slice(&other.answers);
        self.service.merge(&other.service);
        self.send_delay.merge(&other.send_delay);
        self.idle_share = self.idle_share.min(other.idle_share);
    }
}

/// Whether an answer is the redirect that was asked for; the reason if not.
///
/// # Errors
/// The name under which the answer is counted.
pub(crate) fn judge(answer: &Response<'_>, long_url: Option<&str>) -> Result<(), String> {
    let location = match (answer.status, answer.location) {
        (301 | 302 | 307 | 308, Some(location)) if !location.is_empty() => location,
        (status, _) => return Err(format!("status_{status}")),
    };
    match long_url {
        Some(long_url) if long_url.as_bytes() != location => Err("wrong_location".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http1::parse;

    #[test]
    fn only_redirects_to_where_they_should_go_are_counted_as_such() {
        let judged = |status: u16, headers: &str, long_url| {
            let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n");
            judge(&parse(text.as_bytes()).unwrap().unwrap(), long_url)
        };
        let location = "Location: https://a.example/\r\n";
        assert_eq!(judged(302, location, None), Ok(()));
        assert_eq!(judged(308, location, Some("https://a.example/")), Ok(()));
        assert_eq!(judged(302, location, Some("https://a.example")), Err("wrong_location".into()));
        assert_eq!(judged(302, "", None), Err("status_302".into()));
        assert_eq!(judged(404, location, None), Err("status_404".into()));
    }
}
