//! Reads lines whose length has a bound: a file without ends of lines does not fill the memory.

use std::io::{self, BufRead, Read};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let mut input = io::Cursor::new(b"abc\nabcd\n\nab");
        let lines: Vec<_> = std::iter::from_fn(|| bounded_line(&mut input, 3).unwrap()).collect();
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines, [line("abc\n"), None, line("\n"), line("ab\n")]);
    }
}
