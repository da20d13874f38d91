//! The writer goes back to a backup while a link is followed: what came after the backup never was, and what was left of a limit is burned.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::writers::must;
use crate::fleet::Fleet;

/// The backups of a fleet, in its folder.
pub(super) struct Backups<'a> {
    fleet: &'a Fleet,
    program: PathBuf,
    restored: u32,
}

/// The setting that gives the writer a place for backups.
pub(super) fn setting(dir: &Path) -> String {
    format!("admin.backup.url={}", dir.join("backups").display())
}

impl<'a> Backups<'a> {
    pub(super) fn of(fleet: &'a Fleet, bin_dir: &Path) -> Backups<'a> {
        Backups { fleet, program: bin_dir.join("signpost-admin"), restored: 0 }
    }

    /// Makes a backup; returns the record it ends with.
    pub(super) fn make(&self) -> anyhow::Result<u64> {
        self.run(&["backup", "now"])?;
        let list = self.run(&["backup", "list"])?;
        let snapshots = list.lines().filter(|line| line.trim_start().starts_with("snapshot"));
        let seqs = snapshots.filter_map(|line| line.split_whitespace().last()?.parse().ok());
        seqs.max().context("a backup was made and none is listed")
    }

    /// Loses the writer's log, restores it to the record `seq` and starts the writer again.
    pub(super) fn restore(&mut self, seq: u64) -> anyhow::Result<()> {
        must(self.fleet, "stop admin")?;
        self.restored += 1;
        let data = self.fleet.dir().join("admin/data");
        let lost = self.fleet.dir().join(format!("lost-{}", self.restored));
        std::fs::create_dir(&lost).with_context(|| format!("cannot make {}", lost.display()))?;
        for folder in ["log", "clicks"] {
            let from = data.join(folder);
            std::fs::rename(&from, lost.join(folder))
                .with_context(|| format!("cannot move {}", from.display()))?;
        }
        self.run(&["restore", "--to-seq", &seq.to_string()])?;
        must(self.fleet, "start admin")
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let config = self.fleet.dir().join("admin/config.toml");
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(config).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {}", self.program.display()))?;
        let told = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "signpost-admin {}: {told}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
