//! What is wrong with a configuration, for people: where, what was found, what is allowed.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as in `grpc.listen` or `keypool[0].url`; empty when it is about the file as a whole.
    pub path: String,
    /// The line, from 1: of the value; of its table when the value is missing; none when the table is missing too.
    pub line: Option<usize>,
    /// The value found, as written and shortened; none when there is none or it may be a secret.
    pub found: Option<String>,
    /// What is wrong, and what is allowed.
    pub text: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            if let Some(found) = &self.found {
                write!(f, " = {found}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and has problems.
    #[error("{name} has {}", Listed(problems))]
    Refused {
        /// What the file is called.
        name: String,
        /// All its problems, in the order of the lines; those without a line last.
        problems: Vec<Problem>,
    },
}

struct Listed<'p>(&'p [Problem]);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {}", if count == 1 { "problem" } else { "problems" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
