//! `signpost import`: lines of JSON, or the export of another shortener, sent as a stream; what becomes of them is read meanwhile.
//!
//! Owned here: an import from a file that breaks off goes on after the last line that the API has reported as done. A record that cannot be
//! taken over is refused here, once, and the others go on.
//!
//! - `refusals`: those records · `sending`: the body that grows as the file is read

mod refusals;
mod sending;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use daemon::exit::Exit;
use http::Method;
use http::header::CONTENT_TYPE;
use indicatif::ProgressBar;
use serde_json::Value;

use super::{pause, query};
use crate::client::{self, Ask, Client};
use crate::convert::{self, ConvertError, Format, NOTHING, Options};
use crate::output::{self, print, tell};
use crate::problem::{CallError, Problem};
use crate::settings::Output;
use refusals::Refusals;

/// How often an import that breaks off goes on, when no line at all is done in between.
const TRIES_MAX: u32 = 5;

/// What to do when another link has a line's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Collisions {
    /// Leave it and say so
    Skip,
    /// Put the line's link in its place
    Replace,
}

/// Whose the links are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Owners {
    /// Whose the file says
    Keep,
    /// The token's user's, or nobody's
    None,
}

/// Read links from an export, of this API or of another shortener.
#[derive(Args, Debug)]
pub struct Import {
    /// File to read; -: standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is
    #[arg(long, value_enum, default_value_t = Format::Signpost)]
    from: Format,
    /// Change nothing, and say what would become of each line
    #[arg(long)]
    dry_run: bool,
    /// What to do when another link has a line's code
    #[arg(long, value_enum, default_value_t = Collisions::Skip)]
    collisions: Collisions,
    /// Put all links on this domain, whatever the file says
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// Take links on this host of the other shortener only; several times for several
    #[arg(long, value_name = "HOST")]
    only: Vec<String>,
    /// Add this tag to every link; several times for several
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Whose the links are to be
    #[arg(long, value_enum, default_value_t = Owners::Keep)]
    owners: Owners,
    /// Print the lines that would be sent, and send nothing
    #[arg(long)]
    convert_only: bool,
}

/// How far an import is.
#[derive(Default)]
struct Reached {
    line: u64,
    counts: [u64; 5],
    done: Option<Value>,
}

const COUNTS: [&str; 5] = ["created", "unchanged", "replaced", "collisions", "refused"];

impl Import {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        if self.convert_only {
            return self.convert();
        }
        let bar = output::progress(0, "lines");
        let refusals = Refusals::new(self.from.unit(), output, bar.clone());
        let mut reached = Reached::default();
        let mut tries = 0;
        while reached.done.is_none() {
            let before = reached.line;
            let error = match self.go_on(client, output, &mut reached, &refusals, &bar).await {
                Ok(()) if reached.done.is_some() => break,
                Ok(()) => Exit::from(CallError::Lost { cause: "the import broke off".into() }),
                Err(error) => error,
            };
            if reached.line > before {
                tries = 0;
            }
            let unit = self.from.unit();
            let pause = pause(&error, tries).filter(|_| !self.is_stdin() && tries + 1 < TRIES_MAX);
            let Some(pause) = pause else {
                if reached.line > 0 {
                    let reached = reached.line;
                    tell(&format!(
                        "everything up to {unit} {reached} is done; run the same command again to go on"
                    ));
                }
                return Err(error);
            };
            tell(&format!("the connection broke after {unit} {}: going on", reached.line));
            tries += 1;
            tokio::time::sleep(pause).await;
        }
        bar.finish_and_clear();
        self.sum_up(output, &reached)
    }

    /// Prints what would be sent.
    fn convert(&self) -> Result<(), Exit> {
        let refusals = Refusals::new(self.from.unit(), Output::Table, ProgressBar::hidden());
        let mut out = io::stdout().lock();
        for (line, number) in self.lines()?.zip(1..) {
            match line {
                Ok(line) if line == NOTHING => {}
                Ok(line) => out.write_all(&line).map_err(Exit::failure)?,
                Err(ConvertError::Record { what, .. }) => refusals.add(number, &what),
                Err(error) => return Err(Exit::failure(error)),
            }
        }
        match refusals.count() {
            0 => Ok(()),
            some => Err(Exit::failure(format!("{some} {}s cannot be taken over", self.from.unit()))),
        }
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Opens the file from its beginning.
    fn lines(&self) -> Result<convert::Lines, Exit> {
        let input: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(io::stdin())
        } else {
            let file = File::open(&self.file);
            Box::new(
                file.map_err(|error| Exit::failure(format!("cannot read {}: {error}", self.file.display())))?,
            )
        };
        let options =
            Options { domain: self.domain.clone(), only: self.only.clone(), tags: self.tags.clone() };
        convert::lines(self.from, BufReader::with_capacity(1 << 20, input), options).map_err(Exit::failure)
    }

    async fn go_on(
        &self,
        client: &mut Client,
        output: Output,
        reached: &mut Reached,
        refusals: &Arc<Refusals>,
        bar: &ProgressBar,
    ) -> Result<(), Exit> {
        let first_line = (reached.line + 1).to_string();
        let (body, failure) = sending::body(self.lines()?, reached.line, refusals.clone());
        let mut parameters = vec![("first_line", first_line.as_str())];
        if self.dry_run {
            parameters.push(("dry_run", "true"));
        }
        if self.collisions == Collisions::Replace {
            parameters.push(("collisions", "replace"));
        }
        if self.owners == Owners::None {
            parameters.push(("owners", "none"));
        }
        let ask = Ask::new(Method::POST, format!("/v1/import{}", query(&parameters)))
            .header(CONTENT_TYPE, "application/x-ndjson");
        // Each time counts from its beginning.
        let before = reached.counts;
        let mut answer = match client.stream(&ask, body).await {
            Ok(answer) => answer.into_body(),
            // What is wrong with the file is why there is no answer.
            Err(error) => return Err(failure.try_recv().map_or_else(|_| error.into(), Exit::failure)),
        };
        let mut rest = Vec::new();
        let ended = loop {
            let data = match client::piece(&mut answer).await {
                Ok(Some(data)) => data,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            rest.extend_from_slice(&data);
            let mut start = 0;
            while let Some(end) = rest[start..].iter().position(|b| *b == b'\n').map(|at| start + at) {
                self.hear(&rest[start..end], output, reached, before, refusals, bar)?;
                start = end + 1;
            }
            rest.drain(..start);
        };
        // A file that cannot be read breaks the body off, and with it the answer: the file is what matters.
        if let Ok(error) = failure.try_recv() {
            return Err(Exit::failure(error));
        }
        Ok(ended?)
    }

    /// Takes notice of a line of the answer.
    fn hear(
        &self,
        line: &[u8],
        output: Output,
        reached: &mut Reached,
        before: [u64; 5],
        refusals: &Refusals,
        bar: &ProgressBar,
    ) -> Result<(), Exit> {
        let mut said: Value =
            serde_json::from_slice(line).map_err(|_| CallError::NotTheApi { status: 200 })?;
        if let Some(done) = said.get_mut("done") {
            // The API knows nothing of what was refused here.
            done["refused"] = (done["refused"].as_u64().unwrap_or(0) + refusals.count()).into();
        }
        if output == Output::Json {
            bar.suspend(|| print(&said.to_string()))?;
        }
        for (name, ends) in [("progress", false), ("done", true), ("gave_up", true)] {
            let Some(counts) = said.get(name) else { continue };
            reached.line = counts["line"].as_u64().unwrap_or(reached.line);
            for (at, count) in COUNTS.iter().enumerate() {
                reached.counts[at] = before[at] + counts[count].as_u64().unwrap_or(0);
            }
            bar.set_position(reached.line);
            if name == "gave_up" {
                let problem = serde_json::from_value::<Problem>(said["problem"].clone());
                let problem = problem.map_err(|_| CallError::NotTheApi { status: 200 })?;
                return Err(CallError::Refused { problem, retry_after: None }.into());
            }
            if ends {
                reached.done = Some(said);
            }
            return Ok(());
        }
        if output == Output::Table {
            bar.suspend(|| report(&said, self.from.unit()))?;
        }
        Ok(())
    }

    fn sum_up(&self, output: Output, reached: &Reached) -> Result<(), Exit> {
        let [created, unchanged, replaced, collisions, refused] = reached.counts;
        if output == Output::Table {
            let (made, took) =
                if self.dry_run { ("would be made", "would be replaced") } else { ("made", "replaced") };
            print(&format!(
                "{created} {made}, {unchanged} there already, {replaced} {took}, {collisions} collide, {refused} refused"
            ))?;
        }
        if let Some(missing) =
            reached.done.as_ref().and_then(|done| done["replication"]["missing"].as_array())
            && !missing.is_empty()
        {
            tell(&format!("{} proxies do not have everything yet", missing.len()));
        }
        match collisions + refused {
            0 => Ok(()),
            some => Err(Exit::failure(format!("{some} {}s were not imported", self.from.unit()))),
        }
    }
}

fn report(said: &Value, unit: &str) -> Result<(), Exit> {
    let (line, code) = (said["line"].as_u64().unwrap_or(0), said["code"].as_str().unwrap_or("no code"));
    match said["result"].as_str() {
        Some("created") => return print(said["short_url"].as_str().unwrap_or(code)),
        Some("collision") => tell(&format!("{unit} {line}: another link has {code}")),
        _ => {
            let problem = serde_json::from_value::<Problem>(said["problem"].clone()).ok();
            let text = problem.map_or_else(|| "refused".to_owned(), |problem| problem.text());
            tell(&format!("{unit} {line} ({code}): {text}"));
        }
    }
    Ok(())
}
