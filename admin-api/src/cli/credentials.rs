//! `ca init` and `keypool add`: offline, with the certificate authority's folder.

use std::path::PathBuf;

use clap::Subcommand;
use daemon::exit::Exit;
use wire::identity::{Issuer, Role};

use super::tell;

/// The name in the writer's own certificate.
const WRITER: &str = "writer";

/// The certificate authority.
#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Make a new fleet: its certificate authority, and the writer's credential bundle in DIR/writer
    Init {
        /// Where; it holds the fleet's most precious key, so keep it off the machines that serve
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Credentials of key pools.
#[derive(Debug, Subcommand)]
pub(super) enum Keypool {
    /// Make the credential bundle of a key pool
    Add {
        /// Its name: 1 to 63 of a-z, 0-9, -, beginning with a letter
        name: String,
        /// Folder of the certificate authority
        #[arg(long, value_name = "CA_DIR")]
        ca: PathBuf,
        /// Where to write the bundle
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub(super) fn ca(command: &Ca) -> Result<(), Exit> {
    let Ca::Init { dir } = command;
    let issuer = Issuer::create(dir).map_err(Exit::failure)?;
    let writer = dir.join(WRITER);
    issuer.issue(Role::Writer, WRITER, &writer).map_err(Exit::failure)?;
    tell(&format!("made the certificate authority of a new fleet in {}", dir.display()));
    tell(&format!("the writer's bundle is in {}: [feed] tls_dir of signpost-admin", writer.display()));
    super::print(&issuer.fleet().to_string())
}

pub(super) fn keypool(command: &Keypool) -> Result<(), Exit> {
    let Keypool::Add { name, ca, out } = command;
    let issuer = Issuer::open(ca).map_err(Exit::failure)?;
    issuer.issue(Role::Keypool, name, out).map_err(Exit::failure)?;
    tell(&format!(
        "made the bundle of key pool {name} in {}: [grpc] tls_dir of signpost-keypool",
        out.display()
    ));
    Ok(())
}
