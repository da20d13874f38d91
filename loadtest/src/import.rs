//! `import`: made-up links with titles, tags, dates and codes, as one stream of lines through `POST /v1/import`.
//!
//! The lines are written to a file first, as people have them who import; the time is that from the first byte sent until the line that
//! says that everything is durable and with the proxies.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::{AdminApi, token_in};
use crate::figures;
use crate::http1::{Connection, Endpoint};
use crate::progress::{print, say};
use crate::report::ReportArgs;
use crate::synthetic::{alias, long_url, tag, title};

/// Bytes of a chunk of the body, roughly.
const CHUNK_BYTES: usize = 256 << 10;
/// How long the server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The first link was made then, each later one [`SECONDS_APART`] after the one before.
const FIRST_AT_S: i64 = 1_577_836_800;
/// Ten million links are 4.75 years.
const SECONDS_APART: i64 = 15;
/// Every tenth link is on the other domain, if there is one.
const OTHER_DOMAIN_EVERY: u64 = 10;

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many links.
    #[arg(long, value_name = "N")]
    links: u64,
    /// The number of the first one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// The admin API, as http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    admin: Endpoint,
    /// File with a token; for --domain it needs the scope admin.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Another domain that is declared first and gets every tenth link.
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// File to write the codes of the default domain to, one a line: the input of redirect.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Serialize)]
struct Results {
    links: u64,
    bytes: u64,
    seconds: f64,
    links_per_s: f64,
    /// What the server said at the end.
    done: Value,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps a link from being made.
pub fn run(args: Args) -> anyhow::Result<()> {
    let token = token_in(&args.token_file)?;
    let api = AdminApi::new(args.admin.clone(), &token, false);
    if let Some(host) = &args.domain {
        declare(&api, host)?;
    }
    let begun = args.report.begin();
    say(format!("import: making {} lines", figures::count(args.links)));
    let lines = make_lines(&args).context("cannot write the lines to a temporary file")?;
    say(format!("import: {} links", figures::count(args.links)));
    let start = Instant::now();
    let stream = TcpStream::connect(args.admin.address()).context("cannot connect")?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let answer = BufReader::new(stream.try_clone()?);
    let (sent, done) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(lines, &api, &stream));
        let done = read(answer, args.links);
        if done.is_err() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        (sending.join().expect("the sender does not panic"), done)
    });
    let done = done?;
    let bytes = sent.context("cannot send")?;
    let seconds = start.elapsed().as_secs_f64();
    let created = done["done"]["created"].as_u64().unwrap_or(0);
    let results = Results {
        links: args.links,
        bytes,
        seconds,
        links_per_s: figures::per_second(created, seconds),
        done,
    };
    print(format!(
        "import: {} links, {} bytes, {seconds:.1} s: {}\n  the server says {}\n",
        figures::count(created),
        figures::count(bytes),
        figures::rate(created, seconds),
        results.done
    ));
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    anyhow::ensure!(created == args.links, "{} links were not made", args.links - created.min(args.links));
    Ok(())
}

fn declare(api: &AdminApi, host: &str) -> anyhow::Result<()> {
    let body = json!({ "host": host, "short_url_base": format!("http://{host}") });
    let mut connection = Connection::new(api.endpoint().clone(), SILENCE_MAX);
    let answer = connection.exchange(&api.post("/v1/domains", &body)).context("cannot declare the domain")?;
    // 409: it was there.
    anyhow::ensure!(matches!(answer.status, 201 | 409), "the domain cannot be declared: {}", answer.status);
    Ok(())
}

/// Makes the lines, in a file without a name in the folder for temporary files (`TMPDIR`), 220 bytes a link.
fn make_lines(args: &Args) -> anyhow::Result<File> {
    let mut keys = args.keys.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let mut lines = BufWriter::with_capacity(CHUNK_BYTES, tempfile::tempfile()?);
    let mut line = Vec::new();
    for index in args.first..args.first + args.links {
        let code = alias(index);
        let domain = args.domain.as_deref().filter(|_| index % OTHER_DOMAIN_EVERY == 0);
        line.clear();
        write_line(&mut line, index, &code, domain)?;
        lines.write_all(&line)?;
        if let (Some(keys), None) = (&mut keys, domain) {
            writeln!(keys, "{code}")?;
        }
    }
    keys.map_or(Ok(()), |mut keys| keys.flush())?;
    let mut lines = lines.into_inner()?;
    lines.rewind()?;
    Ok(lines)
}

/// Sends all lines; returns how many bytes they have.
fn send(mut lines: File, api: &AdminApi, mut stream: &TcpStream) -> anyhow::Result<u64> {
    stream.write_all(&api.post_lines("/v1/import"))?;
    let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let read = lines.read(&mut chunk)?;
        // A chunk of no bytes ends the body.
        write!(stream, "{read:x}\r\n")?;
        stream.write_all(&chunk[..read])?;
        stream.write_all(b"\r\n")?;
        bytes += read as u64;
        if read == 0 {
            return Ok(bytes);
        }
    }
}

fn write_line(out: &mut Vec<u8>, index: u64, code: &str, domain: Option<&str>) -> anyhow::Result<()> {
    let made = Timestamp::from_second(FIRST_AT_S + index as i64 * SECONDS_APART)?;
    let (url, title, tag) = (long_url(index), title(index), tag(index));
    // Nothing in it has to be escaped.
    write!(
        out,
        r#"{{"code":"{code}","long_url":"{url}","title":"{title}","tags":["{tag}"],"created_at":"{made}""#
    )?;
    if let Some(domain) = domain {
        write!(out, r#","domain":"{domain}""#)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// Reads the answer to its end; says how far it is, and what was refused.
fn read(mut answer: BufReader<TcpStream>, links: u64) -> anyhow::Result<Value> {
    let mut head = String::new();
    answer.read_line(&mut head).context("the server does not answer")?;
    let is_fine = head.starts_with("HTTP/1.1 200 ");
    let mut line = head.clone();
    while line.trim_end() != "" {
        line.clear();
        anyhow::ensure!(answer.read_line(&mut line)? > 0, "the answer broke off");
    }
    anyhow::ensure!(is_fine, "the server answers {}", head.trim_end());
    let (mut lines, mut said_at) = (Vec::new(), Instant::now());
    loop {
        let mut size = String::new();
        anyhow::ensure!(answer.read_line(&mut size)? > 0, "the answer broke off");
        let size = usize::from_str_radix(size.trim_end(), 16).context("the answer is not in chunks")?;
        anyhow::ensure!(size > 0, "the answer ended without its last line");
        let mut chunk = vec![0; size + 2];
        answer.read_exact(&mut chunk).context("the answer broke off")?;
        lines.extend_from_slice(&chunk[..size]);
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line: Value =
                serde_json::from_slice(&lines[..end]).context("a line of the answer is no JSON")?;
            lines.drain(..=end);
            if line.get("done").is_some() {
                return Ok(line);
            }
            let Some(reached) = line["progress"]["line"].as_u64() else {
                anyhow::bail!("a link was not made: {line}");
            };
            if said_at.elapsed() >= Duration::from_secs(1) {
                said_at = Instant::now();
                say(format!("import: {} of {}", figures::count(reached), figures::count(links)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_is_json_with_everything_a_list_can_be_asked_for() {
        let mut out = Vec::new();
        write_line(&mut out, 7, "xabc", Some("two.test")).unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["created_at"], "2020-01-01T00:01:45Z");
        assert_eq!((&line["code"], &line["domain"]), (&json!("xabc"), &json!("two.test")));
        assert_eq!(
            (line["long_url"].as_str().unwrap(), line["tags"][0].as_str().unwrap()),
            (&*long_url(7), &*tag(7))
        );
    }
}
