//! A restore whose Nth call fails. It says what was wrong, or is killed; what it leaves is nothing that a service opens, or all of it; begun
//! again it makes the whole log.

use std::cell::RefCell;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::plan::Plan;
use crate::admin::AdminApi;
use crate::fault::checker::Objection;
use crate::fault::steps::Steps;
use crate::fleet::{Fleet, Options, process};
use crate::http1::{Connection, Endpoint};
use crate::shim::Shim;

/// What a sweep of it is called.
pub(super) const PART: &str = "restore";
/// Settings of its fleet: backups in the fleet's folder, made when they are asked for.
pub(super) const SETTINGS: [&str; 2] = ["admin.backup.every_s=86400", "admin.backup.archive_every_s=1"];

/// Links made after the backup.
const LATER: usize = 12;
/// How long an answer of the API and the archive are waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ARCHIVED_WITHIN: Duration = Duration::from_secs(30);

/// A writer with a backup, whose log is restored again and again.
pub(super) struct Trial<'a> {
    fleet: Fleet,
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    preload: PathBuf,
    plan: &'a Plan,
    api: AdminApi,
    connection: RefCell<Connection>,
    /// What the API says of every link.
    links: Vec<Value>,
}

impl<'a> Trial<'a> {
    /// Starts a fleet and makes links and a backup, then some more links, and waits until all of it is in the place of backups.
    ///
    /// # Errors
    /// Any of it fails.
    pub(super) fn prepare(
        mut options: Options,
        shim: &Shim,
        plan: &'a Plan,
        history: &Path,
    ) -> anyhow::Result<Trial<'a>> {
        let dir = options.dir.canonicalize()?;
        let place = format!("admin.backup.url=\"{}\"", dir.join("backups").display());
        options.settings.push(place.parse().map_err(anyhow::Error::msg)?);
        let program = options.bin_dir.join("signpost-admin");
        let fleet = Fleet::start(options)?;
        let endpoint: Endpoint = fleet.ready().admin.parse()?;
        let api = AdminApi::new(endpoint.clone(), &fleet.ready().token, false);
        let mut trial = Trial {
            program,
            config: dir.join("admin/config.toml"),
            data: dir.join("admin/data"),
            preload: shim.path().to_owned(),
            plan,
            connection: RefCell::new(Connection::new(endpoint, ANSWER_WITHIN)),
            api,
            links: Vec::new(),
            fleet,
        };
        let steps = Steps::of(&trial.fleet, history)?;
        steps.work()?;
        steps.everything()?;
        trial.admin(&["backup", "now"])?;
        for number in 0..LATER {
            let request = trial.api.create(&format!("https://example.org/later/{number}"));
            let mut connection = trial.connection.borrow_mut();
            let answer = connection.exchange(&request)?;
            anyhow::ensure!(answer.status == 201, "a link was answered with {}", answer.status);
        }
        let head = trial.status(&["status"], "head")?;
        let until = Instant::now() + ARCHIVED_WITHIN;
        while trial.status(&["backup", "status"], "archived")? < head {
            anyhow::ensure!(
                Instant::now() < until,
                "record {head} is not archived within {ARCHIVED_WITHIN:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        trial.links = trial.links()?;
        // Whoever follows would have to go with every restored log.
        trial.must("stop proxy-0")?;
        trial.must("stop admin")?;
        Ok(trial)
    }

    /// One N; returns what became of the restore, and what contradicts the contract.
    ///
    /// # Errors
    /// The fleet cannot be handled.
    pub(super) fn one(&self, at: u64) -> anyhow::Result<(String, Vec<Objection>)> {
        fs::remove_dir_all(&self.data).with_context(|| format!("cannot remove {}", self.data.display()))?;
        fs::create_dir_all(&self.data)?;
        self.plan.fail(at);
        let output = self.restore(true)?;
        self.plan.heal();
        let mut objections = Vec::new();
        let mut object = |rule, seen: String| objections.push(Objection { rule, seen });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && output.status.signal().is_none() && !said.contains("error") {
            object("silent", format!("it ended with {} and said {said:?}", output.status));
        }
        if output.status.success() && !self.log().exists() {
            object("restore", format!("it said that it had restored, and there is no log: {said}"));
        }
        if !self.log().exists() {
            let again = self.restore(false)?;
            if !again.status.success() {
                object("restore", format!("begun again: {}", String::from_utf8_lossy(&again.stderr)));
                return Ok((end_of(output.status), objections));
            }
        }
        let started = self.fleet.command("start admin");
        if started["ok"] == true {
            let links = self.links()?;
            if links != self.links {
                object("restore", format!("the links are {links:?} and were {:?}", self.links));
            }
            self.must("kill admin 9")?;
        } else {
            object("restore", format!("the service does not start on what was restored: {started}"));
        }
        Ok((end_of(output.status), objections))
    }

    fn log(&self) -> PathBuf {
        self.data.join("log")
    }

    fn must(&self, line: &str) -> anyhow::Result<()> {
        let answer = self.fleet.command(line);
        anyhow::ensure!(answer["ok"] == true, "{line}: {answer}");
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }

    fn admin(&self, words: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(words).output().context("cannot run signpost-admin")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{words:?}: {said}");
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// The number of a record that a command tells.
    fn status(&self, words: &[&str], what: &str) -> anyhow::Result<u64> {
        let said = self.admin(words)?;
        let head = if said[what]["head"].is_object() { &said[what]["head"] } else { &said[what] };
        Ok(head["seq"].as_u64().unwrap_or_default())
    }

    fn restore(&self, faulty: bool) -> anyhow::Result<Output> {
        let mut command = self.command(&["restore", "--keep-limits"]);
        if faulty {
            command.env("LD_PRELOAD", &self.preload);
            command.env("FAIL_NTH_PLAN", self.plan.path()).env("FAIL_NTH_DIR", &self.data);
        }
        command.output().context("cannot run signpost-admin")
    }

    /// What the API says of every link, counts included.
    fn links(&self) -> anyhow::Result<Vec<Value>> {
        let mut connection = self.connection.borrow_mut();
        let answer = connection.exchange(&self.api.get("/v1/links?archived=any&limit=500"))?;
        anyhow::ensure!(answer.status == 200, "the list of links was answered with {}", answer.status);
        let page: Value = serde_json::from_slice(answer.body)?;
        page["data"].as_array().cloned().context("a page without links")
    }
}

fn end_of(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "restored".to_owned(),
        Some(1) => "refused".to_owned(),
        _ => process::describe(status),
    }
}
