//! What has to be true when everybody has come back and was left in peace: nothing acknowledged is missing, every state is what the last
//! writer's journal leads to, and whoever follows it has all of it.

use linklog::entity::MemberState;
use linklog::journal::JournalRead;

use super::server::{Role, WriterNode};
use super::{Node, World};
use crate::model::Served;

impl World {
    /// Everybody comes back and is left in peace; what is then not as it should be stays so.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let Some(writer) = self.newest_writer() else { return Ok(()) };
        let Role::Writer(node) = &self.servers[writer].role else { return Ok(()) };
        self.oracle.check_journal("the last writer", &node.writer.journal())?;
        let head = node.writer.handle().commit().head;
        let folded = Served::of_journal(&node.writer.journal(), head.position.seq)?;
        if folded != Served::of_replica(&node.writer.reader())? {
            return Err(format!(
                "the last writer's state is not what its journal leads to at {}",
                head.position
            ));
        }
        let is_settled = self.is_settled(writer, node);
        if is_settled {
            self.check_standbys(node)?;
        }
        self.check_proxies(node, is_settled)
    }

    /// Says whether all who can follow the last writer do: a promotion that was begun and not ended waits for the operator to begin it again.
    fn is_settled(&self, writer: Node, node: &WriterNode) -> bool {
        node.writer.handle().refusal().is_none()
            && self.servers.iter().enumerate().all(|(other, server)| match &server.role {
                Role::Standby(node) => node.standby.highest_epoch() <= self.newest,
                // Two histories of one epoch: some follow the other one (see `Oracle::new`).
                Role::Writer(_) => other == writer || server.head().position.epoch != self.newest,
                Role::Down => true,
            })
    }

    fn check_standbys(&self, node: &WriterNode) -> Result<(), String> {
        let head = node.writer.handle().commit().head;
        for standby in &self.servers {
            let Role::Standby(following) = &standby.role else { continue };
            let record = node.members.get(&standby.member);
            let may_follow = record.is_some_and(|record| record.state != MemberState::Forgotten);
            let at = following.standby.head();
            if may_follow && !standby.is_diverged && at != head {
                return Err(format!(
                    "{} has not caught up in peace: it is at {}, the writer at {}",
                    standby.member, at.position, head.position
                ));
            }
        }
        Ok(())
    }

    fn check_proxies(&self, node: &WriterNode, is_settled: bool) -> Result<(), String> {
        let journal = node.writer.journal();
        let head = node.writer.handle().commit().head.position;
        for proxy in &self.proxies {
            let Some(replica) = &proxy.replica else { continue };
            let at = replica.head();
            let shown = (*node.confirmed.borrow()).min(head.seq.0);
            let is_in_it =
                journal.digest_at(at.position).map_err(|error| error.to_string())? == Some(at.digest);
            if !is_settled && !is_in_it {
                // It has not met this writer yet.
                continue;
            }
            if is_settled && (!is_in_it || at.position.seq.0 < shown) {
                return Err(format!(
                    "{} has not caught up in peace: it is at {}, the writer at {head}, of which {shown} are confirmed",
                    proxy.member, at.position
                ));
            }
            let folded = Served::of_journal(&journal, at.position.seq)?;
            if folded != Served::of_replica(&replica.reader())? {
                return Err(format!(
                    "the state of {} is not what the journal leads to at {}",
                    proxy.member, at.position
                ));
            }
        }
        Ok(())
    }
}
