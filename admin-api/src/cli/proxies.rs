//! `proxy add | drain | forget | list`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use daemon::exit::Exit;
use serde_json::{Value, json};
use wire::identity::{Issuer, Role};

use super::call::table;
use super::{Common, print, tell};

/// Proxies that follow this writer.
#[derive(Debug, Subcommand)]
pub(super) enum Proxy {
    /// Let a proxy follow: write its credential bundle and its record
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
    /// Stop waiting for a proxy or standby; it may still follow
    Drain {
        /// Its name
        name: String,
    },
    /// Wait for a drained proxy or standby again
    Activate {
        /// Its name
        name: String,
    },
    /// Shut a proxy or standby out for good; the name is not used again. A standby that was forgotten must never be promoted
    Forget {
        /// Its name
        name: String,
    },
    /// List proxies and where they are in the log
    List,
}

pub(super) fn run(common: &Common, command: &Proxy) -> Result<(), Exit> {
    match command {
        Proxy::Add { name, ca: Some(ca), out: Some(out) } => {
            add(common, name, ca, out, Role::Proxy)?;
            tell(&format!(
                "proxy {name} may follow; its bundle is in {}: [writers] tls_dir of signpost-proxy",
                out.display()
            ));
            Ok(())
        }
        Proxy::Add { name, .. } => {
            common.call("proxy.add", json!({ "name": name }))?;
            tell(&format!("proxy {name} may follow without TLS, on loopback: [writers] name = \"{name}\""));
            Ok(())
        }
        Proxy::Drain { name } => {
            common.call("proxy.drain", json!({ "name": name }))?;
            tell(&format!("proxy {name} is no longer waited for"));
            Ok(())
        }
        Proxy::Activate { name } => {
            let activated = common.call("proxy.activate", json!({ "name": name }))?;
            match is_joining(&activated) {
                true => tell_joining(name),
                false => tell(&format!("{name} is waited for again")),
            }
            Ok(())
        }
        Proxy::Forget { name } => {
            let forgotten = common.call("proxy.forget", json!({ "name": name }))?;
            tell(&format!("proxy {name} is shut out for good"));
            if let Some(clicks @ 1..) = forgotten["burned_clicks"].as_u64() {
                tell(&format!(
                    "{clicks} clicks of limited links that it had are burned: nobody can use them any more"
                ));
            }
            Ok(())
        }
        Proxy::List => {
            let list = common.call("proxy.list", json!(null))?;
            print(&table(
                &list["members"],
                &["name", "role", "state", "replication", "applied_seq", "lag_records", "created_at"],
            ))
        }
    }
}

/// Says whether a member that was added or activated does not count yet.
pub(super) fn is_joining(member: &Value) -> bool {
    member["state"] == "joining"
}

/// Says what becomes of it.
pub(super) fn tell_joining(name: &str) {
    tell(&format!(
        "{name} is joining: it counts towards min_sync_replicas as soon as enough of the other standbys know of it"
    ));
}

/// Makes a member: a proxy, or with the writer's role a standby. Returns it.
pub(super) fn add(common: &Common, name: &str, ca: &Path, out: &Path, role: Role) -> Result<Value, Exit> {
    let issuer = Issuer::open(ca).map_err(Exit::failure)?;
    // Asked first: a bundle nobody knows is worse than none.
    common.call("proxy.check", json!({ "name": name, "fleet": issuer.fleet().to_string() }))?;
    let identity = issuer.issue(role, name, out).map_err(Exit::failure)?;
    let credential: String = identity.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let sync = role == Role::Writer;
    let added = common.call("proxy.add", json!({ "name": name, "credential": credential, "sync": sync }));
    if added.is_err() {
        for file in ["key.pem", "cert.pem", "ca.pem"] {
            // What is left over is refused by the next try, with its name.
            let _ = fs::remove_file(out.join(file));
        }
    }
    added
}
