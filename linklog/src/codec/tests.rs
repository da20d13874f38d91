//! Round trips, arbitrary bytes, and every kind of refusal.

use proptest::prelude::*;

use super::frame::{FrameRecord, FrameWriter, Section};
use super::record::{self, Envelope, Header, Kind};
use super::{Cursor, DecodeError, DecodeErrorKind, frame, put_varint, value};
use crate::change::{Change, CommandId, Operation, Part, Precondition};
use crate::digest::{Digest, SectionHash};
use crate::entity::{Fleet, Host, Pass, PersonId, QuotaId, Scopes, SigningKey, Token};
use crate::key::{DomainId, Key, StateKey};
use crate::link::access::PasswordHash;
use crate::link::extras::{CACHE_SECONDS_MAX, CachePolicy, Ended, Extras, ExtrasView, Forward, Limit};
use crate::link::rules::{Country, Device, Rule, Variant, WEIGHT_MAX};
use crate::link::{Link, LinkManage, LinkState, LinkView, RedirectStatus};
use crate::position::{Head, Position};
use crate::slot::Slot;
use crate::stamp::Stamp;

const EVERYWHERE: Header = Header { level: 1, kind: Kind::Change, slot: Slot::EVERYWHERE };

fn envelope(at_ms: u64) -> Envelope {
    Envelope { level: 1, at_ms, nonce: [9; 16] }
}

/// The header of a change of one link.
fn header_of(key: &[u8]) -> Header {
    Header { slot: Slot::of_link_key(key), ..EVERYWHERE }
}

fn precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        Just(Precondition::Any),
        Just(Precondition::Absent),
        Just(Precondition::NeverUsed),
        any::<u64>().prop_map(Precondition::Version),
    ]
}

fn put_or_delete(serve: Vec<u8>, manage: Vec<u8>) -> impl Strategy<Value = Operation> {
    prop_oneof![3 => Just(Operation::Put { serve, manage }), 1 => Just(Operation::Delete)]
}

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![Just(Ended::Gone), Just(Ended::NotFound), "[!-~]{1,60}".prop_map(Ended::Redirect)]
}

fn cache() -> impl Strategy<Value = CachePolicy> {
    let time = || prop::option::of(0..=CACHE_SECONDS_MAX);
    (any::<bool>(), time(), time(), time()).prop_map(
        |(public, max_age_s, s_maxage_s, stale_while_revalidate_s)| CachePolicy {
            public,
            max_age_s,
            s_maxage_s,
            stale_while_revalidate_s,
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let parameter = prop::option::of(("[a-zü&=]{1,9}", prop::option::of("[a-zü&=]{0,9}")));
    let rule = (
        any::<u8>(),
        prop::collection::vec("[a-z-]{1,8}", 0..4),
        parameter,
        prop::option::of(1u64..),
        prop::option::of(1u64..),
        "[!-~]{1,60}",
        prop::collection::vec("[A-Z]{2}", 0..4),
    );
    let rule = rule.prop_map(|(device, languages, parameter, from_ms, until_ms, target, countries)| Rule {
        device: Device(device),
        languages,
        countries: countries.iter().filter_map(|text| Country::from_ascii(text.as_bytes())).collect(),
        parameter,
        from_ms,
        until_ms,
        target,
    });
    prop::collection::vec(rule, 0..4)
}

fn variants() -> impl Strategy<Value = Vec<Variant>> {
    let variant = (1..=WEIGHT_MAX, "[!-~]{1,60}").prop_map(|(weight, target)| Variant { weight, target });
    prop::collection::vec(variant, 0..4)
}

fn password() -> impl Strategy<Value = PasswordHash> {
    let parts = (1u32..=4, 0u32..=65_000, 1u32..=4, any::<[u8; 16]>(), any::<[u8; 32]>());
    parts.prop_map(|(lanes, more, passes, salt, hash)| PasswordHash {
        memory_kib: 8 * lanes + more,
        passes,
        lanes,
        salt,
        hash,
    })
}

fn access() -> impl Strategy<Value = (Option<Vec<PersonId>>, Option<PasswordHash>)> {
    let allowed = prop::collection::vec(any::<[u8; 8]>().prop_map(PersonId), 0..5);
    (prop::option::of(allowed), prop::option::of(password()))
}

fn extras() -> impl Strategy<Value = Extras> {
    let forward = any::<(bool, bool)>().prop_map(|(query, path)| Forward { query, path });
    let limit = (1u64.., any::<(u64, u64)>(), prop::option::of(1u64..))
        .prop_map(|(max, (used, burned), ended_at_ms)| Limit { max, used, burned, ended_at_ms });
    let parts = (
        prop::option::of(1u64..),
        prop::option::of(ended()),
        prop::option::of(cache()),
        forward,
        prop::option::of(limit),
        access(),
        rules(),
        variants(),
        prop::option::of(any::<[u8; 8]>().prop_map(QuotaId)),
    );
    parts.prop_map(
        |(not_before_ms, ended, cache, forward, limit, (allowed, password), rules, variants, quota)| Extras {
            not_before_ms,
            ended,
            cache,
            forward,
            limit,
            allowed,
            password,
            rules,
            variants,
            quota,
        },
    )
}

fn link_operation() -> impl Strategy<Value = Operation> {
    let bodies = ("[!-~]{1,60}", prop::option::of("[a-z]{1,9}"), prop::option::of(1u64..));
    bodies.prop_flat_map(|(target, title, expires_at_ms)| {
        let link = Link { target, expires_at_ms, ..Link::default() };
        let manage = LinkManage { title, ..LinkManage::default() };
        put_or_delete(link.encode(), manage.encode())
    })
}

fn other_part() -> impl Strategy<Value = (StateKey, Operation)> {
    let token = Token {
        name: "ci".into(),
        secret_hash: [1; 32],
        scopes: Scopes::ADMIN,
        created_at_ms: 1,
        ..Token::default()
    };
    let host = Host { domain: DomainId(3) }.encode();
    let fleet = Fleet::new([2; 16], 1).encode();
    let pass = Pass { user: PersonId([4; 8]), secret_hash: [5; 32], expires_at_ms: Some(6) };
    let key = SigningKey { secret: [7; 32], created_at_ms: 8, valid_until_ms: Some(9) };
    prop_oneof![
        ("[a-z]{1,9}".prop_map(StateKey::Host), put_or_delete(host, Vec::new())),
        (Just(StateKey::Fleet), put_or_delete(fleet, Vec::new())),
        (any::<[u8; 8]>().prop_map(StateKey::Pass), put_or_delete(pass.encode(), Vec::new())),
        (any::<[u8; 8]>().prop_map(StateKey::SigningKey), put_or_delete(key.encode(), Vec::new())),
        (any::<[u8; 8]>().prop_map(StateKey::Token), put_or_delete(Vec::new(), token.encode())),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let link = ("[A-Za-z0-9_-]{1,20}", any::<u16>())
        .prop_map(|(code, domain)| StateKey::Link(Key::new(DomainId(domain), code.parse().unwrap())));
    let keyed = prop_oneof![(link, link_operation()), other_part()];
    (keyed, precondition()).prop_map(|((key, operation), precondition)| Part { key, precondition, operation })
}

fn change() -> impl Strategy<Value = Change> {
    let command = prop::option::of((1u8..).prop_map(|n| CommandId([n; 16])));
    (
        command,
        any::<[u8; 16]>(),
        "[a-z0-9]{0,64}",
        prop_oneof![3 => prop::collection::vec(part(), 1..3), 1 => prop::collection::vec(part(), 1..6)],
    )
        .prop_map(|(command, request_hash, actor, parts)| {
            let request_hash = if command.is_some() { request_hash } else { [0; 16] };
            Change { command, request_hash, actor, parts }
        })
        .prop_filter("must be valid", |change| change.validate().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn varints_survive(value: u64) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        let mut cursor = Cursor::new(&bytes);
        prop_assert_eq!(cursor.varint("n"), Ok(value));
        prop_assert!(cursor.is_empty());
    }

    #[test]
    fn changes_survive_as_records(change in change(), at_ms: u64, epoch: u32, seq: u64) {
        let sections = record::sections_of(&change, &envelope(at_ms));
        let position = Position::new(epoch, seq);
        let mut bytes = Vec::new();
        record::encode(&mut bytes, position, &sections);
        let view = record::decode(&bytes).unwrap();
        prop_assert_eq!((view.header, view.position), (Header { level: 1, kind: Kind::Change, slot: change.slot() }, position));
        let serve = record::read_serve(view.header, view.serve).unwrap();
        prop_assert_eq!(serve.at_ms, at_ms);
        let manage = record::read_manage(&serve, view.manage).unwrap();
        prop_assert_eq!(manage.command, change.command);
        prop_assert_eq!(manage.request_hash, change.request_hash);
        prop_assert_eq!(manage.actor, change.actor);
        let rebuilt: Vec<_> = manage.parts.iter().map(|part| Part {
            key: StateKey::decode(part.key).unwrap(),
            precondition: part.precondition,
            operation: match part.is_put {
                true => Operation::Put {
                    serve: serve.parts.iter().find(|served| served.index == part.index).map_or(Vec::new(), |served| served.body.to_vec()),
                    manage: part.body.to_vec(),
                },
                false => Operation::Delete,
            },
        }).collect();
        prop_assert_eq!(rebuilt, change.parts);
    }

    #[test]
    fn a_record_with_any_flipped_bit_is_refused(change in change(), bit in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record::encode(&mut bytes, Position::new(1, 2), &record::sections_of(&change, &envelope(3)));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(record::decode(&bytes).is_err());
    }

    #[test]
    fn a_record_cut_anywhere_is_refused(change in change(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record::encode(&mut bytes, Position::new(1, 2), &record::sections_of(&change, &envelope(3)));
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(record::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = record::decode(&bytes);
        let _ = frame::decode(&bytes);
        let _ = LinkView::of_value(&bytes);
        let _ = Link::decode(&bytes);
        let _ = LinkManage::decode(&bytes);
        let _ = value::split(&bytes);
        for kind in [Kind::Change, Kind::EpochStart, Kind::Entry] {
            let header = Header { level: 1, kind, slot: Slot::EVERYWHERE };
            if let Ok(serve) = record::read_serve(header, &bytes) {
                let _ = record::read_manage(&serve, &bytes);
            }
        }
        let _ = crate::entity::Domain::decode(Cursor::new(&bytes));
        let _ = crate::entity::DomainAnswers::decode(Cursor::new(&bytes));
        let _ = ExtrasView::decode(&bytes);
        let _ = crate::entity::Host::decode(Cursor::new(&bytes));
        let _ = crate::entity::Fleet::decode(Cursor::new(&bytes));
        let _ = crate::entity::Member::decode(Cursor::new(&bytes));
        let _ = crate::entity::Token::decode(Cursor::new(&bytes));
    }

    #[test]
    fn frames_survive_and_keep_the_chain(changes in prop::collection::vec((change(), any::<bool>(), any::<bool>()), 1..6)) {
        let mut records = Vec::new();
        for (n, (change, _, _)) in changes.iter().enumerate() {
            let mut bytes = Vec::new();
            record::encode(&mut bytes, Position::new(1, n as u64 + 1), &record::sections_of(change, &envelope(5)));
            records.push(bytes);
        }
        let mut writer = FrameWriter::new();
        let mut digest = Digest::ZERO;
        for (bytes, (_, conflict, hide)) in records.iter().zip(&changes) {
            let view = record::decode(bytes).unwrap();
            digest = view.digest_after(digest);
            writer.push(&FrameRecord {
                header: view.header,
                position: view.position,
                conflict: *conflict,
                serve: Section::Full(view.serve),
                manage: if *hide { Section::Hash(SectionHash::of(view.manage)) } else { Section::Full(view.manage) },
            });
        }
        let bytes = writer.finish(digest);
        let frame = frame::decode(&bytes).unwrap();
        prop_assert_eq!(frame.digest, digest);
        prop_assert_eq!(frame.records.len(), changes.len());
        let mut recomputed = Digest::ZERO;
        for (record, (_, conflict, _)) in frame.records.iter().zip(&changes) {
            prop_assert_eq!(record.conflict, *conflict);
            recomputed = record.digest_after(recomputed);
        }
        prop_assert_eq!(recomputed, digest, "leaving a section out does not change the chain");
    }

    #[test]
    fn links_survive(
        target in "[!-~]{1,300}", status in 0usize..4, state in 0usize..3, expires_at_ms in prop::option::of(1u64..), extras in extras(), version: u64, epoch: u32, seq: u64,
    ) {
        let status = [RedirectStatus::Found, RedirectStatus::MovedPermanently, RedirectStatus::TemporaryRedirect, RedirectStatus::PermanentRedirect][status];
        let state = [LinkState::Active, LinkState::Disabled, LinkState::Banned][state];
        let link = Link { target, status, state, expires_at_ms, extras };
        let stamp = Stamp { live: true, version, created: Position::new(epoch, seq) };
        let mut bytes = Vec::new();
        value::write(&mut bytes, &stamp, &link.encode());
        let view = LinkView::of_value(&bytes).unwrap().unwrap();
        prop_assert_eq!(view.stamp, stamp);
        prop_assert_eq!(view.extras.is_empty(), link.extras == Extras::default());
        prop_assert_eq!(Link::decode(&link.encode()), Ok(link.clone()));
        prop_assert_eq!(view.to_link(), Ok(link));
    }

    #[test]
    fn managed_parts_survive(created_at_ms: u64, updated_at_ms: u64, title in prop::option::of(".{1,20}"), tags in prop::collection::vec(".{0,8}", 0..5), notes in prop::option::of(".{1,20}")) {
        let full = notes.is_some();
        let manage = LinkManage {
            created_at_ms,
            updated_at_ms,
            created_by: "token".into(),
            title,
            tags,
            external_id: notes.clone(),
            owner: full.then_some(crate::entity::PersonId([3; 8])),
            archived_at_ms: full.then_some(updated_at_ms),
            last_changed_by: full.then(|| "another".to_owned()),
            imported_clicks: if full { created_at_ms } else { 0 },
            notes,
        };
        prop_assert_eq!(LinkManage::decode(&manage.encode()), Ok(manage));
    }
}

fn error(offset: usize, kind: DecodeErrorKind) -> DecodeError {
    DecodeError { offset, kind }
}

#[test]
fn varints_have_one_form() {
    assert_eq!(Cursor::new(&[0x80, 0x00]).varint("n"), Err(DecodeError::invalid(0, "n")));
    assert_eq!(Cursor::new(&[0x80]).varint("n"), Err(DecodeError::truncated(0, "n")));
    assert_eq!(Cursor::new(&[0xff; 9]).varint("n"), Err(DecodeError::truncated(0, "n")));
    let mut largest = vec![0xff; 9];
    largest.push(1);
    assert_eq!(Cursor::new(&largest).varint("n"), Ok(u64::MAX));
    largest[9] = 2;
    assert_eq!(Cursor::new(&largest).varint("n"), Err(DecodeError::invalid(0, "n")));
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Position::new(1, 1), &record::epoch_start(Head::EMPTY, 1, 1));
    bytes[0] = super::FORMAT_LEVEL + 1;
    let newer = DecodeErrorKind::NewerLevel(super::FORMAT_LEVEL + 1);
    assert_eq!(record::decode(&bytes), Err(error(0, newer)));
    bytes[0] = 0;
    assert_eq!(record::decode(&bytes), Err(DecodeError::invalid(0, "format level")));
    bytes[0] = 1;
    bytes[5] ^= 1;
    assert_eq!(record::decode(&bytes), Err(error(bytes.len() - 4, DecodeErrorKind::Checksum)));
}

#[test]
fn errors_name_the_byte() {
    // A serve section whose second part index does not rise.
    let key = b"\x08\x00\x00ab";
    let mut section = vec![7, 2, 1, 5];
    section.extend_from_slice(key);
    section.extend_from_slice(&[0, 2, 1]);
    assert_eq!(record::read_serve(header_of(key), &section), Err(DecodeError::invalid(11, "part index")));
    assert_eq!(record::read_serve(EVERYWHERE, &[7, 9]), Err(DecodeError::invalid(1, "part count")));
    assert_eq!(
        record::read_serve(EVERYWHERE, &[7, 0, 0]),
        Err(error(2, DecodeErrorKind::Trailing("serve section")))
    );
    assert_eq!(Link::decode(&[0x10, 1, b'a']), Err(DecodeError::invalid(0, "link flags")));
    assert_eq!(Link::decode(&[0, 2, b'a', b' ']), Err(DecodeError::invalid(2, "target")));
    assert_eq!(Link::decode(&[0, 0]), Err(DecodeError::invalid(1, "target length")));
    assert_eq!(Link::decode(&[0, 1, b'a', 99, 1, 1]), Err(DecodeError::invalid(3, "field tag")));
}

#[test]
fn extras_that_make_no_sense_are_refused() {
    let refused =
        |bytes: &[u8], at, what| assert_eq!(ExtrasView::decode(bytes), Err(DecodeError::invalid(at, what)));
    assert_eq!(ExtrasView::decode(&[]), Ok(ExtrasView::default()));
    refused(&[2, 1, 0], 0, "not_before");
    refused(&[3, 1, 3], 2, "ended");
    refused(&[3, 1, 2], 3, "target");
    refused(&[3, 2, 2, b'\n'], 3, "target");
    refused(&[4, 1, 16], 2, "cache");
    refused(&[4, 6, 2, 0xff, 0xff, 0xff, 0xff, 0x0f], 2, "cache");
    refused(&[5, 1, 0], 2, "forward");
    refused(&[5, 1, 4], 2, "forward");
    refused(&[99, 1, 1], 0, "field tag");
    refused(&[8, 0], 2, "rules");
    refused(&[8, 1, 0], 3, "target");
    refused(&[9, 0], 2, "variants");
    refused(&[9, 3, 0, 1, b'a'], 2, "weight");
    // Told from the beginning of the link's body.
    assert_eq!(Link::decode(&[0, 1, b'a', 5, 1, 4]), Err(DecodeError::invalid(5, "forward")));
}

#[test]
fn a_frame_that_promises_more_records_than_it_has_is_refused() {
    let mut frame = b"SPF\x01".to_vec();
    frame.extend_from_slice(&u32::MAX.to_le_bytes());
    frame.extend_from_slice(&[0; 16]);
    let checksum = crc32c::crc32c(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    assert_eq!(frame::decode(&frame), Err(DecodeError::invalid(8, "format level")));
    frame.truncate(3);
    assert_eq!(frame::decode(&frame), Err(DecodeError::truncated(0, "frame")));
}

#[test]
fn tombstones_have_no_body() {
    let stamp = Stamp { live: false, version: 3, created: Position::new(1, 5) };
    let mut bytes = Vec::new();
    value::write(&mut bytes, &stamp, b"left out");
    assert_eq!(bytes, [0x10, 3, 1, 5]);
    assert_eq!(LinkView::of_value(&bytes), Ok(None));
    bytes.push(0);
    assert_eq!(LinkView::of_value(&bytes), Err(error(4, DecodeErrorKind::Trailing("tombstone"))));
}

#[test]
fn a_common_link_costs_few_bytes_besides_its_target() {
    let link = Link { target: "https://example.org/".into(), ..Link::default() };
    let stamp = Stamp { live: true, version: 1, created: Position::new(1, 1 << 34) };
    let mut bytes = Vec::new();
    value::write(&mut bytes, &stamp, &link.encode());
    assert_eq!(bytes.len() - link.target.len(), 10);
}

#[test]
fn slots_beyond_the_last_are_refused() {
    let mut bytes = Vec::new();
    let mut sections = record::epoch_start(Head::EMPTY, 1, 1);
    sections.header.slot = Slot::EVERYWHERE;
    record::encode(&mut bytes, Position::new(1, 1), &sections);
    bytes[2..4].copy_from_slice(&4097u16.to_le_bytes());
    let end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(record::decode(&bytes), Err(DecodeError::invalid(2, "slot")));
}

#[test]
fn bytes_that_say_a_thing_in_another_way_are_refused() {
    let key = b"\x08\x00\x00ab";
    // The same key in two parts.
    let mut section = vec![7, 2, 0, 5];
    section.extend_from_slice(key);
    section.extend_from_slice(&[0, 2, 1, 5]);
    section.extend_from_slice(key);
    section.extend_from_slice(&[0, 2]);
    assert_eq!(record::read_serve(header_of(key), &section), Err(DecodeError::invalid(11, "part")));
    // A link in a record of another slot, and another served key beside a link.
    section.truncate(11);
    section[1] = 1;
    assert!(record::read_serve(header_of(key), &section).is_ok());
    assert_eq!(record::read_serve(EVERYWHERE, &section), Err(DecodeError::invalid(2, "part")));
    section[1] = 2;
    section.extend_from_slice(&[1, 1, 0x18, 0, 2]);
    assert_eq!(record::read_serve(header_of(key), &section), Err(DecodeError::invalid(11, "part")));
    // An epoch start that belongs to a slot.
    let start = record::epoch_start(Head::EMPTY, 1, 1);
    let header = Header { slot: Slot::of_link_key(key), ..start.header };
    assert_eq!(
        record::read_serve(header, &start.serve),
        Err(DecodeError::invalid(0, "slot of an epoch start"))
    );
    // Empty optional values, and an end of life at the beginning of time.
    let manage = |more: &[u8]| LinkManage::decode(&[&[1, 1, 0, 2, 1, 0, 3, 0], more].concat());
    assert!(manage(&[]).is_ok());
    assert_eq!(manage(&[4, 0]), Err(DecodeError::invalid(0, "title")));
    assert_eq!(manage(&[5, 0]), Err(DecodeError::invalid(10, "tags")));
    assert_eq!(Link::decode(&[0, 1, b'a', 1, 1, 0]), Err(DecodeError::invalid(3, "expires_at")));
    // A target without reason, and none without reason.
    assert_eq!(Link::decode(&[0x0c, 1, b'a']), Err(DecodeError::invalid(1, "target length")));
    assert!(Link::decode(&[0x0c, 0]).is_ok());
}

#[test]
fn equal_requests_leave_different_hashes_with_followers() {
    let change = Change::new(
        "t",
        vec![Part { key: StateKey::Fleet, precondition: Precondition::Any, operation: Operation::Delete }],
    );
    let hash =
        |nonce| SectionHash::of(&record::sections_of(&change, &Envelope { nonce, ..envelope(1) }).manage);
    assert_ne!(hash([1; 16]), hash([2; 16]));
}
