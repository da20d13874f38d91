//! The bytes of every format, frozen: what was written by one version is read by all later ones.
//!
//! A difference here means that journals and replicas in the field cannot be read. Never regenerate a file for a level that has
//! been released; add new files for a new level. Each file is checked in both directions, and the reading one does not depend on what
//! the encoder writes today. (`SIGNPOST_WRITE_GOLDEN=1` writes files that do not exist yet.)
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use linklog::codec::frame::{self, FrameRecord, FrameWriter, Section};
use linklog::codec::record::{self, Envelope, Kind};
use linklog::codec::{Cursor, value};
use linklog::digest::SectionHash;
use linklog::entity::{
    Budget, Domain, DomainAnswers, ExternalLink, Fleet, FreedCode, Group, Host, Member, MemberRole,
    MemberState, Pass, Period, PersonId, Quota, QuotaId, Scopes, SigningKey, Token, TokenLimits, User,
    WellKnown,
};
use linklog::key::{Allowance, Code7};
use linklog::link::access::PasswordHash;
use linklog::link::extras::Limit;
use linklog::link::rules::{Country, Device, Rule, Variant};
use linklog::{
    CachePolicy, Change, CommandId, Digest, DomainId, Ended, Extras, Forward, Head, Key, Link, LinkManage,
    LinkState, LinkView, Operation, Part, Position, Precondition, RedirectStatus, SlotSum, Stamp, StateKey,
};

const ENVELOPE: Envelope = Envelope { level: 1, at_ms: 1_700_000_000_123, nonce: [0x55; 16] };

/// Compares with the frozen bytes and returns them.
fn frozen(name: &str, written_now: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    let hex: String = written_now.chunks(32).map(line).collect();
    if !path.exists() && std::env::var_os("SIGNPOST_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &hex).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(hex, text, "the bytes of {name} have changed");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn link() -> Link {
    Link {
        target: "https://example.org/a?b=c#d".into(),
        status: RedirectStatus::TemporaryRedirect,
        state: LinkState::Disabled,
        expires_at_ms: Some(1_800_000_000_000),
        extras: Extras::default(),
    }
}

fn manage() -> LinkManage {
    LinkManage {
        created_at_ms: 1_700_000_000_000,
        updated_at_ms: 1_700_000_000_001,
        created_by: "0123456789abcdef".into(),
        title: Some("A title, ünïcode".into()),
        tags: vec!["one".into(), "two".into()],
        ..LinkManage::default()
    }
}

fn token() -> Token {
    Token {
        name: "ci".into(),
        secret_hash: [0xab; 32],
        scopes: Scopes::LINKS_READ.union(Scopes::LINKS_WRITE).union(Scopes::STATS_READ).union(Scopes::ADMIN),
        created_at_ms: 9,
        revoked_at_ms: Some(10),
        ..Token::default()
    }
}

fn member() -> Member {
    Member {
        role: MemberRole::Sync,
        state: MemberState::Drained,
        credential: Some([0xcd; 32]),
        created_at_ms: 11,
        announced_level: Some(1),
    }
}

fn domain() -> Domain {
    Domain { short_url_base: "https://sho.rt".into(), created_at_ms: 12, ..Domain::default() }
}

fn put(key: StateKey, precondition: Precondition, serve: Vec<u8>, manage: Vec<u8>) -> Part {
    Part { key, precondition, operation: Operation::Put { serve, manage } }
}

/// A link with everything it can have, and a key that is only managed beside it.
fn change_of_links() -> Change {
    let key = Key::new(DomainId(3), "Ab3xY9z".parse().unwrap());
    let id = StateKey::Token(*b"\x01\x23\x45\x67\x89\xab\xcd\xef");
    Change {
        command: Some(CommandId([0x11; 16])),
        request_hash: [0x22; 16],
        actor: "0123456789abcdef".into(),
        parts: vec![
            put(StateKey::Link(key), Precondition::NeverUsed, link().encode(), manage().encode()),
            put(id, Precondition::Any, Vec::new(), token().encode()),
        ],
    }
}

/// Every other kind of key and condition, and a deletion.
fn change_of_the_fleet() -> Change {
    let host = Host { domain: DomainId(3) };
    let fleet = Fleet::new([0x33; 16], 1);
    let gone = Part {
        key: StateKey::Domain(DomainId(2)),
        precondition: Precondition::Version(300),
        operation: Operation::Delete,
    };
    let parts = vec![
        put(StateKey::Host("sho.rt".into()), Precondition::Absent, host.encode(), Vec::new()),
        gone,
        put(StateKey::Domain(DomainId(3)), Precondition::Any, Vec::new(), domain().encode()),
        put(StateKey::Member("proxy-0".into()), Precondition::Any, Vec::new(), member().encode()),
        put(StateKey::Fleet, Precondition::Any, fleet.encode(), Vec::new()),
    ];
    Change::new("operator", parts)
}

fn head() -> Head {
    Head { position: Position::new(1, 41), digest: Digest::from_bytes([0x44; 16]) }
}

/// Reads a record back into the change it came from.
fn change_in(bytes: &[u8], position: Position) -> Change {
    let view = record::decode(bytes).unwrap();
    assert_eq!((view.header.level, view.header.kind, view.position), (1, Kind::Change, position));
    let serve = record::read_serve(view.header, view.serve).unwrap();
    let manage = record::read_manage(&serve, view.manage).unwrap();
    assert_eq!((serve.at_ms, manage.nonce), (ENVELOPE.at_ms, ENVELOPE.nonce));
    let part = |part: &record::PartView<'_>| {
        let served = serve.parts.iter().find(|served| served.index == part.index);
        let operation = match part.is_put {
            true => Operation::Put {
                serve: served.map_or(Vec::new(), |served| served.body.to_vec()),
                manage: part.body.to_vec(),
            },
            false => Operation::Delete,
        };
        Part { key: StateKey::decode(part.key).unwrap(), precondition: part.precondition, operation }
    };
    Change {
        command: manage.command,
        request_hash: manage.request_hash,
        actor: manage.actor.into(),
        parts: manage.parts.iter().map(part).collect(),
    }
}

#[test]
fn records_of_level_1() {
    let position = Position::new(2, 43);
    for (name, change) in
        [("record-links-level-1.hex", change_of_links()), ("record-fleet-level-1.hex", change_of_the_fleet())]
    {
        let mut bytes = Vec::new();
        record::encode(&mut bytes, position, &record::sections_of(&change, &ENVELOPE));
        assert_eq!(change_in(&frozen(name, &bytes), position), change);
    }
}

#[test]
fn epoch_start_of_level_1() {
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Position::new(2, 42), &record::epoch_start(head(), 1, 1_700_000_000_000));
    let bytes = frozen("epoch-start-level-1.hex", &bytes);
    let view = record::decode(&bytes).unwrap();
    let serve = record::read_serve(view.header, view.serve).unwrap();
    assert_eq!((serve.at_ms, serve.previous, view.manage), (1_700_000_000_000, Some(head()), &[][..]));
}

#[test]
fn bodies_of_level_1() {
    assert_eq!(Link::decode(&frozen("body-link-1.hex", &link().encode())), Ok(link()));
    let plain = Link { target: "https://example.org/".into(), ..Link::default() };
    assert_eq!(Link::decode(&frozen("body-link-plain-1.hex", &plain.encode())), Ok(plain));
    let reserved =
        Link { state: LinkState::Reserved, status: RedirectStatus::PermanentRedirect, ..Link::default() };
    assert_eq!(Link::decode(&frozen("body-link-reserved-1.hex", &reserved.encode())), Ok(reserved));
    assert_eq!(LinkManage::decode(&frozen("body-manage-1.hex", &manage().encode())), Ok(manage()));
    assert_eq!(Token::decode(Cursor::new(&frozen("body-token-1.hex", &token().encode()))), Ok(token()));
    assert_eq!(Member::decode(Cursor::new(&frozen("body-member-1.hex", &member().encode()))), Ok(member()));
    assert_eq!(Domain::decode(Cursor::new(&frozen("body-domain-1.hex", &domain().encode()))), Ok(domain()));
}

#[test]
fn a_member_that_is_joining_is_of_level_2() {
    let joining = Member { state: MemberState::Joining, ..member() };
    assert_eq!(
        Member::decode(Cursor::new(&frozen("body-member-joining-2.hex", &joining.encode()))),
        Ok(joining)
    );
}

/// A link with everything that came with level 2.
fn link_of_level_2() -> Link {
    let extras = Extras {
        not_before_ms: Some(1_750_000_000_000),
        ended: Some(Ended::Redirect("https://example.org/over".into())),
        cache: Some(CachePolicy {
            public: true,
            max_age_s: Some(0),
            s_maxage_s: Some(600),
            stale_while_revalidate_s: Some(30),
        }),
        forward: Forward { query: true, path: true },
        limit: None,
        allowed: None,
        password: None,
        rules: vec![
            Rule {
                device: Device(65),
                languages: vec!["de".into(), "pt-br".into()],
                countries: Vec::new(),
                parameter: Some(("src".into(), Some("mail".into()))),
                from_ms: Some(1_760_000_000_000),
                until_ms: Some(1_770_000_000_000),
                target: "https://example.org/rule".into(),
            },
            Rule {
                parameter: Some(("x".into(), None)),
                target: "https://example.org/x".into(),
                ..Rule::default()
            },
        ],
        variants: vec![
            Variant { weight: 1, target: "https://example.org/a".into() },
            Variant { weight: 999, target: "https://example.org/b".into() },
        ],
        quota: None,
    };
    Link { extras, ..link() }
}

#[test]
fn bodies_of_level_2() {
    let body = link_of_level_2().encode();
    assert_eq!(Link::decode(&frozen("body-link-2.hex", &body)), Ok(link_of_level_2()));
    let mut by_country = link_of_level_2();
    by_country.extras.rules[1].countries =
        [b"DE", b"AT"].iter().filter_map(|text| Country::from_ascii(*text)).collect();
    let body = by_country.encode();
    assert_eq!(Link::decode(&frozen("body-link-country-2.hex", &body)), Ok(by_country));
    let domain = Domain { default_ttl_s: Some(63_072_000), alias_lengths: Some((1, 64)), ..domain() };
    assert_eq!(Domain::decode(Cursor::new(&frozen("body-domain-2.hex", &domain.encode()))), Ok(domain));
    let answers = DomainAnswers {
        root: Some("https://example.org/".into()),
        not_found: Some("https://example.org/lost".into()),
        folded: true,
        ended: Some(Ended::NotFound),
        robots: Some("User-agent: *\n".into()),
        well_known: vec![WellKnown {
            name: "assetlinks.json".into(),
            content_type: "application/json".into(),
            body: "[]".into(),
        }],
    };
    let frozen = frozen("body-domain-serve-2.hex", &answers.encode());
    assert_eq!(DomainAnswers::decode(Cursor::new(&frozen)), Ok(answers));
}

#[test]
fn records_of_level_2() {
    let key = Key::new(DomainId(3), "Ab3xY9z".parse().unwrap());
    let claim = StateKey::FoldedCode(
        DomainId(3),
        Key::new(DomainId(3), "ab3xy9z".parse().unwrap()).code.as_code7().unwrap(),
    );
    let parts = vec![
        put(StateKey::Link(key), Precondition::NeverUsed, link_of_level_2().encode(), manage().encode()),
        put(claim, Precondition::Absent, Vec::new(), Vec::new()),
    ];
    let change = Change::new("0123456789abcdef", parts);
    let mut bytes = Vec::new();
    record::encode(
        &mut bytes,
        Position::new(2, 42),
        &record::sections_of(&change, &Envelope { level: 2, ..ENVELOPE }),
    );
    let bytes = frozen("record-links-level-2.hex", &bytes);
    let view = record::decode(&bytes).unwrap();
    let serve = record::read_serve(view.header, view.serve).unwrap();
    let manage = record::read_manage(&serve, view.manage).unwrap();
    assert_eq!((view.header.level, serve.parts.len(), manage.parts.len()), (2, 1, 2));
    assert_eq!(Link::decode(serve.parts[0].body), Ok(link_of_level_2()));
}

#[test]
fn values_of_level_1() {
    let stamp = Stamp { live: true, version: 7, created: Position::new(2, 43) };
    let mut bytes = Vec::new();
    value::write(&mut bytes, &stamp, &link().encode());
    let serve = frozen("value-serve-1.hex", &bytes);
    let view = LinkView::of_value(&serve).unwrap().unwrap();
    assert_eq!((view.stamp, view.to_link()), (stamp, Ok(link())));
    value::write(&mut bytes, &stamp, &manage().encode());
    assert_eq!(LinkManage::of_value(&frozen("value-manage-1.hex", &bytes)), Ok(manage()));
    let gone = Stamp { live: false, ..stamp };
    value::write(&mut bytes, &gone, &[]);
    assert_eq!(value::split(&frozen("value-tombstone-1.hex", &bytes)).unwrap().0, gone);
}

#[test]
fn frames_of_format_1() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    record::encode(&mut first, Position::new(2, 42), &record::epoch_start(head(), 1, 1_700_000_000_000));
    record::encode(&mut second, Position::new(2, 43), &record::sections_of(&change_of_links(), &ENVELOPE));
    let mut frame = FrameWriter::new();
    let mut digest = head().digest;
    for (bytes, conflict) in [(&first, false), (&second, true)] {
        let view = record::decode(bytes).unwrap();
        digest = view.digest_after(digest);
        frame.push(&FrameRecord {
            header: view.header,
            position: view.position,
            conflict,
            serve: Section::Full(view.serve),
            manage: Section::Hash(SectionHash::of(view.manage)),
        });
    }
    let bytes = frozen("frame-1.hex", &frame.finish(digest));
    let read = frame::decode(&bytes).unwrap();
    let seen: Vec<_> = read.records.iter().map(|record| (record.position, record.conflict)).collect();
    assert_eq!(seen, [(Position::new(2, 42), false), (Position::new(2, 43), true)]);
    assert_eq!(read.digest, digest);
}

/// Fingerprints: two versions that compute them differently call each other diverged.
#[test]
fn fingerprints() {
    let long = Key::new(DomainId(513), "docs".parse().unwrap());
    let short = Key::new(DomainId(0), "Ab3xY9z".parse().unwrap());
    let slots = [long.slot().number().to_be_bytes(), short.slot().number().to_be_bytes()].concat();
    frozen("slots.hex", &slots);
    let mut sum = SlotSum::ZERO;
    sum.add(&long.encode(), b"a value");
    sum.add(&short.encode(), &[7; 600]);
    frozen("slot-sum.hex", &sum.to_bytes());
    let mut bytes = Vec::new();
    record::encode(&mut bytes, Position::new(2, 43), &record::sections_of(&change_of_links(), &ENVELOPE));
    frozen("digest.hex", &record::decode(&bytes).unwrap().digest_after(head().digest).to_bytes());
}

/// What came with level 2 besides links' extras: order and people.
#[test]
fn bodies_of_order_and_people_of_level_2() {
    let person = PersonId([0xee; 8]);
    let manage = LinkManage {
        notes: Some("Nötes".into()),
        owner: Some(person),
        external_id: Some("crm:7".into()),
        archived_at_ms: Some(1_700_000_000_002),
        last_changed_by: Some("fedcba9876543210".into()),
        ..manage()
    };
    assert_eq!(LinkManage::decode(&frozen("body-manage-2.hex", &manage.encode())), Ok(manage.clone()));
    let imported = LinkManage { imported_clicks: 70_000, ..manage };
    assert_eq!(LinkManage::decode(&frozen("body-manage-imported-2.hex", &imported.encode())), Ok(imported));
    let limits = TokenLimits {
        domains: vec![DomainId(1), DomainId(300)],
        alias_prefix: Some("u123_".into()),
        creates: Some((1000, 86_400)),
        requests_per_s: Some(7),
        own_links_only: true,
        redirects: None,
    };
    let token = Token { user: Some(person), expires_at_ms: Some(13), limits, ..token() };
    assert_eq!(Token::decode(Cursor::new(&frozen("body-token-2.hex", &token.encode()))), Ok(token));
    let user = User {
        name: "Ädä".into(),
        email: Some("ada@a.example".into()),
        groups: vec![PersonId([1; 8]), PersonId([2; 8])],
        created_at_ms: 14,
        disabled_at_ms: Some(15),
    };
    let serve = frozen("body-user-serve-2.hex", &user.encode_serve());
    let kept = frozen("body-user-manage-2.hex", &user.encode_manage());
    assert_eq!(User::decode(Cursor::new(&serve), Cursor::new(&kept)), Ok(user));
    let group = Group { name: "All".into(), created_at_ms: 16 };
    assert_eq!(Group::decode(Cursor::new(&frozen("body-group-2.hex", &group.encode()))), Ok(group));
    let external = ExternalLink { key: Key::new(DomainId(513), "docs".parse().unwrap()) };
    let read = frozen("body-external-2.hex", &external.encode());
    assert_eq!(ExternalLink::decode(Cursor::new(&read)), Ok(external));
    for (name, key) in [
        ("key-user-2.hex", StateKey::User(person)),
        ("key-group-2.hex", StateKey::Group(person)),
        ("key-external-2.hex", StateKey::External(person, "crm:7".into())),
    ] {
        assert_eq!(StateKey::decode(&frozen(name, &key.encode())), Ok(key));
    }
}

#[test]
fn bodies_of_clicks_that_end_links_of_level_2() {
    let limit = Limit { max: 1_000, used: 300, burned: 5, ended_at_ms: None };
    let link = Link {
        target: "https://a.example/".into(),
        extras: Extras { limit: Some(limit), ..Extras::default() },
        ..Link::default()
    };
    assert_eq!(Link::decode(&frozen("body-link-limit-2.hex", &link.encode())), Ok(link));
    let budget = Budget {
        created: Position::new(3, 7),
        holder: [0xab; 16],
        granted: 300,
        spent: 200,
        returned: 20,
        burned: 1,
    };
    assert_eq!(Budget::decode(Cursor::new(&frozen("body-budget-2.hex", &budget.encode()))), Ok(budget));
    let key =
        StateKey::Budget(Allowance::Link(Key::new(DomainId(513), "docs".parse().unwrap())), "proxy-1".into());
    assert_eq!(StateKey::decode(&frozen("key-budget-2.hex", &key.encode())), Ok(key));
}

#[test]
fn bodies_of_quotas_and_freed_codes_of_level_2() {
    let quota =
        Quota { start_s: 1_700_000_000, used: 300, burned: 5, ..Quota::new(1_000_000, Period::Month) };
    assert_eq!(Quota::decode(Cursor::new(&frozen("body-quota-2.hex", &quota.encode()))), Ok(quota));
    let id = QuotaId::of_token(*b"12345678");
    let limit = Limit { max: 2, used: 2, burned: 0, ended_at_ms: Some(1_700_000_000_123) };
    let link = Link {
        target: "https://a.example/".into(),
        extras: Extras { limit: Some(limit), quota: Some(id), ..Extras::default() },
        ..Link::default()
    };
    assert_eq!(Link::decode(&frozen("body-link-quota-2.hex", &link.encode())), Ok(link));
    let limits = TokenLimits { redirects: Some((1_000_000, Period::Day)), ..TokenLimits::default() };
    let token = Token { limits, ..token() };
    assert_eq!(Token::decode(Cursor::new(&frozen("body-token-quota-2.hex", &token.encode()))), Ok(token));
    let freed = FreedCode { freed_at_ms: 1_700_000_000_123 };
    assert_eq!(FreedCode::decode(Cursor::new(&frozen("body-freed-2.hex", &freed.encode()))), Ok(freed));
    for (name, key) in [
        ("key-quota-2.hex", StateKey::Quota(id)),
        ("key-budget-quota-2.hex", StateKey::Budget(Allowance::Quota(id), "proxy-1".into())),
        ("key-freed-2.hex", StateKey::FreedCode(DomainId(513), Code7::from_bytes(b"Ab3xY9z").unwrap())),
    ] {
        assert_eq!(StateKey::decode(&frozen(name, &key.encode())), Ok(key));
    }
}

#[test]
fn bodies_of_who_may_follow_of_level_2() {
    let password =
        PasswordHash { memory_kib: 19_456, passes: 2, lanes: 1, salt: [0x0a; 16], hash: [0x0b; 32] };
    let allowed = Some(vec![PersonId([1; 8]), PersonId([2; 8])]);
    for (name, allowed, password) in [
        ("body-link-private-2.hex", allowed.clone(), None),
        ("body-link-password-2.hex", None, Some(password)),
        ("body-link-private-password-2.hex", allowed, Some(password)),
        ("body-link-private-to-nobody-2.hex", Some(Vec::new()), None),
    ] {
        let extras = Extras { allowed, password, ..Extras::default() };
        let link = Link { target: "https://a.example/".into(), extras, ..Link::default() };
        assert_eq!(Link::decode(&frozen(name, &link.encode())), Ok(link));
    }
    let pass = Pass { user: PersonId([0xee; 8]), secret_hash: [0xab; 32], expires_at_ms: Some(17) };
    assert_eq!(Pass::decode(Cursor::new(&frozen("body-pass-2.hex", &pass.encode()))), Ok(pass));
    let key = SigningKey { secret: [0xcd; 32], created_at_ms: 18, valid_until_ms: Some(19) };
    assert_eq!(SigningKey::decode(Cursor::new(&frozen("body-signing-key-2.hex", &key.encode()))), Ok(key));
    for (name, key) in
        [("key-pass-2.hex", StateKey::Pass([3; 8])), ("key-signing-key-2.hex", StateKey::SigningKey([4; 8]))]
    {
        assert_eq!(StateKey::decode(&frozen(name, &key.encode())), Ok(key));
    }
}
