//! A key pool and what is done to it. Copies of its folder are taken while it is down, as a backup of its disk would be.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use wire::keys::MarkUsedRequest;

use super::clients::Supply;
use crate::fleet::ports::Ports;
use crate::fleet::process::{Part, output};
use crate::fleet::readiness;
use crate::http1::Endpoint;
use crate::pace::StopFlag;

/// How long a command of the pool's binary may take.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long a killed pool may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Where a pool is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) binary: PathBuf,
    pub(super) dir: PathBuf,
}

/// A running pool.
pub(super) struct Pool {
    place: Place,
    ports: [u16; 2],
    part: Part,
    supply: Arc<Supply>,
    /// How many of the codes leased from it the copy knows; `None`: there is no copy.
    copied: Option<usize>,
}

impl Pool {
    /// Starts a pool with `slots` in an empty folder, or in one that holds its database.
    pub(super) fn start(
        place: Place,
        slots: Range<u16>,
        ports: &mut Ports,
        stop: &StopFlag,
    ) -> anyhow::Result<Pool> {
        let ports = [ports.choose()?, ports.choose()?];
        fs::create_dir_all(&place.dir)?;
        let config = place.dir.join("config.toml");
        let health: Endpoint = format!("http://127.0.0.1:{}", ports[1]).parse()?;
        let log = place.dir.join("log.txt");
        let mut part = Part::new(&name(&place), &place.binary, config, log, health);
        write_config(&place, &slots, ports)?;
        part.spawn()?;
        readiness::wait(&mut part, stop)?;
        let supply = Arc::new(Supply::new(format!("http://127.0.0.1:{}", ports[0]), slots));
        Ok(Pool { place, ports, part, supply, copied: None })
    }

    /// Returns what clients need to know.
    pub(super) fn supply(&self) -> Arc<Supply> {
        self.supply.clone()
    }

    /// Kills it; `copy`: what lies on its disk then is kept for a restore.
    pub(super) fn kill(&mut self, copy: bool) -> anyhow::Result<()> {
        self.part.signal(Signal::SIGKILL)?;
        let gone = self.part.wait_until(std::time::Instant::now() + GONE_WITHIN);
        anyhow::ensure!(gone, "{} outlived SIGKILL", self.part.name);
        if copy {
            // Codes on their way to a client are on the disk already: at most those the clients know are not in the copy.
            self.copied = Some(self.supply.count());
            copy_dir(&self.data(), &self.copy())?;
        }
        Ok(())
    }

    /// Starts it again.
    pub(super) fn restart(&mut self, stop: &StopFlag) -> anyhow::Result<()> {
        self.part.spawn()?;
        readiness::wait(&mut self.part, stop)?;
        Ok(())
    }

    /// Pauses it.
    pub(super) fn pause(&mut self, pause: Duration) -> anyhow::Result<()> {
        self.part.signal(Signal::SIGSTOP)?;
        thread::sleep(pause);
        self.part.signal(Signal::SIGCONT)?;
        Ok(())
    }

    /// Says whether there is a copy to go back to.
    pub(super) fn has_copy(&self) -> bool {
        self.copied.is_some()
    }

    /// Goes back to the copy, as after the loss of a disk, and tells the pool of what was leased since; returns how many codes that were.
    pub(super) fn restore(&mut self, stop: &StopFlag) -> anyhow::Result<u64> {
        let copied = self.copied.context("there is no copy to go back to")?;
        self.kill(false)?;
        // Whoever has a request under way gets no answer, and asks the restored pool under another id.
        let supply = self.supply.clone();
        let gate = supply.become_another();
        copy_dir(&self.copy(), &self.data())?;
        restored(&self.place, stop)?;
        self.restart(stop)?;
        let since = self.supply.codes_from(copied);
        self.tell(&since)?;
        drop(gate);
        // The copy is another pool's by now.
        self.copied = None;
        Ok(since.len() as u64)
    }

    /// Gives the upper half of its slots to a new pool, which gets a copy of everything that is used.
    pub(super) fn split(&mut self, name: &str, ports: &mut Ports, stop: &StopFlag) -> anyhow::Result<Pool> {
        self.kill(false)?;
        let slots = self.supply.slots();
        let middle = slots.start + (slots.end - slots.start) / 2;
        let dir = self.place.dir.with_file_name(name);
        let place = Place { binary: self.place.binary.clone(), dir };
        fs::create_dir_all(&place.dir)?;
        copy_dir(&self.data(), &place.dir.join("data"))?;
        write_config(&place, &(middle..slots.end), self.ports)?;
        restored(&place, stop)?;
        let new = Pool::start(place, middle..slots.end, ports, stop)?;
        self.supply.shrink_to(slots.start..middle);
        write_config(&self.place, &(slots.start..middle), self.ports)?;
        // What waits may lie in slots that are the other's now.
        let supply = self.supply.clone();
        let gate = supply.become_another();
        restored(&self.place, stop)?;
        self.restart(stop)?;
        drop(gate);
        self.copied = None;
        Ok(new)
    }

    fn tell(&self, codes: &[u64]) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = self.supply.connect().await?;
            for some in codes.chunks(wire::limits::MARK_CODES_MAX) {
                client.mark_used(MarkUsedRequest { codes: some.to_vec() }).await?;
            }
            Ok(())
        })
    }

    fn data(&self) -> PathBuf {
        self.place.dir.join("data")
    }

    fn copy(&self) -> PathBuf {
        self.place.dir.join("copy")
    }
}

fn name(place: &Place) -> String {
    place.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn restored(place: &Place, stop: &StopFlag) -> anyhow::Result<()> {
    let config = place.dir.join("config.toml");
    let config = config.to_str().context("the folder's name is no text")?;
    output(&place.binary, &["restored", "--config", config], COMMAND_MAX, stop).map(drop)
}

fn write_config(place: &Place, slots: &Range<u16>, [grpc, http]: [u16; 2]) -> anyhow::Result<()> {
    let dir = place.dir.display();
    let text = format!(
        "data_dir = \"{dir}/data\"\n[grpc]\nlisten = \"127.0.0.1:{grpc}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [control]\nsocket = \"{dir}/control.sock\"\n[pool]\nslots = \"{}-{}\"\nlow_watermark = 300000\nhigh_watermark = 600000\n",
        slots.start,
        slots.end - 1
    );
    fs::write(place.dir.join("config.toml"), text).context("cannot write the configuration of a pool")
}

/// Makes `to` what `from` is.
fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
