//! Showing answers: tables for people, JSON for programs. Results go to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use daemon::exit::Exit;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::settings::Output;

/// Prints a line to stdout. A reader that has gone away is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn print(line: &str) -> Result<(), Exit> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failure(error)),
        _ => Ok(()),
    }
}

/// Prints a line to stderr: for people, where stdout is for scripts. What it says may come from anybody.
pub fn tell(line: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

/// Replaces what a terminal would obey; only ends of lines stay.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Shows an object: a line for each member, or JSON.
///
/// # Errors
/// stdout cannot be written.
pub fn show(output: Output, object: &Value) -> Result<(), Exit> {
    match output {
        Output::Json => print(&format!("{object:#}")),
        Output::Table => {
            let members: Vec<_> = object.as_object().into_iter().flatten().collect();
            let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            members.iter().try_for_each(|(name, value)| print(&format!("{name:width$}  {}", cell(value))))
        }
    }
}

/// Shows the objects of a list: a table with some of their members, or JSON.
///
/// # Errors
/// stdout cannot be written.
pub fn show_list(output: Output, list: &[Value], columns: &[&str]) -> Result<(), Exit> {
    match output {
        Output::Json => print(&format!("{:#}", Value::Array(list.to_vec()))),
        Output::Table => print(&table(list, columns)),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // A terminal obeys control characters, and these texts come from anybody.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect();
            members.join(" ")
        }
        other => other.to_string(),
    }
}

/// Lays out the objects of a list as a table.
pub fn table(list: &[Value], columns: &[&str]) -> String {
    let mut lines = vec![columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(list.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let laid_out = |line: &Vec<String>| {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(laid_out).collect::<Vec<_>>().join("\n")
}

/// Shows how far something is, on a terminal; silent elsewhere. `of` is 0 if nobody knows.
pub fn progress(of: u64, what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match of {
        0 => "{spinner} {human_pos} {msg}, {per_sec}, {elapsed}",
        _ => "{wide_bar} {human_pos}/{human_len} {msg}, {per_sec}, {eta} left",
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(of).with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_told_does_nothing_to_a_terminal() {
        assert_eq!(
            harmless("line 1 (\u{1b}]0;x\u{7}\r): a\n  b"),
            "line 1 (\u{fffd}]0;x\u{fffd}\u{fffd}): a\n  b"
        );
    }

    #[test]
    fn a_list_becomes_a_table_and_control_characters_are_not_passed_on() {
        let list = [
            json!({ "code": "a", "tags": ["x", "y"], "title": null }),
            json!({ "code": "long", "title": "\u{1b}[31m" }),
        ];
        assert_eq!(
            table(&list, &["code", "tags", "title"]),
            "CODE  TAGS  TITLE\na     x,y   -\nlong  -     \u{fffd}[31m"
        );
    }
}
