//! Looking now and then whether the replica on the disk is still what was written.
//!
//! A thread makes a pass ([`linklog::scrub`]) every so often at a stated rate, and at once and as fast as it goes when it is told to: by an
//! operator, or by a lookup that met damage. What it finds goes to those who follow: they stop applying, go on serving and fetch another
//! replica.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linklog::scrub::{Verdict, pass};
use linklog::snapshot::Source;
use linklog::store::Reader;
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// How often a slowed-down pass looks whether it is still wanted.
const NAP_MAX: Duration = Duration::from_millis(100);

/// How the disk is looked at.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// From the end of one pass to the beginning of the next; zero: only when told to.
    pub every: Duration,
    /// Bytes of rows a second, in passes nobody has asked for.
    pub bytes_per_s: u64,
}

/// Damage that was found in the replica of a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The replica.
    pub generation: u64,
    /// What is wrong with it.
    pub what: String,
}

/// The last pass, and how many there were.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Passes {
    /// Begun since start.
    pub begun: u64,
    /// Ended since start, in whatever way.
    pub ended: u64,
    /// Passes that found damage since start.
    pub damaged: u64,
    /// When the last one found everything sound, seconds since the Unix epoch; 0: none did since start.
    pub sound_at_s: u64,
    /// What the last one said.
    pub last: Option<String>,
    /// Rows of the last one that found everything sound.
    pub rows: u64,
    /// How long that took.
    pub took: Duration,
}

impl Passes {
    /// For `stats` and `scrub`.
    pub fn to_json(&self) -> Value {
        json!({
            "passes": self.ended,
            "damaged": self.damaged,
            "sound_at_s": self.sound_at_s,
            "last": self.last,
            "rows": self.rows,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// What the thread works on.
struct Wanted {
    generation: u64,
    /// `None`: nothing to look at until there is another replica.
    source: Option<Source>,
    /// Somebody asks for a pass now.
    asked: bool,
    /// The pass that is going on is one that was asked for.
    hurries: bool,
    stop: bool,
}

/// The scrub of a process.
pub struct Scrub {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Raised by what ends or hurries a pass that is going on.
    turns: AtomicU64,
    passes: watch::Sender<Passes>,
    found: mpsc::UnboundedSender<Damage>,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrub").field("passes", &*self.passes.borrow()).finish_non_exhaustive()
    }
}

impl Scrub {
    /// A scrub of the `generation`th replica; damage goes to `found`.
    pub fn new(generation: u64, reader: &Reader, found: mpsc::UnboundedSender<Damage>) -> Scrub {
        let wanted = Wanted {
            generation,
            source: Some(Source::from(reader)),
            asked: false,
            hurries: false,
            stop: false,
        };
        Scrub {
            wanted: Mutex::new(wanted),
            changed: Condvar::new(),
            turns: AtomicU64::new(0),
            passes: watch::Sender::new(Passes::default()),
            found,
        }
    }

    /// Starts the thread; `dir` is its folder, on the replica's file system.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(self: &Arc<Self>, options: ScrubOptions, dir: PathBuf) -> io::Result<Scrubbing> {
        let scrub = Arc::clone(self);
        let work = move || scrub.run(options, &dir);
        let thread = std::thread::Builder::new().name("scrub".into()).spawn(work)?;
        Ok(Scrubbing { scrub: Arc::clone(self), thread })
    }

    /// Looks at another replica from now on.
    pub fn switch(&self, generation: u64, reader: &Reader) {
        self.change(|wanted| (wanted.generation, wanted.source) = (generation, Some(Source::from(reader))));
    }

    /// Lets go of the replica: it is known to be damaged, or the process ends.
    pub fn let_go(&self) {
        self.change(|wanted| wanted.source = None);
    }

    /// Has a pass made at once.
    pub fn ask(&self) {
        if !self.wanted.lock().asked {
            self.change(|wanted| wanted.asked = true);
        }
    }

    /// As [`Scrub::ask`], unless one that was asked for is going on already.
    pub fn suspect(&self) {
        if !self.wanted.lock().hurries {
            self.ask();
        }
    }

    /// Has a pass made at once and waits for its end, but not for longer than `patience`; says how it stands then.
    pub async fn ask_and_wait(&self, patience: Duration) -> Passes {
        let mut passes = self.passes.subscribe();
        let before = passes.borrow_and_update().begun;
        self.ask();
        // One that was going on when we asked does not count.
        let done = passes.wait_for(|passes| passes.ended > before);
        let _ = tokio::time::timeout(patience, done).await;
        self.passes()
    }

    /// Returns how it stands.
    pub fn passes(&self) -> Passes {
        self.passes.borrow().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted.lock());
        self.turns.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    fn run(&self, options: ScrubOptions, dir: &std::path::Path) {
        let mut next = (options.every > Duration::ZERO).then(|| Instant::now() + options.every);
        loop {
            let (generation, source, asked, turn) = {
                let mut wanted = self.wanted.lock();
                loop {
                    if wanted.stop {
                        return;
                    }
                    let is_due = next.is_some_and(|next| next <= Instant::now());
                    if let Some(source) = wanted.source.clone().filter(|_| wanted.asked || is_due) {
                        let asked = std::mem::take(&mut wanted.asked);
                        wanted.hurries = asked;
                        break (wanted.generation, source, asked, self.turns.load(Ordering::Acquire));
                    }
                    match next.filter(|_| wanted.source.is_some()) {
                        Some(next) => drop(self.changed.wait_until(&mut wanted, next)),
                        None => self.changed.wait(&mut wanted),
                    }
                }
            };
            self.passes.send_modify(|passes| passes.begun += 1);
            let begun = Instant::now();
            let go_on = |bytes| {
                self.turns.load(Ordering::Acquire) == turn && (asked || self.nap(bytes, options, turn))
            };
            let result = pass(&source, dir, &go_on);
            // Whoever waits for the database to close need not wait for the next pass.
            drop(source);
            self.wanted.lock().hurries = false;
            self.ended(generation, result, begun.elapsed());
            next = (options.every > Duration::ZERO).then(|| Instant::now() + options.every);
        }
    }

    /// Waits as long as the bytes may take.
    fn nap(&self, bytes: u64, options: ScrubOptions, turn: u64) -> bool {
        let until =
            Instant::now() + Duration::from_secs_f64(bytes as f64 / options.bytes_per_s.max(1) as f64);
        while self.turns.load(Ordering::Acquire) == turn {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP_MAX));
        }
        false
    }

    fn ended(&self, generation: u64, result: Result<Verdict, linklog::scrub::ScrubError>, took: Duration) {
        let mut damage = None;
        let last = match &result {
            Ok(Verdict::Sound { rows, .. }) => {
                tracing::info!(rows, ?took, "the replica on the disk is sound");
                "sound".to_owned()
            }
            Ok(Verdict::Damaged(what)) => {
                damage = Some(Damage { generation, what: what.clone() });
                what.clone()
            }
            Ok(Verdict::Stopped) => {
                "stopped: the replica was replaced, or another pass was asked for".to_owned()
            }
            Err(error) => {
                tracing::error!(%error, "cannot look whether the replica on the disk is sound");
                error.to_string()
            }
        };
        // Before anybody hears that the pass has ended.
        let is_damaged = damage.is_some();
        if let Some(damage) = damage {
            // Nobody follows any more: the process ends.
            let _ = self.found.send(damage);
        }
        self.passes.send_modify(|passes| {
            passes.ended += 1;
            passes.damaged += u64::from(is_damaged);
            passes.last = Some(last);
            if let Ok(Verdict::Sound { rows, .. }) = result {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                (passes.sound_at_s, passes.rows, passes.took) = (now.as_secs(), rows, took);
            }
        });
    }
}

/// The thread.
#[derive(Debug)]
pub struct Scrubbing {
    scrub: Arc<Scrub>,
    thread: JoinHandle<()>,
}

impl Scrubbing {
    /// Ends it, in the middle of a pass too.
    pub fn stop(self) {
        self.scrub.change(|wanted| (wanted.stop, wanted.source) = (true, None));
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks at the disk panicked");
        }
    }
}
