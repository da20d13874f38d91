//! A trial: a fleet is broken on purpose, and what it promised is compared with what it did. What all such commands have in common: where
//! they work, the seed they follow from, their report, and how a failure tells the command that repeats it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::RngExt;
use serde::Serialize;

use crate::fleet::{Options, Setting, default_bin_dir};
use crate::pace::StopFlag;
use crate::progress::{print, say};
use crate::report::{ReportArgs, command_line};

/// Seeds that are chosen when none is given: short enough to be typed.
const SEEDS: std::ops::Range<u64> = 1..1_000_000;

/// Where a trial works and reports.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// Folder for everything the trial starts; give a new one.
    #[arg(long, value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// What everything random in a trial follows from.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Seed {
    /// Seed of everything random [default: a new one, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Settings for the configuration of parts.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// A setting for the configuration of a part, as in `fleet`. May be repeated.
    #[arg(long = "set", value_name = "PART.KEY=VALUE")]
    set: Vec<Setting>,
}

/// What a trial found out.
pub trait Findings: Serialize {
    /// For people.
    fn text(&self) -> String;

    /// How often the contract was broken.
    fn broken(&self) -> u64;

    /// Whether the trial was right.
    ///
    /// # Errors
    /// The contract was broken, or the trial did not do what it was asked for.
    fn judge(&self) -> anyhow::Result<()> {
        let broken = self.broken();
        anyhow::ensure!(broken == 0, "the contract was broken {broken} times");
        Ok(())
    }
}

impl PlaceArgs {
    /// The folder of the trial.
    ///
    /// # Errors
    /// None was given.
    pub fn dir(&self) -> anyhow::Result<&Path> {
        self.dir.as_deref().context("no folder was given: --dir DIR")
    }

    /// The folder of the binaries.
    ///
    /// # Errors
    /// This program's own place is not known.
    pub fn bin_dir(&self) -> anyhow::Result<PathBuf> {
        self.bin_dir.clone().map_or_else(default_bin_dir, Ok)
    }

    /// The folder, if no fleet has worked in it yet; it is made if it is not there.
    ///
    /// # Errors
    /// There are links in it that this trial knows nothing of, or it cannot be made.
    pub fn new_dir(&self) -> anyhow::Result<&Path> {
        let dir = self.dir()?;
        let is_new = !dir.join("fleet.json").exists();
        anyhow::ensure!(is_new, "{} is in use already: give a new folder", dir.display());
        make(dir)?;
        Ok(dir)
    }

    /// A fleet in `dir`: what the trial needs set, then what its user wants set.
    ///
    /// # Errors
    /// This program's own place is not known, or a setting is none.
    pub fn options(
        &self,
        dir: &Path,
        proxies: u16,
        own: &[&str],
        settings: &Settings,
    ) -> anyhow::Result<Options> {
        let mut options = Options::new(dir, proxies)?;
        options.bin_dir = self.bin_dir()?;
        for setting in own {
            options.settings.push(setting.parse().map_err(anyhow::Error::msg)?);
        }
        options.settings.extend(settings.set.iter().cloned());
        Ok(options)
    }
}

/// Makes a folder.
///
/// # Errors
/// What the file system says, with the path.
pub(crate) fn make(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Runs a trial that follows from a seed: says the seed, measures, prints, writes the report, judges. Every failure ends with the command
/// that repeats it.
///
/// # Errors
/// What `measure` says, the report cannot be written, or the contract was broken.
pub fn run_seeded<F: Findings>(
    name: &str,
    place: &PlaceArgs,
    seed: Seed,
    measure: impl FnOnce(u64, &StopFlag) -> anyhow::Result<F>,
) -> anyhow::Result<()> {
    let typed = command_line(std::env::args());
    let (number, replay) = match seed.seed {
        Some(number) => (number, typed),
        None => {
            let number = rand::rng().random_range(SEEDS);
            (number, format!("{typed} --seed {number}"))
        }
    };
    let stop = StopFlag::on_signals()?;
    say(format!("{name}: seed {number}"));
    let again = format!("seed {number}; to see it again, in a new folder: {replay}");
    run(place, &again, || measure(number, &stop))
}

/// Runs a trial; `again` says how it is repeated.
///
/// # Errors
/// As [`run_seeded`].
pub fn run<F: Findings>(
    place: &PlaceArgs,
    again: &str,
    measure: impl FnOnce() -> anyhow::Result<F>,
) -> anyhow::Result<()> {
    let begun = place.report.begin();
    let outcome = measure().with_context(|| again.to_owned())?;
    print(outcome.text());
    let path = begun.write(&outcome)?;
    say(format!("report in {}", path.display()));
    outcome.judge().map_err(|error| anyhow::anyhow!("{error:#}; {again}"))
}
