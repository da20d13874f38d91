//! A click as a ring holds it: what is counted, and what later analytics need.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | time, milliseconds since the Unix epoch |
//! | 8 · 4 | seq and epoch of the record that created the link |
//! | 2 | status of the answer |
//! | 1 | flags: 1 HEAD, 2 prefetch |
//! | 1 · 2 · 2 · 2 | lengths of key, User-Agent, Referer, Accept-Language |
//! | 2 | 0 |
//! | 16 | the visitor's address, IPv4 as mapped IPv6 (RFC 4291 §2.5.5.2); 0: the listener does not know |
//! | … | encoded link key, User-Agent, Referer, Accept-Language, zeros up to a multiple of 8 |
//!
//! Integers are little-endian. Texts are cut to the sizes below; they are a visitor's bytes and may be anything.

use std::net::{IpAddr, Ipv6Addr};

use linklog::codec::{Cursor, DecodeError};
use linklog::{Epoch, Position, Seq};

use crate::http::parse::Says;

/// Longest User-Agent that is kept; what tells browsers apart is within.
pub const AGENT_BYTES_MAX: usize = 256;
/// Longest Referer that is kept.
pub const REFERER_BYTES_MAX: usize = 256;
/// Longest Accept-Language that is kept.
pub const LANGUAGE_BYTES_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 3 + linklog::limits::CODE_BYTES_MAX;
const FIXED_BYTES: usize = 48;
const TEXT_BYTES_MAX: usize = AGENT_BYTES_MAX + REFERER_BYTES_MAX + LANGUAGE_BYTES_MAX;
/// Largest record, a multiple of 8.
pub const RECORD_BYTES_MAX: usize = (FIXED_BYTES + KEY_BYTES_MAX + TEXT_BYTES_MAX).next_multiple_of(8);

const HEAD: u8 = 1;
const PREFETCH: u8 = 2;

/// Who asks, as a request says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asker<'a> {
    /// From where, if that is known.
    pub address: Option<IpAddr>,
    /// With HEAD.
    pub head: bool,
    /// What its headers say.
    pub says: Says<'a>,
}

/// A redirect that was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Click<'a> {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The encoded key of the link.
    pub key: &'a [u8],
    /// The record that created the link.
    pub created: Position,
    /// With which status.
    pub status: u16,
    /// Who asked.
    pub asker: Asker<'a>,
}

/// A click in bytes, on the stack.
pub struct Record {
    bytes: [u8; RECORD_BYTES_MAX],
    len: usize,
}

impl Click<'_> {
    /// Writes it down, its texts cut to size.
    #[inline]
    pub fn record(&self) -> Record {
        let says = &self.asker.says;
        let texts = [
            cut(self.key, KEY_BYTES_MAX),
            cut(says.agent, AGENT_BYTES_MAX),
            cut(says.referer, REFERER_BYTES_MAX),
            cut(says.language, LANGUAGE_BYTES_MAX),
        ];
        let [key, agent, referer, language] = texts.map(|text| text.len() as u16);
        let flags = u8::from(self.asker.head) * HEAD + u8::from(says.prefetch) * PREFETCH;
        let mut bytes = [0; RECORD_BYTES_MAX];
        bytes[..8].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.created.seq.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.created.epoch.0.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.status.to_le_bytes());
        bytes[22] = flags;
        bytes[23] = key as u8;
        bytes[24..26].copy_from_slice(&agent.to_le_bytes());
        bytes[26..28].copy_from_slice(&referer.to_le_bytes());
        bytes[28..30].copy_from_slice(&language.to_le_bytes());
        bytes[32..48].copy_from_slice(&mapped(self.asker.address));
        let mut len = FIXED_BYTES;
        for text in texts {
            bytes[len..len + text.len()].copy_from_slice(text);
            len += text.len();
        }
        Record { bytes, len: len.next_multiple_of(8) }
    }
}

impl Record {
    /// Its bytes, a multiple of 8.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn cut(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

#[inline]
fn mapped(address: Option<IpAddr>) -> [u8; 16] {
    match address {
        None => [0; 16],
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(address)) => address.octets(),
    }
}

impl<'a> Click<'a> {
    /// Reads a record. What this accepts, [`Click::record`] gives back byte for byte.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub fn decode(bytes: &'a [u8]) -> Result<Click<'a>, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let at_ms = cursor.u64("time")?;
        let seq = cursor.u64("seq")?;
        let epoch = cursor.u32("epoch")?;
        let status = cursor.u16("status")?;
        let flags = cursor.u8("flags")?;
        let key = usize::from(cursor.u8("length of the key")?);
        let mut length = |what, most| {
            let offset = cursor.offset();
            let length = usize::from(cursor.u16(what)?);
            if length > most { Err(DecodeError::invalid(offset, what)) } else { Ok(length) }
        };
        let agent = length("length of the User-Agent", AGENT_BYTES_MAX)?;
        let referer = length("length of the Referer", REFERER_BYTES_MAX)?;
        let language = length("length of the Accept-Language", LANGUAGE_BYTES_MAX)?;
        length("filler", 0)?;
        if flags > HEAD + PREFETCH || key > KEY_BYTES_MAX {
            return Err(DecodeError::invalid(22, "flags or length of the key"));
        }
        let address: [u8; 16] = cursor.array("address")?;
        let key = cursor.bytes(key, "key")?;
        let agent = cursor.bytes(agent, "User-Agent")?;
        let referer = cursor.bytes(referer, "Referer")?;
        let language = cursor.bytes(language, "Accept-Language")?;
        let offset = cursor.offset();
        let filler = cursor.bytes(offset.next_multiple_of(8) - offset, "filler")?;
        if filler.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::invalid(offset, "filler"));
        }
        cursor.finish("click")?;
        let says = Says { agent, referer, language, prefetch: flags & PREFETCH != 0, ..Says::default() };
        let address = (address != [0; 16]).then(|| Ipv6Addr::from(address).to_canonical());
        let asker = Asker { address, head: flags & HEAD != 0, says };
        Ok(Click { at_ms, key, created: Position { epoch: Epoch(epoch), seq: Seq(seq) }, status, asker })
    }
}

/// What a request says, kept while the disk is asked. It is nothing but its own memory, so that it goes into what is kept of the
/// request anyhow.
pub struct KeptSays {
    texts: [u8; TEXT_BYTES_MAX],
    lengths: [u16; 3],
    prefetch: bool,
}

impl KeptSays {
    /// Copies what a click keeps.
    pub fn new(says: &Says<'_>) -> KeptSays {
        let parts = [
            cut(says.agent, AGENT_BYTES_MAX),
            cut(says.referer, REFERER_BYTES_MAX),
            cut(says.language, LANGUAGE_BYTES_MAX),
        ];
        let mut texts = [0; TEXT_BYTES_MAX];
        let mut end = 0;
        for part in parts {
            texts[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        KeptSays { texts, lengths: parts.map(|part| part.len() as u16), prefetch: says.prefetch }
    }

    /// What it said.
    pub fn says(&self) -> Says<'_> {
        let [agent, referer, language] = self.lengths.map(usize::from);
        let (agent, rest) = self.texts.split_at(agent);
        let (referer, rest) = rest.split_at(referer);
        Says { agent, referer, language: &rest[..language], prefetch: self.prefetch, ..Says::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says<'a>(agent: &'a [u8], referer: &'a [u8], language: &'a [u8]) -> Says<'a> {
        Says { agent, referer, language, prefetch: true, ..Says::default() }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let click = Click {
            at_ms: 0x0102_0304,
            key: b"\x08\0\0ab",
            created: Position::new(7, 9),
            status: 302,
            asker: Asker {
                address: Some("192.0.2.1".parse().unwrap()),
                head: true,
                says: says(b"UA", b"R", b"de"),
            },
        };
        let mut expected = vec![4, 3, 2, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        expected.extend([0x2e, 0x01, 3, 5, 2, 0, 1, 0, 2, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        expected.extend(b"\x08\0\0abUARde\0\0\0\0\0\0");
        assert_eq!(click.record().bytes(), expected);
        assert_eq!(Click::decode(&expected), Ok(click));
    }

    #[test]
    fn long_texts_are_cut_and_nothing_overflows() {
        let long = vec![b'x'; 10_000];
        let asker = Asker { says: says(&long, &long, &long), ..Asker::default() };
        let click = Click { at_ms: 1, key: &long[..67], created: Position::ZERO, status: 308, asker };
        let record = click.record();
        let read = Click::decode(record.bytes()).unwrap();
        let Says { agent, referer, language, .. } = read.asker.says;
        assert_eq!((agent.len(), referer.len(), language.len()), (256, 256, 64));
        assert_eq!((read.key.len(), record.bytes().len()), (67, RECORD_BYTES_MAX));
        assert_eq!(KeptSays::new(&asker.says).says(), read.asker.says);
    }

    fn text(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=most)
    }

    proptest! {
        #[test]
        fn what_was_recorded_is_read(
            key in text(67), agent in text(256), referer in text(256), language in text(64),
            at_ms: u64, epoch: u32, seq: u64, status: u16, head: bool, address: Option<u32>,
        ) {
            let address = address.map(|bits| IpAddr::V4(bits.into()));
            let asker = Asker { address, head, says: says(&agent, &referer, &language) };
            let click = Click { at_ms, key: &key, created: Position::new(epoch, seq), status, asker };
            let record = click.record();
            prop_assert_eq!(Click::decode(record.bytes()), Ok(click));
            let kept = KeptSays::new(&asker.says);
            prop_assert_eq!(kept.says(), asker.says);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in text(200)) {
            for lengths in [None, Some(23..32)] {
                // With small lengths more of them get through.
                lengths.into_iter().flatten().for_each(|at| {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte &= if at % 2 == 1 { 7 } else { 15 };
                    }
                });
                if let Ok(click) = Click::decode(&bytes) {
                    let record = click.record();
                    prop_assert_eq!(record.bytes(), &bytes[..]);
                }
            }
        }
    }
}
