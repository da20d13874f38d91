use proptest::prelude::*;

use super::*;

fn key(domain: u16, code: &str) -> Key {
    Key::new(DomainId(domain), code.parse().unwrap())
}

#[test]
fn base62_runs_from_all_zeros_to_all_z() {
    assert_eq!(Code7::new(0).unwrap().to_bytes(), *b"0000000");
    assert_eq!(Code7::new(Code7::COUNT - 1).unwrap().to_bytes(), *b"zzzzzzz");
    assert_eq!(Code7::new(Code7::COUNT), None);
    assert_eq!(Code7::from_bytes(b"000000A").unwrap().value(), 10);
    assert_eq!(Code7::from_bytes(b"000000a").unwrap().value(), 36);
    assert_eq!(Code7::from_bytes(b"00000_a"), None);
}

#[test]
fn codes_outside_the_alphabet_or_length_are_refused_with_the_reason() {
    assert_eq!("".parse::<Code>(), Err(CodeError::Empty));
    assert_eq!("a/b".parse::<Code>(), Err(CodeError::BadCharacter { at: 1 }));
    assert_eq!("ab\u{e9}".parse::<Code>(), Err(CodeError::BadCharacter { at: 2 }));
    assert_eq!("x".repeat(65).parse::<Code>(), Err(CodeError::TooLong { found: 65 }));
    assert!("x".repeat(64).parse::<Code>().is_ok());
}

#[test]
fn generated_codes_take_eight_bytes_and_other_codes_their_length_and_three() {
    assert_eq!(key(0, "Ab3xY9z").encode().len(), 8);
    assert_eq!(key(0, "my-alias").encode().len(), 11);
    // Seven characters, but not Base62.
    assert_eq!(key(0, "my-alia").encode().len(), 10);
}

#[test]
fn encoded_keys_are_frozen() {
    // Worked out apart from this code: 1 << 58 | domain << 42 | digits of the code to base 62.
    assert_eq!(*key(0, "Ab3xY9z").encode(), [0x04, 0x00, 0x00, 0x8c, 0x27, 0x7a, 0xfa, 0x2b]);
    assert_eq!(*key(0xffff, "zzzzzzz").encode(), [0x07, 0xff, 0xff, 0x33, 0xf0, 0x96, 0x6f, 0x7f]);
    assert_eq!(&*key(513, "docs").encode(), b"\x08\x02\x01docs");
    assert_eq!(StateKey::Host("sho.rt".into()).encode(), b"\x10sho.rt");
    assert_eq!(StateKey::Domain(DomainId(258)).encode(), b"\x11\x01\x02");
    let folded = StateKey::FoldedCode(DomainId(258), Code7::new(5).unwrap());
    assert_eq!(folded.encode(), b"\x1f\x01\x02\0\0\0\0\0\x05");
    assert_eq!(StateKey::decode(&folded.encode()), Ok(folded));
    assert_eq!(StateKey::Token(*b"12345678").encode(), b"\x1212345678");
    assert_eq!(StateKey::Member("proxy-0".into()).encode(), b"\x13proxy-0");
    assert_eq!(StateKey::Fleet.encode(), b"\x18");
}

#[test]
fn a_seven_character_code_in_the_long_form_is_refused() {
    assert_eq!(StateKey::decode(b"\x08\x00\x00Ab3xY9z"), Err(KeyError::Malformed(0x08)));
}

#[test]
fn malformed_keys_are_errors() {
    for bad in [
        &b"\x04\x00"[..],
        b"\x08",
        b"\x08\x00\x00",
        b"\x08\x00\x00a b",
        b"\x10",
        b"\x10UPPER",
        b"\x11\x00",
        b"\x12123",
        b"\x13",
        b"\x13A",
        b"\x18x",
    ] {
        assert_eq!(StateKey::decode(bad), Err(KeyError::Malformed(bad[0])), "{bad:?}");
    }
    assert_eq!(StateKey::decode(b""), Err(KeyError::Empty));
    assert_eq!(StateKey::decode(b"\x00"), Err(KeyError::UnknownKind(0)));
    assert_eq!(StateKey::decode(b"\xff1"), Err(KeyError::UnknownKind(0xff)));
}

proptest! {
    #[test]
    fn packing_keeps_domain_and_code(domain: u16, value in 0..Code7::COUNT) {
        let code = Code7::new(value).unwrap();
        prop_assert_eq!(Code7::from_bytes(&code.to_bytes()), Some(code));
        let word = Key::pack(DomainId(domain), code);
        prop_assert_eq!(Key::unpack(word), Some(Key::new(DomainId(domain), code.to_code())));
    }

    #[test]
    fn link_keys_survive_encoding(domain: u16, code in "[A-Za-z0-9_-]{1,64}") {
        let key = StateKey::Link(key(domain, &code));
        prop_assert_eq!(StateKey::decode(&key.encode()), Ok(key));
    }

    #[test]
    fn the_order_of_keys_is_that_of_their_bytes(a in (0..3u16, "[A-Za-z0-9_-]{6,8}"), b in (0..3u16, "[A-Za-z0-9_-]{6,8}")) {
        let (a, b) = (key(a.0, &a.1), key(b.0, &b.1));
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn a_word_is_packed_if_it_can_be_unpacked(word: u64, domain: u16, value in 0..Code7::COUNT) {
        let near = Key::pack(DomainId(domain), Code7::new(value).unwrap());
        for word in [word, near, near | 1 << 59, near | ((1 << 42) - 1)] {
            prop_assert_eq!(Key::is_packed(word), Key::unpack(word).is_some());
        }
    }

    #[test]
    fn arbitrary_bytes_decode_to_a_key_of_the_same_bytes_or_to_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(key) = StateKey::decode(&bytes) {
            prop_assert_eq!(key.encode(), bytes);
        }
    }

    #[test]
    fn byte_order_of_packed_keys_is_code_order(a in 0..Code7::COUNT, b in 0..Code7::COUNT) {
        let (a, b) = (Code7::new(a).unwrap(), Code7::new(b).unwrap());
        prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), Key::pack(DomainId(1), a).cmp(&Key::pack(DomainId(1), b)));
    }
}
