//! Packets of a link that are lost or refused on their way: the fleet runs in a network namespace of its own, in which nftables decides.
//!
//! A cable in user space always acknowledges what it is sent, and whoever closes a connection is heard. Here the kernels on both sides of
//! a link send again and again what vanishes, ends of connections included, and connections that nobody closed go on when it is over.
//!
//! A link is a cable with the connections on both of its sides, so that the TCP of both parts is held: to either of them it looks as if
//! one connection led to the other part through a bad network.
//!
//! Invariant: rules are put into the namespace that this made and into no other. It is gone with the last process in it, and they with it.
//!
//! Which packets of a share are lost is drawn by the kernel and does not follow from the seed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::Value;

use crate::cable::Sides;

/// What the rules are in.
const TABLE: &str = "ip signpost_faults";
/// How many of a hundred packets are lost: some, many, and so many that hardly anything gets through.
const SHARES: [u8; 3] = [5, 20, 50];
/// The namespace of the thread that looks.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// What becomes of the packets of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All vanish.
    Lost,
    /// Those on their way to the part that listens vanish; the others come through.
    LostToListener,
    /// Those on their way to the part that dials vanish; the others come through.
    LostToDialler,
    /// So many of a hundred vanish.
    SomeLost(u8),
    /// Each is answered with a TCP reset.
    Reset,
    /// Each is answered with ICMP, as by a firewall that forbids it: new connections fail, those there are wait.
    Prohibited,
}

impl Fate {
    /// One of them, each as likely as the others.
    pub(super) fn drawn(random: &mut SmallRng) -> Fate {
        match random.random_range(0..6) {
            0 => Fate::Lost,
            1 => Fate::LostToListener,
            2 => Fate::LostToDialler,
            3 => Fate::SomeLost(SHARES[random.random_range(0..SHARES.len())]),
            4 => Fate::Reset,
            _ => Fate::Prohibited,
        }
    }

    /// What nftables is to do with a packet that is met.
    fn verdict(self) -> &'static str {
        match self {
            Fate::Reset => "reject with tcp reset",
            Fate::Prohibited => "reject with icmp admin-prohibited",
            _ => "drop",
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fate::Lost => write!(f, "packets lost"),
            Fate::LostToListener => write!(f, "packets to the listener lost"),
            Fate::LostToDialler => write!(f, "packets to the dialler lost"),
            Fate::SomeLost(share) => write!(f, "{share} % of packets lost"),
            Fate::Reset => write!(f, "packets answered with RST"),
            Fate::Prohibited => write!(f, "packets answered with ICMP"),
        }
    }
}

/// A network namespace that only this program and what it starts are in.
#[derive(Debug)]
pub(crate) struct Network {
    /// As the kernel calls it.
    namespace: PathBuf,
}

impl Network {
    /// Moves this thread, and every thread and process that it starts from now on, into a network of their own: loopback, and nothing else.
    ///
    /// # Errors
    /// This is not root, or nftables or `ip` is not there; each says what to do.
    pub(crate) fn own() -> anyhow::Result<Network> {
        unshare(CloneFlags::CLONE_NEWNET).context(
            "cannot make a network namespace for packet filters: run this as root (CAP_SYS_ADMIN), with a kernel that has them",
        )?;
        let network = Network { namespace: here()? };
        run(Command::new("ip").args(["link", "set", "lo", "up"]), "iproute2", "")?;
        network.change(&format!("add table {TABLE}\n"))?;
        Ok(network)
    }

    /// From now on this becomes of the packets of these links, of all at the same instant.
    ///
    /// # Errors
    /// nftables refuses it.
    pub(crate) fn begin(&self, links: &[Sides], fate: Fate) -> anyhow::Result<()> {
        self.change(&links.iter().map(|link| rules(*link, fate)).collect::<String>())
    }

    /// Packets come through again; returns how many did not.
    ///
    /// # Errors
    /// There are no such rules.
    pub(crate) fn end(&self, link: Sides) -> anyhow::Result<u64> {
        let chain = format!("{TABLE} {}", chain(link));
        let listed = self.nft(&["--json", &format!("list chain {chain}")], "")?;
        self.change(&format!("flush chain {chain}\ndelete chain {chain}\n"))?;
        Ok(counted(&serde_json::from_str(&listed).context("nft lists something that is no JSON")?))
    }

    /// Carries commands out, all of them or none.
    fn change(&self, commands: &str) -> anyhow::Result<()> {
        self.nft(&["--file", "-"], commands).map(drop)
    }

    fn nft(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        anyhow::ensure!(here()? == self.namespace, "packet filters are for their own network only");
        // Debian has it where only root's PATH looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        run(Command::new("nft").env("PATH", path).args(arguments), "nftables", input)
    }
}

/// The network namespace of this thread.
fn here() -> anyhow::Result<PathBuf> {
    std::fs::read_link(Path::new(NAMESPACE)).with_context(|| format!("cannot read {NAMESPACE}"))
}

/// Runs a program and returns what it wrote.
fn run(command: &mut Command, package: &str, input: &str) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let missing = || format!("packet filters need {name}: install Debian's package {package}");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.with_context(missing)?;
    // Dropped at the end of the line: it is to see the end of its input.
    child.stdin.take().with_context(missing)?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name}: {}", errors.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// The name of a link's rules.
fn chain(link: Sides) -> String {
    format!("cable-{}", link.listens.port())
}

/// The rules of a link. They are asked when a packet arrives, not when it is sent: a sender that knew would not be one whose packets vanish.
fn rules(link: Sides, fate: Fate) -> String {
    let chain = format!("{TABLE} {}", chain(link));
    let mut text =
        format!("add chain {chain} {{ type filter hook input priority filter; policy accept; }}\n");
    let (address, port, own) = (link.listens.ip(), link.listens.port(), link.dials_from);
    let to_listener =
        [format!("ip daddr {address} tcp dport {port}"), format!("ip saddr {own} meta l4proto tcp")];
    let to_dialler =
        [format!("ip saddr {address} tcp sport {port}"), format!("ip daddr {own} meta l4proto tcp")];
    let some = match fate {
        Fate::SomeLost(share) => format!("numgen random mod 100 < {share} "),
        // Otherwise the resets would not arrive: they are packets of the link too.
        Fate::Reset => "tcp flags & rst == 0 ".to_owned(),
        _ => String::new(),
    };
    for (packets, spared) in [(to_listener, Fate::LostToDialler), (to_dialler, Fate::LostToListener)] {
        for packets in packets.iter().filter(|_| fate != spared) {
            text.push_str(&format!("add rule {chain} {packets} {some}counter {}\n", fate.verdict()));
        }
    }
    text
}

/// The packets that the counters of a chain have seen.
fn counted(listed: &Value) -> u64 {
    let expressions = listed["nftables"].as_array().into_iter().flatten();
    let expressions = expressions.filter_map(|object| object["rule"]["expr"].as_array()).flatten();
    expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).sum()
}

#[cfg(test)]
mod tests;
