//! `standby add`, `promote` and `recover`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Subcommand;
use daemon::exit::Exit;
use serde_json::{Value, json};
use wire::identity::Role;

use super::{Common, proxies, tell};
use crate::{config, standby};

/// How long a promoted standby may take to answer as the writer.
const WRITER_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Servers that follow this writer and can take its place.
#[derive(Debug, Subcommand)]
pub(super) enum Standbys {
    /// Let a standby follow: write its credential bundle and its record as a sync member
    Add {
        /// Its name: 1 to 63 of a-z, 0-9, -, beginning with a letter
        name: String,
        /// Folder of the certificate authority; leave it out only on loopback without TLS
        #[arg(long, value_name = "CA_DIR", requires = "out")]
        ca: Option<PathBuf>,
        /// Where to write the bundle
        #[arg(long, value_name = "DIR", requires = "ca")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(common: &Common, command: &Standbys) -> Result<(), Exit> {
    match command {
        Standbys::Add { name, ca: Some(ca), out: Some(out) } => {
            let added = proxies::add(common, name, ca, out, Role::Writer)?;
            tell(&format!(
                "standby {name} may follow; its bundle is in {}: its [feed] tls_dir",
                out.display()
            ));
            if proxies::is_joining(&added) {
                proxies::tell_joining(name);
            }
        }
        Standbys::Add { name, .. } => {
            let added = common.call("proxy.add", json!({ "name": name, "sync": true }))?;
            tell(&format!("standby {name} may follow without TLS, on loopback: [standby] name = \"{name}\""));
            if proxies::is_joining(&added) {
                proxies::tell_joining(name);
            }
        }
    }
    Ok(())
}

/// Makes the running standby the writer, and returns when it is.
pub(super) fn promote(common: &Common, accept_loss: bool) -> Result<(), Exit> {
    let promoted = common.call("promote", json!({ "accept_loss": accept_loss }))?;
    if let Some(risk) = promoted["at_risk"].as_str() {
        tell(&format!("at risk, and accepted: {risk}"));
    }
    let deadline = Instant::now() + WRITER_WITHIN;
    loop {
        // Its socket is gone for a moment while it opens the log to write.
        let status = common.call("status", Value::Null);
        if status.as_ref().is_ok_and(|status| status["role"] == "writer") {
            tell(&format!("this is the writer from epoch {} on", promoted["epoch"]));
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Exit::failure(std::io::Error::other(format!(
                "epoch {} has begun and the writer does not answer yet: look at the log of this service",
                promoted["epoch"]
            ))));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Gives a stopped writer back what it has lost.
pub(super) fn recover(common: &Common, from: &[String]) -> Result<(), Exit> {
    let Some(path) = &common.config else {
        return Err(Exit::Usage("give the configuration of the service: --config FILE".to_owned()));
    };
    let config = config::load(path)?.config;
    let recovered =
        standby::recover::run(&config, from).map_err(|error| Exit::failure(std::io::Error::other(error)))?;
    tell(&format!(
        "the log ended at record {} and now ends at {}, the first of its new epoch: start the service",
        recovered.before, recovered.now
    ));
    Ok(())
}
