//! `signpost export`: lines of JSON to a file or to stdout.
//!
//! Owned here: an export that broke off goes on where it was, and a file that bears its name is complete: until then it is called `….part`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use daemon::exit::Exit;
use http::Method;
use indicatif::ProgressBar;
use serde_json::Value;

use super::{pause, query};
use crate::client::{self, Ask, Client};
use crate::output;
use crate::problem::CallError;

/// How often an export that breaks off goes on, when nothing at all arrives in between.
const TRIES_MAX: u32 = 5;

/// Write all links as lines of JSON.
#[derive(Args, Debug)]
pub struct Export {
    /// File to write; without it stdout
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Host of a domain: only its links
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// Where an earlier export ended (its last cursor): only what was made later
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// How far an export is.
#[derive(Default)]
struct Reached {
    cursor: Option<String>,
    links: u64,
    ended: bool,
}

impl Export {
    pub(crate) async fn run(&self, client: &mut Client) -> Result<(), Exit> {
        let part = self.file.as_deref().map(part_of);
        let mut out: Box<dyn Write> = match &part {
            Some(part) => {
                Box::new(BufWriter::new(File::create(part).map_err(|error| cannot_write(part, &error))?))
            }
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let bar = output::progress(0, "links");
        let mut reached = Reached { cursor: self.cursor.clone(), ..Reached::default() };
        let mut tries = 0;
        while !reached.ended {
            let before = reached.links;
            let error = match self.go_on(client, &mut *out, &mut reached, &bar).await {
                Ok(()) if reached.ended => break,
                Ok(()) => CallError::Lost { cause: "the export broke off".into() }.into(),
                Err(error) => error,
            };
            if reached.links > before {
                tries = 0;
            }
            let pause = pause(&error, tries).filter(|_| tries + 1 < TRIES_MAX);
            let Some(pause) = pause else { return Err(error) };
            tries += 1;
            tokio::time::sleep(pause).await;
        }
        out.flush().map_err(Exit::failure)?;
        drop(out);
        if let (Some(part), Some(file)) = (&part, &self.file) {
            std::fs::rename(part, file).map_err(|error| cannot_write(file, &error))?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Takes what comes and writes it down, whole pieces between two cursors at a time.
    async fn go_on(
        &self,
        client: &mut Client,
        out: &mut dyn Write,
        reached: &mut Reached,
        bar: &ProgressBar,
    ) -> Result<(), Exit> {
        let mut parameters = Vec::new();
        parameters.extend(self.domain.as_deref().map(|domain| ("domain", domain)));
        parameters.extend(reached.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let ask = Ask::new(Method::GET, format!("/v1/export{}", query(&parameters)));
        let mut body = client.stream(&ask, client::whole("")).await?.into_body();
        let (mut rest, mut piece, mut links) = (Vec::new(), Vec::new(), 0);
        while let Some(data) = client::piece(&mut body).await? {
            rest.extend_from_slice(&data);
            let mut start = 0;
            while let Some(end) = rest[start..].iter().position(|b| *b == b'\n').map(|at| start + at) {
                let line = &rest[start..end];
                start = end + 1;
                let Some(mark) = mark(line) else {
                    piece.extend_from_slice(line);
                    piece.push(b'\n');
                    links += 1;
                    continue;
                };
                reached.links += links;
                bar.inc(links);
                links = 0;
                reached.ended = mark["end"] == true;
                // A file made in several goes says at its end how many links are in it.
                if reached.ended {
                    let mut end = mark.clone();
                    end["links"] = reached.links.into();
                    piece.extend_from_slice(format!("{end}\n").as_bytes());
                }
                out.write_all(&piece).map_err(Exit::failure)?;
                piece.clear();
                reached.cursor = mark["cursor"].as_str().map(str::to_owned);
            }
            rest.drain(..start);
        }
        Ok(())
    }
}

/// Reads a line that says where the export is; `None`: it is a link.
fn mark(line: &[u8]) -> Option<Value> {
    let begins = line.starts_with(b"{\"cursor\"") || line.starts_with(b"{\"end\"");
    begins.then(|| serde_json::from_slice(line).ok()).flatten()
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn cannot_write(path: &Path, error: &io::Error) -> Exit {
    Exit::failure(format!("cannot write {}: {error}", path.display()))
}
