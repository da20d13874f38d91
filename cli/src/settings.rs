//! Where the API is and who asks: from flags, else from the environment, else from a file, in this order for each value of its own.
//!
//! Owned here: a token given as a file is read from it and never shown; a configuration that others may read is pointed out.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use daemon::config::Section;
use daemon::exit::Exit;
use url::Url;

/// Where the demo's API is.
const URL_DEFAULT: &str = "http://127.0.0.1:7300";

/// How answers are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// As the API says it
    Json,
}

/// The flags that every command has.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Address of the API [env: SIGNPOST_URL] [default: http://127.0.0.1:7300]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Token; others on this machine can see flags, so better use one of the other ways [env: SIGNPOST_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that holds the token [env: SIGNPOST_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Configuration with url, token or token_file, output [env: SIGNPOST_CONFIG] [default: ~/.config/signpost/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to show answers
    #[arg(long, short, global = true, value_enum)]
    pub output: Option<Output>,
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API is.
    pub url: Url,
    /// Who asks.
    pub token: Option<String>,
    /// How answers are shown.
    pub output: Output,
}

#[derive(Clone, Debug, Default)]
struct File {
    url: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    output: Option<Output>,
}

fn read(root: &mut Section) -> File {
    let output: Option<String> = root.optional("output");
    let known = output.as_deref().map(|text| Output::from_str(text, false));
    if let Some(Err(_)) = known {
        root.problem("output", "it is table or json");
    }
    File {
        url: root.optional("url"),
        token: root.optional("token"),
        token_file: root.optional("token_file"),
        output: known.and_then(Result::ok),
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn default_file() -> Option<PathBuf> {
    let dir = env("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    dir.map(|dir| dir.join("signpost/config.toml")).filter(|path| path.exists())
}

impl Settings {
    /// Collects what is in force.
    ///
    /// # Errors
    /// A file that cannot be read or is not valid; an address that is none.
    pub fn load(common: &Common) -> Result<Settings, Exit> {
        let named = common.config.clone().or_else(|| env("SIGNPOST_CONFIG").map(PathBuf::from));
        let path = named.or_else(default_file);
        let file = match &path {
            Some(path) => daemon::config::load(path, read)?.config,
            None => File::default(),
        };
        if let Some(path) = path.filter(|_| file.token.is_some()) {
            warn_if_readable(&path);
        }
        let url = common
            .url
            .clone()
            .or_else(|| env("SIGNPOST_URL"))
            .or(file.url)
            .unwrap_or_else(|| URL_DEFAULT.to_owned());
        // Each place is asked for both before the next one is.
        let places = [
            (common.token.clone(), common.token_file.clone()),
            (env("SIGNPOST_TOKEN"), env("SIGNPOST_TOKEN_FILE").map(PathBuf::from)),
            (file.token, file.token_file),
        ];
        let token = match places.into_iter().find(|(token, path)| token.is_some() || path.is_some()) {
            Some((Some(token), _)) => Some(token),
            Some((None, Some(path))) => Some(token_in(&path)?),
            _ => None,
        };
        Ok(Settings { url: address(&url)?, token, output: common.output.or(file.output).unwrap_or_default() })
    }
}

fn token_in(path: &Path) -> Result<String, Exit> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Exit::failure(format!("cannot read the token in {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// Reads an address of an API.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<Url, Exit> {
    let usage = |why: &str| Exit::Usage(format!("{text:?} is no address of an API: {why}"));
    let url = Url::parse(text)
        .map_err(|error| usage(&format!("{error}; write it as https://HOST or http://HOST:PORT")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(usage("it begins with http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(usage("it holds a user name or password; the API takes a token"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(usage("something follows its path"));
    }
    Ok(url)
}

fn warn_if_readable(path: &Path) {
    let others = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o077);
    if others != 0 {
        crate::output::tell(&format!(
            "warning: others can read the token in {0}: chmod 600 {0}",
            path.display()
        ));
    }
}
