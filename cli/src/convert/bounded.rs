//! Reads lines, rows and documents whose length has a bound: a file without ends of lines, or with a quote that is never closed, does not fill
//! the memory.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads a line with its end, which the last one gets too. `None`: there are no more. `Some(None)`: it has more than `max` bytes, and was
/// passed over.
///
/// # Errors
/// The file cannot be read.
pub(super) fn bounded_line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut line = Vec::new();
    let whole = input.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line)?;
    if whole == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        return Ok(Some(Some(line)));
    }
    if whole <= max {
        line.push(b'\n');
        return Ok(Some(Some(line)));
    }
    input.skip_until(b'\n')?;
    Ok(Some(None))
}

/// Gives out at most `max` bytes between two resets of its meter; what comes then is an error that calls what is read `what`.
pub(super) fn metered<R: Read>(input: R, max: u64, what: &'static str) -> (Metered<R>, Meter) {
    let meter = Meter { left: Arc::new(AtomicU64::new(max)), max };
    (Metered { input, meter: meter.clone(), what }, meter)
}

/// What [`metered`] reads from.
pub(super) struct Metered<R> {
    input: R,
    meter: Meter,
    what: &'static str,
}

/// How much may still be read.
#[derive(Clone)]
pub(super) struct Meter {
    left: Arc<AtomicU64>,
    max: u64,
}

impl Meter {
    /// Something has been read whole: the next may be as long again.
    pub(super) fn reset(&self) {
        self.left.store(self.max, Ordering::Relaxed);
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.meter.left.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if left == 0 {
            let Meter { max, .. } = self.meter;
            return Err(io::Error::other(format!(
                "{} has more than {max} bytes, and it is read whole: save it in smaller pieces",
                self.what
            )));
        }
        let room = buffer.len().min(left);
        let read = self.input.read(&mut buffer[..room])?;
        self.meter.left.fetch_sub(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn more_than_the_meter_has_left_is_an_error_until_it_is_reset() {
        let (mut input, meter) = metered(io::Cursor::new(b"abcdef"), 4, "a row");
        let mut buffer = [0; 3];
        assert_eq!(input.read(&mut buffer).unwrap(), 3);
        meter.reset();
        assert_eq!(input.read(&mut buffer).unwrap(), 3);
        assert_eq!(input.read(&mut buffer).unwrap(), 0, "the end");
        let (mut input, _) = metered(io::Cursor::new(b"abcdef"), 4, "a row");
        assert_eq!((input.read(&mut buffer).unwrap(), input.read(&mut buffer).unwrap()), (3, 1));
        let error = input.read(&mut buffer).unwrap_err().to_string();
        assert!(error.starts_with("a row has more than 4 bytes"), "{error}");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let mut input = io::Cursor::new(b"abc\nabcd\n\nab");
        let lines: Vec<_> = std::iter::from_fn(|| bounded_line(&mut input, 3).unwrap()).collect();
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines, [line("abc\n"), None, line("\n"), line("ab\n")]);
    }
}
