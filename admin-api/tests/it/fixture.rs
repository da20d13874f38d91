//! A key pool, a service in this process, and a client, each as plain as a test needs it.

mod admin;
mod client;
mod pool;
mod reporter;

pub use admin::{Admin, config_text};
pub use client::{Client, Reply};
pub use pool::FakePool;
pub use reporter::{Reporter, batch, hello, subject_of_newest};

use std::time::{Duration, Instant};

/// How long something that has to happen may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

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
