//! The thread that owns the parts: starts them, carries out commands, ends them.
//!
//! Invariant: only this thread starts parts, because the kernel ends a part when the thread that started it ends.
//! Dropping the supervisor stops everything, so every way out of it does.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::binaries::Binaries;
use super::command::Command;
use super::handle::{Pids, Ready, Request};
use super::layout::{Layout, loopback};
use super::options::Options;
use super::preload::Preload;
use super::process::{Part, describe};
use super::setup::Setup;
use super::{config, readiness, refusal};
use crate::http1::Endpoint;
use crate::pace::{StopFlag, ns_between};
use crate::progress::say;

/// How long a part may take to end in good order.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long a part that was killed may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How often ends that nobody asked for are looked for.
const NOTICE_EVERY: Duration = Duration::from_millis(200);

/// The parts of a running fleet.
#[derive(Debug)]
pub(super) struct Supervisor {
    layout: Layout,
    binaries: Binaries,
    /// Key pools, then the admin API, then the proxies: the order of starting.
    parts: Vec<Part>,
    token: String,
    stop: StopFlag,
}

/// The life of a fleet: starts it, tells whether that worked, and carries out requests until it is told to end.
pub(super) fn run(
    options: &Options,
    stop: StopFlag,
    started: &Sender<anyhow::Result<Ready>>,
    requests: &Receiver<Request>,
) {
    let mut supervisor = match Supervisor::start(options, stop) {
        Ok((supervisor, ready)) => {
            if started.send(Ok(ready)).is_err() {
                return;
            }
            supervisor
        }
        Err(error) => {
            // Whoever waits for it has gone: then nobody is left to tell.
            let _ = started.send(Err(error));
            return;
        }
    };
    while !supervisor.stop.is_set() {
        match requests.recv_timeout(NOTICE_EVERY) {
            Ok(request) => {
                let answer = supervisor.answer(&request.line);
                // Whoever asked may have gone; what was done is done.
                let _ = request.answer.send(answer);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        supervisor.notice_ends();
    }
}

impl Supervisor {
    fn start(options: &Options, stop: StopFlag) -> anyhow::Result<(Self, Ready)> {
        let binaries = Binaries::find(&options.bin_dir)?;
        let layout = Layout::open(options)?;
        config::write_all(&layout, options)?;
        let parts: Vec<Part> = parts(&layout, &binaries)
            .into_iter()
            .map(|part| part.with_environment(&options.environment))
            .collect();
        let mut supervisor = Self { layout, binaries, parts, token: String::new(), stop };
        supervisor.setup().before_start()?;
        supervisor.start_parts(|name| name.starts_with("keypool-"))?;
        supervisor.start_parts(|name| name == "admin")?;
        supervisor.token = supervisor.setup().with_admin()?;
        supervisor.start_parts(|name| name.starts_with("standby-"))?;
        supervisor.start_parts(|name| name.starts_with("proxy-"))?;
        supervisor.preload(options.links)?;
        let ready = supervisor.ready();
        Ok((supervisor, ready))
    }

    fn setup(&self) -> Setup<'_> {
        Setup { admin: &self.binaries.admin, layout: &self.layout, stop: &self.stop }
    }

    /// Starts the chosen parts together and waits for each.
    fn start_parts(&mut self, chosen: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for part in self.parts.iter_mut().filter(|part| chosen(&part.name)) {
            say(format!("fleet: starting {}", part.name));
            part.spawn()?;
        }
        for part in self.parts.iter_mut().filter(|part| chosen(&part.name)) {
            let took = readiness::wait(part, &self.stop).map_err(|error| {
                let tail = part.log_tail().join("\n  ");
                anyhow::anyhow!("{error}\n  {tail}\n  (the whole log: {})", part.log().display())
            })?;
            say(format!("fleet: {} is ready after {:.1} s", part.name, took.as_secs_f64()));
        }
        Ok(())
    }

    fn preload(&self, links: u64) -> anyhow::Result<()> {
        let proxies: Vec<String> = self.layout.proxies().collect();
        let preload = Preload {
            admin: endpoint(self.layout.topology.admin.http),
            token: &self.token,
            links,
            keys: &self.layout.keys(),
            proxies: &proxies,
            stop: &self.stop,
        };
        if links == 0 { Ok(()) } else { preload.run() }
    }

    fn ready(&mut self) -> Ready {
        let mut pids = Pids { admin: 0, proxies: Vec::new(), keypools: Vec::new() };
        for part in &mut self.parts {
            // A part that has ended meanwhile has no number any more; the next look at the status tells how it ended.
            let pid = part.pid().unwrap_or(0);
            match part.name.split_once('-') {
                None => pids.admin = pid,
                Some(("proxy", _)) => pids.proxies.push(pid),
                Some(("standby", _)) => {}
                Some(_) => pids.keypools.push(pid),
            }
        }
        let topology = &self.layout.topology;
        let url = |port| endpoint(port).to_string();
        Ready {
            admin: url(topology.admin.http),
            token: self.token.clone(),
            standbys: topology.standbys.iter().map(|ports| url(ports.http)).collect(),
            proxies: topology.proxies.iter().map(|ports| url(ports.http)).collect(),
            proxy_health: topology.proxies.iter().map(|ports| url(ports.health)).collect(),
            keypools: topology.keypools.iter().map(|ports| url(ports.http)).collect(),
            pids,
        }
    }

    fn answer(&mut self, line: &str) -> Value {
        let command: Command = match line.parse() {
            Ok(command) => command,
            Err(error) => return refusal(error),
        };
        let done = match command {
            Command::Kill { part, signal } => self.kill(&part, signal),
            Command::Stop { part } => self.stop_part(&part),
            Command::Start { part } => return self.start_part(&part),
            Command::Spawn { part } => self.spawn_part(&part),
            Command::Promote { part } => self.promote(&part),
            Command::Status => Ok(self.status()),
            Command::Quit => {
                self.stop.set();
                self.stop_all();
                Ok(json!({ "ok": true }))
            }
        };
        done.unwrap_or_else(|error| refusal(format!("{error:#}")))
    }

    fn kill(&mut self, name: &str, signal: Signal) -> anyhow::Result<Value> {
        let part = self.part(name)?;
        let pid = part.signal(signal)?;
        // Nothing survives it, so the answer can say that it is gone, and `start` may follow at once.
        if signal == Signal::SIGKILL {
            anyhow::ensure!(
                part.wait_until(Instant::now() + KILL_LIMIT),
                "{name} is still there after SIGKILL"
            );
        }
        Ok(json!({ "ok": true, "part": name, "pid": pid, "signal": signal.as_str() }))
    }

    fn stop_part(&mut self, name: &str) -> anyhow::Result<Value> {
        let part = self.part(name)?;
        let start = Instant::now();
        part.signal(Signal::SIGTERM)?;
        if !part.wait_until(start + STOP_LIMIT) {
            part.signal(Signal::SIGKILL)?;
            part.wait_until(Instant::now() + KILL_LIMIT);
            anyhow::bail!("{name} did not end within {} s of SIGTERM and was killed", STOP_LIMIT.as_secs());
        }
        let ended = part.ended().map(describe);
        Ok(json!({ "ok": true, "part": name, "ended": ended, "took_ms": millis_since(start) }))
    }

    fn spawn_part(&mut self, name: &str) -> anyhow::Result<Value> {
        let part = self.part(name)?;
        part.spawn()?;
        Ok(json!({ "ok": true, "part": name, "pid": part.pid() }))
    }

    /// Has an operator promote a standby; answers when it is the writer.
    fn promote(&mut self, name: &str) -> anyhow::Result<Value> {
        self.part(name)?;
        let start = Instant::now();
        self.setup().promote(name)?;
        Ok(json!({ "ok": true, "part": name, "took_ms": millis_since(start) }))
    }

    fn start_part(&mut self, name: &str) -> Value {
        let stop = self.stop.clone();
        let part = match self.part(name) {
            Ok(part) => part,
            Err(error) => return refusal(error),
        };
        let start = Instant::now();
        if let Err(error) = part.spawn() {
            return refusal(format!("{error:#}"));
        }
        match readiness::wait(part, &stop) {
            Ok(_) => json!({ "ok": true, "part": name, "pid": part.pid(), "took_ms": millis_since(start) }),
            Err(error) => {
                json!({ "error": error.to_string(), "part": name, "pid": part.pid(), "log": part.log_tail() })
            }
        }
    }

    fn status(&mut self) -> Value {
        let parts: Vec<Value> = self.parts.iter_mut().map(status_of).collect();
        json!({ "ok": true, "parts": parts })
    }

    fn part(&mut self, name: &str) -> anyhow::Result<&mut Part> {
        let names: Vec<String> = self.parts.iter().map(|part| part.name.clone()).collect();
        let found = self.parts.iter_mut().find(|part| part.name == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no {name}: {}", names.join(", ")))
    }

    /// Says which parts have ended since the last time.
    fn notice_ends(&mut self) {
        for part in &mut self.parts {
            if part.reap() {
                let how = part.ended().map(describe).unwrap_or_default();
                say(format!("fleet: {} ended ({how})", part.name));
            }
        }
    }

    /// Ends every part: the admin API first, so that what it has accepted still reaches the proxies, key pools last.
    fn stop_all(&mut self) {
        let kinds: [fn(&str) -> bool; 4] = [
            |name| name == "admin",
            |name| name.starts_with("standby-"),
            |name| name.starts_with("proxy-"),
            |name| name.starts_with("keypool-"),
        ];
        for is_kind in kinds {
            let mut group: Vec<&mut Part> =
                self.parts.iter_mut().filter(|part| is_kind(&part.name)).collect();
            for part in &mut group {
                // A part that is not running has nothing to be told; a paused one has to go on to hear it.
                let _ = part.signal(Signal::SIGTERM);
                let _ = part.signal(Signal::SIGCONT);
            }
            let deadline = Instant::now() + STOP_LIMIT;
            for part in group {
                if !part.wait_until(deadline) {
                    say(format!(
                        "fleet: {} did not end within {} s; killing it",
                        part.name,
                        STOP_LIMIT.as_secs()
                    ));
                    // It may have ended this instant, which is as good.
                    let _ = part.signal(Signal::SIGKILL);
                    part.wait_until(Instant::now() + KILL_LIMIT);
                }
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop_all();
    }
}

/// The parts of a layout, not started, in the order of starting.
fn parts(layout: &Layout, binaries: &Binaries) -> Vec<Part> {
    let topology = &layout.topology;
    let part = |name: &str, binary: &Path, health: u16| {
        Part::new(name, binary, layout.config(name), layout.log(name), endpoint(health))
    };
    let keypools = layout.keypools().zip(&topology.keypools);
    let proxies = layout.proxies().zip(&topology.proxies);
    let mut parts: Vec<Part> =
        keypools.map(|(name, ports)| part(&name, &binaries.keypool, ports.http)).collect();
    parts.push(part("admin", &binaries.admin, topology.admin.health));
    let standbys = layout.standbys().zip(&topology.standbys);
    parts.extend(standbys.map(|(name, ports)| part(&name, &binaries.admin, ports.health)));
    parts.extend(proxies.map(|(name, ports)| part(&name, &binaries.proxy, ports.health)));
    parts
}

fn status_of(part: &mut Part) -> Value {
    let pid = part.pid();
    let state = match pid {
        Some(_) if part.is_paused() => "paused",
        Some(_) => "running",
        None => "ended",
    };
    let answer = if state == "running" { readiness::ask(&part.health).ok() } else { None };
    let (ready, detail) = answer.unwrap_or((false, Value::Null));
    let ended = part.ended().map(describe);
    json!({ "name": part.name, "state": state, "pid": pid, "ready": ready, "detail": detail, "ended": ended })
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::from(loopback(port))
}

fn millis_since(start: Instant) -> u64 {
    ns_between(start, Instant::now()) / 1_000_000
}
