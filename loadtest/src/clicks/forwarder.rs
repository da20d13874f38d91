//! A TCP forwarder between the proxies and the writer's feed port: cuts connections at any moment, holds data back.
//!
//! Bytes are passed on as they are (TLS goes through), so what is lost by a cut is what was under way: batches the writer has not seen,
//! acknowledgements the proxy has not seen.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Bytes passed on at a time.
const PIECE_BYTES: usize = 16 << 10;
/// How long the writer may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running forwarder; dropping it cuts everything.
#[derive(Debug)]
pub(super) struct Forwarder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Both sides of every connection.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    next: AtomicU64,
    cut: AtomicU64,
    ended: AtomicBool,
}

impl Forwarder {
    /// Starts to accept on a port of its own. Where the writer's feed is, its configuration says, which is read when the first proxy
    /// connects. Each piece of data is held back for a random time of at most `delay_max`.
    pub(super) fn start(config: PathBuf, delay_max: Duration, seed: u64) -> anyhow::Result<Forwarder> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for the proxies")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let on_thread = shared.clone();
        let accept = move || {
            for stream in listener.incoming() {
                if on_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                // A proxy whose connection fails here sees it closed, and comes again.
                if let Ok(stream) = stream {
                    let _ = forward(&on_thread, stream, &config, delay_max, seed);
                }
            }
        };
        thread::Builder::new().name("forwarder".into()).spawn(accept).context("cannot start a thread")?;
        Ok(Forwarder { address, shared })
    }

    /// What the proxies are told to connect to.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        let open = std::mem::take(&mut *self.shared.open.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.cut.fetch_add(open.len() as u64, Ordering::Relaxed);
        for stream in open.into_values().flatten() {
            // It may have ended by itself just now.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were cut.
    pub(super) fn cut_so_far(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn feed_of(config: &Path) -> anyhow::Result<SocketAddr> {
    let config: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let listen = config["feed"]["listen"].as_str().context("the writer has a feed")?;
    Ok(listen.parse()?)
}

fn forward(
    shared: &Arc<Shared>,
    proxy: TcpStream,
    config: &Path,
    delay_max: Duration,
    seed: u64,
) -> anyhow::Result<()> {
    let writer = TcpStream::connect_timeout(&feed_of(config)?, CONNECT_TIMEOUT)?;
    proxy.set_nodelay(true)?;
    writer.set_nodelay(true)?;
    let id = shared.next.fetch_add(1, Ordering::Relaxed);
    let sides = [proxy.try_clone()?, writer.try_clone()?];
    shared.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sides);
    let ways = [(proxy.try_clone()?, writer.try_clone()?), (writer, proxy)];
    for (direction, (from, to)) in (0u64..).zip(ways) {
        let shared = shared.clone();
        let random = SmallRng::seed_from_u64(seed ^ (id << 1 | direction));
        thread::Builder::new().name("forward".into()).spawn(move || {
            pass_on(from, to, delay_max, random);
            shared.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        })?;
    }
    Ok(())
}

/// Passes bytes on until either side ends, and then ends both.
fn pass_on(mut from: TcpStream, mut to: TcpStream, delay_max: Duration, mut random: SmallRng) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if !delay_max.is_zero() {
            thread::sleep(delay_max.mul_f64(random.random_range(0.0..1.0)));
        }
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_go_through_until_the_connection_is_cut() {
        let writer = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("[feed]\nlisten = \"{}\"\n", writer.local_addr().unwrap())).unwrap();
        let forwarder = Forwarder::start(config, Duration::from_millis(1), 1).unwrap();
        let mut proxy = TcpStream::connect(forwarder.address).unwrap();
        let (mut accepted, _) = writer.accept().unwrap();
        proxy.write_all(b"up").unwrap();
        let mut bytes = [0; 2];
        accepted.read_exact(&mut bytes).unwrap();
        accepted.write_all(b"dn").unwrap();
        proxy.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"dn");
        forwarder.cut();
        assert_eq!(proxy.read(&mut bytes).unwrap_or(0), 0);
        assert_eq!(accepted.read(&mut bytes).unwrap_or(0), 0);
        assert_eq!(forwarder.cut_so_far(), 1);
    }
}
