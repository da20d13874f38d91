//! Logs: `tracing` to stderr, as text for people or as one JSON object a line for machines.
//!
//! What is logged is each service's own affair; the fields and the things never logged are in CONTRIBUTING.md.
//! Deliberately not here: files and rotation (systemd has the journal), traces, metrics (see
//! [`metrics`](crate::metrics)), and `RUST_LOG`: a daemon's behaviour is in its configuration.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Section;

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
/// Modules that say nothing unless they are named. `h2` warns whenever it ends a connection that floods it: a line for every connection of
/// anybody who means ill.
const UNASKED: [&str; 1] = ["h2"];
const LEVEL_ALLOWED: &str =
    "off, error, warn, info, debug or trace, and per module as in \"info,linklog=debug\"";

/// The `[log]` table of every daemon.
#[derive(Clone, Debug)]
pub struct LogConfig {
    format: Format,
    levels: Targets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl LogConfig {
    /// Reads `[log]`: `format` is "text" or "json", `level` a level and, after commas, levels of single modules.
    pub fn read(section: &mut Section) -> Self {
        let format = section.one_of("format", "text", &[("text", Format::Text), ("json", Format::Json)]);
        let level: String = section.value("level", "info".to_owned());
        let levels = levels(&level).unwrap_or_else(|| {
            section.problem("level", format!("expected {LEVEL_ALLOWED}"));
            Targets::new()
        });
        Self { format, levels }
    }
}

/// Stricter than the filter's own parser, which takes a misspelt level for the name of a module.
fn levels(text: &str) -> Option<Targets> {
    let named =
        |name: &str| LEVELS.iter().find(|(level, _)| *level == name.trim()).map(|(_, filter)| *filter);
    let unasked = UNASKED.iter().map(|module| (*module, LevelFilter::OFF));
    let targets = Targets::new().with_default(LevelFilter::ERROR).with_targets(unasked);
    text.split(',').try_fold(targets, |targets, part| match part.split_once('=') {
        None => Some(targets.with_default(named(part)?)),
        Some((module, level)) if !module.trim().is_empty() => {
            Some(targets.with_target(module.trim(), named(level)?))
        }
        Some(_) => None,
    })
}

/// Starts logging to stderr, for the whole process. Only the first call counts.
pub fn init(config: &LogConfig) {
    // journald puts its own time on every line and says so by this variable (systemd.exec(5)).
    let stamped = std::env::var_os("JOURNAL_STREAM").is_some();
    let filtered = registry().with(config.levels.clone());
    let layer = fmt::layer().with_writer(io::stderr);
    let started = match config.format {
        Format::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
        Format::Text if stamped => filtered.with(layer.with_ansi(false).without_time()).try_init(),
        Format::Text => filtered.with(layer.with_ansi(io::stderr().is_terminal())).try_init(),
    };
    drop(started); // Refused when somebody logs already, such as another test of the same process.
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use tracing::Level;

    fn read(text: &str) -> Result<LogConfig, String> {
        let loaded = config::parse("x.toml", text, |root| LogConfig::read(&mut root.section("log")));
        loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_log_table_it_is_text_at_info() {
        let config = read("").unwrap();
        assert_eq!(config.format, Format::Text);
        assert!(config.levels.would_enable("linklog", &Level::INFO));
        assert!(!config.levels.would_enable("linklog", &Level::DEBUG));
    }

    #[test]
    fn a_module_can_have_a_level_of_its_own() {
        let config = read("[log]\nformat = 'json'\nlevel = 'warn, linklog=debug'").unwrap();
        assert_eq!(config.format, Format::Json);
        assert!(config.levels.would_enable("linklog::journal", &Level::DEBUG));
        assert!(!config.levels.would_enable("signpost_proxy", &Level::INFO));
    }

    #[test]
    fn a_misspelt_level_is_refused_instead_of_being_taken_for_a_module() {
        for level in ["inof", "", "info,", "=debug", "linklog=loud", "info,,warn"] {
            let error = read(&format!("[log]\nlevel = '{level}'")).unwrap_err();
            assert!(error.contains("line 2: log.level = "), "{level}: {error}");
            assert!(error.contains("debug or trace"), "{level}: {error}");
        }
    }

    #[test]
    fn what_strangers_can_cause_line_by_line_is_told_only_if_asked_for() {
        let tells = |text: &str| {
            let levels = read(&format!("[log]\n{text}")).unwrap().levels;
            [("h2::proto::streams::recv", Level::WARN), ("signpost_proxy", Level::INFO)]
                .map(|(module, level)| levels.would_enable(module, &level))
        };
        assert_eq!(tells(""), [false, true]);
        assert_eq!(tells("level = 'trace'"), [false, true]);
        assert_eq!(tells("level = 'info,h2=warn'"), [true, true]);
        assert_eq!(tells("level = 'off'"), [false, false]);
    }
}
