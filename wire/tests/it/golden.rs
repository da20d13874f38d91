//! The bytes on the wire: a field number, once released, never changes its meaning.
//!
//! Each line of the golden file is one message with every field set, and its encoding in hex. A new field adds a
//! line or lengthens one; a line that changes otherwise breaks members of the previous release.

use std::fmt::Write;

use prost::Message;
use wire::{
    clicks,
    feed::{
        Ack, FollowerMessage, Heartbeat, Hello, Position, Records, Refusal, Welcome, WriterMessage,
        follower_message, refusal::Reason, writer_message,
    },
    keys::{
        DescribeReply, LeaseReply, LeaseRequest, MarkUsedReply, MarkUsedRequest, ReleaseReply,
        ReleaseRequest, SlotRange,
    },
    snapshots,
};

const GOLDEN: &str = include_str!("../golden/messages.txt");

#[test]
fn messages_are_encoded_as_they_were_released() {
    let lines: String =
        [feed_lines(), keys_lines(), clicks_lines(), copies_lines(), snapshots_lines()].concat();
    assert_eq!(lines, GOLDEN, "the encoding changed; it is now\n{lines}");
}

#[test]
fn every_reason_of_a_refusal_keeps_its_number() {
    let numbers: Vec<_> =
        (0..=12).map(|n| Reason::try_from(n).map(|reason| reason.as_str_name()).ok()).collect();
    assert_eq!(
        numbers,
        [
            Some("REASON_UNSPECIFIED"),
            Some("SNAPSHOT_REQUIRED"),
            Some("DIVERGED"),
            Some("WRONG_FLEET"),
            Some("UNKNOWN_MEMBER"),
            Some("FORMAT_LEVEL"),
            Some("STALE_WRITER"),
            Some("ALREADY_CONNECTED"),
            Some("SHUTTING_DOWN"),
            Some("BAD_REQUEST"),
            Some("WRITER_BEHIND"),
            Some("STANDBY"),
            None,
        ]
    );
}

#[test]
fn every_reason_of_a_click_refusal_keeps_its_number() {
    let name = |n| clicks::refusal::Reason::try_from(n).map(|reason| reason.as_str_name()).ok();
    let numbers: Vec<_> = (0..=8).map(name).collect();
    assert_eq!(
        numbers,
        [
            Some("REASON_UNSPECIFIED"),
            Some("WRONG_FLEET"),
            Some("UNKNOWN_MEMBER"),
            Some("LEDGER_IN_USE"),
            Some("GAP"),
            Some("BAD_BATCH"),
            Some("BAD_REQUEST"),
            Some("SHUTTING_DOWN"),
            None,
        ]
    );
}

fn feed_lines() -> String {
    let position = |seq| Some(Position { epoch: 3, seq });
    let hello = Hello {
        fleet_id: vec![0xf1; 16],
        member: "proxy-0".into(),
        format_level: 1,
        highest_epoch: 3,
        applied: position(300),
        digest: vec![0xd1; 16],
        with_manage: true,
        window_bytes: 1 << 20,
        version: "0.1.0".into(),
    };
    let ack = Ack { applied: position(301), follower_synced_seq: 299, apply_lag_us: 850 };
    let welcome =
        Welcome { fleet_id: vec![0xf1; 16], head: position(400), format_level: 1, version: "0.1.0".into() };
    let records = Records { frame: vec![1, 2, 3].into(), synced_at_us: 1_700_000_000_000_000 };
    let heartbeat = Heartbeat {
        position: position(400),
        digest: vec![0xd1; 16],
        serve_sum: vec![0x51; 16],
        clock_ms: 1_700_000_000_000,
        head: position(401),
        active_proxies: 0,
    };
    let refusal = Refusal {
        reason: Reason::SnapshotRequired.into(),
        detail: "begins later".into(),
        first_retained_seq: 12,
    };
    let up = |message| FollowerMessage { message: Some(message) };
    let down = |message| WriterMessage { message: Some(message) };
    [
        line("feed.hello", &up(follower_message::Message::Hello(hello))),
        line("feed.ack", &up(follower_message::Message::Ack(ack))),
        line("feed.welcome", &down(writer_message::Message::Welcome(welcome))),
        line("feed.records", &down(writer_message::Message::Records(records))),
        line("feed.heartbeat", &down(writer_message::Message::Heartbeat(heartbeat))),
        line("feed.refusal", &down(writer_message::Message::Refusal(refusal))),
    ]
    .concat()
}

fn keys_lines() -> String {
    let lease = LeaseRequest { request_id: vec![0xa1; 16], holder: "admin-1".into(), epoch: 3, count: 1000 };
    let describe = DescribeReply {
        pool_id: vec![0xb1; 16],
        slots: vec![SlotRange { first: 0, last: 2047 }, SlotRange { first: 4000, last: 4095 }],
        unused: 1_000_000,
        used: 5,
        last_lease_number: 7,
        version: "0.1.0".into(),
    };
    [
        line("keys.lease_request", &lease),
        line(
            "keys.lease_reply",
            &LeaseReply { pool_id: vec![0xb1; 16], lease_number: 7, codes: vec![1, 1 << 41] },
        ),
        line("keys.mark_used_request", &MarkUsedRequest { codes: vec![2, 1 << 41] }),
        line("keys.mark_used_reply", &MarkUsedReply { newly_marked: 2 }),
        line("keys.release_request", &ReleaseRequest { codes: vec![3] }),
        line("keys.release_reply", &ReleaseReply { quarantined: 1, ignored: 2 }),
        line("keys.describe_reply", &describe),
    ]
    .concat()
}

fn clicks_lines() -> String {
    use clicks::{accountant_message::Message as Down, reporter_message::Message as Up};
    let hello = clicks::Hello {
        fleet_id: vec![0xf1; 16],
        member: "proxy-0".into(),
        ledger_id: vec![0xc1; 16],
        first_kept: 4,
        last: 300,
        dropped_clicks: 5,
        version: "0.1.0".into(),
    };
    let batch = clicks::Batch { number: 300, batch: vec![1, 2, 3] };
    let up_to = clicks::UpTo { complete_until_ms: 1_700_000_000_000 };
    let welcome = clicks::Welcome { fleet_id: vec![0xf1; 16], watermark: 299, version: "0.1.0".into() };
    let watermark = clicks::Watermark { counted: 300, released: 299 };
    let refusal =
        clicks::Refusal { reason: clicks::refusal::Reason::Gap.into(), detail: "299 is next".into() };
    let up = |message| clicks::ReporterMessage { message: Some(message) };
    let down = |message| clicks::AccountantMessage { message: Some(message) };
    [
        line("clicks.hello", &up(Up::Hello(hello))),
        line("clicks.batch", &up(Up::Batch(batch))),
        line("clicks.up_to", &up(Up::UpTo(up_to))),
        line("clicks.welcome", &down(Down::Welcome(welcome))),
        line("clicks.watermark", &down(Down::Watermark(watermark))),
        line("clicks.refusal", &down(Down::Refusal(refusal))),
    ]
    .concat()
}

fn copies_lines() -> String {
    use clicks::copier_message::Message;
    let hello = clicks::CopierHello {
        fleet_id: vec![0xf1; 16],
        member: "standby-0".into(),
        epoch: 2,
        seq: 300,
        digest: vec![0xd1; 16],
        version: "0.1.0".into(),
    };
    let mark = clicks::LedgerMark { ledger_id: vec![0xc1; 16], number: 300 };
    let entries =
        clicks::Entries { epoch: 2, seq: 300, digest: vec![0xd1; 16], entries: vec![vec![1, 2, 3], vec![4]] };
    let up = |message| clicks::CopierMessage { message: Some(message) };
    [
        line("copies.hello", &up(Message::Hello(hello))),
        line("copies.copied", &up(Message::Copied(clicks::Copied { marks: vec![mark] }))),
        line("copies.entries", &entries),
    ]
    .concat()
}

fn snapshots_lines() -> String {
    use snapshots::open_reply::Reply;
    let open = snapshots::OpenRequest {
        fleet_id: vec![0xf1; 16],
        member: "proxy-0".into(),
        format_level: 2,
        with_manage: true,
        at_least_seq: 300,
        resume: vec![0xd1; 16],
        version: "0.1.0".into(),
        counts: false,
    };
    let of_counts = snapshots::OpenRequest { counts: true, ..open.clone() };
    let opened = snapshots::Opened { snapshot_id: vec![0xd1; 16], manifest_bytes: 3 };
    let read = snapshots::ReadRequest {
        fleet_id: vec![0xf1; 16],
        member: "proxy-0".into(),
        snapshot_id: vec![0xd1; 16],
        part: 7,
        offset: 1 << 20,
    };
    let reply = |reply| snapshots::OpenReply { reply: Some(reply) };
    [
        line("snapshots.open_request", &open),
        line("snapshots.open_request_counts", &of_counts),
        line("snapshots.making", &reply(Reply::Making(snapshots::Making { bytes: 1 << 20 }))),
        line("snapshots.opened", &reply(Reply::Opened(opened))),
        line("snapshots.manifest", &reply(Reply::Manifest(vec![1, 2, 3]))),
        line("snapshots.read_request", &read),
        line("snapshots.chunk", &snapshots::Chunk { data: vec![1, 2, 3].into() }),
    ]
    .concat()
}

/// One line of the golden file, after checking that the message survives the round trip.
fn line<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, message: &M) -> String {
    let bytes = message.encode_to_vec();
    assert_eq!(&M::decode(&bytes[..]).unwrap(), message, "{name}");
    let mut line = format!("{name} ");
    bytes.iter().for_each(|byte| write!(line, "{byte:02x}").unwrap());
    line.push('\n');
    line
}
