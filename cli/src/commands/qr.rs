//! `signpost qr`: the short URL of a link as a picture.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use daemon::exit::Exit;
use http::Method;

use super::Name;
use crate::client::{Ask, Client};

/// Draw the short URL of a link as a QR code.
#[derive(Args, Debug)]
pub struct Qr {
    #[command(flatten)]
    name: Name,
    /// Kind of picture [default: by the end of --out, else svg]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File for the picture; without it stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Side in pixels, 64 to 2048
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    /// How much of it may be damaged: low, medium, quartile or high
    #[arg(long, value_name = "LEVEL")]
    error_correction: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Svg,
    Png,
}

impl Qr {
    pub(crate) async fn run(&self, client: &mut Client) -> Result<(), Exit> {
        let format = self.format();
        if format == Format::Png && self.out.is_none() && io::stdout().is_terminal() {
            return Err(Exit::Usage("a terminal shows no PNG: say --out FILE, or pass it on".to_owned()));
        }
        let size = self.size.map(|size| size.to_string());
        let mut parameters = vec![("format", if format == Format::Png { "png" } else { "svg" })];
        parameters.extend(size.as_deref().map(|size| ("size", size)));
        parameters.extend(self.error_correction.as_deref().map(|level| ("error_correction", level)));
        let picture =
            client.call(&Ask::new(Method::GET, self.name.path_with("/qr", &parameters))).await?.body;
        match &self.out {
            Some(path) => std::fs::write(path, &picture)
                .map_err(|error| Exit::failure(format!("cannot write {}: {error}", path.display()))),
            None => match io::stdout().write_all(&picture) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::failure(error)),
                _ => Ok(()),
            },
        }
    }

    fn format(&self) -> Format {
        let ends_in_png =
            |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(OsStr::new("png")));
        self.format.unwrap_or(if self.out.as_ref().is_some_and(ends_in_png) {
            Format::Png
        } else {
            Format::Svg
        })
    }
}
