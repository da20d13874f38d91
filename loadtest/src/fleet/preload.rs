//! Synthetic links before anything else: many, fast, through the batch API like everything that creates links.
//!
//! Invariant: line `n` of `keys.txt` is the code of synthetic link `n`, also after an interrupted run: the file grows in
//! order, and an incomplete last line is cut off before it grows further. A batch whose answer was lost is sent again,
//! so the system may hold links that no line names; it never lacks one that a line names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::admin::{AdminApi, BATCH_MAX, batch_created, replication};
use crate::figures;
use crate::http1::{Connection, Endpoint};
use crate::pace::StopFlag;
use crate::progress::say;
use crate::synthetic::long_url;

/// Connections that send batches; the writer groups what they send.
const CONNECTIONS: usize = 4;
/// Batches that may wait to be written to the file.
const BATCHES_WAITING_MAX: usize = 64;
/// How long nothing may move before the preload gives up.
const NO_PROGRESS_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait before a refused batch is sent again.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How often positions are asked for, and the stop flag looked at.
const POLL: Duration = Duration::from_millis(50);
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A preload.
#[derive(Debug)]
pub(super) struct Preload<'a> {
    pub(super) admin: Endpoint,
    pub(super) token: &'a str,
    /// Links there are to be in the end.
    pub(super) links: u64,
    /// The file of their codes.
    pub(super) keys: &'a Path,
    /// The members that have to have them.
    pub(super) proxies: &'a [String],
    pub(super) stop: &'a StopFlag,
}

/// The codes of one batch, in order.
type Batch = (u64, Vec<String>);

impl Preload<'_> {
    /// Creates the links that are missing and waits until every proxy has applied them.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (mut file, before) = open_keys(self.keys)?;
        if before >= self.links {
            return Ok(());
        }
        let missing = self.links - before;
        say(format!("fleet: preloading {} links", figures::count(missing)));
        let api = AdminApi::new(self.admin.clone(), self.token, true);
        let start = Instant::now();
        let next = AtomicU64::new(before);
        let done = thread::scope(|scope| {
            let (batches, incoming) = mpsc::sync_channel(BATCHES_WAITING_MAX);
            for _ in 0..CONNECTIONS {
                let (batches, api, next) = (batches.clone(), &api, &next);
                scope.spawn(move || send_batches(api, next, self.links, self.stop, &batches));
            }
            drop(batches);
            write_keys(&mut file, &incoming, before, self.links, self.stop)
        });
        file.flush().with_context(|| format!("cannot write {}", self.keys.display()))?;
        done?;
        let seconds = start.elapsed().as_secs_f64();
        say(format!(
            "fleet: preloaded {} links in {seconds:.1} s ({})",
            figures::count(missing),
            figures::rate(missing, seconds)
        ));
        self.wait_until_applied(&api)
    }

    /// Waits until every proxy has applied everything there is now.
    fn wait_until_applied(&self, api: &AdminApi) -> anyhow::Result<()> {
        let mut connection = Connection::new(self.admin.clone(), ANSWER_LIMIT);
        let mut ask = || -> anyhow::Result<_> {
            let answer = connection
                .exchange(&api.replication())
                .context("cannot ask for the positions of the proxies")?;
            replication(&answer).context("cannot read the positions of the proxies")
        };
        let head = ask()?.head_seq();
        let (mut behind, mut moved_at) = (u64::MAX, Instant::now());
        loop {
            let positions = ask()?;
            let lag = |proxy: &String| head.saturating_sub(positions.applied_seq(proxy).unwrap_or(0));
            let now_behind: u64 = self.proxies.iter().map(lag).sum();
            if now_behind == 0 {
                return Ok(());
            }
            if now_behind < behind {
                (behind, moved_at) = (now_behind, Instant::now());
            }
            anyhow::ensure!(!self.stop.is_set(), "stopped while the proxies caught up");
            anyhow::ensure!(
                moved_at.elapsed() < NO_PROGRESS_LIMIT,
                "the proxies are {behind} records behind the preload and have not moved for {} s",
                NO_PROGRESS_LIMIT.as_secs()
            );
            thread::sleep(POLL);
        }
    }
}

/// One connection: takes the next batch until there is none, or something cannot be mended by trying again.
fn send_batches(
    api: &AdminApi,
    next: &AtomicU64,
    links: u64,
    stop: &StopFlag,
    batches: &SyncSender<anyhow::Result<Batch>>,
) {
    let mut connection = Connection::new(api.endpoint().clone(), ANSWER_LIMIT);
    loop {
        let first = next.fetch_add(BATCH_MAX as u64, Ordering::Relaxed);
        if first >= links || stop.is_set() {
            return;
        }
        let last = links.min(first + BATCH_MAX as u64);
        let batch = send_batch(api, &mut connection, first, last, stop).map(|codes| (first, codes));
        let failed = batch.is_err();
        // The other end hangs up after the first failure.
        if batches.send(batch).is_err() || failed {
            return;
        }
    }
}

/// Creates links `first..last` and returns their codes in order; refused ones are sent again after a wait.
fn send_batch(
    api: &AdminApi,
    connection: &mut Connection,
    first: u64,
    last: u64,
    stop: &StopFlag,
) -> anyhow::Result<Vec<String>> {
    let mut codes: BTreeMap<u64, String> = BTreeMap::new();
    let mut moved_at = Instant::now();
    loop {
        let missing: Vec<u64> = (first..last).filter(|index| !codes.contains_key(index)).collect();
        if missing.is_empty() {
            return Ok(codes.into_values().collect());
        }
        let urls: Vec<String> = missing.iter().map(|&index| long_url(index)).collect();
        let (why, wait) = match connection.exchange(&api.create_batch(&urls)) {
            Err(error) => (error.to_string(), RETRY_WAIT_MAX),
            Ok(answer) => match batch_created(&answer, urls.len()) {
                Err(refused) => (refused.to_string(), wait_of(refused.retry_after_s)),
                Ok(results) => {
                    let before = codes.len();
                    let mut refusal = None;
                    for (index, result) in missing.into_iter().zip(results) {
                        match result {
                            Ok(link) => drop(codes.insert(index, link.code)),
                            Err(refused) => refusal = Some(refused),
                        }
                    }
                    if codes.len() > before {
                        moved_at = Instant::now();
                    }
                    let Some(refused) = refusal else { continue };
                    (refused.to_string(), wait_of(refused.retry_after_s))
                }
            },
        };
        anyhow::ensure!(
            moved_at.elapsed() < NO_PROGRESS_LIMIT,
            "the admin API has refused links {first} to {last} for {} s: {why}",
            NO_PROGRESS_LIMIT.as_secs()
        );
        anyhow::ensure!(stop.sleep_until(Instant::now() + wait), "stopped while preloading");
    }
}

fn wait_of(retry_after_s: Option<u32>) -> Duration {
    retry_after_s.map_or(POLL, |seconds| Duration::from_secs(u64::from(seconds)).min(RETRY_WAIT_MAX))
}

/// Writes the codes in order as they come, and says how far it is.
fn write_keys(
    file: &mut BufWriter<File>,
    incoming: &Receiver<anyhow::Result<Batch>>,
    before: u64,
    links: u64,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    let mut written = before;
    let mut waiting: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let (mut said_at, mut said) = (Instant::now(), before);
    while written < links {
        match incoming.recv_timeout(POLL) {
            Ok(batch) => {
                let (first, codes) = batch?;
                waiting.insert(first, codes);
            }
            Err(RecvTimeoutError::Timeout) => anyhow::ensure!(!stop.is_set(), "stopped while preloading"),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("stopped while preloading"),
        }
        while let Some(codes) = waiting.remove(&written) {
            for code in &codes {
                writeln!(file, "{code}").context("cannot write keys.txt")?;
            }
            written += codes.len() as u64;
        }
        if said_at.elapsed() >= PROGRESS_EVERY {
            let rate = figures::rate(written - said, said_at.elapsed().as_secs_f64());
            say(format!("fleet: {} of {} links ({rate})", figures::count(written), figures::count(links)));
            (said_at, said) = (Instant::now(), written);
        }
    }
    Ok(())
}

/// Opens the file of codes at its end, an incomplete last line cut off; returns how many lines it has.
fn open_keys(path: &Path) -> anyhow::Result<(BufWriter<File>, u64)> {
    let open = || {
        let bytes = if path.exists() { fs::read(path)? } else { Vec::new() };
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines = bytes[..complete].iter().filter(|&&byte| byte == b'\n').count();
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.set_len(complete as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((BufWriter::new(file), lines as u64))
    };
    open().map_err(|error: std::io::Error| error).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_of_codes_goes_on_after_its_last_complete_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.txt");
        assert_eq!(open_keys(&path).unwrap().1, 0);
        fs::write(&path, "aaaaaaa\nbbbbbbb\nccc").unwrap();
        let (mut file, lines) = open_keys(&path).unwrap();
        assert_eq!(lines, 2);
        writeln!(file, "ddddddd").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "aaaaaaa\nbbbbbbb\nddddddd\n");
    }

    #[test]
    fn codes_are_written_in_the_order_of_the_links_whatever_order_they_come_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.txt");
        let (mut file, before) = open_keys(&path).unwrap();
        let (batches, incoming) = mpsc::sync_channel(3);
        for (first, codes) in [(2, ["c", "d"]), (4, ["e", "f"]), (0, ["a", "b"])] {
            batches.send(Ok((first, codes.map(str::to_owned).to_vec()))).unwrap();
        }
        write_keys(&mut file, &incoming, before, 6, &StopFlag::default()).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\nc\nd\ne\nf\n");
    }
}
