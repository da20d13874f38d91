//! The PROXY protocol, versions 1 and 2: how a balancer that ends TCP connections says whose they are.
//!
//! Pure and incremental: bytes in, the header's meaning out, or that more is needed. Written from HAProxy's `proxy-protocol.txt`
//! (2020-03-05), stricter where it leaves a choice: the header has to be there, its numbers are written in one way, it describes a
//! TCP connection, and it is no longer than the document's buffers ([`V1_BYTES_MAX`], [`V2_BYTES_MAX`]). TLVs are skipped.
//!
//! Deliberately not here: whose word is taken ([`crate::client`]), and reading from a socket ([`receive`]).

pub mod receive;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Longest header of version 1, its CRLF included.
pub const V1_BYTES_MAX: usize = 107;
/// Longest header of version 2: 16 bytes, and what fits into a segment of 576 bytes after the headers of IP and TCP.
pub const V2_BYTES_MAX: usize = V2_HEAD_BYTES + 536;

const V1_SIGNATURE: &[u8; 6] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The beginning of a header, so far without a fault.
    Partial,
    /// A whole header.
    Whole {
        /// How many bytes it takes; what follows is the visitor's.
        consumed: usize,
        /// Where the visitor comes from. `None`: the balancer speaks for itself (a health check), or does not know.
        source: Option<SocketAddr>,
    },
}

/// Why a connection does not begin with a header that is understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// It is longer than any header is.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It breaks the protocol's rules.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Looks at the first bytes of a connection.
///
/// # Errors
/// They are not, or not the beginning of, a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(Fault::Missing)
    }
}

/// Whether `bytes` and `signature` agree as far as both go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Fault> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\r', within) else {
        return if within.len() == V1_BYTES_MAX { Err(Fault::TooLong) } else { Ok(Parsed::Partial) };
    };
    match within.get(end + 1) {
        Some(b'\n') => {}
        Some(_) => return Err(Fault::Malformed),
        None if within.len() == V1_BYTES_MAX => return Err(Fault::TooLong),
        None => return Ok(Parsed::Partial),
    }
    let source = within.get(V1_SIGNATURE.len()..end).and_then(read_v1).ok_or(Fault::Malformed)?;
    Ok(Parsed::Whole { consumed: end + 2, source })
}

/// What stands between the signature and the line end.
fn read_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    // Whatever stands behind UNKNOWN is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let family = words.next()?;
    let (source, destination) = (words.next()?, words.next()?);
    let (port, destination_port) = (number(words.next()?)?, number(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let (source, destination): (IpAddr, IpAddr) = match family {
        "TCP4" => (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?),
        "TCP6" => (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?),
        _ => return None,
    };
    // The destination is read only so that a damaged line is not taken for a whole one.
    let _ = (destination, destination_port);
    Some(Some(SocketAddr::new(source, port)))
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

/// A port as the document wants it: digits, no zero in front.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Fault> {
    let Some(&[version_command, family, length_high, length_low]) =
        bytes.get(V2_SIGNATURE.len()..).and_then(|rest| rest.first_chunk())
    else {
        return Ok(Parsed::Partial);
    };
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Malformed),
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let consumed = V2_HEAD_BYTES + length;
    if consumed > V2_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let addresses = match family {
        _ if is_local => Addresses::Ignored,
        0x00 => Addresses::Ignored,
        0x11 => Addresses::V4,
        0x21 => Addresses::V6,
        // Sockets of the balancer's own machine: no address that would mean anything here.
        0x31 => Addresses::Ignored,
        // Not a TCP connection, so not this one; or nothing the document knows.
        _ => return Err(Fault::Malformed),
    };
    if length < addresses.bytes() {
        return Err(Fault::Malformed);
    }
    let Some(body) = bytes.get(V2_HEAD_BYTES..consumed) else { return Ok(Parsed::Partial) };
    Ok(Parsed::Whole { consumed, source: addresses.source(body) })
}

/// What the body of version 2 begins with.
enum Addresses {
    Ignored,
    V4,
    V6,
}

impl Addresses {
    /// Source and destination address, source and destination port.
    fn bytes(&self) -> usize {
        match self {
            Addresses::Ignored => 0,
            Addresses::V4 => 2 * 4 + 2 * 2,
            Addresses::V6 => 2 * 16 + 2 * 2,
        }
    }

    fn source(&self, body: &[u8]) -> Option<SocketAddr> {
        let address: IpAddr = match self {
            Addresses::Ignored => return None,
            Addresses::V4 => Ipv4Addr::from(*body.first_chunk::<4>()?).into(),
            Addresses::V6 => Ipv6Addr::from(*body.first_chunk::<16>()?).into(),
        };
        let port = body.get(self.bytes() - 4..)?.first_chunk::<2>()?;
        Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
    }
}

#[cfg(test)]
mod tests;
