//! A connection between two processes that can be made bad: every one that passes here is passed on as bytes, so TLS goes through.
//!
//! What happens to the bytes under way is what a network does: with a cut they are lost, with the other faults they come late. Nothing is
//! changed, left out in the middle or reordered, since TCP would not let that through either.
//!
//! What sees messages, and sends one twice, is `clicks/relay`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use socket2::{Domain, Socket, Type};

/// Bytes passed on at a time.
const PIECE_BYTES: usize = 16 << 10;
/// How long the other side may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the thread that accepts may take to be woken at the end.
const WAKES_WITHIN: Duration = Duration::from_millis(500);
/// How often a way that passes nothing on looks whether it may.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long each piece is held back while the cable is delayed.
const DELAY: Duration = Duration::from_millis(120);
/// Bytes a second each way while the cable is throttled.
const THROTTLED_BYTES_PER_S: f64 = 20_000.0;

/// What is wrong with a cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Quality {
    /// Nothing.
    #[default]
    Good,
    /// Every connection is closed, and every new one.
    Cut,
    /// Every piece of data comes late.
    Delayed,
    /// Every piece of data is held back for a time of its own, at most this long.
    Uneven(Duration),
    /// Few bytes a second.
    Throttled,
    /// Nothing comes through from the side that listens, and nobody is told. Those connections end with the fault.
    HalfOpen,
    /// Nothing comes through either way, and nobody is told: a machine that is gone. Those connections end with the fault.
    Silent,
    /// The side that dialled sees its connections closed, the other one does not: it has old ones beside the new ones.
    Doubled,
}

/// How the packets of a cable are told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sides {
    /// What the dialling part connects to.
    pub(crate) listens: SocketAddr,
    /// What the listening part is connected from.
    pub(crate) dials_from: Ipv4Addr,
}

/// A cable; dropping it cuts everything.
#[derive(Debug)]
pub(crate) struct Cable {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    /// An address of loopback that no other cable has.
    dials_from: Ipv4Addr,
    quality: Mutex<Quality>,
    /// The dialler's side and the listener's of every connection.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    /// Sides that are kept open although nobody is at the other end.
    orphans: Mutex<Vec<TcpStream>>,
    next: AtomicU64,
    /// Connections that were cut.
    cut: AtomicU64,
    /// How often everything that was open was closed. Changes only with `open` locked.
    breaks: AtomicU64,
    seed: u64,
    ended: AtomicBool,
}

/// Where a cable leads: an address in a configuration, which is there when the first connection comes.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: PathBuf,
    /// The table with `listen`.
    pub(crate) table: &'static str,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cable {
    /// Starts to accept on a port of its own. What is random about it follows from `seed`.
    pub(crate) fn start(upstream: Upstream, seed: u64) -> anyhow::Result<Cable> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for the parts")?;
        let address = listener.local_addr()?;
        let [high, low] = address.port().to_be_bytes();
        let shared = Arc::new(Shared {
            upstream,
            dials_from: Ipv4Addr::new(127, 1, high, low),
            quality: Mutex::default(),
            open: Mutex::default(),
            orphans: Mutex::default(),
            next: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            seed,
            ended: AtomicBool::new(false),
        });
        let on_thread = shared.clone();
        let accept = move || {
            for stream in listener.incoming() {
                if on_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                // Before the quality: a cut after this is one that the connection is to see.
                let breaks = on_thread.breaks.load(Ordering::SeqCst);
                // Whoever fails here sees its connection closed, and comes again.
                if let Ok(stream) = stream
                    && *lock(&on_thread.quality) != Quality::Cut
                {
                    let _ = on_thread.connect(stream, breaks);
                }
            }
        };
        thread::Builder::new().name("cable".into()).spawn(accept).context("cannot start a thread")?;
        Ok(Cable { address, shared })
    }

    /// What the dialling part is told to connect to.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its two sides.
    pub(crate) fn sides(&self) -> Sides {
        Sides { listens: self.address, dials_from: self.shared.dials_from }
    }

    /// Cuts every connection there is; new ones go through.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Connections that were cut so far.
    pub(crate) fn cut_so_far(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }

    /// Makes the cable good or bad.
    pub(crate) fn set(&self, quality: Quality) {
        let before = *lock(&self.shared.quality);
        if matches!(before, Quality::HalfOpen | Quality::Silent) {
            // What was held back is lost, not late.
            self.shared.cut();
        }
        *lock(&self.shared.quality) = quality;
        match quality {
            Quality::Cut => self.shared.cut(),
            Quality::Doubled => self.shared.orphan(),
            _ => {}
        }
        if before == Quality::Doubled {
            for stream in std::mem::take(&mut *lock(&self.shared.orphans)) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.set(Quality::Cut);
        // Wakes the thread that accepts, unless no packet gets there.
        let _ = TcpStream::connect_timeout(&self.address, WAKES_WITHIN);
    }
}

impl Shared {
    /// Takes every connection there is, and keeps those that are being made from becoming one.
    fn break_all(&self) -> HashMap<u64, [TcpStream; 2]> {
        let mut open = lock(&self.open);
        self.breaks.fetch_add(1, Ordering::SeqCst);
        std::mem::take(&mut *open)
    }

    fn cut(&self) {
        let open = self.break_all();
        self.cut.fetch_add(open.len() as u64, Ordering::Relaxed);
        for stream in open.into_values().flatten() {
            // It may have ended by itself just now.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes the dialler's sides; the others stay.
    fn orphan(&self) {
        for [dialler, listener] in self.break_all().into_values() {
            lock(&self.orphans).push(listener);
            let _ = dialler.shutdown(Shutdown::Both);
        }
    }

    /// Makes a connection, unless the cable is broken after `breaks` times meanwhile.
    fn connect(self: &Arc<Self>, dialler: TcpStream, breaks: u64) -> anyhow::Result<()> {
        let listener = self.dial()?;
        dialler.set_nodelay(true)?;
        listener.set_nodelay(true)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let sides = [dialler.try_clone()?, listener.try_clone()?];
        {
            let mut open = lock(&self.open);
            // Whoever broke the cable while this one was being made did not see it.
            if self.breaks.load(Ordering::SeqCst) != breaks {
                return Ok(());
            }
            open.insert(id, sides);
        }
        let ways = [(dialler.try_clone()?, listener.try_clone()?, false), (listener, dialler, true)];
        for (from, to, is_answer) in ways {
            let shared = self.clone();
            thread::Builder::new().name("cable".into()).spawn(move || {
                shared.pass_on(id, from, to, is_answer);
            })?;
        }
        Ok(())
    }

    /// Connects to the part that listens.
    fn dial(&self) -> anyhow::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.dials_from, 0)).into())?;
        socket.connect_timeout(&self.upstream.address()?.into(), CONNECT_TIMEOUT)?;
        Ok(socket.into())
    }

    fn holds_back(&self, is_answer: bool) -> bool {
        match *lock(&self.quality) {
            Quality::Silent => true,
            Quality::HalfOpen => is_answer,
            _ => false,
        }
    }

    /// Passes bytes on until either side ends, and then ends both, unless one is to stay.
    fn pass_on(&self, id: u64, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut piece = vec![0; PIECE_BYTES];
        let mut random = SmallRng::seed_from_u64(self.seed ^ (id << 1 | u64::from(is_answer)));
        while let Ok(read @ 1..) = from.read(&mut piece) {
            // Copied: nobody else may be kept waiting while a piece is.
            let quality = *lock(&self.quality);
            match quality {
                Quality::Uneven(most) => thread::sleep(most.mul_f64(random.random_range(0.0..1.0))),
                Quality::Delayed => thread::sleep(DELAY),
                Quality::Throttled => {
                    thread::sleep(Duration::from_secs_f64(read as f64 / THROTTLED_BYTES_PER_S))
                }
                _ => {}
            }
            while self.holds_back(is_answer) && lock(&self.open).contains_key(&id) {
                thread::sleep(LOOK_EVERY);
            }
            // Broken meanwhile: what was held back is lost, although the sides may be open for an instant yet.
            if !lock(&self.open).contains_key(&id) {
                break;
            }
            if to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        if lock(&self.open).remove(&id).is_some() {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}

impl Upstream {
    fn address(&self) -> anyhow::Result<SocketAddr> {
        listen_of(&self.config, self.table)
    }
}

/// The address of a table of a part's configuration.
pub(crate) fn listen_of(config: &Path, table: &str) -> anyhow::Result<SocketAddr> {
    let text = std::fs::read_to_string(config);
    let parsed: toml::Table = text.with_context(|| format!("cannot read {}", config.display()))?.parse()?;
    let listen = parsed.get(table).and_then(|table| table.get("listen")?.as_str());
    Ok(listen.with_context(|| format!("{} has no {table}.listen", config.display()))?.parse()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Ends {
        cable: Cable,
        dialler: TcpStream,
        listener: TcpStream,
        accepting: TcpListener,
        _dir: tempfile::TempDir,
    }

    fn ends() -> Ends {
        let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("[feed]\nlisten = \"{}\"\n", accepting.local_addr().unwrap()))
            .unwrap();
        let cable = Cable::start(Upstream { config, table: "feed" }, 1).unwrap();
        let dialler = TcpStream::connect(cable.address).unwrap();
        let (listener, _) = accepting.accept().unwrap();
        let mut ends = Ends { cable, dialler, listener, accepting, _dir: dir };
        // Only now is the connection one that faults find.
        assert!(says(&mut ends.dialler, &mut ends.listener));
        ends
    }

    fn says(from: &mut TcpStream, to: &mut TcpStream) -> bool {
        let mut byte = [0];
        from.write_all(b"x").is_ok() && to.read(&mut byte).unwrap_or(0) == 1
    }

    #[test]
    fn a_cable_that_is_cut_closes_both_sides_and_lets_nobody_in_until_it_is_good_again() {
        let mut ends = ends();
        assert!(says(&mut ends.dialler, &mut ends.listener) && says(&mut ends.listener, &mut ends.dialler));
        ends.cable.set(Quality::Cut);
        assert_eq!(ends.dialler.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(ends.listener.read(&mut [0]).unwrap_or(0), 0);
        let mut refused = TcpStream::connect(ends.cable.address).unwrap();
        assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0);
        ends.cable.set(Quality::Good);
        let mut dialler = TcpStream::connect(ends.cable.address).unwrap();
        let (mut listener, _) = ends.accepting.accept().unwrap();
        assert!(says(&mut dialler, &mut listener));
    }

    #[test]
    fn bytes_that_are_held_back_come_in_whole_until_every_connection_is_cut_once() {
        let mut ends = ends();
        ends.cable.set(Quality::Uneven(Duration::from_millis(1)));
        assert!(says(&mut ends.dialler, &mut ends.listener) && says(&mut ends.listener, &mut ends.dialler));
        ends.cable.cut();
        assert_eq!(ends.dialler.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(ends.listener.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(ends.cable.cut_so_far(), 1);
        let mut dialler = TcpStream::connect(ends.cable.address).unwrap();
        let (mut listener, _) = ends.accepting.accept().unwrap();
        assert!(says(&mut dialler, &mut listener));
    }

    #[test]
    fn a_half_open_cable_passes_one_way_only_and_closes_when_the_fault_is_over() {
        let mut ends = ends();
        ends.cable.set(Quality::HalfOpen);
        ends.listener.write_all(b"never seen").unwrap();
        assert!(says(&mut ends.dialler, &mut ends.listener));
        ends.cable.set(Quality::Good);
        assert_eq!(ends.dialler.read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn a_silent_cable_takes_connections_and_passes_nothing_on_and_closes_when_the_fault_is_over() {
        let mut ends = ends();
        ends.cable.set(Quality::Silent);
        let mut dialler = TcpStream::connect(ends.cable.address).unwrap();
        let (mut second, _) = ends.accepting.accept().unwrap();
        dialler.write_all(b"never seen").unwrap();
        ends.listener.write_all(b"never seen").unwrap();
        ends.dialler.write_all(b"never seen").unwrap();
        ends.cable.set(Quality::Good);
        // All that comes is the end, of the new connection too.
        assert_eq!(ends.dialler.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(ends.listener.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!((dialler.read(&mut [0]).unwrap_or(0), second.read(&mut [0]).unwrap_or(0)), (0, 0));
    }

    #[test]
    fn a_doubled_cable_leaves_the_listener_with_the_old_connection_beside_the_new_one() {
        let mut ends = ends();
        ends.cable.set(Quality::Doubled);
        assert_eq!(ends.dialler.read(&mut [0]).unwrap_or(0), 0);
        let mut again = TcpStream::connect(ends.cable.address).unwrap();
        let (mut second, _) = ends.accepting.accept().unwrap();
        assert!(says(&mut again, &mut second));
        ends.listener.set_nonblocking(true).unwrap();
        let silent = ends.listener.read(&mut [0]).unwrap_err();
        assert_eq!(silent.kind(), std::io::ErrorKind::WouldBlock);
        ends.listener.set_nonblocking(false).unwrap();
        ends.cable.set(Quality::Good);
        assert_eq!(ends.listener.read(&mut [0]).unwrap_or(0), 0);
    }
}
