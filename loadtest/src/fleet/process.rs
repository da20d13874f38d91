//! One part of a fleet as a process: started, signalled, waited for.
//!
//! Invariant: no part outlives the thread that started it. The kernel sends it SIGKILL when that thread ends, whatever
//! ended it (prctl(2), PR_SET_PDEATHSIG; it is the thread that counts, not the process).

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use super::options::Variable;
use crate::http1::Endpoint;
use crate::pace::StopFlag;

/// How often the end of a process is looked for.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// Lines of a log that are shown when a part did not start.
const TAIL_LINES: usize = 20;
/// Bytes of a log that are looked at for them.
const TAIL_BYTES: u64 = 16 << 10;

/// One part.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Where its /readyz is.
    pub(crate) health: Endpoint,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    /// Where the log of the last start begins, in bytes.
    log_start: u64,
    child: Option<Child>,
    /// How the last process of it ended.
    ended: Option<ExitStatus>,
}

impl Part {
    pub(crate) fn new(name: &str, binary: &Path, config: PathBuf, log: PathBuf, health: Endpoint) -> Self {
        let binary = binary.to_owned();
        let environment = Vec::new();
        Self {
            name: name.to_owned(),
            health,
            binary,
            config,
            log,
            environment,
            log_start: 0,
            child: None,
            ended: None,
        }
    }

    /// Gives it more in its environment, from its next start on.
    pub(super) fn with_environment(mut self, variables: &[Variable]) -> Self {
        let own = variables.iter().filter(|variable| variable.part == self.name);
        self.environment.extend(own.map(|variable| (variable.name.clone(), variable.value.clone())));
        self
    }

    /// Starts the process; it is not ready yet.
    pub(crate) fn spawn(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.pid().is_none(), "{} is running already", self.name);
        let log = File::options().create(true).append(true).open(&self.log);
        let mut log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        writeln!(log, "--- {} started at {}", self.name, jiff::Timestamp::now())?;
        self.log_start = log.metadata()?.len();
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        end_with_this_thread(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.ended = None;
        self.child = Some(child);
        Ok(())
    }

    /// The process, if it runs.
    pub(crate) fn pid(&mut self) -> Option<u32> {
        self.reap();
        self.child.as_ref().map(Child::id)
    }

    /// How the last process ended; `None` when it runs or there was none.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.reap();
        self.ended
    }

    /// Takes note of the end of the process; whether it ended since the last time.
    pub(crate) fn reap(&mut self) -> bool {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if status.is_some() {
            self.child = None;
            self.ended = status;
        }
        status.is_some()
    }

    /// Whether the process is stopped by a signal (SIGSTOP).
    pub(crate) fn is_paused(&mut self) -> bool {
        let Some(pid) = self.pid() else { return false };
        // proc_pid_stat(5): the state is the first word after the name in parentheses, which may hold anything.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
    }

    /// Sends a signal; returns the process it went to.
    pub(crate) fn signal(&mut self, signal: Signal) -> anyhow::Result<u32> {
        let pid = self.pid().with_context(|| format!("{} is not running", self.name))?;
        // The process has not been waited for, so its number cannot belong to another.
        let target = Pid::from_raw(i32::try_from(pid).context("a process number is an i32")?);
        kill(target, signal).with_context(|| format!("cannot signal {}", self.name))?;
        Ok(pid)
    }

    /// Waits for the end until `deadline`; false when it still runs.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> bool {
        while self.pid().is_some() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// The end of what the part has logged since it was started last.
    pub(crate) fn log_tail(&self) -> Vec<String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|&line| line.to_owned()).collect()
    }

    /// Where the log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

/// How a process ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown end".to_owned(),
    }
}

/// Runs a program to its end and returns what it wrote to stdout.
pub(crate) fn output(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    stop: &StopFlag,
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end_with_this_thread(&mut command);
    let name = || {
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        let words: Vec<&str> = arguments.iter().copied().take_while(|word| !word.starts_with('-')).collect();
        format!("{program} {}", words.join(" "))
    };
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if stop.is_set() || Instant::now() >= deadline {
            child.kill()?;
            let _killed = child.wait();
            anyhow::ensure!(!stop.is_set(), "stopped");
            anyhow::bail!("{} did not end within {limit:?}", name());
        }
        thread::sleep(POLL);
    }
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{} failed ({}): {}",
        name(),
        describe(output.status),
        errors.trim()
    );
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote something that is no text", name()))
}

/// Puts the process into a group of its own, so that a Ctrl-C in the terminal reaches only the fleet itself, and has it
/// killed when this thread ends.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let prepare = move || -> io::Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Otherwise the parent ended before the line above, and nobody will send the signal.
        if getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // The thread may have blocked the signals it waits for; the part needs them.
        SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    command.process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: prctl, getppid and pthread_sigmask are,
    // and neither they nor the errors made of a number or a kind allocate.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(prepare);
    }
}
