//! Every bound of the format and the log in one place. The writer enforces them, and so does every reader of bytes.

/// Most parts in one change.
pub const PARTS_MAX: usize = 8;
/// Longest code of a link, in bytes (they are ASCII).
pub const CODE_BYTES_MAX: usize = 64;
/// Longest target of a link, in bytes. The API refuses at 8 KiB; the format leaves room for operators who raise that.
pub const TARGET_BYTES_MAX: usize = 64 * 1024;
/// Longest encoded state key, in bytes: its length is one byte in the record.
pub const STATE_KEY_BYTES_MAX: usize = 255;
/// Largest `serve` or `manage` body of one part, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest `serve` or `manage` section of one record, in bytes.
pub const SECTION_BYTES_MAX: usize = 1024 * 1024;
/// Longest name of who asked for a change, in bytes.
pub const ACTOR_BYTES_MAX: usize = 64;
/// Most records in one commit group.
pub const GROUP_RECORDS_MAX: usize = 8_192;
/// Most encoded bytes in one commit group; a group may exceed it by its last proposal.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most changes in one proposal to the writer.
pub const PROPOSAL_CHANGES_MAX: usize = 1_000;
/// Largest frame of the feed, in bytes; a single record that is larger travels alone.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long outcomes of commands are kept at least, in milliseconds (24 h).
pub const OUTCOME_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
