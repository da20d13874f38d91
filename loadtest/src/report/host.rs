//! The machine a run took place on, and the versions of the binaries beside this one.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use serde::Serialize;

use crate::fleet::{BINARIES, default_bin_dir};

/// What the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The model of the processor, as the kernel names it.
    pub cpu: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What the services' binaries beside this program answer to `--version`.
    pub binaries: BTreeMap<String, String>,
}

impl Host {
    /// Looks at this machine.
    #[must_use]
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal").map_or(0, kibibytes),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            binaries: versions(),
        }
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn kibibytes(value: &str) -> u64 {
    value.trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kib| kib.saturating_mul(1024))
}

fn versions() -> BTreeMap<String, String> {
    let Ok(folder) = default_bin_dir() else { return BTreeMap::new() };
    let version = |name: &&str| {
        let mut command = Command::new(folder.join(name));
        let output = command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Some(((*name).to_owned(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    };
    BINARIES.iter().filter_map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_kernel_are_found() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC: 9\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC: 9"));
        assert_eq!(field(text, "model"), None);
        assert_eq!(kibibytes("16384 kB"), 16 << 20);
        assert!(Host::look().cores > 0);
    }
}
