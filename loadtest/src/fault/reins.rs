//! What holds a part from inside, through a library preloaded into it (`shim/step_and_halt.c`): its wall clock, and a point at which it
//! ends or halts. Each part has a file of its own for that, which it and this program both map or read.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;

use super::points::{Call, Form, Point};
use crate::fleet::Options;
use crate::shim::{Shim, variable};

/// The library's source.
const SOURCE: &str = include_str!("../../shim/step_and_halt.c");
/// Bytes of a path's pattern, the terminating zero included.
const PATTERN_BYTES: usize = 256;

/// Places of the words in a file.
const OFFSET: u64 = 0;
const ARMED: u64 = 1;
const FORM: u64 = 2;
const AFTER: u64 = 3;
const PASS: u64 = 4;
const PORT: u64 = 5;
const REACHED: u64 = 6;
const PATTERN: u64 = 7;

/// The files of a fleet's parts.
#[derive(Debug)]
pub struct Reins(BTreeMap<String, File>);

impl Reins {
    /// Makes them in `dir`, for these parts, and has the fleet started with them.
    ///
    /// # Errors
    /// There is no C compiler, or a file cannot be made.
    pub fn put_on(
        dir: &Path,
        parts: impl Iterator<Item = String>,
        options: &mut Options,
    ) -> anyhow::Result<Reins> {
        let shim = Shim::build(dir, "step_and_halt", SOURCE)?;
        let dir = dir.canonicalize()?;
        let mut files = BTreeMap::new();
        for part in parts {
            let path = dir.join(format!("{part}.plan"));
            let made = File::options().create(true).truncate(true).read(true).write(true).open(&path);
            let file = made.with_context(|| format!("cannot write {}", path.display()))?;
            file.set_len(PATTERN * 8 + PATTERN_BYTES as u64)?;
            options.environment.push(shim.variable(&part));
            options.environment.push(variable(&part, "SIGNPOST_HALT_PLAN", &path));
            files.insert(part, file);
        }
        Ok(Reins(files))
    }

    /// Sets a part's wall clock so many milliseconds ahead of the machine's; 0 makes it right.
    ///
    /// # Errors
    /// There is no such part.
    pub fn step_clock(&self, part: &str, by_ms: i64) -> anyhow::Result<()> {
        write(self.of(part)?, OFFSET, (by_ms * 1_000_000) as u64)
    }

    /// Arms a point: the part ends or halts when it gets there for the `pass + 1`st time. `port`: of a point at a socket.
    pub(crate) fn arm(
        &self,
        part: &str,
        point: &Point,
        port: u16,
        form: Form,
        pass: u64,
    ) -> anyhow::Result<()> {
        let file = self.of(part)?;
        write(file, ARMED, 0)?;
        let mut pattern = [0; PATTERN_BYTES];
        let text = point.place.pattern().as_bytes();
        pattern[..text.len()].copy_from_slice(text);
        file.write_all_at(&pattern, PATTERN * 8)?;
        let after = u64::from(point.after);
        for (word, value) in
            [(FORM, form.signal()), (AFTER, after), (PASS, pass), (PORT, port.into()), (REACHED, 0)]
        {
            write(file, word, value)?;
        }
        // Last: from here on it counts.
        write(file, ARMED, call_number(point.call))
    }

    /// Whether the part got to the point that was armed last.
    pub(crate) fn reached(&self, part: &str) -> anyhow::Result<bool> {
        let mut bytes = [0; 8];
        self.of(part)?.read_exact_at(&mut bytes, REACHED * 8)?;
        Ok(u64::from_ne_bytes(bytes) > 0)
    }

    /// Takes the point back; whether it was reached.
    pub(crate) fn disarm(&self, part: &str) -> anyhow::Result<bool> {
        write(self.of(part)?, ARMED, 0)?;
        self.reached(part)
    }

    fn of(&self, part: &str) -> anyhow::Result<&File> {
        self.0.get(part).with_context(|| format!("{part} was started without reins"))
    }
}

fn write(file: &File, word: u64, value: u64) -> anyhow::Result<()> {
    Ok(file.write_all_at(&value.to_ne_bytes(), word * 8)?)
}

fn call_number(call: Call) -> u64 {
    match call {
        Call::Write => 1,
        Call::Sync => 2,
        Call::Rename => 3,
        Call::Unlink => 4,
        Call::Send => 5,
        Call::Receive => 6,
    }
}
