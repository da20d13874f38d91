//! What an operator does with a backup: the writer's log and counts are made anew out of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

/// How restores are made.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) program: PathBuf,
    /// The writer's folder, with its configuration and its data.
    pub(super) admin: PathBuf,
}

impl Restore {
    /// Restores; returns why not if it is refused, in the form a part's start has.
    ///
    /// # Errors
    /// The writer's data cannot be taken away, or the program cannot be run.
    pub(super) fn run(&self) -> anyhow::Result<Option<Value>> {
        for folder in ["log", "clicks"] {
            let path = self.admin.join("data").join(folder);
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let mut command = Command::new(&self.program);
        command.args(["restore", "--keep-limits", "--config"]).arg(self.admin.join("config.toml"));
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {}", self.program.display()))?;
        if output.status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let ended = output.status.code().map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        let log: Vec<&str> = said.lines().collect();
        Ok(Some(json!({ "error": format!("restore ended with {ended} : {said}"), "log": log })))
    }
}
