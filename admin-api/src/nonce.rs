//! The random bytes in every record, taken from the kernel 256 records at a time.

/// Records one call to the kernel serves.
const RECORDS: usize = 256;

/// Returns a source of 16 random bytes a call, for the writer.
///
/// # Errors
/// The kernel has no randomness; after the first success it always has.
pub fn source() -> std::io::Result<Box<dyn FnMut() -> [u8; 16] + Send>> {
    let mut buffer = Box::new([[0u8; 16]; RECORDS]);
    getrandom::fill(buffer.as_flattened_mut())?;
    let mut next = 0;
    Ok(Box::new(move || {
        if next == RECORDS {
            getrandom::fill(buffer.as_flattened_mut()).expect("the kernel's randomness does not end");
            next = 0;
        }
        next += 1;
        buffer[next - 1]
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_two_records_get_the_same_bytes() {
        let mut source = super::source().unwrap();
        let nonces: HashSet<_> = (0..3 * super::RECORDS).map(|_| source()).collect();
        assert_eq!(nonces.len(), 3 * super::RECORDS);
    }
}
