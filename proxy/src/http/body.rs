//! Where the body of a request ends: decided here alone, by the letter of RFC 9112 §6 and §7.1.
//!
//! Only what a password is sent in means anything to us; bodies are read so that the next request is found exactly where its sender put it. So the reading is
//! strict where others are lenient and have been fooled: every line ends in CRLF, a chunk's size is hexadecimal digits and nothing
//! else, chunk data is followed by CRLF and nothing else, trailers are header lines. What is not like this is refused, and the
//! connection with it.
//!
//! Pure: a state of a few bytes, fed with whatever has come, with the same result however it was cut.

/// Most digits of a chunk's size: 4 GiB, more than anybody gets to send.
const SIZE_DIGITS_MAX: u8 = 8;
/// Most bytes of chunk extensions and trailers together; nobody who means well sends any.
const EXTRA_BYTES_MAX: u16 = 1 << 10;

/// What the head says about the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// The bytes are no body of the kind that was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// A body of which a part, perhaps nothing, was read.
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    extra_bytes: u16,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of a body with a length.
    Left(u64),
    /// Digits of a chunk's size: how many so far, and their value.
    Size(u8, u64),
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
    Done,
}

impl Body {
    /// A body of which nothing was read.
    pub fn new(framing: Framing) -> Body {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(bytes) => State::Left(bytes),
            Framing::Chunked => State::Size(0, 0),
        };
        Body { state, extra_bytes: 0 }
    }

    /// Says whether all of it was read.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Reads what belongs to the body at the start of `bytes`; returns how many bytes that is. If it is not all of them, the body is
    /// done.
    ///
    /// # Errors
    /// [`Malformed`]; nothing after it can be trusted.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        self.read_data(bytes, |_| {})
    }

    /// As [`Body::read`]; `data` gets the pieces of what the body carries.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn read_data(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut read = 0;
        while read < bytes.len() {
            let taken = match self.state {
                State::Done => break,
                State::Left(left) => {
                    let (left, taken) = take(left, bytes.len() - read);
                    data(&bytes[read..read + taken]);
                    self.state = if left == 0 { State::Done } else { State::Left(left) };
                    taken
                }
                State::Data(left) => {
                    let (left, taken) = take(left, bytes.len() - read);
                    data(&bytes[read..read + taken]);
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    taken
                }
                state => {
                    self.state = self.next(state, bytes[read])?;
                    1
                }
            };
            read += taken;
        }
        Ok(read)
    }

    /// One byte of the syntax around the data.
    fn next(&mut self, state: State, byte: u8) -> Result<State, Malformed> {
        let next = match (state, byte) {
            (State::Size(digits, size), _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
                State::Size(digits + 1, size << 4 | u64::from(hex_digit(byte)))
            }
            (State::Size(1.., size) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Size(1.., size), b';') => State::Extension(size),
            (State::Extension(size), b'\t' | b' '..=b'~') => self.extra(State::Extension(size))?,
            (State::SizeEnd(0), b'\n') => State::TrailerStart,
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.extra(State::TrailerName)?
            }
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.extra(State::TrailerValue)?,
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(Malformed),
        };
        Ok(next)
    }

    fn extra(&mut self, next: State) -> Result<State, Malformed> {
        self.extra_bytes += 1;
        if self.extra_bytes > EXTRA_BYTES_MAX { Err(Malformed) } else { Ok(next) }
    }
}

/// Takes up to `left` of the bytes there are; returns what is then left, and how many were taken.
fn take(left: u64, there: usize) -> (u64, usize) {
    let taken = usize::try_from(left).map_or(there, |left| left.min(there));
    (left - taken as u64, taken)
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
