//! Lines on stderr, so that nobody waits in the dark. stdout belongs to results.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Writes one line to stderr.
pub fn say(line: impl AsRef<str>) {
    // A closed stderr must not end a measurement.
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}

/// Writes text to stdout as it is.
pub fn print(text: impl AsRef<str>) {
    let mut stdout = io::stdout().lock();
    // As above: whoever closed it does not want to read it.
    let _ = stdout.write_all(text.as_ref().as_bytes()).and_then(|()| stdout.flush());
}

/// Says a line a second until it is dropped.
#[derive(Debug)]
pub struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Calls `line` every second with the time since the start and says what it returns; `None` says nothing.
    #[must_use]
    pub fn start(mut line: impl FnMut(Duration) -> Option<String> + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut next = start + EVERY;
            while let Err(RecvTimeoutError::Timeout) =
                stopped.recv_timeout(next.saturating_duration_since(Instant::now()))
            {
                next += EVERY;
                if let Some(line) = line(start.elapsed()) {
                    say(line);
                }
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A ticker that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}
