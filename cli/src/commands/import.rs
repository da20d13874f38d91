//! `signpost import`: lines of JSON, or the export of another shortener, sent as a stream; what becomes of them is read meanwhile.
//!
//! Owned here: an import from a file that breaks off goes on after the last line that the API has reported as done.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use daemon::exit::Exit;
use http::Method;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::query;
use crate::client::{self, Ask, Body, Client};
use crate::convert::{self, Format, Options};
use crate::output::{self, print, tell};
use crate::problem::{CallError, Problem};
use crate::settings::Output;

/// About how many bytes are sent together.
const PIECE_BYTES: usize = 64 << 10;
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
    /// Print the lines that would be sent, and send nothing
    #[arg(long)]
    convert_only: bool,
}

/// Lines, each with its end.
type Lines = Box<dyn Iterator<Item = Result<Vec<u8>, convert::ConvertError>> + Send>;

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
            let mut out = io::stdout().lock();
            for line in self.lines()? {
                out.write_all(&line.map_err(Exit::failure)?).map_err(Exit::failure)?;
            }
            return Ok(());
        }
        let bar = output::progress(0, "lines");
        let mut reached = Reached::default();
        let mut tries = 0;
        while reached.done.is_none() {
            let before = reached.line;
            let error = match self.go_on(client, output, &mut reached, &bar).await {
                Ok(()) if reached.done.is_some() => break,
                Ok(()) => Exit::from(CallError::Lost { cause: "the import broke off".into() }),
                Err(error) => error,
            };
            tries = if reached.line > before { 0 } else { tries + 1 };
            let again = matches!(&error, Exit::Failure(cause) if is_passing(&**cause)) && !self.is_stdin();
            if !again || tries >= TRIES_MAX {
                if reached.line > 0 {
                    tell(&format!(
                        "everything up to line {} is done; run the same command again to go on",
                        reached.line
                    ));
                }
                return Err(error);
            }
            tell(&format!("the connection broke after line {}: going on", reached.line));
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        bar.finish_and_clear();
        self.sum_up(output, &reached)
    }

    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// Opens the file from its beginning.
    fn lines(&self) -> Result<Lines, Exit> {
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
        bar: &ProgressBar,
    ) -> Result<(), Exit> {
        let first_line = (reached.line + 1).to_string();
        let (body, failure) = body(self.lines()?, reached.line);
        let mut parameters = vec![("first_line", first_line.as_str())];
        if self.dry_run {
            parameters.push(("dry_run", "true"));
        }
        if self.collisions == Collisions::Replace {
            parameters.push(("collisions", "replace"));
        }
        let ask = Ask::new(Method::POST, format!("/v1/import{}", query(&parameters)))
            .header(CONTENT_TYPE, "application/x-ndjson");
        // Each time counts from its beginning.
        let before = reached.counts;
        let mut answer = client.stream(&ask, body).await?.into_body();
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
                hear(&rest[start..end], output, reached, before, bar)?;
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
            some => Err(Exit::failure(format!("{some} lines were not imported"))),
        }
    }
}

fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        error.downcast_ref::<CallError>(),
        Some(CallError::Lost { .. } | CallError::Silent | CallError::Connect { .. })
    )
}

/// Returns a body that grows as lines are read, without the first `skip`, and where it is said why reading ended early.
fn body(lines: Lines, skip: u64) -> (Body, std::sync::mpsc::Receiver<convert::ConvertError>) {
    let (pieces, sent) = mpsc::channel::<io::Result<Bytes>>(4);
    let (fail, failure) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
        for line in lines.skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            match line {
                Ok(line) => piece.extend_from_slice(&line),
                Err(error) => {
                    let _ = fail.send(error);
                    let _ = pieces.blocking_send(Err(io::Error::other("the file cannot be read")));
                    return;
                }
            }
            if piece.len() >= PIECE_BYTES
                && pieces.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err()
            {
                return;
            }
        }
        let _ = pieces.blocking_send(Ok(piece.into()));
    });
    let frames = ReceiverStream::new(sent).map(|piece| piece.map(Frame::data));
    (BodyExt::boxed(StreamBody::new(frames)), failure)
}

/// Takes notice of a line of the answer.
fn hear(
    line: &[u8],
    output: Output,
    reached: &mut Reached,
    before: [u64; 5],
    bar: &ProgressBar,
) -> Result<(), Exit> {
    let said: Value = serde_json::from_slice(line).map_err(|_| CallError::NotTheApi { status: 200 })?;
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
        bar.suspend(|| report(&said))?;
    }
    Ok(())
}

fn report(said: &Value) -> Result<(), Exit> {
    let (line, code) = (said["line"].as_u64().unwrap_or(0), said["code"].as_str().unwrap_or("no code"));
    match said["result"].as_str() {
        Some("created") => return print(said["short_url"].as_str().unwrap_or(code)),
        Some("collision") => tell(&format!("line {line}: another link has {code}")),
        _ => {
            let problem = serde_json::from_value::<Problem>(said["problem"].clone()).ok();
            let text = problem.map_or_else(|| "refused".to_owned(), |problem| problem.text());
            tell(&format!("line {line} ({code}): {text}"));
        }
    }
    Ok(())
}
