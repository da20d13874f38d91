//! `links`: the codes of preloaded links with their targets, which the file of codes leaves out because they are known.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::figures;
use crate::keys::Keys;
use crate::progress::say;
use crate::synthetic::long_url;

/// What `links` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `keys.txt` of a fleet with preloaded links.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// Where to write lines `code<TAB>long_url`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The most lines to write [default: all]
    #[arg(long, value_name = "N")]
    first: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read or written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let keys = Keys::read(&args.keys)?;
    let cannot = || format!("cannot write {}", args.out.display());
    let mut out = BufWriter::new(File::create(&args.out).with_context(cannot)?);
    let mut written = 0;
    for key in keys.iter().take(args.first.unwrap_or(usize::MAX)) {
        writeln!(out, "{}\t{}", key.code, long_url(written)).with_context(cannot)?;
        written += 1;
    }
    out.flush().with_context(cannot)?;
    say(format!("{} links in {}", figures::count(written), args.out.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn every_code_gets_the_target_its_place_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, out) = (dir.path().join("keys.txt"), dir.path().join("links.tsv"));
        fs::write(&keys, "a\nb\nc\n").unwrap();
        run(Args { keys, out: out.clone(), first: Some(2) }).unwrap();
        let expected = format!("a\t{}\nb\t{}\n", long_url(0), long_url(1));
        assert_eq!(fs::read_to_string(&out).unwrap(), expected);
    }
}
