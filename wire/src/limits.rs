//! The bounds of what travels between the parts, shared by both ends.
//!
//! tonic's own default (4 MiB decoding, no bound encoding) is replaced on every client and server made here, so a
//! message that one side may send is a message the other side takes. Limits of links and frames belong to the
//! `linklog` crate.

/// Most codes one `Lease` may ask for.
pub const LEASE_CODES_MAX: u32 = 100_000;

/// Most codes one `MarkUsed` or `Release` may name.
pub const MARK_CODES_MAX: usize = 10_000;

/// Most bytes of one message of `KeySupply`, either way: [`LEASE_CODES_MAX`] codes of 8 bytes, and room.
pub const KEYS_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Most bytes of one message from a follower: handshakes and acknowledgements, never data.
pub const FOLLOWER_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of one message from the writer: one frame of records, and room for a frame that holds a single
/// record larger than the writer's usual frame.
pub const WRITER_MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Most bytes of one message of `Clicks` from a proxy: one batch of the most and largest cells, and room.
pub const REPORTER_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Most bytes of one message of `Clicks` to a proxy: a few numbers, or a refusal in words.
pub const ACCOUNTANT_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of one message of `Copies` from a standby: marks of a few thousand ledgers.
pub const COPIER_MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Most ledgers marked in one message of `Copies`.
pub const COPIED_MARKS_MAX: usize = 4_096;

/// Most bytes of one message of `Copies` to a standby: [`ENTRIES_BYTES`] of entries and one more, of the largest batch.
pub const ENTRIES_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// How many bytes of entries are sent in one message, or one entry.
pub const ENTRIES_BYTES: usize = 1 << 20;

/// Most bytes of one message of `Budgets`, either way: a link's name and a few numbers, or a refusal in words.
pub const BUDGETS_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of one message of `Snapshots` from a follower: who asks for what.
pub const SNAPSHOT_REQUEST_BYTES_MAX: usize = 64 << 10;

/// Most bytes of one message of `Snapshots` to a follower: a chunk of a part or of a manifest, and room.
pub const SNAPSHOT_REPLY_BYTES_MAX: usize = 2 << 20;

/// How many bytes of a part or of a manifest are sent in one message.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 << 10;

const _: () = assert!(COPIED_MARKS_MAX * 40 + 4096 <= COPIER_MESSAGE_BYTES_MAX);
const _: () = assert!(2 * ENTRIES_BYTES + REPORTER_MESSAGE_BYTES_MAX <= ENTRIES_MESSAGE_BYTES_MAX);
const _: () = assert!(SNAPSHOT_CHUNK_BYTES + 4096 <= SNAPSHOT_REPLY_BYTES_MAX);
const _: () = assert!(LEASE_CODES_MAX as usize * 8 + 4096 <= KEYS_MESSAGE_BYTES_MAX);
const _: () = assert!(MARK_CODES_MAX * 8 + 4096 <= KEYS_MESSAGE_BYTES_MAX);
