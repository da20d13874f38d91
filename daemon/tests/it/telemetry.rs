//! What is logged, and where.

use daemon::config;
use daemon::telemetry::{self, LogConfig};

use crate::part as start;

const LOG: &str = "SIGNPOST_TEST_LOG";

pub(crate) fn part() {
    let text = std::env::var(LOG).unwrap();
    let loaded = config::parse("log.toml", &text, |root| LogConfig::read(&mut root.section("log"))).unwrap();
    telemetry::init(&loaded.config);
    telemetry::init(&loaded.config);
    tracing::info!(applied_seq = 7, "caught up");
    tracing::debug!("nobody asked for this");
}

fn logged(config: &str, journald: bool) -> String {
    let mut command = start("telemetry");
    command.env(LOG, config).env_remove("JOURNAL_STREAM");
    if journald {
        command.env("JOURNAL_STREAM", "8:1");
    }
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn json_logs_are_one_object_a_line_with_the_fields_beside_the_message() {
    let text = logged("[log]\nformat = 'json'", false);
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect(&text);
    let field = |name: &str| line[name].clone();
    assert_eq!(
        (field("level"), field("message"), field("applied_seq")),
        ("INFO".into(), "caught up".into(), 7.into())
    );
}

#[test]
fn text_logs_have_a_time_unless_the_journal_puts_its_own_and_no_colours_in_a_file() {
    let text = logged("", false);
    assert!(
        text.ends_with(" INFO it::telemetry: caught up applied_seq=7\n") && text.starts_with("20"),
        "{text:?}"
    );
    assert_eq!(logged("", true).trim_start(), "INFO it::telemetry: caught up applied_seq=7\n");
}
