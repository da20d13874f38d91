//! What an operator does once for a new fleet, through the same commands: the certificate authority, the credentials of
//! the members, a token. What a folder has already is left as it is.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::layout::{Layout, text};
use super::process::output;
use crate::pace::StopFlag;

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// The operator.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) admin: &'a Path,
    pub(super) layout: &'a Layout,
    pub(super) stop: &'a StopFlag,
}

impl Setup<'_> {
    /// What needs no running part: the authority, and the credentials of the key pools.
    pub(super) fn before_start(&self) -> anyhow::Result<()> {
        let ca = self.layout.ca();
        if !is_bundle(&self.layout.writer_tls()) {
            self.run(&["ca", "init", "--dir", &text(&ca)])?;
        }
        for part in self.layout.keypools() {
            let tls = self.layout.tls(&part);
            if !is_bundle(&tls) {
                self.run(&["keypool", "add", &part, "--ca", &text(&ca), "--out", &text(&tls)])?;
            }
        }
        Ok(())
    }

    /// What the running admin API has to know: the proxies as members, and a token, which is returned.
    pub(super) fn with_admin(&self) -> anyhow::Result<String> {
        let config = text(&self.layout.config("admin"));
        let ca = text(&self.layout.ca());
        for part in self.layout.standbys() {
            let tls = self.layout.tls(&part);
            if !is_bundle(&tls) {
                self.run(&["standby", "add", &part, "--ca", &ca, "--out", &text(&tls), "--config", &config])?;
            }
        }
        for part in self.layout.proxies() {
            let tls = self.layout.tls(&part);
            if !is_bundle(&tls) {
                self.run(&["proxy", "add", &part, "--ca", &ca, "--out", &text(&tls), "--config", &config])?;
            }
        }
        let path = self.layout.token();
        if path.exists() {
            let token =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok(token.trim().to_owned());
        }
        let scopes = ["--scope", "links:read", "--scope", "links:write", "--scope", "admin"];
        let command = ["token", "create", "--name", "fleet", "--config", &config];
        let printed = self.run(&[&command[..], &scopes].concat())?;
        let token = token_in(&printed).context("signpost-admin token create printed no token")?;
        write_secret(&path, token)?;
        Ok(token.to_owned())
    }

    /// Makes a standby the writer.
    pub(super) fn promote(&self, part: &str) -> anyhow::Result<()> {
        self.run(&["promote", "--config", &text(&self.layout.config(part))]).map(drop)
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(self.admin, arguments, COMMAND_LIMIT, self.stop)
    }
}

/// The token in what `token create` printed, which may say more than the token.
fn token_in(printed: &str) -> Option<&str> {
    printed.split_whitespace().find(|word| word.starts_with("sp_"))
}

fn is_bundle(tls: &Path) -> bool {
    tls.join("cert.pem").exists()
}

/// Writes a file that only its owner can read, in whole or not at all.
fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file =
            File::options().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        writeln!(file, "{secret}")?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_found_whatever_stands_around_it() {
        assert_eq!(token_in("sp_1_abc\n"), Some("sp_1_abc"));
        assert_eq!(token_in("Token, shown once:\n  sp_1_abc\n"), Some("sp_1_abc"));
        assert_eq!(token_in("done\n"), None);
    }

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write_secret(&path, "sp_1_x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "sp_1_x\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
