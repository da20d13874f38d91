//! The bytes of every format, frozen: what was written by one version is read by all later ones.
//!
//! A difference here means that journals and replicas in the field cannot be read. Never regenerate a file for a level that has
//! been released; add new files for a new level. (`SIGNPOST_WRITE_GOLDEN=1` writes files that do not exist yet.)
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use linklog::codec::frame::{self, FrameRecord, FrameWriter, Section};
use linklog::codec::{record, value};
use linklog::digest::SectionHash;
use linklog::entity::{Domain, Fleet, Host, Member, MemberRole, MemberState, Scopes, Token};
use linklog::{
    Change, CommandId, Digest, DomainId, Head, Key, Link, LinkManage, LinkState, Operation, Part, Position,
    Precondition, RedirectStatus, Stamp, StateKey,
};

fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let hex: String = bytes
        .chunks(32)
        .map(|line| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n")
        .collect();
    if !path.exists() && std::env::var_os("SIGNPOST_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &hex).unwrap();
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(hex, frozen, "the bytes of {name} have changed");
}

fn link() -> Link {
    Link {
        target: "https://example.org/a?b=c#d".into(),
        status: RedirectStatus::TemporaryRedirect,
        state: LinkState::Active,
        expires_at_ms: Some(1_800_000_000_000),
    }
}

fn manage() -> LinkManage {
    LinkManage {
        created_at_ms: 1_700_000_000_000,
        updated_at_ms: 1_700_000_000_001,
        created_by: "0123456789abcdef".into(),
        title: Some("A title, ünïcode".into()),
        tags: vec!["one".into(), "two".into()],
    }
}

fn change() -> Change {
    let put = |key, precondition, serve: Vec<u8>, manage: Vec<u8>| Part {
        key,
        precondition,
        operation: Operation::Put { serve, manage },
    };
    let code = |code: &str| Key::new(DomainId(3), code.parse().unwrap());
    let token = Token {
        name: "ci".into(),
        secret_hash: [0xab; 32],
        scopes: Scopes::LINKS_READ.union(Scopes::LINKS_WRITE),
        created_at_ms: 9,
        revoked_at_ms: Some(10),
    };
    let member = Member {
        role: MemberRole::Sync,
        state: MemberState::Drained,
        credential: Some([0xcd; 32]),
        created_at_ms: 11,
    };
    let domain = Domain { short_url_base: "https://sho.rt".into(), created_at_ms: 12 };
    Change {
        command: Some(CommandId([0x11; 16])),
        request_hash: [0x22; 16],
        actor: "0123456789abcdef".into(),
        parts: vec![
            put(StateKey::Link(code("Ab3xY9z")), Precondition::NeverUsed, link().encode(), manage().encode()),
            put(
                StateKey::Token(*b"\x01\x23\x45\x67\x89\xab\xcd\xef"),
                Precondition::Any,
                Vec::new(),
                token.encode(),
            ),
            put(
                StateKey::Host("sho.rt".into()),
                Precondition::Absent,
                Host { domain: DomainId(3) }.encode(),
                Vec::new(),
            ),
            Part {
                key: StateKey::Domain(DomainId(2)),
                precondition: Precondition::Version(300),
                operation: Operation::Delete,
            },
            put(StateKey::Domain(DomainId(3)), Precondition::Any, Vec::new(), domain.encode()),
            put(StateKey::Member("proxy-0".into()), Precondition::Any, Vec::new(), member.encode()),
            put(
                StateKey::Fleet,
                Precondition::Any,
                Fleet { id: [0x33; 16], format_level: 1 }.encode(),
                Vec::new(),
            ),
        ],
    }
}

fn head() -> Head {
    Head { position: Position::new(1, 41), digest: Digest::from_bytes([0x44; 16]) }
}

#[test]
fn record_level_1() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Position::new(2, 43), &record::sections_of(&change(), 1_700_000_000_123));
    check("record-level-1.hex", &bytes);
    let view = record::decode(&bytes).unwrap();
    let serve = record::read_serve(view.kind, view.serve).unwrap();
    assert_eq!(record::read_manage(&serve, view.manage).unwrap().parts.len(), 7);
}

#[test]
fn epoch_start_level_1() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Position::new(2, 42), &record::epoch_start(head(), 1_700_000_000_000));
    check("epoch-start-level-1.hex", &bytes);
}

#[test]
fn frame_1() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    record::encode(&mut first, Position::new(2, 42), &record::epoch_start(head(), 1_700_000_000_000));
    record::encode(&mut second, Position::new(2, 43), &record::sections_of(&change(), 1_700_000_000_123));
    let mut frame = FrameWriter::new();
    let mut digest = head().digest;
    for (bytes, conflict) in [(&first, false), (&second, true)] {
        let view = record::decode(bytes).unwrap();
        digest = view.digest_after(digest);
        frame.push(&FrameRecord {
            kind: view.kind,
            position: view.position,
            slot: view.slot,
            conflict,
            serve: Section::Full(view.serve),
            manage: Section::Hash(SectionHash::of(view.manage)),
        });
    }
    let bytes = frame.finish(digest);
    check("frame-1.hex", &bytes);
    assert_eq!(frame::decode(&bytes).unwrap().records.len(), 2);
}

#[test]
fn values_1() {
    let stamp = Stamp { live: true, version: 7, created: Position::new(2, 43) };
    let mut bytes = Vec::new();
    value::write(&mut bytes, &stamp, &link().encode());
    check("value-serve-1.hex", &bytes);
    value::write(&mut bytes, &stamp, &manage().encode());
    check("value-manage-1.hex", &bytes);
    value::write(&mut bytes, &Stamp { live: false, ..stamp }, &[]);
    check("value-tombstone-1.hex", &bytes);
}
