//! `[clicks]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use clicklog::LedgerOptions;
use daemon::config::Section;

/// How clicks are counted.
#[derive(Clone, Debug)]
pub struct ClickOptions {
    /// Whether at all.
    pub enabled: bool,
    /// Where the workers' rings are.
    pub ring_dir: PathBuf,
    /// Whether that may be on a disk.
    pub allow_disk: bool,
    /// How large each is.
    pub ring_bytes: usize,
    /// How often rings are emptied into the ledger.
    pub sync: Duration,
    /// How much the ledger keeps.
    pub ledger: LedgerOptions,
}

impl ClickOptions {
    /// Reads the section.
    pub fn read(section: &mut Section) -> ClickOptions {
        const MIB: u64 = 1 << 20;
        let default = LedgerOptions::default();
        ClickOptions {
            enabled: section.value("enabled", true),
            ring_dir: section.value("ring_dir", PathBuf::from("/run/signpost-proxy/clicks")),
            allow_disk: section.value("allow_disk", false),
            ring_bytes: section.in_range("ring_bytes", 16 << 20, 64 << 10..=1 << 30),
            sync: Duration::from_millis(section.in_range("sync_ms", 500, 10..=1_000)),
            ledger: LedgerOptions {
                keep_bytes: section.in_range("keep_bytes", default.keep_bytes, 0..=1 << 40),
                unreleased_bytes_max: section.in_range(
                    "unreleased_bytes_max",
                    default.unreleased_bytes_max,
                    MIB..=1 << 50,
                ),
            },
        }
    }
}
