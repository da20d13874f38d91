//! Which server is the writer, and what becomes of it while a link is followed: another takes its place.

use super::api::Api;
use crate::fleet::Fleet;

/// The servers of a fleet, in the order in which they are the writer.
pub(super) struct Writers<'a> {
    fleet: &'a Fleet,
    /// Name and address.
    servers: Vec<(String, String)>,
    writer: usize,
}

impl<'a> Writers<'a> {
    pub(super) fn of(fleet: &'a Fleet) -> Writers<'a> {
        let ready = fleet.ready();
        let standby = |(index, url): (usize, &String)| (format!("standby-{index}"), url.clone());
        let first = ("admin".to_owned(), ready.admin.clone());
        let servers = [first].into_iter().chain(ready.standbys.iter().enumerate().map(standby)).collect();
        Writers { fleet, servers, writer: 0 }
    }

    /// The writer's name in the fleet.
    pub(super) fn name(&self) -> &str {
        &self.servers[self.writer].0
    }

    pub(super) fn api(&self) -> anyhow::Result<Api> {
        Api::of(&self.servers[self.writer].1, &self.fleet.ready().token)
    }

    /// How many standbys are left.
    pub(super) fn standbys(&self) -> usize {
        self.servers.len() - 1 - self.writer
    }

    /// Kills the writer for good, and makes the next standby the writer.
    pub(super) fn promote(&mut self) -> anyhow::Result<()> {
        must(self.fleet, &format!("kill {} 9", self.name()))?;
        self.writer += 1;
        must(self.fleet, &format!("promote {}", self.name()))
    }
}

/// Gives the fleet a command that has to succeed.
pub(super) fn must(fleet: &Fleet, line: &str) -> anyhow::Result<()> {
    let answer = fleet.command(line);
    anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
    Ok(())
}
