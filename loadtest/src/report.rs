//! `run.json`: everything needed to repeat a run and to believe its figures.

mod host;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

pub use host::Host;

use crate::processors::StealMeter;

/// A run and its results.
#[derive(Debug, Serialize)]
pub struct Run<R> {
    /// Always `signpost-loadtest`.
    pub tool: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The command line as it was typed, the token hidden.
    pub command_line: String,
    /// When the run started, RFC 3339, UTC.
    pub started_at: String,
    /// The machine and the binaries.
    pub host: Host,
    /// Processor time the hypervisor gave to others during the run, in percent of the time of all processors; `null` when
    /// the system does not tell. See [`crate::processors`].
    pub steal_percent: Option<f64>,
    /// What the command found out.
    pub results: R,
}

/// Where the report of a run goes.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// File for the report of the run: command line, machine, counts, percentiles, histograms.
    #[arg(long = "json", value_name = "FILE", default_value = "run.json")]
    path: PathBuf,
}

/// A run that has begun.
#[derive(Debug)]
pub struct Begun {
    path: PathBuf,
    command_line: String,
    started_at: String,
    host: Host,
    steal: StealMeter,
}

impl ReportArgs {
    /// Notes the start. Looks at the machine first, so that nothing of that falls into the measurement.
    #[must_use]
    pub fn begin(&self) -> Begun {
        Begun {
            path: self.path.clone(),
            command_line: command_line(std::env::args()),
            host: Host::look(),
            started_at: jiff::Timestamp::now().to_string(),
            steal: StealMeter::start(),
        }
    }
}

impl Begun {
    /// Writes the report and returns where it is.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn write<R: Serialize>(self, results: R) -> anyhow::Result<PathBuf> {
        let Self { path, command_line, started_at, host, mut steal } = self;
        let steal_percent = steal.look();
        let version = env!("CARGO_PKG_VERSION");
        let run = Run {
            tool: "signpost-loadtest",
            version,
            command_line,
            started_at,
            host,
            steal_percent,
            results,
        };
        write_json(&path, &run)?;
        Ok(path)
    }
}

fn write_json<R: Serialize>(path: &Path, run: &R) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(run).context("cannot put the report into JSON")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write the report {}", path.display()))
}

/// The arguments as a shell would take them, the token hidden.
pub(crate) fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut hide_next = false;
    for argument in arguments {
        if hide_next {
            words.push("HIDDEN".to_owned());
        } else if argument.starts_with("--token=") {
            words.push("--token=HIDDEN".to_owned());
        } else {
            words.push(quoted(&argument));
        }
        hide_next = argument == "--token" && !hide_next;
    }
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_repeated_but_holds_no_token() {
        let line = |words: &[&str]| command_line(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(line(&["x", "--token", "sp_1_secret", "--rate", "5"]), "x --token HIDDEN --rate 5");
        assert_eq!(
            line(&["x", "--token=sp_1_secret", "a b", "it's", ""]),
            r"x --token=HIDDEN 'a b' 'it'\''s' ''"
        );
    }
}
