//! Libraries that are preloaded into parts of a fleet (LD_PRELOAD). Their sources are in `shim/` and part of this program; they are
//! compiled where they are needed, so that no binary that is shipped has anything of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::fleet::Variable;

/// A library, compiled.
#[derive(Debug)]
pub(crate) struct Shim(PathBuf);

impl Shim {
    /// Compiles `source` into a folder, under `name`.
    ///
    /// # Errors
    /// There is no C compiler.
    pub(crate) fn build(dir: &Path, name: &str, source: &str) -> anyhow::Result<Shim> {
        let dir = dir.canonicalize().with_context(|| format!("no folder {}", dir.display()))?;
        let (file, library) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.so")));
        std::fs::write(&file, source).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&file).arg("-ldl");
        let status = command.status().context("there is no C compiler: install Debian's package gcc")?;
        anyhow::ensure!(status.success(), "cc failed on {}", file.display());
        Ok(Shim(library))
    }

    /// The library.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What a part has to find in its environment to be started with it.
    pub(crate) fn variable(&self, part: &str) -> Variable {
        variable(part, "LD_PRELOAD", &self.0)
    }
}

/// A path in the environment of a part.
pub(crate) fn variable(part: &str, name: &str, path: &Path) -> Variable {
    let value = path.to_string_lossy().into_owned();
    Variable { part: part.to_owned(), name: name.to_owned(), value }
}
