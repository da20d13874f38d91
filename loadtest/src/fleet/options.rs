//! What a fleet is to be.

use std::path::PathBuf;

use super::binaries::default_bin_dir;
use super::setting::Setting;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for everything the fleet keeps; made when it is not there.
    pub dir: PathBuf,
    /// Folder of the services' binaries.
    pub bin_dir: PathBuf,
    /// Number of proxies, at least 1. A folder made with fewer gets the missing ones.
    pub proxies: u16,
    /// Number of standbys; the writer waits for one of them if there are any, unless a setting says otherwise.
    pub standbys: u16,
    /// Number of key pools, at least 1, the same for the life of the folder.
    pub keypools: u16,
    /// Synthetic links to have.
    pub links: u64,
    /// Settings on top of the configuration the fleet writes.
    pub settings: Vec<Setting>,
    /// Ports that are not left to chance.
    pub ports: FixedPorts,
    /// What parts find in their environment, besides what this program has in its own.
    pub environment: Vec<Variable>,
    /// Proxies take the address of a socket for the visitor's, so that limits per network can be set.
    pub visitors_known: bool,
}

impl Options {
    /// `proxies` proxies, one key pool, no links, the binaries beside this program, in `dir`.
    ///
    /// # Errors
    /// When this program's own place is not known.
    pub fn new(dir: impl Into<PathBuf>, proxies: u16) -> anyhow::Result<Self> {
        Ok(Self {
            dir: dir.into(),
            bin_dir: default_bin_dir()?,
            proxies,
            standbys: 0,
            keypools: 1,
            links: 0,
            settings: Vec::new(),
            ports: FixedPorts::default(),
            environment: Vec::new(),
            visitors_known: false,
        })
    }
}

/// A variable in the environment of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Of this part: `admin`, `keypool-0`, `proxy-0`, …
    pub part: String,
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

/// Ports on loopback. What is not given is a free port, chosen when the folder is made and kept.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct FixedPorts {
    /// Port of the admin API; the two after it are its health and its feed [default: free ones, kept in DIR]
    #[arg(long = "admin-port", value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub admin: Option<u16>,
    /// Port of proxy-0, the one after it is its health; every further proxy 10 higher [default: free ones, kept in DIR]
    #[arg(long = "proxy-port", value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..=64_000))]
    pub proxy: Option<u16>,
    /// Port of keypool-0's leases, the one after it is its HTTP; every further pool 10 higher [default: free ones, kept]
    #[arg(long = "keypool-port", value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..=64_000))]
    pub keypool: Option<u16>,
}
