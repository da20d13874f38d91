//! A tiny database of countries in the MaxMind DB format, written byte by byte (maxmind.github.io/MaxMind-DB, version 2.0).
//!
//! The file is a binary tree over the bits of addresses (nodes of two records of 24 bits), 16 zero bytes, the data, and behind a marker a
//! map that describes it. IPv4 addresses are below `::/96`.

use std::net::IpAddr;

const RECORD_BITS: u16 = 24;
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// Where a branch of the tree leads.
#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

fn text(text: &str) -> Vec<u8> {
    // Type 2, and a length that fits its five bits.
    [&[0b0100_0000 | text.len() as u8][..], text.as_bytes()].concat()
}

fn map(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0b1110_0000 | members.len() as u8];
    members.iter().for_each(|(name, value)| out.extend([text(name), value.clone()].concat()));
    out
}

/// Type 5 (16 bits), or 6 (32 bits).
fn small(kind: u8, value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    [&[kind << 5 | bytes.len() as u8][..], bytes].concat()
}

/// Extended types: 64 bits (9), list (11).
fn extended(kind: u8, len: usize, content: &[u8]) -> Vec<u8> {
    [&[len as u8, kind - 7][..], content].concat()
}

/// Returns a database in which each network, an address and its prefix's length, is in a country.
pub(super) fn database(networks: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Nothing; 2]];
    let mut data = Vec::new();
    for (address, prefix, country) in networks {
        let (bits, len) = match address.parse().unwrap() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), prefix + 96),
            IpAddr::V6(v6) => (u128::from(v6), *prefix),
        };
        let at = data.len();
        data.extend(map(&[("country", map(&[("iso_code", text(country))]))]));
        let mut node = 0;
        for depth in 0..len {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth == len - 1 {
                nodes[node][side] = Record::Data(at);
            } else if let Record::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Record::Nothing; 2]);
                nodes[node][side] = Record::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
    }
    let count = nodes.len();
    let number = |record: &Record| match record {
        Record::Nothing => count,
        Record::Node(node) => *node,
        Record::Data(at) => count + 16 + at,
    };
    let mut out: Vec<u8> = nodes
        .iter()
        .flatten()
        .flat_map(|record| (number(record) as u32).to_be_bytes()[1..].to_vec())
        .collect();
    out.extend([0; 16]);
    out.extend(data);
    out.extend(MARKER);
    out.extend(map(&[
        ("node_count", small(6, count as u32)),
        ("record_size", small(5, u32::from(RECORD_BITS))),
        ("ip_version", small(5, 6)),
        ("database_type", text("Signpost-Test-Country")),
        ("languages", extended(11, 1, &text("en"))),
        ("binary_format_major_version", small(5, 2)),
        ("binary_format_minor_version", small(5, 0)),
        ("build_epoch", extended(9, 4, &1_700_000_000_u32.to_be_bytes())),
        ("description", map(&[("en", text("For tests"))])),
    ]));
    out
}
