//! Exit codes: 0 done, 1 failure, 2 usage, 78 bad configuration (`EX_CONFIG` of sysexits.h).

use std::error::Error;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a program ends without having done its work.
#[derive(Debug)]
pub enum Exit {
    /// Something failed: exit code 1.
    Failure(Box<dyn Error + Send + Sync>),
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// The configuration was refused: exit code 78.
    BadConfig(ConfigError),
}

impl Exit {
    /// Wraps an error as a failure.
    pub fn failure(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failure(error.into())
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::BadConfig(error)
    }
}

/// Runs the program, prints what stopped it to stderr, and gives its exit code.
pub fn run(main: impl FnOnce() -> Result<(), Exit>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Failure(_)) => ExitCode::from(1),
        Err(Exit::Usage(_)) => ExitCode::from(2),
        Err(Exit::BadConfig(_)) => ExitCode::from(78),
    }
}
