//! Domains and the hosts that lead to them.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError};
use crate::key::DomainId;

/// A domain's settings. `serve` body: no fields yet. `manage` body: 1 short URL base · 2 created_at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// What its short URLs begin with: scheme, host, port if it is not the scheme's own; no slash at the end.
    pub short_url_base: String,
    /// When it was declared, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

impl Domain {
    /// Returns the `manage` body; the `serve` body is empty.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        fields.text(1, &self.short_url_base);
        fields.varint(2, self.created_at_ms);
        out
    }

    /// Reads a `manage` body.
    ///
    /// # Errors
    /// What is wrong and at which byte of the body.
    pub fn decode(body: Cursor<'_>) -> Result<Domain, DecodeError> {
        let mut fields = FieldReader::new(body);
        let domain = Domain {
            short_url_base: fields.text(1, "short_url_base")?,
            created_at_ms: fields.varint(2, "created_at")?,
        };
        fields.finish()?;
        Ok(domain)
    }
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
