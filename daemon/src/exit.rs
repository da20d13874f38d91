//! How a program ends: 0 done, 1 failure, 2 usage, 78 bad configuration.
//!
//! 2 is what the command-line parser uses too; 78 is `EX_CONFIG` of sysexits.h, and the units tell systemd not to
//! restart after it (`RestartPreventExitStatus=78`), since the next start would end the same way.
//!
//! Deliberately not here: `std::process::exit`. Ending by returning lets everything be dropped in order, RocksDB above
//! all.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;

/// The exit code of [`Exit::Failure`].
pub const FAILURE: u8 = 1;
/// The exit code of [`Exit::Usage`].
pub const USAGE: u8 = 2;
/// The exit code of [`Exit::BadConfig`].
pub const BAD_CONFIG: u8 = 78;

/// Why a program ends without having done its work.
#[derive(Debug)]
pub enum Exit {
    /// Something failed: exit code 1.
    Failure(Box<dyn Error + Send + Sync>),
    /// The command line makes no sense: exit code 2. The text says what to write instead.
    Usage(String),
    /// The configuration was refused: exit code 78.
    BadConfig(ConfigError),
}

impl Exit {
    /// Wraps any error, or a text, as a failure.
    pub fn failure(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failure(error.into())
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failure(_) => FAILURE,
            Self::Usage(_) => USAGE,
            Self::BadConfig(_) => BAD_CONFIG,
        }
    }

    /// What is printed: the error and what caused it, in one line where the errors are.
    pub fn message(&self) -> String {
        match self {
            Self::Failure(error) => chain(error.as_ref()),
            Self::Usage(text) => text.clone(),
            Self::BadConfig(error) => chain(error),
        }
    }
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::BadConfig(error)
    }
}

/// Runs the program, prints what stopped it to stderr, and gives the process's exit code.
pub fn run(main: impl FnOnce() -> Result<(), Exit>) -> ExitCode {
    let Err(exit) = main() else { return ExitCode::SUCCESS };
    // Nobody is left to tell when stderr is gone; the code still says it.
    let _ = writeln!(std::io::stderr(), "error: {}", exit.message());
    ExitCode::from(exit.code())
}

/// An error and its sources, as in `cannot open the journal: permission denied`. A source that the text before it
/// already ends with is not repeated.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the journal")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("no space left: {0}")]
    struct Inner(#[source] std::fmt::Error);

    #[test]
    fn a_failure_is_told_with_its_causes_each_once() {
        let exit = Exit::failure(Outer(Inner(std::fmt::Error)));
        let cause = std::fmt::Error;
        assert_eq!(exit.message(), format!("cannot open the journal: no space left: {cause}"));
    }

    #[test]
    fn every_way_to_end_has_its_code() {
        let refused = || config::parse("x.toml", "surplus = 1", |_| ()).map(|_| ()).map_err(Exit::from);
        assert_eq!(run(|| Ok(())), ExitCode::SUCCESS);
        assert_eq!(run(|| Err(Exit::failure("the disk is gone"))), ExitCode::from(1));
        assert_eq!(run(|| Err(Exit::Usage("give a NAME".into()))), ExitCode::from(2));
        assert_eq!(run(refused), ExitCode::from(78));
    }
}
