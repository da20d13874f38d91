//! Logs.

use crate::config::Section;

/// The `[log]` table.
#[derive(Clone, Debug)]
pub struct LogConfig {}

impl LogConfig {
    /// Reads `[log]`: `format` and `level`.
    pub fn read(_section: &mut Section) -> Self {
        Self {}
    }
}

/// Starts logging to stderr.
pub fn init(_config: &LogConfig) {}
