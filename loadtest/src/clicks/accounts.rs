//! Counts as the API shows them, read until they are complete.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::counts::Counts;
use crate::fleet::Fleet;
use crate::http1::Connection;
use crate::pace::StopFlag;

/// How long an answer may take.
pub(super) const API_TIMEOUT: Duration = Duration::from_secs(10);
/// How long counts have to stay as they are to be taken for final.
pub(super) const STILL: Duration = Duration::from_secs(2);

/// The counts as the API shows them.
pub(super) struct Accounts {
    connection: Connection,
    health: Connection,
    token: String,
    pub(super) codes: Vec<String>,
}

/// One reading of all of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) counts: Vec<Counts>,
    /// Milliseconds since the Unix epoch.
    complete_until_ms: Option<u64>,
    missing: Vec<String>,
    pub(super) dropped: u64,
}

impl Accounts {
    /// Where the API of a fleet and its metrics are.
    pub(super) fn of(fleet: &Fleet, codes: Vec<String>) -> anyhow::Result<Accounts> {
        let config = std::fs::read_to_string(fleet.dir().join("admin").join("config.toml"))?;
        let config: toml::Table = config.parse()?;
        let health = config["health"]["listen"].as_str().context("the writer has a health port")?;
        Ok(Accounts {
            connection: Connection::new(fleet.ready().admin.parse()?, API_TIMEOUT),
            health: Connection::new(format!("http://{health}").parse()?, API_TIMEOUT),
            token: fleet.ready().token.clone(),
            codes,
        })
    }

    fn read_one(&mut self, index: usize) -> anyhow::Result<(Counts, serde_json::Value)> {
        let path = format!("/v1/links/{}/clicks", self.codes[index]);
        let authorization = format!("Authorization: Bearer {}\r\n", self.token);
        let request = crate::http1::get(self.connection.endpoint(), &path, &authorization);
        let answer = self.connection.exchange(&request)?;
        anyhow::ensure!(answer.status == 200, "{path} was answered with {}", answer.status);
        let shown: serde_json::Value =
            serde_json::from_slice(answer.body).context("clicks that are no JSON")?;
        let number = |name: &str| shown[name].as_u64().with_context(|| format!("no {name} in {shown}"));
        let counts = Counts([number("total")?, number("bots")?, number("head")?, number("prefetch")?]);
        Ok((counts, shown))
    }

    fn read_all(&mut self) -> anyhow::Result<Shown> {
        // The first answer tells how complete the ones after it are, at least.
        let (_, first) = self.read_one(0)?;
        let counts = (0..self.codes.len()).map(|index| Ok(self.read_one(index)?.0));
        Ok(Shown {
            counts: counts.collect::<anyhow::Result<_>>()?,
            complete_until_ms: complete_until_ms(&first)?,
            missing: serde_json::from_value(first["missing"].clone()).context("missing proxies")?,
            dropped: first["dropped"].as_u64().context("dropped clicks")?,
        })
    }

    /// All requests of the first link, of whatever kind.
    pub(super) fn total(&mut self) -> anyhow::Result<u64> {
        Ok(self.read_one(0)?.0.0.iter().sum())
    }

    /// How old the counts are, in milliseconds.
    pub(super) fn behind_ms(&mut self) -> anyhow::Result<Option<u64>> {
        let (_, shown) = self.read_one(0)?;
        Ok(complete_until_ms(&shown)?.map(|until| now_ms().saturating_sub(until)))
    }

    /// Waits until every proxy has reported everything up to `ended_ms`, and makes sure that nothing moves after that.
    pub(super) fn settle(
        &mut self,
        ended: Instant,
        ended_ms: u64,
        at_most: Duration,
        stop: &StopFlag,
    ) -> anyhow::Result<Shown> {
        let mut last = "the API was not asked yet".to_owned();
        while ended.elapsed() < at_most {
            match self.read_all() {
                Ok(shown) if shown.missing.is_empty() && shown.complete_until_ms >= Some(ended_ms) => {
                    anyhow::ensure!(stop.sleep_until(Instant::now() + STILL), "stopped");
                    let again = self.read_all()?;
                    anyhow::ensure!(
                        again.counts == shown.counts,
                        "counts moved after the API had said that they are complete"
                    );
                    return Ok(again);
                }
                Ok(shown) => {
                    last = format!(
                        "complete until {:?} where {ended_ms} is needed, missing {:?}",
                        shown.complete_until_ms, shown.missing
                    );
                }
                Err(error) => last = format!("{error:#}"),
            }
            anyhow::ensure!(stop.sleep_until(Instant::now() + Duration::from_millis(100)), "stopped");
        }
        anyhow::bail!("the counts were not complete {} s after the load: {last}", at_most.as_secs())
    }

    /// A number the writer counts.
    pub(super) fn metric(&mut self, name: &str) -> Option<u64> {
        let request = crate::http1::get(self.health.endpoint(), "/metrics", "");
        let answer = self.health.exchange(&request).ok()?;
        let text = std::str::from_utf8(answer.body).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

fn complete_until_ms(shown: &serde_json::Value) -> anyhow::Result<Option<u64>> {
    let Some(text) = shown["complete_until"].as_str() else { return Ok(None) };
    let at: jiff::Timestamp = text.parse().context("complete_until is no time")?;
    Ok(u64::try_from(at.as_millisecond()).ok())
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
