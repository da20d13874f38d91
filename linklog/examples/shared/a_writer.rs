//! What measurements of the log have in common: a writer without a service around it, and changes that make links under codes as a key pool
//! gives them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use linklog::store::StoreOptions;
use linklog::writer::{Writer, WriterOptions};
use linklog::{Change, Code7, DomainId, Key, Link, LinkManage, Operation, Part, Precondition, StateKey};

/// Opens a writer that keeps so many bytes of its journal.
pub(crate) fn open(dir: &Path, journal_bytes_kept: u64) -> Writer {
    let mut nonce = 0u128;
    let options = WriterOptions {
        store: StoreOptions::default(),
        journal_bytes_kept,
        queue_max: 10_000,
        clock_us: Box::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64),
        nonce: Box::new(move || {
            nonce = nonce.wrapping_mul(0x2d99_787e_0000_0001_0000_0000_0000_0001).wrapping_add(1);
            nonce.to_le_bytes()
        }),
        on_commit: Box::new(|_| {}),
        at_start: Box::new(|| {}),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    Writer::open(dir, options).unwrap()
}

/// Makes link `n`. Its code is spread over the code space as a key pool does.
pub(crate) fn create(n: u64, target: String) -> Change {
    let code = Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Code7::COUNT).unwrap().to_code();
    let link = Link { target, ..Link::default() };
    let manage = LinkManage {
        created_at_ms: 1_700_000_000_000 + n,
        updated_at_ms: 1_700_000_000_000 + n,
        created_by: "0123456789abcdef".into(),
        ..LinkManage::default()
    };
    let operation = Operation::Put { serve: link.encode(), manage: manage.encode() };
    let key = StateKey::Link(Key::new(DomainId::DEFAULT, code));
    Change::new("0123456789abcdef", vec![Part { key, precondition: Precondition::NeverUsed, operation }])
}
