//! Bodies of entities survive, and their refusals.

use super::*;
use crate::codec::{Cursor, DecodeError};
use crate::key::DomainId;
use crate::position::{Epoch, Position};

#[test]
fn entities_survive() {
    let domain = Domain { short_url_base: "https://sho.rt".into(), created_at_ms: 5, ..Domain::default() };
    assert_eq!(Domain::decode(Cursor::new(&domain.encode())), Ok(domain.clone()));
    let domain = Domain { default_ttl_s: Some(9), alias_lengths: Some((1, 64)), ..domain };
    assert_eq!(Domain::decode(Cursor::new(&domain.encode())), Ok(domain));
    let file = |name: &str| WellKnown {
        name: name.into(),
        content_type: "application/json".into(),
        body: "[]".into(),
    };
    for answers in [
        DomainAnswers::default(),
        DomainAnswers {
            root: Some("https://a/".into()),
            not_found: Some("https://b/".into()),
            folded: true,
            ended: Some(crate::link::extras::Ended::NotFound),
            robots: Some("User-agent: *\n".into()),
            well_known: vec![file("assetlinks.json"), file("a/b")],
        },
    ] {
        assert_eq!(DomainAnswers::decode(Cursor::new(&answers.encode())), Ok(answers));
    }
    let twice = DomainAnswers { well_known: vec![file("a"), file("a")], ..DomainAnswers::default() };
    assert!(DomainAnswers::decode(Cursor::new(&twice.encode())).is_err());
    let host = Host { domain: DomainId(300) };
    assert_eq!(Host::decode(Cursor::new(&host.encode())), Ok(host));
    let restored = Restored { to: Position::new(3, 900), epoch: Epoch(5), discarded: None };
    let known = Restored { discarded: Some(Position::new(4, 70_000)), ..restored };
    for restored in [None, Some(restored), Some(known)] {
        let fleet = Fleet { restored, ..Fleet::new([7; 16], 1) };
        assert_eq!(Fleet::decode(Cursor::new(&fleet.encode())), Ok(fleet));
    }
    for (applied, discarded) in [((4, 901), true), ((3, 900), false), ((4, 899), false), ((5, 901), false)] {
        assert_eq!(restored.discards(Position::new(applied.0, applied.1)), discarded, "{applied:?}");
    }
    for role in [MemberRole::Read, MemberRole::Sync] {
        for state in [MemberState::Active, MemberState::Drained, MemberState::Forgotten] {
            for credential in [None, Some([9; 32])] {
                let member = Member { role, state, credential, created_at_ms: 1, announced_level: Some(2) };
                assert_eq!(Member::decode(Cursor::new(&member.encode())), Ok(member));
            }
        }
    }
    let joining = |role| Member {
        role,
        state: MemberState::Joining,
        credential: None,
        created_at_ms: 1,
        announced_level: None,
    };
    let member = joining(MemberRole::Sync);
    assert_eq!(Member::decode(Cursor::new(&member.encode())), Ok(member));
    let proxy = joining(MemberRole::Read).encode();
    assert_eq!(Member::decode(Cursor::new(&proxy)), Err(DecodeError::invalid(0, "joining")));
    for revoked_at_ms in [None, Some(8)] {
        let scopes = Scopes::LINKS_READ.union(Scopes::LINKS_WRITE);
        let token = Token {
            name: "ci".into(),
            secret_hash: [1; 32],
            scopes,
            created_at_ms: 2,
            revoked_at_ms,
            ..Token::default()
        };
        assert_eq!(Token::decode(Cursor::new(&token.encode())), Ok(token));
    }
}

#[test]
fn unknown_values_are_refused() {
    assert_eq!(Host::decode(Cursor::new(&[1, 3, 0x80, 0x80, 0x04])), Err(DecodeError::invalid(0, "domain")));
    assert_eq!(Member::decode(Cursor::new(&[1, 1, 2])), Err(DecodeError::invalid(0, "member role")));
    assert_eq!(Fleet::decode(Cursor::new(&[])), Err(DecodeError::truncated(0, "fleet id")));
}

#[test]
fn admin_allows_everything_and_others_only_themselves() {
    assert!(Scopes::ADMIN.allows(Scopes::LINKS_WRITE));
    assert!(!Scopes::LINKS_READ.allows(Scopes::LINKS_WRITE));
    assert!(!Scopes::LINKS_READ.allows(Scopes::LINKS_READ.union(Scopes::LINKS_WRITE)));
    assert!(!Scopes::ADMIN.contains(Scopes::LINKS_READ));
    assert!(Scopes::default().is_empty());
}

#[test]
fn users_groups_and_external_ids_survive() {
    let (a, b) = (PersonId([1; 8]), PersonId([0xfe; 8]));
    for (email, groups, disabled_at_ms) in
        [(None, vec![], None), (Some("a@a.example".to_owned()), vec![a, b], Some(7))]
    {
        let user = User { name: "Ä".into(), email, groups, created_at_ms: 3, disabled_at_ms };
        let (serve, manage) = (user.encode_serve(), user.encode_manage());
        assert_eq!(User::decode(Cursor::new(&serve), Cursor::new(&manage)), Ok(user));
    }
    let group = Group { name: "all".into(), created_at_ms: 1 };
    assert_eq!(Group::decode(Cursor::new(&group.encode())), Ok(group));
    let key = crate::Key::new(DomainId(2), "some-alias".parse().expect("an alias"));
    assert_eq!(ExternalLink::decode(Cursor::new(&ExternalLink { key }.encode())), Ok(ExternalLink { key }));
    assert_eq!("0101010101010101".parse(), Ok(a));
    assert_eq!(b.to_string(), "fefefefefefefefe");
    for wrong in ["", "01", "FEFEFEFEFEFEFEFE", "+101010101010101", "01010101010101012"] {
        assert_eq!(wrong.parse::<PersonId>(), Err(PersonIdError), "{wrong}");
    }
}

#[test]
fn what_a_proxy_gets_of_a_user_names_nobody() {
    let user = User {
        name: "Ada Lovelace".into(),
        email: Some("ada@a.example".into()),
        groups: vec![PersonId([5; 8])],
        created_at_ms: 3,
        disabled_at_ms: None,
    };
    assert_eq!(user.encode_serve(), [&[2, 8][..], &[5; 8]].concat());
}

#[test]
fn a_user_whose_parts_disagree_is_refused() {
    let user = User { name: "a".into(), created_at_ms: 1, disabled_at_ms: Some(2), ..User::default() };
    let on = User { disabled_at_ms: None, ..user.clone() };
    assert!(User::decode(Cursor::new(&on.encode_serve()), Cursor::new(&user.encode_manage())).is_err());
    assert!(User::decode(Cursor::new(&user.encode_serve()), Cursor::new(&on.encode_manage())).is_err());
}

#[test]
fn a_token_with_every_limit_survives_and_one_without_has_no_more_bytes_than_before() {
    let token = Token {
        name: "ci".into(),
        secret_hash: [1; 32],
        scopes: Scopes::LINKS_READ,
        created_at_ms: 2,
        ..Token::default()
    };
    let limited = Token {
        user: Some(PersonId([9; 8])),
        expires_at_ms: Some(8),
        limits: TokenLimits {
            domains: vec![DomainId(0), DomainId(300)],
            alias_prefix: Some("u123_".into()),
            creates: Some((1000, 86_400)),
            requests_per_s: Some(5),
            own_links_only: true,
            redirects: Some((1_000_000, Period::Month)),
        },
        ..token.clone()
    };
    assert_eq!(Token::decode(Cursor::new(&limited.encode())), Ok(limited.clone()));
    assert!(limited.encode().starts_with(&token.encode()));
    let no_period = [token.encode(), vec![10, 2, 5, 0]].concat();
    assert!(Token::decode(Cursor::new(&no_period)).is_err());
}
