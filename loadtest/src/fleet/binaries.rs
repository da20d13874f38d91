//! Where the services' binaries are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The names of the services' binaries.
pub const BINARIES: [&str; 3] = ["signpost-admin", "signpost-keypool", "signpost-proxy"];

/// The folder `SIGNPOST_BIN_DIR` names, or else that of this program (for a test the folder above its `deps`).
///
/// # Errors
/// When the system does not say where this program is.
pub fn default_bin_dir() -> anyhow::Result<PathBuf> {
    if let Some(folder) = env::var_os("SIGNPOST_BIN_DIR") {
        return Ok(folder.into());
    }
    let program = env::current_exe().context("cannot find out where this program is; pass --bin-dir")?;
    let folder = program.parent().context("this program is in no folder; pass --bin-dir")?;
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    Ok(folder.parent().filter(|_| is_test).unwrap_or(folder).to_owned())
}

/// The three binaries, known to be there.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) admin: PathBuf,
    pub(super) keypool: PathBuf,
    pub(super) proxy: PathBuf,
}

impl Binaries {
    /// Finds them in a folder.
    pub(super) fn find(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("no folder of binaries at {}", folder.display()))?;
        let missing: Vec<&str> = BINARIES.into_iter().filter(|name| !folder.join(name).is_file()).collect();
        anyhow::ensure!(
            missing.is_empty(),
            "{} not found in {}: build with `make build`, or say where with --bin-dir or SIGNPOST_BIN_DIR",
            missing.join(", "),
            folder.display()
        );
        let [admin, keypool, proxy] = BINARIES.map(|name| folder.join(name));
        Ok(Self { admin, keypool, proxy })
    }
}
