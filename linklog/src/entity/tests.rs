//! Bodies of entities survive, and their refusals.

use super::*;
use crate::codec::{Cursor, DecodeError};
use crate::key::DomainId;

#[test]
fn entities_survive() {
    let domain = Domain { short_url_base: "https://sho.rt".into(), created_at_ms: 5 };
    assert_eq!(Domain::decode(Cursor::new(&domain.encode())), Ok(domain));
    let host = Host { domain: DomainId(300) };
    assert_eq!(Host::decode(Cursor::new(&host.encode())), Ok(host));
    let fleet = Fleet { id: [7; 16], format_level: 1 };
    assert_eq!(Fleet::decode(Cursor::new(&fleet.encode())), Ok(fleet));
    for role in [MemberRole::Read, MemberRole::Sync] {
        for state in [MemberState::Active, MemberState::Drained, MemberState::Forgotten] {
            for credential in [None, Some([9; 32])] {
                let member = Member { role, state, credential, created_at_ms: 1, announced_level: Some(2) };
                assert_eq!(Member::decode(Cursor::new(&member.encode())), Ok(member));
            }
        }
    }
    for revoked_at_ms in [None, Some(8)] {
        let scopes = Scopes::LINKS_READ.union(Scopes::LINKS_WRITE);
        let token =
            Token { name: "ci".into(), secret_hash: [1; 32], scopes, created_at_ms: 2, revoked_at_ms };
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
