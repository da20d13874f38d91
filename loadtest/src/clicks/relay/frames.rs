//! HTTP/2 frames out of bytes, and gRPC messages out of frames: as much of RFC 9113 as a relay needs. Pure.

/// What a client begins with (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    preface: bool,
}

/// One frame, its head included; or the preface, which is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame(pub(super) Vec<u8>);

/// Kinds of frames that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Settings,
    WindowUpdate,
    Other,
}

impl Frames {
    /// Those of a client begin with the preface.
    pub(super) fn of_client() -> Frames {
        Frames { preface: true, ..Frames::default() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let length = match (self.preface, &self.bytes[..]) {
            (true, _) => PREFACE_BYTES,
            (false, [a, b, c, ..]) => HEAD_BYTES + u32::from_be_bytes([0, *a, *b, *c]) as usize,
            (false, _) => return None,
        };
        if self.bytes.len() < length {
            return None;
        }
        self.preface = false;
        let rest = self.bytes.split_off(length);
        Some(Frame(std::mem::replace(&mut self.bytes, rest)))
    }
}

impl Frame {
    pub(super) fn kind(&self) -> Kind {
        match (self.0.starts_with(b"PRI "), self.0[3]) {
            (false, 0) => Kind::Data,
            (false, 4) => Kind::Settings,
            (false, 8) => Kind::WindowUpdate,
            _ => Kind::Other,
        }
    }

    pub(super) fn flags(&self) -> u8 {
        self.0[4]
    }

    pub(super) fn stream(&self) -> u32 {
        u32::from_be_bytes(self.0[5..HEAD_BYTES].try_into().expect("four bytes")) & 0x7fff_ffff
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.0.get(HEAD_BYTES..).unwrap_or_default()
    }
}

/// What a message is, by the first byte of its protobuf: the tag of the one field that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A reporter's Hello, which tells a stream of clicks.
    ReporterHello,
    /// A batch with its number.
    Batch(u64),
    /// A writer's welcome; among what a reporter sends it is something else.
    First,
    Other,
}

/// Puts gRPC messages together that may be cut anywhere (5 bytes of prefix: compressed or not, length).
#[derive(Debug, Default)]
pub(super) struct Messages(Vec<u8>);

impl Messages {
    /// Takes the payload of a DATA frame; returns the messages that end in it, and whether it is made of whole ones.
    pub(super) fn push(&mut self, payload: &[u8]) -> (Vec<Message>, bool) {
        let begins = self.0.is_empty();
        self.0.extend_from_slice(payload);
        let mut ended = Vec::new();
        while let [_, a, b, c, d, rest @ ..] = &self.0[..] {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            let Some(message) = rest.get(..length) else { break };
            ended.push(message_of(message));
            self.0.drain(..5 + length);
        }
        (ended, begins && self.0.is_empty())
    }
}

fn message_of(bytes: &[u8]) -> Message {
    match field(bytes) {
        Some((0x0a, hello, _)) if is_reporter_hello(hello) => Message::ReporterHello,
        Some((0x0a, ..)) => Message::First,
        Some((0x12, [0x08, number @ ..], _)) => {
            varint(number).map_or(Message::Other, |(number, _)| Message::Batch(number))
        }
        _ => Message::Other,
    }
}

/// Fleet, member and ledger, each with its length: a follower's Hello has a number in the third place.
fn is_reporter_hello(hello: &[u8]) -> bool {
    let mut rest = hello;
    for tag in [0x0a, 0x12] {
        // A field that is empty is left out.
        if let Some((found, _, after)) = field(rest)
            && found == tag
        {
            rest = after;
        }
    }
    matches!(rest, [0x1a, 16, ..])
}

/// Tag, content and what follows, of a field with a length.
fn field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (length, rest) = varint(rest)?;
    let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((*tag, content, rest))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index).min(63);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::framing::frames::frame;

    fn message(protobuf: &[u8]) -> Vec<u8> {
        [&[0][..], &(protobuf.len() as u32).to_be_bytes(), protobuf].concat()
    }

    #[test]
    fn frames_come_out_whole_however_they_were_cut() {
        let sent =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b""), frame(0, 1, 5, b"abc")];
        for step in [1, 2, 7, 1000] {
            let mut frames = Frames::of_client();
            let mut received = Vec::new();
            for piece in sent.concat().chunks(step) {
                frames.push(piece);
                received.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(
                received.iter().map(|frame| &frame.0).collect::<Vec<_>>(),
                sent.iter().collect::<Vec<_>>()
            );
            let last = &received[2];
            assert_eq!(
                (last.kind(), last.flags(), last.stream(), last.payload()),
                (Kind::Data, 1, 5, &b"abc"[..])
            );
            assert_eq!(received[0].kind(), Kind::Other);
        }
    }

    #[test]
    fn messages_are_told_by_their_first_bytes() {
        let hello = [&[0x0a, 16][..], &[1; 16], &[0x12, 1, b'p', 0x1a, 16], &[2; 16]].concat();
        let hello = [&[0x0a, hello.len() as u8][..], &hello].concat();
        let follower = [0x0a, 5, 0x12, 1, b'p', 0x18, 1];
        let batch = [0x12, 6, 0x08, 0xac, 0x02, 0x12, 1, 9];
        let all = [message(&hello), message(&batch), message(&[0x1a, 0])].concat();
        let mut messages = Messages::default();
        let whole = (vec![Message::ReporterHello, Message::Batch(300), Message::Other], true);
        assert_eq!(messages.push(&all), whole);
        assert_eq!(messages.push(&message(&follower)), (vec![Message::First], true));
        let (first, second) = all.split_at(all.len() - 8);
        assert_eq!(messages.push(first), (vec![Message::ReporterHello], false));
        assert_eq!(messages.push(second), (vec![Message::Batch(300), Message::Other], false));
    }
}
