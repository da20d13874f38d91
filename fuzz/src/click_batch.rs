//! A batch of clicks from a proxy: whatever is decoded is written the same again.

use clicklog::Batch;

/// `bytes` without the checksum, which no fuzzer would guess.
pub fn check(bytes: &[u8]) {
    let _ = Batch::decode(bytes);
    let whole = super::link_record::with_checksum(bytes);
    if let Ok(batch) = Batch::decode(&whole) {
        assert_eq!(batch.encode(), whole, "a batch has one encoding");
    }
}
