//! Network namespaces: machines of a test's own, joined by cables of its own. Needs root, `ip` and a kernel that has them.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// A machine. It goes with the value, and its cables with it.
pub(crate) struct Machine {
    name: String,
}

impl Machine {
    /// Makes a machine whose name ends in `role`; no two tests share one.
    pub(crate) fn new(role: &str) -> Machine {
        let name = format!("signpost-{}-{role}", std::process::id());
        ip(&["netns", "add", &name]);
        let machine = Machine { name };
        // Its chatter would be counted with the rest.
        for which in ["all", "default"] {
            machine.sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
        machine.ip(&["link", "set", "lo", "up"]);
        machine
    }

    /// Runs `ip` on it.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat());
    }

    /// Sets a kernel parameter, such as `net/ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{name}");
        // /proc/sys shows the namespace of whoever opens it.
        self.on_it(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// A counter of an interface, such as `tx_packets`.
    pub(crate) fn counter(&self, interface: &str, name: &str) -> u64 {
        let output = run("ip", &["-n", &self.name, "-s", "-j", "link", "show", "dev", interface]);
        let links: serde_json::Value = serde_json::from_str(&output).unwrap();
        let (direction, unit) = name.split_once('_').unwrap();
        links[0]["stats64"][direction][unit].as_u64().unwrap()
    }

    /// Runs something on a thread that is on this machine.
    pub(crate) fn on_it<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("root may change namespaces");
                run()
            });
            there.join().unwrap()
        })
    }

    /// Connects from this machine.
    pub(crate) fn connect(&self, from: [u8; 4], to: SocketAddr) -> TcpStream {
        self.on_it(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.connect_timeout(&to.into(), crate::client::DEADLINE).unwrap();
            socket.into()
        })
    }

    /// The words in front of a command that put it on this machine.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may be gone already, and a test that fails has said enough.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Lays a cable; the ends are called `a_end` on `a` and `b_end` on `b`, and are up.
pub(crate) fn cable(a: &Machine, a_end: &str, b: &Machine, b_end: &str) {
    a.ip(&["link", "add", a_end, "type", "veth", "peer", "name", b_end, "netns", &b.name]);
    a.ip(&["link", "set", a_end, "up"]);
    b.ip(&["link", "set", b_end, "up"]);
}

fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} (package iproute2, see scripts/deps.sh): {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\nThis test makes network namespaces: run it as root, with a kernel that has them.",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
