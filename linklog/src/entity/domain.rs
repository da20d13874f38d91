//! Domains and the hosts that lead to them.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};
use crate::key::DomainId;
use crate::link::extras::{Ended, read_target};

/// What its owner keeps with a domain; proxies never see it. `manage` body: 1 short URL base · 2 created_at, and since format level 2: 3 default
/// life in seconds · 4 alias lengths: u8 least, u8 most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Domain {
    /// What its short URLs begin with: scheme, host, port if it is not the scheme's own; no slash at the end.
    pub short_url_base: String,
    /// When it was declared, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// How long a new link lives that says nothing about it, in seconds.
    pub default_ttl_s: Option<u64>,
    /// Fewest and most characters of an alias; `None`: the fleet's.
    pub alias_lengths: Option<(u8, u8)>,
}

impl Domain {
    /// Returns the `manage` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.text(1, &self.short_url_base);
        fields.varint(2, self.created_at_ms);
        fields.optional_varint(3, self.default_ttl_s);
        if let Some((least, most)) = self.alias_lengths {
            fields.bytes(4, &[least, most]);
        }
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Domain, DecodeError> {
        let mut fields = FieldReader::new(body);
        let short_url_base = fields.text(1, "short_url_base")?;
        let created_at_ms = fields.varint(2, "created_at")?;
        let default_ttl_s = fields.optional_varint(3, "default_ttl")?;
        let at = fields.offset();
        let alias_lengths =
            fields.optional_array::<2>(4, "alias_lengths")?.map(|[least, most]| (least, most));
        fields.finish()?;
        let fits = |(least, most): (u8, u8)| {
            (1..=most).contains(&least) && usize::from(most) <= crate::limits::CODE_BYTES_MAX
        };
        if default_ttl_s == Some(0) || !alias_lengths.is_none_or(fits) {
            return Err(DecodeError::invalid(at, "domain"));
        }
        Ok(Domain { short_url_base, created_at_ms, default_ttl_s, alias_lengths })
    }
}

/// A file under `/.well-known/` (RFC 8615).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WellKnown {
    /// What follows `/.well-known/` in its path: letters, digits, `.`, `_`, `-` and slashes.
    pub name: String,
    /// `Content-Type`: visible ASCII and spaces.
    pub content_type: String,
    /// What is in it.
    pub body: String,
}

/// What a proxy needs to answer on a domain besides its links. `serve` body; every field came with format level 2:
/// ```text
/// 1: where / leads  2: where unknown codes lead (ASCII)  3: case of aliases, u8 1 folded  4: ended, as in a link
/// 5: robots.txt (UTF-8)  6: files under /.well-known/: each varint length and name, content type, body
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DomainAnswers {
    /// Where `/` leads.
    pub root: Option<String>,
    /// Where codes lead that do not exist.
    pub not_found: Option<String>,
    /// Whether an alias is found whatever the case of its letters; fixed when the domain is made.
    pub folded: bool,
    /// How links answer that have ended and say nothing about it.
    pub ended: Option<Ended>,
    /// What `/robots.txt` says.
    pub robots: Option<String>,
    /// Files under `/.well-known/`, each name once.
    pub well_known: Vec<WellKnown>,
}

impl DomainAnswers {
    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        let mut text = |tag, text: &Option<String>| {
            if let Some(text) = text {
                fields.text(tag, text);
            }
        };
        text(1, &self.root);
        text(2, &self.not_found);
        if self.folded {
            fields.bytes(3, &[1]);
        }
        if let Some(ended) = &self.ended {
            fields.bytes(4, &ended.encode());
        }
        if let Some(robots) = &self.robots {
            fields.text(5, robots);
        }
        if !self.well_known.is_empty() {
            let mut files = Vec::new();
            for file in &self.well_known {
                for text in [&file.name, &file.content_type, &file.body] {
                    put_varint(&mut files, text.len() as u64);
                    files.extend_from_slice(text.as_bytes());
                }
            }
            fields.bytes(6, &files);
        }
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<DomainAnswers, DecodeError> {
        let mut fields = FieldReader::new(body);
        let target = |field: Option<Cursor<'_>>| -> Result<Option<String>, DecodeError> {
            let Some(mut field) = field else { return Ok(None) };
            Ok(Some(String::from_utf8_lossy(read_target(&mut field)?).into_owned()))
        };
        let root = target(fields.optional(1)?)?;
        let not_found = target(fields.optional(2)?)?;
        let at = fields.offset();
        let folded = fields.optional_array::<1>(3, "case")?;
        if folded.is_some_and(|folded| folded != [1]) {
            return Err(DecodeError::invalid(at, "case"));
        }
        let ended = fields.optional(4)?.map(Ended::read).transpose()?.map(Ended::to_owned);
        let robots = fields.optional_text(5, "robots")?;
        let well_known = fields.optional(6)?.map(read_files).transpose()?.unwrap_or_default();
        fields.finish()?;
        Ok(DomainAnswers { root, not_found, folded: folded.is_some(), ended, robots, well_known })
    }
}

fn read_files(mut field: Cursor<'_>) -> Result<Vec<WellKnown>, DecodeError> {
    let mut files: Vec<WellKnown> = Vec::new();
    let start = field.offset();
    while !field.is_empty() {
        let at = field.offset();
        let mut text = |what| -> Result<String, DecodeError> {
            let len = field.varint(what)?;
            field.text(len, what)
        };
        let (name, content_type, body) = (text("file name")?, text("content type")?, text("file")?);
        let is_new = files.iter().all(|file| file.name != name);
        let in_header = content_type.bytes().all(|b| (0x20..0x7f).contains(&b)) && !content_type.is_empty();
        if !is_new || !in_header || name.is_empty() {
            return Err(DecodeError::invalid(at, "file"));
        }
        files.push(WellKnown { name, content_type, body });
    }
    if files.is_empty() { Err(DecodeError::invalid(start, "file")) } else { Ok(files) }
}

/// Which domain a host name leads to. `serve` body: 1 domain. `manage` body: empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    /// The domain.
    pub domain: DomainId,
}

impl Host {
    /// Returns the `serve` body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        FieldWriter::new(&mut out).varint(1, u64::from(self.domain.0));
        out
    }

    /// Reads a `serve` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Host, DecodeError> {
        let at = body.offset();
        let mut fields = FieldReader::new(body);
        let domain = fields.varint(1, "domain")?;
        fields.finish()?;
        let domain = u16::try_from(domain).map_err(|_| DecodeError::invalid(at, "domain"))?;
        Ok(Host { domain: DomainId(domain) })
    }
}
