//! What was fetched takes the place of what is in use: on a proxy at once, on a standby when its process begins anew.

use bootstrap::BootstrapError;
use linklog::journal::{HeadFileError, OpenError};
use linklog::replica::Replica;
use linklog::snapshot::{self, SnapshotError};
use linklog::standby::{Standby, StandbyOptions};
use linklog::store::{Contents, Reader, StoreError};
use linklog::{Head, Position, folders};
use signpost_admin::server::OpenLogError;
use signpost_admin::standby::places::{self, Places};

use super::follower::STORE;
use super::server::Role;
use super::{Event, Node, World};
use crate::model::Served;
use crate::plan::Plant;

/// How often a standby whose log is damaged looks whether it can have another one, microseconds.
const LOOK_EVERY_US: u64 = 1_000_000;
/// How often it is looked whether a promotion has ended, microseconds.
const WAIT_US: u64 = 50_000;

impl World {
    /// A proxy serves from another replica, from one moment to the next.
    pub(super) fn switch(&mut self, node: Node, proxy: usize) -> Result<(), String> {
        let received = self.received(node);
        let trusts = self.plants(Plant::SwitchTooSoon) || self.plants(Plant::MixSnapshots);
        let (number, disk) = (self.proxies[proxy].number + 1, self.proxies[proxy].disk.clone());
        let into = self.proxies[proxy].replica_dir(number);
        if !self.at_peace && self.random.percent(10) {
            // It is killed in the middle of it.
            let writes = self.random.below(8);
            disk.fail_after(writes);
        }
        let installed = match trusts {
            true => snapshot::install_unchecked(&received, Contents::Serve, &into, &STORE),
            false => snapshot::install(&received, Contents::Serve, &into, &STORE, &|| true),
        };
        let replica = installed.and_then(|_| {
            folders::remove(&received).map_err(|source| SnapshotError::Io {
                action: "remove",
                path: received.clone(),
                source,
            })?;
            Ok(Replica::open(&into, Contents::Serve, &STORE)?)
        });
        let replica = match replica {
            Ok(replica) => replica,
            Err(error) if is_disk(&error) => return self.kill(node),
            Err(error) => {
                self.say(|| format!("node {node} cannot use what it received: {error}"));
                drop(folders::remove(&received));
                return self.fetch_failed(node, false);
            }
        };
        // It was not killed after all.
        disk.fail_after(u64::MAX);
        let (before, after) = (self.proxies[proxy].shows, replica.head());
        if after.position < before {
            return Err(format!(
                "{} has shown record {before} and goes back to {}",
                self.proxies[proxy].member, after.position
            ));
        }
        let member = self.proxies[proxy].member.clone();
        self.check_state(&member, &replica.reader(), after)?;
        self.oracle.saw(after)?;
        self.fetches.remove(&node);
        self.snapshots += 1;
        self.say(|| format!("{member} serves from a snapshot of {}", after.position));
        let proxy = &mut self.proxies[proxy];
        (proxy.replica, proxy.number, proxy.is_damaged, proxy.shows) =
            (Some(replica), number, false, after.position);
        // What fails is left for the next start.
        drop(folders::remove(&proxy.replica_dir(number - 1)));
        let life = proxy.life;
        self.queue.after(1_000, Event::Dial { node, life });
        Ok(())
    }

    /// The state of somebody who is at `head` is what all records up to it lead to.
    pub(super) fn check_state(&self, who: &str, reader: &Reader, head: Head) -> Result<(), String> {
        if self.oracle.archive.fold(head)? != Served::of_replica(reader)? {
            return Err(format!("the state of {who} is not what the journal leads to at {}", head.position));
        }
        Ok(())
    }

    /// A standby makes a log of what it has received. The one in use is followed, and asked in promotions, until the process begins anew.
    pub(super) fn make_log(&mut self, server: Node, follows_on: bool) -> Result<(), String> {
        let places = Places::of_log(&self.servers[server].dir);
        let trusts = self.plants(Plant::SwitchTooSoon) || self.plants(Plant::MixSnapshots);
        let used = self.servers[server].journal().filter(|_| !self.plants(Plant::RenewDropsRecords));
        if !self.at_peace && self.random.percent(10) {
            let writes = self.random.below(16);
            self.servers[server].disk.fail_after(writes);
        }
        let made = match trusts {
            true => self.install_on_trust(server),
            false => places::install(&places, Contents::Full, used, &|| true),
        };
        match made {
            Ok(head) => {
                self.say(|| format!("server {server} has another log, made of a snapshot of {head}"));
                let life = self.servers[server].life;
                self.queue.after(0, Event::Renew { server, life, is_decided: false });
                Ok(())
            }
            Err(BootstrapError::Snapshot(error)) if is_disk(&error) => self.kill(server),
            Err(BootstrapError::Disk(_)) => self.kill(server),
            Err(error) => {
                self.say(|| format!("server {server} cannot use what it received: {error}"));
                self.fetch_failed(server, follows_on)
            }
        }
    }

    /// The steps of [`places::install`] without a check: a planted bug.
    fn install_on_trust(&self, server: Node) -> Result<Position, BootstrapError> {
        let dir = &self.servers[server].dir;
        let (received, made, next) = (dir.join("bootstrap"), dir.join("log-made"), dir.join("log-next"));
        [&made, &next].into_iter().try_for_each(|dir| folders::remove(dir))?;
        let installed = snapshot::install_unchecked(&received, Contents::Full, &made.join("db"), &STORE)?;
        folders::rename(&made, &next)?;
        folders::remove(&received)?;
        Ok(installed.manifest.head.position)
    }

    /// A standby begins anew with the log that was made, as soon as it is not being promoted.
    pub(super) fn renew(&mut self, server: Node, life: u64, is_decided: bool) -> Result<(), String> {
        if self.servers[server].life != life {
            return Ok(());
        }
        let Some(node) = self.standby_of(server) else { return Ok(()) };
        if !is_decided {
            let waits = node.promotion.is_some();
            let pause = if waits { WAIT_US } else { self.random.between(10, 20_000) };
            self.queue.after(pause, Event::Renew { server, life, is_decided: !waits });
            return Ok(());
        }
        self.fetches.remove(&server);
        self.servers[server].life += 1;
        self.servers[server].role = Role::Down;
        self.start_server(server)
    }

    /// Lets a log that was fetched take the place of the one in use, at a start; says whether there was one.
    pub(super) fn take_new_log(&mut self, server: Node) -> Result<bool, Unsettled> {
        let dir = self.servers[server].dir.clone();
        let (log, next) = (dir.join("log"), dir.join("log-next"));
        let is_renewed = folders::exists(&next);
        if is_renewed && self.plants(Plant::RenewForgetsEpoch) {
            self.servers[server].disk.lose_row(&log.join("db"), "meta", b"epoch");
        }
        if is_renewed && folders::exists(&log) && self.plants(Plant::RenewDropsRecords) {
            let promised = Standby::journal_and_promise(&log, &STORE).map_err(unsettled)?.1;
            let options = StandbyOptions { store: STORE, journal_bytes_kept: u64::MAX };
            let mut new = Standby::open(&next, &options).map_err(unsettled)?;
            new.fence(promised).map_err(|_| Unsettled::Disk)?;
            folders::remove(&log).map_err(|_| Unsettled::Disk)?;
        }
        match places::settle(&dir) {
            Ok(()) => {
                if is_renewed && !folders::exists(&next) {
                    self.snapshots += 1;
                    self.servers[server].is_damaged = false;
                    self.say(|| {
                        format!(
                            "server {server} begins with the log that was fetched, or goes on with its own"
                        )
                    });
                }
                Ok(is_renewed)
            }
            Err(OpenLogError::Open(error)) => Err(unsettled(error)),
            Err(OpenLogError::Renewed { .. } | OpenLogError::Store(StoreError::Io { .. })) => {
                Err(Unsettled::Disk)
            }
            Err(error) => Err(Unsettled::Never(error.to_string())),
        }
    }

    /// A disk is found damaged, or is replaced by an empty one.
    pub(super) fn damage(&mut self) -> Result<(), String> {
        let Some(plan) = self.plan.snapshots.clone() else { return Ok(()) };
        if self.at_peace {
            return Ok(());
        }
        let again = self.random.between(1, 2 * plan.damage_every_us);
        self.queue.after(again, Event::Damage);
        let node = self.random.below((self.plan.servers + self.plan.proxies) as u64) as Node;
        let loses_all = self.random.percent(20);
        let Some(proxy) = node.checked_sub(self.plan.servers) else {
            if matches!(self.servers[node].role, Role::Standby(_)) {
                self.say(|| format!("the log of server {node} is found damaged"));
                self.servers[node].is_damaged = true;
                let life = self.servers[node].life;
                self.queue.after(LOOK_EVERY_US, Event::Mend { server: node, life });
            }
            return Ok(());
        };
        if loses_all {
            self.kill(node)?;
            self.proxies[proxy].disk.wipe();
            self.proxies[proxy].is_damaged = false;
            return Ok(());
        }
        if self.proxies[proxy].replica.is_none() {
            return Ok(());
        }
        self.say(|| format!("the replica of node {node} is found damaged"));
        self.proxies[proxy].is_damaged = true;
        match self.proxies[proxy].stream {
            Some(stream) => self.leave(node, stream),
            None => Ok(()),
        }
    }

    /// A standby whose log is damaged fetches another one from the writer it follows, and follows it meanwhile.
    pub(super) fn mend(&mut self, server: Node, life: u64) -> Result<(), String> {
        if self.servers[server].life != life || !self.servers[server].is_damaged {
            return Ok(());
        }
        self.queue.after(LOOK_EVERY_US, Event::Mend { server, life });
        let writer = self.standby_of(server).and_then(|node| node.writer);
        match writer.filter(|_| !self.fetches.contains_key(&server)) {
            Some(writer) => self.fetch(server, writer, Vec::new(), true),
            None => Ok(()),
        }
    }
}

/// Why a log that was fetched does not take the place of the one in use.
pub(super) enum Unsettled {
    /// The disk fails.
    Disk,
    /// It never will.
    Never(String),
}

fn unsettled(error: OpenError) -> Unsettled {
    match error {
        OpenError::HeadFile(HeadFileError::Io { .. }) | OpenError::Store(StoreError::Io { .. }) => {
            Unsettled::Disk
        }
        error => Unsettled::Never(error.to_string()),
    }
}

fn is_disk(error: &SnapshotError) -> bool {
    match error {
        SnapshotError::Io { .. } | SnapshotError::Table { .. } => true,
        SnapshotError::Store(error) => matches!(error, StoreError::Io { .. }),
        _ => false,
    }
}
