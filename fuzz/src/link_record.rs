//! Records of the log and frames of the feed: whatever is decoded is written the same again, and its sections are read or refused.

use linklog::codec::{frame, record};

/// The first byte says whether the rest is a record or a frame, without the checksum, which no fuzzer would guess.
pub fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let whole = with_checksum(bytes);
    if kind % 2 == 0 {
        let _ = record::decode(bytes);
        check_record(&whole);
    } else {
        let _ = frame::decode(bytes);
        check_frame(&whole);
    }
}

/// The bytes and their CRC-32C.
pub fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    whole
}

fn check_record(whole: &[u8]) {
    let Ok(view) = record::decode(whole) else { return };
    let sections =
        record::Sections { header: view.header, serve: view.serve.to_vec(), manage: view.manage.to_vec() };
    let mut written = Vec::new();
    record::encode(&mut written, view.position, &sections);
    assert_eq!(written, whole, "a record has one encoding");
    if let Ok(serve) = record::read_serve(view.header, view.serve) {
        let _ = record::read_manage(&serve, view.manage);
    }
}

fn check_frame(whole: &[u8]) {
    let Ok(decoded) = frame::decode(whole) else { return };
    let mut writer = frame::FrameWriter::new();
    for record in &decoded.records {
        writer.push(record);
        if let Some(bytes) = record.serve.bytes()
            && let Ok(serve) = record::read_serve(record.header, bytes)
            && let Some(bytes) = record.manage.bytes()
        {
            let _ = record::read_manage(&serve, bytes);
        }
    }
    let written = writer.finish(decoded.digest);
    assert_eq!(written, whole, "a frame has one encoding");
}
