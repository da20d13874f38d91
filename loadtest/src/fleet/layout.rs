//! Where everything of a fleet is: its folder, its ports. Kept in `DIR/fleet.json`, so that a later run finds it again.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::options::{FixedPorts, Options};
use super::ports::{Held, Ports};

/// The longest path of a unix socket, in bytes (unix(7): 108 with the closing zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The ports of the parts; what `fleet.json` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topology {
    pub(super) admin: AdminPorts,
    /// None in folders of versions before there were standbys.
    #[serde(default)]
    pub(super) standbys: Vec<AdminPorts>,
    pub(super) keypools: Vec<KeypoolPorts>,
    pub(super) proxies: Vec<ProxyPorts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminPorts {
    pub(super) http: u16,
    pub(super) health: u16,
    pub(super) feed: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeypoolPorts {
    pub(super) grpc: u16,
    pub(super) http: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyPorts {
    pub(super) http: u16,
    pub(super) health: u16,
}

/// The folder of a fleet, in use by this process alone, with its ports held.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    pub(super) topology: Topology,
    rings: Option<RingFolder>,
    _ports: Vec<Held>,
    /// Locked as long as it is open.
    _lock: File,
}

impl Layout {
    /// Makes or opens the folder, chooses what ports are missing and holds all of them.
    pub(super) fn open(options: &Options) -> anyhow::Result<Self> {
        let made = fs::create_dir_all(&options.dir).and_then(|()| options.dir.canonicalize());
        let dir = made.with_context(|| format!("cannot make the folder {}", options.dir.display()))?;
        let lock = lock(&dir)?;
        let path = dir.join("fleet.json");
        let mut topology = read(&path)?.unwrap_or_default();
        fits(&topology, options, &dir)?;
        let mut ports = Ports::default();
        complete(&mut topology, options, &mut ports)?;
        let text = serde_json::to_string_pretty(&topology).context("cannot put the ports into JSON")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let rings = RingFolder::of(&dir);
        let layout = Self { dir, topology, rings, _ports: ports.into_held(), _lock: lock };
        layout.make_folders()?;
        Ok(layout)
    }

    /// The names of all key pools.
    pub(super) fn keypools(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.topology.keypools.len()).map(|index| format!("keypool-{index}"))
    }

    /// The names of all standbys.
    pub(super) fn standbys(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.topology.standbys.len()).map(|index| format!("standby-{index}"))
    }

    /// The names of all proxies.
    pub(super) fn proxies(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.topology.proxies.len()).map(|index| format!("proxy-{index}"))
    }

    /// The folder of the fleet's certificate authority.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    /// The writer's credentials, which `ca init` makes.
    pub(super) fn writer_tls(&self) -> PathBuf {
        self.ca().join("writer")
    }

    /// The credentials of a key pool or proxy.
    pub(super) fn tls(&self, part: &str) -> PathBuf {
        self.dir.join(part).join("tls")
    }

    /// The configuration file of a part.
    pub(super) fn config(&self, part: &str) -> PathBuf {
        self.dir.join(part).join("config.toml")
    }

    /// The data of a part.
    pub(super) fn data(&self, part: &str) -> PathBuf {
        self.dir.join(part).join("data")
    }

    /// Where a proxy's rings of clicks are, and whether that is on tmpfs.
    pub(super) fn rings(&self, part: &str) -> (PathBuf, bool) {
        match &self.rings {
            Some(rings) => (rings.0.join(part), true),
            None => (self.dir.join(part).join("rings"), false),
        }
    }

    /// The control socket of a part.
    pub(super) fn control(&self, part: &str) -> PathBuf {
        self.dir.join(part).join("control.sock")
    }

    /// The log of a part.
    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{part}.log"))
    }

    /// The file with the token.
    pub(super) fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// The file with the codes of the preloaded links.
    pub(super) fn keys(&self) -> PathBuf {
        self.dir.join("keys.txt")
    }

    fn make_folders(&self) -> anyhow::Result<()> {
        let parts = ["admin".to_owned()]
            .into_iter()
            .chain(self.standbys())
            .chain(self.keypools())
            .chain(self.proxies());
        let mut folders = vec![self.dir.join("logs")];
        for part in parts {
            let socket = self.control(&part);
            anyhow::ensure!(
                socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX,
                "{} is too long for a unix socket ({SOCKET_PATH_BYTES_MAX} bytes): use a folder with a shorter path",
                socket.display()
            );
            folders.push(self.data(&part));
        }
        for folder in folders {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(())
    }
}

/// A folder for rings on tmpfs, named after the fleet's. It goes when the fleet does: a proxy that ends in order leaves nothing in
/// its rings.
#[derive(Debug)]
struct RingFolder(PathBuf);

/// Where every Linux has a tmpfs that anybody may write to (shm_overview(7)).
const TMPFS: &str = "/dev/shm";

impl RingFolder {
    fn of(dir: &Path) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        dir.hash(&mut hasher);
        let path = Path::new(TMPFS).join(format!("signpost-fleet-{:016x}", hasher.finish()));
        fs::create_dir_all(&path).is_ok().then_some(Self(path))
    }
}

impl Drop for RingFolder {
    fn drop(&mut self) {
        // Best effort: what stays takes memory until the machine goes down or the fleet comes back.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An address on loopback.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A path as text, for configuration files and arguments.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("fleet.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot write in {}", dir.display()))?;
    file.try_lock().with_context(|| format!("another fleet is running in {}", dir.display()))?;
    Ok(file)
}

fn read(path: &Path) -> anyhow::Result<Option<Topology>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let read = serde_json::from_str(&text);
    Ok(Some(read.with_context(|| format!("{} is damaged; use another folder", path.display()))?))
}

/// Whether a folder that exists can become what is wanted.
fn fits(topology: &Topology, options: &Options, dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        options.proxies > 0 && options.keypools > 0,
        "a fleet has at least one proxy and one key pool"
    );
    let (keypools, proxies) = (topology.keypools.len(), topology.proxies.len());
    anyhow::ensure!(
        keypools == 0 || keypools == usize::from(options.keypools),
        "{} was made with {keypools} key pools, which own the code space between them: pass --keypools {keypools}, or another --dir",
        dir.display()
    );
    anyhow::ensure!(
        proxies <= usize::from(options.proxies),
        "{} was made with {proxies} proxies: pass --proxies {proxies} or more, or another --dir",
        dir.display()
    );
    Ok(())
}

/// Gives every part its ports: the fixed ones, or those it had, or free ones.
fn complete(topology: &mut Topology, options: &Options, ports: &mut Ports) -> anyhow::Result<()> {
    topology.keypools.resize(usize::from(options.keypools), KeypoolPorts { grpc: 0, http: 0 });
    let standbys = usize::from(options.standbys).max(topology.standbys.len());
    topology.standbys.resize(standbys, AdminPorts::default());
    topology.proxies.resize(usize::from(options.proxies), ProxyPorts { http: 0, health: 0 });
    let mut slots = topology.slots(&options.ports);
    // What is known is held before anything is chosen, so that nothing is chosen twice.
    for slot in &mut slots {
        *slot.port = slot.fixed.unwrap_or(*slot.port);
        if *slot.port != 0 {
            ports.hold(*slot.port, &slot.whose)?;
        }
    }
    for slot in slots.into_iter().filter(|slot| *slot.port == 0) {
        *slot.port = ports.choose()?;
    }
    Ok(())
}

/// One port of one part; 0 while it is not chosen.
struct Slot<'a> {
    whose: String,
    port: &'a mut u16,
    fixed: Option<u16>,
}

impl Topology {
    /// Every port, with what the options say about it.
    fn slots(&mut self, fixed: &FixedPorts) -> Vec<Slot<'_>> {
        let slot = |whose: String, port, base: Option<u16>, index: usize, offset: u16| {
            // Bases and counts are bounded so that this stays a port.
            let fixed = base.map(|base| base + 10 * u16::try_from(index).unwrap_or(0) + offset);
            Slot { whose, port, fixed }
        };
        let AdminPorts { http, health, feed } = &mut self.admin;
        let admin =
            [(http, "the admin API"), (health, "the admin API's health"), (feed, "the admin API's feed")];
        let mut slots = Vec::new();
        for ((port, whose), offset) in admin.into_iter().zip(0..) {
            slots.push(slot(whose.to_owned(), port, fixed.admin, 0, offset));
        }
        for (index, AdminPorts { http, health, feed }) in self.standbys.iter_mut().enumerate() {
            slots.push(slot(format!("the API of standby-{index}"), http, None, index, 0));
            slots.push(slot(format!("the health of standby-{index}"), health, None, index, 1));
            slots.push(slot(format!("the feed of standby-{index}"), feed, None, index, 2));
        }
        for (index, KeypoolPorts { grpc, http }) in self.keypools.iter_mut().enumerate() {
            slots.push(slot(format!("the leases of keypool-{index}"), grpc, fixed.keypool, index, 0));
            slots.push(slot(format!("the HTTP of keypool-{index}"), http, fixed.keypool, index, 1));
        }
        for (index, ProxyPorts { http, health }) in self.proxies.iter_mut().enumerate() {
            slots.push(slot(format!("proxy-{index}"), http, fixed.proxy, index, 0));
            slots.push(slot(format!("the health of proxy-{index}"), health, fixed.proxy, index, 1));
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::*;

    fn options(dir: &Path, proxies: u16) -> Options {
        Options { bin_dir: PathBuf::new(), ..Options::new(dir, proxies).unwrap() }
    }

    #[test]
    fn a_folder_keeps_its_ports_and_further_proxies_get_new_ones() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::open(&options(dir.path(), 1)).unwrap().topology.clone();
        let second = Layout::open(&options(dir.path(), 3)).unwrap().topology.clone();
        assert_eq!(
            (second.admin, &second.keypools, second.proxies[0]),
            (first.admin, &first.keypools, first.proxies[0])
        );
        let mut copy = second.clone();
        let ports: Vec<u16> = copy.slots(&FixedPorts::default()).iter().map(|slot| *slot.port).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 3 + 2 + 6);
        assert!(ports.iter().all(|&port| port > 1024));
    }

    #[test]
    fn fixed_ports_are_used_as_documented() {
        let dir = tempfile::tempdir().unwrap();
        // Three neighbouring free ports are found by asking for them: a run of luck, tried with several bases.
        let open = |base: u16| {
            let ports = FixedPorts { proxy: Some(base), ..FixedPorts::default() };
            Layout::open(&Options { ports, ..options(dir.path(), 2) })
        };
        let (base, layout) =
            (20_011..32_000).step_by(97).find_map(|base| Some((base, open(base).ok()?))).unwrap();
        let proxy = |offset| ProxyPorts { http: base + offset, health: base + offset + 1 };
        assert_eq!(layout.topology.proxies, [proxy(0), proxy(10)]);
    }

    #[test]
    fn a_busy_port_is_named_with_its_part() {
        let dir = tempfile::tempdir().unwrap();
        let busy = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listener = TcpListener::bind(loopback(busy)).unwrap();
        let ports = FixedPorts { admin: Some(busy), ..FixedPorts::default() };
        let error = Layout::open(&Options { ports, ..options(dir.path(), 1) }).unwrap_err().to_string();
        assert!(error.contains(&format!("port {busy}")) && error.contains("the admin API"), "{error}");
        drop(listener);
    }

    #[test]
    fn a_folder_is_refused_when_in_use_or_made_for_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(&options(dir.path(), 2)).unwrap();
        let in_use = Layout::open(&options(dir.path(), 2)).unwrap_err();
        assert!(format!("{in_use:#}").contains("another fleet is running"), "{in_use:#}");
        drop(layout);
        assert!(Layout::open(&options(dir.path(), 1)).unwrap_err().to_string().contains("--proxies 2"));
        let more = Options { keypools: 2, ..options(dir.path(), 2) };
        assert!(Layout::open(&more).unwrap_err().to_string().contains("--keypools 1"));
        let deep = dir.path().join("x".repeat(100));
        assert!(Layout::open(&options(&deep, 1)).unwrap_err().to_string().contains("unix socket"));
    }
}
