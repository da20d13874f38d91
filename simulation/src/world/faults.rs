//! What goes wrong, and what the operator does about it.

use linklog::Change;
use linklog::entity::{MemberRole, MemberState};
use signpost_admin::members::{self, joining};

use super::server::Role;
use super::{Event, Node, PEACE_US, World};
use crate::plan::Plant;

impl World {
    /// Ends a node's process, or its machine; it comes back after a while.
    pub(super) fn kill(&mut self, node: Node) -> Result<(), String> {
        self.kills += 1;
        self.fetches.remove(&node);
        let is_power_cut = self.random.percent(50);
        let lies = self.plants(Plant::LieAboutSync);
        let disk = match node.checked_sub(self.plan.servers) {
            Some(proxy) => {
                let proxy = &mut self.proxies[proxy];
                proxy.life += 1;
                proxy.replica = None;
                proxy.stream = None;
                proxy.disk.clone()
            }
            None => {
                let server = &mut self.servers[node];
                server.life += 1;
                server.role = Role::Down;
                server.disk.clone()
            }
        };
        let random = &mut self.random;
        disk.crash(|unsynced| if is_power_cut { random.below(unsynced as u64 + 1) as usize } else { 0 });
        if lies {
            disk.lie_about_sync();
        }
        let pause = self.random.between(1_000, 4_000_000);
        self.queue.after(pause, Event::Start { node });
        Ok(())
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.at_peace {
            return Ok(());
        }
        let nodes = (self.plan.servers + self.plan.proxies) as u64;
        let node = self.random.below(nodes) as Node;
        let other = self.random.below(nodes) as Node;
        let pause = self.random.between(10_000, 5_000_000);
        let done = match self.random.below(100) {
            0..35 => self.kill(node),
            35..60 if node != other => {
                self.cut_between(node, other, pause);
                Ok(())
            }
            60..75 => {
                (0..nodes as Node)
                    .filter(|other| *other != node)
                    .for_each(|other| self.cut_between(node, other, pause));
                Ok(())
            }
            75..88 => {
                let skew =
                    self.random.below(2 * self.plan.skew_max_ms + 1) as i64 - self.plan.skew_max_ms as i64;
                self.skews_us[node] = skew * 1_000;
                Ok(())
            }
            88..100 => {
                let writes = self.random.below(6);
                let disk = match node.checked_sub(self.plan.servers) {
                    Some(_) => None,
                    None => Some(self.servers[node].disk.clone()),
                };
                if let Some(disk) = disk {
                    disk.fail_after(writes);
                }
                Ok(())
            }
            _ => Ok(()),
        };
        let again = self.random.between(1, 2 * self.plan.fault_every_us);
        self.queue.after(again, Event::Fault);
        done
    }

    fn cut_between(&mut self, a: Node, b: Node, for_us: u64) {
        self.cut.insert((a.min(b), a.max(b)));
        self.queue.after(for_us, Event::Heal { a, b });
    }

    /// From now on nothing goes wrong.
    pub(super) fn make_peace(&mut self) {
        self.at_peace = true;
        self.cut.clear();
        if self.plan.snapshots.is_some() {
            // A disk that would fail at the next write of a log is not noticed by one that writes none, and makes no snapshot.
            self.servers.iter().for_each(|server| server.disk.fail_after(u64::MAX));
        }
        for node in 0..self.plan.servers + self.plan.proxies {
            self.queue.after(1_000, Event::Start { node });
        }
        self.queue.after(PEACE_US, Event::Peace);
    }

    /// The operator looks after the fleet.
    pub(super) fn operator(&mut self) -> Result<(), String> {
        let again = self.random.between(100_000, 1_500_000);
        self.queue.after(again, Event::Operator);
        let server = self.random.below(self.plan.servers as u64) as Node;
        let Some(writer) = self.newest_writer() else {
            let patient = !self.at_peace && self.random.percent(60);
            return if patient || !self.may_promote(server) { Ok(()) } else { self.promote(server) };
        };
        if !self.at_peace && self.may_promote(server) && self.random.percent(8) {
            return self.promote(server);
        }
        if server == writer || !self.servers[server].is_standby || !self.plan.contests {
            return Ok(());
        }
        if self.at_peace {
            // Who has caught up at the end is looked at then: a record of the last moment would be on its way.
            return Ok(());
        }
        self.look_after(writer, server)
    }

    /// Says whether a careful operator promotes this one: one promotion at a time, after every other standby has heard of the newest epoch, and
    /// with the writer there if nobody else has what it acknowledged. With [`super::Plan::contests`] the operator is not careful.
    fn may_promote(&self, server: Node) -> bool {
        if !self.plan.promotes || self.plan.contests {
            return self.plan.promotes;
        }
        let is_settled = self.servers.iter().all(|other| match &other.role {
            Role::Down => false,
            Role::Standby(node) => {
                node.promotion.is_none() && node.standby.head().position.epoch == self.newest
            }
            Role::Writer(_) => other.head().position.epoch == self.newest,
        });
        let is_cut =
            (0..self.servers.len()).any(|other| self.cut.contains(&(other.min(server), other.max(server))));
        self.promotions == 0 || is_settled && !is_cut
    }

    /// Makes a standby a member, replaces one whose log is not the writer's, or takes it out for a while.
    fn look_after(&mut self, writer: Node, server: Node) -> Result<(), String> {
        let Role::Writer(node) = &self.servers[writer].role else { return Ok(()) };
        let name = self.servers[server].member.clone();
        let found = members::with_version(&node.writer.reader(), &name).map_err(|error| error.to_string())?;
        let now_ms = self.clock_us(writer) / 1_000;
        let level = node.writer.handle().commit().format_level;
        let (table, min) = (node.members.all(), self.plan.min_sync_replicas);
        let begins_in = match self.plants(Plant::CountAtOnce) {
            true => MemberState::Active,
            false => joining::state_to_begin_in(&table, &name, MemberRole::Sync, min, level),
        };
        let change: Option<Change> = match found {
            None => {
                let add = || members::add_in_state(&name, None, MemberRole::Sync, begins_in, now_ms);
                self.random.percent(50).then(add)
            }
            Some((member, version)) if self.servers[server].is_diverged => {
                self.replace(server)?;
                Some(members::set_state(&name, &member, version, MemberState::Forgotten))
            }
            Some((member, version)) if self.random.percent(10) => {
                let drains = member.state.takes_part() && self.random.percent(50);
                let (state, changes) = match member.state {
                    _ if drains => (MemberState::Drained, joining::may_drain(&table, &name, min).is_ok()),
                    state => (begins_in, state == MemberState::Drained),
                };
                changes.then(|| members::set_state(&name, &member, version, state))
            }
            Some(_) => None,
        };
        if let Some(change) = change {
            self.say(|| format!("the operator changes member {name}"));
            self.operator_asks(change);
        }
        Ok(())
    }

    /// Gives a standby an empty disk and a new name: what it has promised under the old one is kept by nobody.
    fn replace(&mut self, server: Node) -> Result<(), String> {
        let number = self.number();
        let node = &mut self.servers[server];
        node.life += 1;
        node.role = Role::Down;
        node.disk.wipe();
        self.fetches.remove(&server);
        let node = &mut self.servers[server];
        (node.is_diverged, node.is_damaged) = (false, false);
        node.member = format!("standby-{server}-{number}");
        self.start_server(server)
    }
}
