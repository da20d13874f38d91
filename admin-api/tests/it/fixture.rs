//! A key pool, a service in this process, and a client, each as plain as a test needs it.

mod admin;
mod client;
mod pool;
mod reporter;

pub use admin::{Admin, config_text};
pub use client::{Client, Reply};
pub use pool::FakePool;
pub use reporter::{Reporter, batch, hello, subject_of_newest};

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long something that has to happen may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An address for a process that has to be told one. Its port is none of those that connections are given (ip(7), `ip_local_port_range`),
/// nor of another test beside this one: nobody takes it between this call and the process, or while the process is started again.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(8);
    let listened = (0..20_000).find_map(|_| {
        let at = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        TcpListener::bind(("127.0.0.1", 10_000 + at as u16)).ok()
    });
    listened.unwrap().local_addr().unwrap()
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
