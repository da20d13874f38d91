//! The others: nginx, HAProxy and h11, each set to answer every request by itself with 200.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::fleet::end_with_this_thread;

const START: Duration = Duration::from_secs(20);

/// A server that is not ours, until it is dropped.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Where it speaks HTTP/1.
    pub http1: SocketAddr,
    /// Where it speaks HTTP/2 in the clear, if it does.
    pub http2: Option<SocketAddr>,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts all of them, with their files in `dir`.
///
/// # Errors
/// Which one is not installed, or did not start.
pub fn start(dir: &Path) -> anyhow::Result<Vec<Peer>> {
    let dir = dir.join("peers");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut peers = vec![nginx(&dir)?, haproxy(&dir)?, h11(&dir)?];
    for peer in &mut peers {
        let deadline = Instant::now() + START;
        while TcpStream::connect(peer.http1).is_err() {
            let log = dir.join(format!("{}.log", peer.name));
            let has_ended = peer.child.try_wait()?.is_some();
            anyhow::ensure!(
                Instant::now() < deadline && !has_ended,
                "{} does not listen; scripts/deps.sh test installs what it needs\n{}",
                peer.name,
                fs::read_to_string(log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(peers)
}

fn nginx(dir: &Path) -> anyhow::Result<Peer> {
    let (http1, http2) = (free_port()?, free_port()?);
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {}/{kind};\n", dir.display()))
        .collect();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log stderr crit;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n{paths}\
         server {{ listen {http1}; listen {http2} http2; keepalive_requests 100000; return 200; }}\n}}\n",
        dir = dir.display(),
    );
    let file = write(dir, "nginx.conf", &config)?;
    let child = spawn(
        dir,
        "nginx",
        Command::new("nginx").arg("-p").arg(dir).arg("-e").arg("stderr").arg("-c").arg(file),
    )?;
    Ok(Peer { name: "nginx", http1, http2: Some(http2), child })
}

fn haproxy(dir: &Path) -> anyhow::Result<Peer> {
    let (http1, http2) = (free_port()?, free_port()?);
    let config = format!(
        "global\n  nbthread 1\n  maxconn 1024\ndefaults\n  mode http\n  timeout client 3s\n  timeout connect 3s\n\
         \x20 timeout server 3s\n  timeout http-request 3s\nfrontend both\n  bind {http1}\n  bind {http2} proto h2\n\
         \x20 http-request return status 200\n",
    );
    let file = write(dir, "haproxy.cfg", &config)?;
    let child = spawn(dir, "haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(file))?;
    Ok(Peer { name: "haproxy", http1, http2: Some(http2), child })
}

fn h11(dir: &Path) -> anyhow::Result<Peer> {
    let http1 = free_port()?;
    let file = write(dir, "h11_server.py", include_str!("../../framing/h11_server.py"))?;
    // Debian's own, which is the one that sees Debian's python3-h11.
    let python = Some("/usr/bin/python3").filter(|path| Path::new(path).exists()).unwrap_or("python3");
    let child = spawn(dir, "h11", Command::new(python).arg(file).arg(http1.port().to_string()))?;
    Ok(Peer { name: "h11", http1, http2: None, child })
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn spawn(dir: &Path, name: &str, command: &mut Command) -> anyhow::Result<Child> {
    let log = File::create(dir.join(format!("{name}.log"))).context("cannot write a log")?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // /usr/sbin is not on everybody's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    end_with_this_thread(command);
    command.spawn().with_context(|| format!("cannot start {name}; scripts/deps.sh test installs it"))
}
