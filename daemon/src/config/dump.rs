//! The effective configuration, written out as TOML.

use std::borrow::Cow;
use std::fmt::Write;

use super::section::{Reading, Shown};

/// What stands in the place of a secret.
const HIDDEN: &str = "\"(hidden)\"";

/// Writes every key that was read, tables after the plain keys they follow in TOML.
pub(super) fn dump(reading: &Reading) -> String {
    let mut text = String::new();
    write_table(reading, 0, &mut text);
    text
}

fn write_table(reading: &Reading, table: usize, text: &mut String) {
    for known in &reading.tables[table].known {
        let key = key_text(&known.key);
        match &known.shown {
            Shown::Value(value) => line(text, format_args!("{key} = {value}")),
            Shown::Hidden => line(text, format_args!("{key} = {HIDDEN}")),
            Shown::Unset => line(text, format_args!("# {key} is not set")),
            Shown::Table(_) | Shown::Tables(_) => {}
        }
    }
    for known in &reading.tables[table].known {
        match &known.shown {
            Shown::Table(inner) => {
                line(text, format_args!("\n[{}]", reading.tables[*inner].header));
                write_table(reading, *inner, text);
            }
            Shown::Tables(elements) => {
                for inner in elements {
                    line(text, format_args!("\n[[{}]]", reading.tables[*inner].header));
                    write_table(reading, *inner, text);
                }
            }
            Shown::Value(_) | Shown::Hidden | Shown::Unset => {}
        }
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string cannot fail");
}

/// A key as TOML writes it: bare when it can be.
pub(super) fn key_text(key: &str) -> Cow<'_, str> {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) { key.into() } else { quoted(key).into() }
}

/// A string as TOML writes it: basic, on one line (TOML 1.0, "String").
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
