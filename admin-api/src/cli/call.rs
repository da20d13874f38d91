//! Reaching the running service, and showing lists of what it answers.

use daemon::control;
use daemon::exit::Exit;
use serde_json::Value;

use super::Common;
use crate::config;

impl Common {
    /// Calls the running service.
    pub(super) fn call(&self, command: &str, args: Value) -> Result<Value, Exit> {
        let socket = match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(path)) => config::load(path)?.config.control_socket,
            (None, None) => {
                let message = "which service? give --config FILE (its configuration) or --socket PATH (its control socket)";
                return Err(Exit::Usage(message.to_owned()));
            }
        };
        control::call(&socket, command, args).map_err(Exit::failure)
    }
}

/// Lays out the objects of a list as a table with these columns.
pub(super) fn table(list: &Value, columns: &[&str]) -> String {
    let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| item.as_str().unwrap_or("?")).collect();
            items.join(",")
        }
        other => other.to_string(),
    };
    let mut lines = vec![columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let laid_out = |line: &Vec<String>| {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(laid_out).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_becomes_a_table() {
        let list =
            json!([{ "id": "a", "scopes": ["x", "y"], "end": null }, { "id": "long", "scopes": [], "n": 1 }]);
        assert_eq!(
            table(&list, &["id", "scopes", "end"]),
            "ID    SCOPES  END\na     x,y     -\nlong          -"
        );
    }
}
