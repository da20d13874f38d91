//! What has to be true when everybody has come back and was left in peace: nothing acknowledged is missing, every state is what the last
//! writer's journal leads to, and whoever follows it has all of it.

use linklog::Head;
use linklog::entity::MemberState;

use super::server::{Role, WriterNode};
use super::{Node, World};

impl World {
    /// Everybody comes back and is left in peace; what is then not as it should be stays so.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let Some(writer) = self.newest_writer() else { return Ok(()) };
        let Role::Writer(node) = &self.servers[writer].role else { return Ok(()) };
        self.oracle.check_journal("the last writer", &node.writer.journal())?;
        let head = node.writer.handle().commit().head;
        self.check_state("the last writer", &node.writer.reader(), head)?;
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
        let head = node.writer.handle().commit().head;
        let history = self.oracle.archive.history(head)?;
        let head = head.position;
        for proxy in &self.proxies {
            let Some(replica) = &proxy.replica else { continue };
            let at = replica.head();
            let shown = (*node.confirmed.borrow()).min(head.seq.0);
            let is_in_it = at == Head::EMPTY || history.iter().any(|(head, _)| *head == at);
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
            self.check_state(&proxy.member, &replica.reader(), at)?;
        }
        Ok(())
    }
}
