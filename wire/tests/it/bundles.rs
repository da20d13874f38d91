//! The files of authorities and bundles: written once, whole, and refused when anything about them is off.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use wire::{
    channel::reason,
    identity::{
        AUTHORITY_VALID_DAYS, AuthorityError, BundleError, Identity, IdentityError, Issuer,
        MEMBER_VALID_DAYS, Role, Validity,
    },
};

use crate::fixture::{Fleet, read};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn refusal(dir: &Path) -> String {
    reason(&Identity::load(dir).unwrap_err())
}

#[test]
fn keys_are_for_their_owner_alone_and_no_other_file_is_left() {
    let fleet = Fleet::new();
    let ca = fleet.dir.path().join("ca");
    let (bundle, _) = fleet.bundle(Role::Proxy, "proxy-0");
    assert_eq!(names(&ca), ["ca-key.pem", "ca.pem"]);
    assert_eq!(names(&bundle), ["ca.pem", "cert.pem", "key.pem"]);
    assert_eq!((mode(&ca), mode(&bundle)), (0o700, 0o700));
    assert_eq!((mode(ca.join("ca-key.pem")), mode(bundle.join("key.pem"))), (0o600, 0o600));
    assert_eq!(read(&ca, "ca.pem"), read(&bundle, "ca.pem"));
}

#[test]
fn an_authority_is_never_overwritten() {
    let fleet = Fleet::new();
    let ca = fleet.dir.path().join("ca");
    for left in ["ca.pem", "ca-key.pem"] {
        let before = read(&ca, left);
        let error = Issuer::create(&ca).unwrap_err();
        assert!(reason(&error).contains("exists already and is not overwritten"), "{}", reason(&error));
        assert_eq!(read(&ca, left), before);
        let other = if left == "ca.pem" { "ca-key.pem" } else { continue };
        fs::remove_file(ca.join(other)).unwrap();
        Issuer::create(&ca).unwrap_err();
        assert_eq!(read(&ca, left), before);
        fs::write(ca.join(other), b"something").unwrap();
    }
}

#[test]
fn a_bundle_is_never_overwritten_and_other_files_of_the_folder_stay() {
    let fleet = Fleet::new();
    let out = fleet.dir.path().join("etc");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("config.toml"), b"x = 1").unwrap();
    fleet.issuer.issue(Role::Proxy, "proxy-0", &out).unwrap();
    assert_eq!(names(&out), ["ca.pem", "cert.pem", "config.toml", "key.pem"]);

    let before = (read(&out, "cert.pem"), read(&out, "key.pem"));
    for kept in ["key.pem", "ca.pem", "cert.pem"] {
        let error = fleet.issuer.issue(Role::Proxy, "proxy-1", &out).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} exists already and is not overwritten: choose another folder, or move the old files away first",
                out.join(kept).display()
            )
        );
        assert_eq!((read(&out, "cert.pem"), names(&out).len()), (before.0.clone(), 4 - names_gone(kept)));
        if kept != "cert.pem" {
            fs::remove_file(out.join(kept)).unwrap();
        }
    }
}

/// How many files the test above has removed by the time it tries `kept`.
fn names_gone(kept: &str) -> usize {
    ["key.pem", "ca.pem", "cert.pem"].iter().position(|name| *name == kept).unwrap()
}

#[test]
fn a_name_that_is_not_allowed_leaves_nothing_behind() {
    let fleet = Fleet::new();
    let out = fleet.dir.path().join("out");
    for name in ["", "Proxy", "proxy/0", "proxy 0", "0proxy", "../ca"] {
        let error = fleet.issuer.issue(Role::Proxy, name, &out).unwrap_err();
        assert!(matches!(error, IdentityError::Authority(AuthorityError::Name(_))), "{name:?}: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_the_cause() {
    let fleet = Fleet::new();
    let out = fleet.dir.path().join("ca/ca.pem/proxy");
    let error = reason(&fleet.issuer.issue(Role::Proxy, "proxy-0", &out).unwrap_err());
    assert!(
        error.starts_with(&format!("cannot make the folder {}: Not a directory", out.display())),
        "{error}"
    );
}

#[test]
fn an_authority_opened_again_issues_for_the_same_fleet() {
    let fleet = Fleet::new();
    let opened = Issuer::open(&fleet.dir.path().join("ca")).unwrap();
    assert_eq!(opened.fleet(), fleet.issuer.fleet());
    let out = fleet.dir.path().join("keypool");
    let issued = opened.issue(Role::Keypool, "pool-a", &out).unwrap();
    let loaded = Identity::load(&out).unwrap();
    assert_eq!(loaded.own(), &issued);
    assert_eq!(
        (issued.fleet, issued.role, issued.name.as_str()),
        (fleet.issuer.fleet(), Role::Keypool, "pool-a")
    );
}

#[test]
fn an_authority_with_a_foreign_or_exposed_key_does_not_open() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let ca = ours.dir.path().join("ca");
    let key = ca.join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = reason(&Issuer::open(&ca).unwrap_err());
    assert!(error.contains("open to every user (mode 644): chmod 600"), "{error}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, read(&theirs.dir.path().join("ca"), "ca-key.pem")).unwrap();
    let error = reason(&Issuer::open(&ca).unwrap_err());
    assert!(error.contains("ca-key.pem does not belong to the certificate"), "{error}");
}

#[test]
fn certificates_last_as_long_as_promised_and_no_longer_than_their_authority() {
    let fleet = Fleet::new();
    let (bundle, _) = fleet.bundle(Role::Proxy, "proxy-0");
    let lasts = Identity::load(&bundle).unwrap().expires_at().duration_since(SystemTime::now()).unwrap();
    let promised = DAY * MEMBER_VALID_DAYS as u32;
    assert!(lasts <= promised && lasts > promised - HOUR, "{lasts:?}");

    let long = Validity::days_from(SystemTime::now(), 10 * AUTHORITY_VALID_DAYS);
    let bundle = fleet.bundle_valid(Role::Proxy, "proxy-1", long);
    let lasts = Identity::load(&bundle).unwrap().expires_at().duration_since(SystemTime::now()).unwrap();
    assert!(lasts <= DAY * AUTHORITY_VALID_DAYS as u32, "{lasts:?}");
}

#[test]
fn a_bundle_outside_its_validity_is_refused_with_the_dates() {
    let fleet = Fleet::new();
    let now = SystemTime::now();
    let past = Validity { not_before: now - 2 * DAY, not_after: now - DAY };
    let future = Validity { not_before: now + DAY, not_after: now + 2 * DAY };
    for (name, validity) in [("past", past), ("future", future)] {
        let error = Identity::load(&fleet.bundle_valid(Role::Proxy, name, validity)).unwrap_err();
        assert!(matches!(error, IdentityError::Bundle(BundleError::NotValidNow { .. })), "{error}");
        assert!(error.to_string().contains("check the clock, or issue a new one"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let fleet = Fleet::new();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        let (bundle, _) = fleet.bundle(Role::Proxy, &format!("no-{}", name.replace('.', "-")));
        fs::remove_file(bundle.join(name)).unwrap();
        let error = refusal(&bundle);
        assert!(error.starts_with(&format!("cannot read {}", bundle.join(name).display())), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}

#[test]
fn files_of_two_bundles_do_not_mix() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let (bundle, _) = ours.bundle(Role::Proxy, "proxy-0");
    let (other, _) = ours.bundle(Role::Proxy, "proxy-1");
    let (foreign, _) = theirs.bundle(Role::Proxy, "proxy-0");
    let (key, ca) = (read(&bundle, "key.pem"), read(&bundle, "ca.pem"));

    fs::write(bundle.join("key.pem"), read(&other, "key.pem")).unwrap();
    assert!(refusal(&bundle).contains("key.pem does not belong to the certificate"), "{}", refusal(&bundle));
    fs::write(bundle.join("key.pem"), key).unwrap();
    fs::write(bundle.join("ca.pem"), read(&foreign, "ca.pem")).unwrap();
    assert!(refusal(&bundle).contains("the authority next to it of fleet"), "{}", refusal(&bundle));
    fs::write(bundle.join("ca.pem"), &ca).unwrap();
    Identity::load(&bundle).unwrap();
    fs::write(bundle.join("cert.pem"), ca).unwrap();
    assert!(refusal(&bundle).contains("it is that of an authority"), "{}", refusal(&bundle));
    fs::write(bundle.join("ca.pem"), read(&other, "cert.pem")).unwrap();
    assert!(refusal(&bundle).contains("it is not that of an authority"), "{}", refusal(&bundle));
}

#[test]
fn a_key_open_to_everybody_is_refused_and_one_open_to_a_group_is_not() {
    let fleet = Fleet::new();
    let (bundle, _) = fleet.bundle(Role::Proxy, "proxy-0");
    let key = bundle.join("key.pem");
    for (mode, good) in [(0o640, true), (0o400, true), (0o604, false), (0o602, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Identity::load(&bundle).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn files_that_hold_something_else_are_refused() {
    let fleet = Fleet::new();
    let (bundle, _) = fleet.bundle(Role::Proxy, "proxy-0");
    let (cert, key) = (read(&bundle, "cert.pem"), read(&bundle, "key.pem"));
    let huge = vec![b'x'; 1 << 20];
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, bytes, says) in [
        ("cert.pem", &b""[..], "exactly one PEM block \"CERTIFICATE\""),
        ("cert.pem", &[cert.clone(), cert.clone()].concat(), "exactly one PEM block \"CERTIFICATE\""),
        ("cert.pem", &key, "exactly one PEM block \"CERTIFICATE\""),
        ("cert.pem", damaged, "it is not an X.509 certificate"),
        ("cert.pem", &huge, "has more than 65536 bytes"),
        ("ca.pem", b"\xff\xfe", "exactly one PEM block \"CERTIFICATE\""),
        ("key.pem", b"\xff\xfe", "PRIVATE KEY"),
        ("key.pem", &cert, "is not a PKCS #8 private key"),
    ] {
        let good = read(&bundle, name);
        fs::write(bundle.join(name), bytes).unwrap();
        assert!(refusal(&bundle).contains(says), "{name}: {}", refusal(&bundle));
        fs::write(bundle.join(name), good).unwrap();
    }
    Identity::load(&bundle).unwrap();
}

#[test]
fn the_debug_form_of_an_identity_keeps_the_key() {
    let fleet = Fleet::new();
    let shown = format!("{:?} {:?}", fleet.identity(Role::Proxy, "proxy-0"), fleet.issuer);
    assert!(shown.contains("proxy-0") && !shown.contains("PRIVATE") && !shown.contains("pem"), "{shown}");
}
