#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use super::mmdb::database;
use super::*;

fn geo(dir: &Path, bytes: &[u8]) -> Result<Geo, GeoError> {
    let database = dir.join("countries.mmdb");
    fs::write(&database, bytes).unwrap();
    Geo::load(&GeoFile { database, check_every: Duration::from_secs(60) })
}

fn country(geo: &Geo, address: &str) -> Option<String> {
    geo.country(address.parse().unwrap()).map(|country| country.to_string())
}

const NETWORKS: [(&str, u8, &str); 4] = [
    ("192.0.2.0", 24, "DE"),
    ("198.51.100.7", 32, "fr"),
    ("2001:db8:1::", 48, "JP"),
    ("203.0.113.0", 24, "Mars"),
];

#[test]
fn addresses_have_the_country_the_database_says_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let geo = geo(dir.path(), &database(&NETWORKS)).unwrap();
    for (address, expected) in [
        ("192.0.2.255", Some("DE")),
        ("192.0.3.0", None),
        ("198.51.100.7", Some("FR")),
        ("198.51.100.6", None),
        ("2001:db8:1:ffff::1", Some("JP")),
        ("2001:db8:2::1", None),
        ("203.0.113.1", None),
        ("127.0.0.1", None),
        ("::1", None),
    ] {
        assert_eq!(country(&geo, address).as_deref(), expected, "{address}");
    }
    assert_eq!(geo.shown(), Shown { database: "Signpost-Test-Country".into(), built_at_s: 1_700_000_000 });
}

#[test]
fn a_file_that_cannot_be_used_leaves_the_one_before_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let good = database(&NETWORKS);
    let used = geo(dir.path(), &good).unwrap();
    assert!(used.reload_if_changed().is_none());
    let path = dir.path().join("countries.mmdb");
    for len in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(used.reload().is_err(), "the first {len} bytes");
        assert_eq!(country(&used, "192.0.2.1").as_deref(), Some("DE"));
    }
    fs::remove_file(&path).unwrap();
    assert!(used.reload_if_changed().unwrap().is_err());
    assert!(used.reload_if_changed().is_none(), "it is still not there");
    fs::write(&path, database(&[("192.0.2.0", 24, "AT")])).unwrap();
    assert!(used.reload_if_changed().unwrap().is_ok());
    assert_eq!(country(&used, "192.0.2.1").as_deref(), Some("AT"));
    assert_eq!(used.reloads(), (1, 5));
}

#[test]
fn no_damage_makes_a_lookup_panic() {
    let dir = tempfile::tempdir().unwrap();
    let good = database(&NETWORKS);
    let mut survived = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Ok(geo) = geo(dir.path(), &bytes) {
            NETWORKS.iter().for_each(|(address, ..)| drop(country(&geo, address)));
            survived += 1;
        }
    }
    assert!(survived < good.len(), "some damage is seen");
}
