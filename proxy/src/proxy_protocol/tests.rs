//! The parser against the document's own examples, against a slow second reading of it, and against noise.

use proptest::prelude::*;

use super::*;

fn whole(bytes: &[u8]) -> (usize, Option<SocketAddr>) {
    match parse(bytes) {
        Ok(Parsed::Whole { consumed, source }) => (consumed, source),
        other => panic!("{} is {other:?}", bytes.escape_ascii()),
    }
}

fn source(text: &str) -> Option<SocketAddr> {
    whole(text.as_bytes()).1
}

fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([version_command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn the_examples_of_the_document_are_understood() {
    // proxy-protocol.txt §2.1: the longest lines of each kind, and the sample session.
    for (line, expected) in [
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        ("PROXY UNKNOWN\r\n", None),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            None,
        ),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", Some("192.168.0.1:56324")),
    ] {
        let expected = expected.map(|address| address.parse().unwrap());
        let with_request = format!("{line}GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n");
        assert_eq!(whole(with_request.as_bytes()), (line.len(), expected), "{line}");
    }
    assert_eq!(source("PROXY TCP6 2001:db8::1 ::1 1 0\r\n"), Some("[2001:db8::1]:1".parse().unwrap()));
}

#[test]
fn version_2_says_the_same_in_fewer_bytes() {
    let v4 = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    v6[32..34].copy_from_slice(&[0, 80]);
    // A TLV behind the addresses: PP2_TYPE_NOOP of three bytes.
    let with_tlv: Vec<u8> = v4.iter().copied().chain([4, 0, 3, 1, 2, 3]).collect();
    for (bytes, expected) in [
        (v2(0x21, 0x11, &v4), Some("192.168.0.1:56324")),
        (v2(0x21, 0x11, &with_tlv), Some("192.168.0.1:56324")),
        (v2(0x21, 0x21, &v6), Some("[2001:db8::7]:80")),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &v4), None),
        (v2(0x21, 0x00, b"whatever"), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x21, 0x11, &[v4.as_slice(), &[0; 524]].concat()), Some("192.168.0.1:56324")),
    ] {
        let expected = expected.map(|address| address.parse().unwrap());
        let length = bytes.len();
        assert_eq!(whole(&[bytes, b"GET".to_vec()].concat()), (length, expected));
    }
}

#[test]
fn whatever_is_not_a_header_is_refused_at_the_first_byte_that_tells() {
    for (bytes, fault) in [
        (&b"GET / HTTP/1.1\r\n"[..], Fault::Missing),
        (b"\x16\x03\x01", Fault::Missing),
        (b"PROXX", Fault::Missing),
        (b"proxy TCP4", Fault::Missing),
        (b"\r\n\r\n\0\r\nQUIX", Fault::Missing),
        (b"\r\nGET / HTTP/1.1", Fault::Missing),
        (b"PROXY \r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Fault::Malformed),
        (b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Fault::Malformed),
        (b"PROXY UNKNOWNX\r\n", Fault::Malformed),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
        (b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n", Fault::Malformed),
    ] {
        assert_eq!(parse(bytes), Err(fault), "{}", bytes.escape_ascii());
    }
    for (bytes, fault) in [
        (v2(0x11, 0x11, &[0; 12]), Fault::Malformed),
        (v2(0x22, 0x11, &[0; 12]), Fault::Malformed),
        (v2(0x21, 0x12, &[0; 12]), Fault::Malformed),
        (v2(0x21, 0x41, &[0; 12]), Fault::Malformed),
        (v2(0x21, 0x11, &[0; 11]), Fault::Malformed),
        (v2(0x21, 0x21, &[0; 35]), Fault::Malformed),
        (v2(0x21, 0x11, &[0; 537]), Fault::TooLong),
        (v2(0x20, 0x00, &[0; 60_000]), Fault::TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(fault), "{}", bytes[..20].escape_ascii());
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..V1_BYTES_MAX - 1]), Ok(Parsed::Partial));
    assert_eq!(parse(&endless), Err(Fault::TooLong));
    let late = [&endless[..V1_BYTES_MAX - 1], b"\r\n"].concat();
    assert_eq!(parse(&late), Err(Fault::TooLong));
}

/// The document read once more, without looking at the parser: `None` for a beginning, `Some(None)` for no header.
fn read_slowly(bytes: &[u8]) -> Option<Option<(usize, Option<SocketAddr>)>> {
    if V2_SIGNATURE.starts_with(bytes) || V1_SIGNATURE.starts_with(bytes) {
        return None;
    }
    if let Some(rest) = bytes.strip_prefix(V2_SIGNATURE) {
        if rest.len() < 4 {
            return None;
        }
        let (version, command) = (rest[0] >> 4, rest[0] & 15);
        let (family, transport) = (rest[1] >> 4, rest[1] & 15);
        let length = usize::from(rest[2]) * 256 + usize::from(rest[3]);
        let needed = match (command, family, transport) {
            (0, ..) | (1, 0, 0) | (1, 3, 1) => 0,
            (1, 1, 1) => 12,
            (1, 2, 1) => 36,
            _ => return Some(None),
        };
        if version != 2 || length < needed || length > 536 {
            return Some(None);
        }
        if rest.len() < 4 + length {
            return None;
        }
        let body = &rest[4..];
        let port = |at: usize| u16::from(body[at]) * 256 + u16::from(body[at + 1]);
        let source = match needed {
            12 => Some(SocketAddr::from(([body[0], body[1], body[2], body[3]], port(8)))),
            36 => {
                let octets: Vec<u8> = body[..16].to_vec();
                Some(SocketAddr::from((<[u8; 16]>::try_from(octets).unwrap(), port(32))))
            }
            _ => None,
        };
        return Some(Some((16 + length, source)));
    }
    if !bytes.starts_with(V1_SIGNATURE) {
        return Some(None);
    }
    let lines: Vec<&[u8]> = bytes.splitn(2, |b| *b == b'\r').collect();
    let (line, after) = match lines[..] {
        [line] if line.len() < 107 => {
            let _ = line;
            return None;
        }
        [line, after] => (line, after),
        _ => return Some(None),
    };
    if line.len() + 2 > 107 {
        return Some(None);
    }
    if after.is_empty() {
        return None;
    }
    if after[0] != b'\n' {
        return Some(None);
    }
    let text = String::from_utf8_lossy(&line[6..]).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let found = match words[..] {
        ["UNKNOWN", ..] => Some(None),
        ["TCP4" | "TCP6", source, destination, port, other_port] => {
            let ports: Vec<u16> = [port, other_port]
                .iter()
                .filter_map(|text| text.parse::<u16>().ok().filter(|number| number.to_string() == **text))
                .collect();
            let is_v6 = words[0] == "TCP6";
            let addresses: Vec<IpAddr> = [source, destination]
                .iter()
                .filter_map(|text| text.parse::<IpAddr>().ok().filter(|address| address.is_ipv6() == is_v6))
                .collect();
            match (&addresses[..], &ports[..]) {
                ([source, _], [port, _]) => Some(Some(SocketAddr::new(*source, *port))),
                _ => None,
            }
        }
        _ => None,
    };
    Some(found.map(|source| (line.len() + 2, source)))
}

fn in_short(result: Result<Parsed, Fault>) -> Option<Option<(usize, Option<SocketAddr>)>> {
    match result {
        Ok(Parsed::Partial) => None,
        Ok(Parsed::Whole { consumed, source }) => Some(Some((consumed, source))),
        Err(_) => Some(None),
    }
}

/// Headers, most of them right, and what comes of them when bytes are changed.
fn nearly_headers() -> impl Strategy<Value = Vec<u8>> {
    let v1 = (any::<bool>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>()).prop_map(
        |(is_v6, octets, port, other_port)| {
            let [a, b, c, d, ..] = octets;
            let (family, source) = match is_v6 {
                true => ("TCP6", IpAddr::from(octets)),
                false => ("TCP4", IpAddr::from([a, b, c, d])),
            };
            format!("PROXY {family} {source} {source} {port} {other_port}\r\nGET / HTTP/1.1\r\n").into_bytes()
        },
    );
    let of_v2 = (
        prop_oneof![Just(0x20u8), Just(0x21), Just(0x21), any::<u8>()],
        prop_oneof![Just(0x11u8), Just(0x21), Just(0x00), Just(0x31), any::<u8>()],
        prop::collection::vec(any::<u8>(), 0..600),
    )
        .prop_map(|(version_command, family, body)| {
            [v2(version_command, family, &body), b"GET".to_vec()].concat()
        });
    let unknown = "[ -~]{0,110}".prop_map(|rest| format!("PROXY UNKNOWN{rest}\r\n").into_bytes());
    let changed = (any::<prop::sample::Index>(), any::<u8>(), any::<u8>());
    (prop_oneof![v1, of_v2, unknown], changed).prop_map(|(mut bytes, (at, byte, dice))| {
        if dice < 128 {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_readings_of_the_document_agree(bytes in nearly_headers()) {
        prop_assert_eq!(in_short(parse(&bytes)), read_slowly(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = parse(&bytes);
        let _ = parse(&[V2_SIGNATURE, bytes.as_slice()].concat());
        let _ = parse(&[V1_SIGNATURE, bytes.as_slice()].concat());
    }

    /// However the bytes arrive: every beginning is a beginning, until the result is known, and then it stays.
    #[test]
    fn a_header_that_comes_in_pieces_means_the_same(bytes in nearly_headers()) {
        let result = parse(&bytes);
        let mut known = None;
        for end in 0..=bytes.len() {
            let so_far = parse(&bytes[..end]);
            match known {
                None if so_far == Ok(Parsed::Partial) => {}
                None => known = Some(so_far),
                Some(known) => prop_assert_eq!(so_far, known),
            }
            if let Ok(Parsed::Whole { consumed, .. }) = so_far {
                prop_assert!(consumed <= end && consumed <= V2_BYTES_MAX);
            }
        }
        prop_assert_eq!(known.unwrap_or(Ok(Parsed::Partial)), result);
    }
}
