//! `signpost create`: one link, or a list of URLs in batches.
//!
//! Owned here: every batch carries an `Idempotency-Key`, so that a batch that is sent again after a broken connection makes nothing twice.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use daemon::exit::Exit;
use http::{HeaderName, Method};
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::{Members, edit};
use crate::client::{Ask, Client};
use crate::output::{self, print, tell};
use crate::problem::Problem;
use crate::settings::Output;

/// Most links of a batch, as the API has it.
const BATCH_MAX: usize = 1000;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Make links: one, several, or a list of URLs from standard input.
#[derive(Args, Debug)]
pub struct Create {
    /// Where they lead; none, or -: read from standard input, a URL a line, an alias behind it if there is to be one
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// The code, for one link
    #[arg(long)]
    alias: Option<String>,
    /// Host of the domain; without it the default domain
    #[arg(long, value_name = "HOST")]
    domain: Option<String>,
    /// When they end, as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Status of the redirect: 301, 302, 307 or 308
    #[arg(long)]
    status: Option<u64>,
    /// Title
    #[arg(long)]
    title: Option<String>,
    /// Tag; several times for several
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only who is allowed may follow them, or has a signed link
    #[arg(long)]
    private: bool,
    /// Id of a user or group that may follow them; several times for several
    #[arg(long = "allow", value_name = "ID", requires = "private")]
    allowed: Vec<String>,
    /// Read the password that visitors need from the first line of standard input; URLs are arguments then
    #[arg(long, requires = "urls")]
    password_stdin: bool,
    /// Any other field of the API, as in --set 'notes="from the fair"'; the value is JSON
    #[arg(long, value_name = "FIELD=JSON")]
    set: Vec<String>,
}

impl Create {
    pub(crate) async fn run(&self, client: &mut Client, output: Output) -> Result<(), Exit> {
        let common = self.common()?;
        match &*self.urls {
            [url] if url != "-" => self.one(client, output, url, common).await,
            [] | [_] if self.password_stdin => Err(Exit::Usage(
                "--password-stdin reads standard input: give the URLs as arguments".to_owned(),
            )),
            [] | [_] => {
                if io::stdin().is_terminal() {
                    tell("reading URLs from standard input, one a line; end with Ctrl-D");
                }
                self.not_for_lists()?;
                many(client, output, lines(io::stdin().lock()), &common).await
            }
            several => {
                self.not_for_lists()?;
                let urls = several.iter().enumerate().map(|(at, url)| Ok((at + 1, url.clone(), None)));
                many(client, output, urls, &common).await
            }
        }
    }

    fn common(&self) -> Result<Map<String, Value>, Exit> {
        let mut members = Members::default();
        members.text("domain", self.domain.as_deref());
        members.text("expires_at", self.expires_at.as_deref());
        members.number("status", self.status);
        members.text("title", self.title.as_deref());
        members.list("tags", &self.tags);
        members.text("visibility", self.private.then_some("private"));
        members.list("allowed", &self.allowed);
        if self.password_stdin {
            members.text("password", Some(&password(io::stdin().lock())?));
        }
        for set in &self.set {
            let (name, value) = edit::field(set)?;
            members.0.insert(name, value);
        }
        Ok(members.0)
    }

    fn not_for_lists(&self) -> Result<(), Exit> {
        match &self.alias {
            Some(_) => Err(Exit::Usage(
                "--alias is for one link; in a list the alias stands behind its URL".to_owned(),
            )),
            None => Ok(()),
        }
    }

    async fn one(
        &self,
        client: &mut Client,
        output: Output,
        url: &str,
        mut link: Map<String, Value>,
    ) -> Result<(), Exit> {
        link.insert("long_url".to_owned(), url.into());
        if let Some(alias) = &self.alias {
            link.insert("alias".to_owned(), alias.as_str().into());
        }
        let ask = Ask::new(Method::POST, "/v1/links")
            .json(&Value::Object(link))
            .header(IDEMPOTENCY_KEY, new_key()?);
        let made = client.call(&ask).await?.json()?;
        match output {
            Output::Json => output::show(output, &made),
            Output::Table => print(made["short_url"].as_str().unwrap_or_default()),
        }
    }
}

/// Reads a password: a line without its end. On a command line everybody on the machine could read it.
fn password(mut input: impl BufRead) -> Result<String, Exit> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(Exit::failure)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Exit::Usage("--password-stdin: there is no password on standard input".to_owned()));
    }
    Ok(password.to_owned())
}

/// Number, URL and alias of a line.
type Line = (usize, String, Option<String>);

fn lines(input: impl BufRead) -> impl Iterator<Item = io::Result<Line>> {
    input.lines().enumerate().filter_map(|(at, line)| {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let mut words = line.split_whitespace();
        let url = words.next().filter(|url| !url.starts_with('#'))?.to_owned();
        Some(Ok((at + 1, url, words.next().map(str::to_owned))))
    })
}

async fn many(
    client: &mut Client,
    output: Output,
    mut urls: impl Iterator<Item = io::Result<Line>>,
    common: &Map<String, Value>,
) -> Result<(), Exit> {
    let bar = output::progress(0, "links");
    let (mut made, mut failed) = (0, 0);
    loop {
        let batch: Vec<Line> =
            urls.by_ref().take(BATCH_MAX).collect::<io::Result<_>>().map_err(Exit::failure)?;
        if batch.is_empty() {
            break;
        }
        let results = send(client, &batch, common).await?;
        for (index, (line, _, _)) in batch.iter().enumerate() {
            match results.get(index).and_then(|result| result.get("link")) {
                Some(link) => {
                    made += 1;
                    show(output, &bar, link)?;
                }
                None => {
                    failed += 1;
                    let problem = results.get(index).and_then(|result| result.get("error").cloned());
                    let problem = problem.and_then(|problem| serde_json::from_value::<Problem>(problem).ok());
                    let text = problem.map_or_else(|| "no answer".to_owned(), |problem| problem.text());
                    bar.suspend(|| tell(&format!("line {line}: {text}")));
                }
            }
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    if failed == 0 {
        Ok(())
    } else {
        Err(Exit::failure(format!("{made} links were made, {failed} were not")))
    }
}

async fn send(client: &mut Client, batch: &[Line], common: &Map<String, Value>) -> Result<Vec<Value>, Exit> {
    let links: Vec<Value> = batch
        .iter()
        .map(|(_, url, alias)| {
            let mut link = common.clone();
            link.insert("long_url".to_owned(), url.as_str().into());
            if let Some(alias) = alias {
                link.insert("alias".to_owned(), alias.as_str().into());
            }
            Value::Object(link)
        })
        .collect();
    let ask = Ask::new(Method::POST, "/v1/links/batch").json(&json!({ "links": links }));
    let mut answer = client.call(&ask.header(IDEMPOTENCY_KEY, new_key()?)).await?.json()?;
    match answer.get_mut("results").map(Value::take) {
        Some(Value::Array(results)) => Ok(results),
        _ => Err(Exit::failure("the answer to a batch holds no results")),
    }
}

fn show(output: Output, bar: &ProgressBar, link: &Value) -> Result<(), Exit> {
    let line = match output {
        Output::Json => link.to_string(),
        Output::Table => {
            let text = |name: &str| link[name].as_str().unwrap_or_default().to_owned();
            format!("{}\t{}", text("short_url"), text("long_url"))
        }
    };
    bar.suspend(|| print(&line))
}

fn new_key() -> Result<String, Exit> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Exit::failure(format!("no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_a_line_without_its_end() {
        assert_eq!(password(&b" p w \r\nmore"[..]).ok().as_deref(), Some(" p w "));
        assert!(password(&b"\n"[..]).is_err() && password(&b""[..]).is_err());
    }

    #[test]
    fn a_list_has_urls_aliases_and_comments() {
        let text = "https://a.example/\n\n# a comment\n  https://b.example/x  alias-b \r\n";
        let found: Vec<_> = lines(text.as_bytes()).collect::<io::Result<_>>().unwrap();
        assert_eq!(
            found,
            [
                (1, "https://a.example/".to_owned(), None),
                (4, "https://b.example/x".to_owned(), Some("alias-b".to_owned())),
            ]
        );
    }
}
