//! Who gets through mutual TLS and who does not.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint},
};
use wire::{
    channel,
    identity::{Identity, Role, Validity},
    keys::LeaseRequest,
};

use crate::fixture::{DEADLINE, Fleet, Server, describe, read, unchecked_endpoint};

fn expired() -> Validity {
    let now = SystemTime::now();
    Validity { not_before: now - Duration::from_secs(7200), not_after: now - Duration::from_secs(3600) }
}

#[tokio::test]
async fn a_server_learns_name_and_fingerprint_of_its_peer() {
    let fleet = Fleet::new();
    let server = Server::start(Some(&fleet.identity(Role::Keypool, "pool-a"))).await;
    let (bundle, issued) = fleet.bundle(Role::Writer, "admin-1");
    let writer = Identity::load(&bundle).unwrap();
    assert_eq!(writer.own(), &issued);

    let endpoint = channel::endpoint(&server.url(), Some(&writer), Role::Keypool).unwrap();
    let reply = describe(endpoint).await.unwrap();
    assert_eq!(reply.version, format!("signpost://{}/writer/admin-1", fleet.issuer.fleet()));
    assert_eq!(reply.pool_id, issued.fingerprint);
}

#[tokio::test]
async fn a_call_is_allowed_to_its_role_and_denied_to_others() {
    let fleet = Fleet::new();
    let server = Server::start(Some(&fleet.identity(Role::Keypool, "pool-a"))).await;
    for (role, allowed) in [(Role::Writer, true), (Role::Proxy, false), (Role::Keypool, false)] {
        let own = fleet.identity(role, &format!("member-{role}"));
        let endpoint = channel::endpoint(&server.url(), Some(&own), Role::Keypool).unwrap();
        let mut client = channel::keys_client(endpoint.connect().await.unwrap());
        let request = LeaseRequest { count: 3, ..LeaseRequest::default() };
        let answer = tokio::time::timeout(DEADLINE, client.lease(request)).await.unwrap();
        if allowed {
            assert_eq!(answer.unwrap().into_inner().codes, [0, 1, 2]);
        } else {
            let status = answer.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied);
            assert_eq!(
                status.message(),
                format!("{role} member-{role} may not call this: it is for the role writer")
            );
        }
    }
}

#[tokio::test]
async fn a_client_refuses_a_server_of_another_role() {
    let fleet = Fleet::new();
    let server = Server::start(Some(&fleet.identity(Role::Proxy, "proxy-0"))).await;
    let writer = fleet.identity(Role::Writer, "admin-1");
    let endpoint = channel::endpoint(&server.url(), Some(&writer), Role::Keypool).unwrap();
    let refusal = describe(endpoint).await.unwrap_err();
    assert!(refusal.contains("not valid for name"), "{refusal}");
}

#[tokio::test]
async fn a_client_refuses_a_server_of_another_fleet() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let server = Server::start(Some(&theirs.identity(Role::Keypool, "pool-a"))).await;
    let writer = ours.identity(Role::Writer, "admin-1");
    let endpoint = channel::endpoint(&server.url(), Some(&writer), Role::Keypool).unwrap();
    let refusal = describe(endpoint).await.unwrap_err();
    assert!(refusal.contains("invalid peer certificate: UnknownIssuer"), "{refusal}");
}

#[tokio::test]
async fn a_server_refuses_a_client_of_another_fleet() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let (own, _) = ours.bundle(Role::Keypool, "pool-a");
    let server = Server::start(Some(&Identity::load(&own).unwrap())).await;
    let (stranger, _) = theirs.bundle(Role::Writer, "admin-1");
    let name = Role::Keypool.dns_name(ours.issuer.fleet());
    let refusal = describe(unchecked_endpoint(&server, &stranger, &own, name)).await.unwrap_err();
    assert!(refusal.contains("UnknownCA") || refusal.contains("DecryptError"), "{refusal}");
}

#[tokio::test]
async fn a_server_refuses_a_client_without_a_certificate() {
    let fleet = Fleet::new();
    let (own, _) = fleet.bundle(Role::Keypool, "pool-a");
    let server = Server::start(Some(&Identity::load(&own).unwrap())).await;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&own, "ca.pem")))
        .domain_name(Role::Keypool.dns_name(fleet.issuer.fleet()));
    let endpoint = Endpoint::from_shared(server.url()).unwrap().tls_config(tls).unwrap();
    let refusal = describe(endpoint).await.unwrap_err();
    assert!(refusal.contains("CertificateRequired"), "{refusal}");
}

#[tokio::test]
async fn a_server_with_an_identity_does_not_speak_plain() {
    let fleet = Fleet::new();
    let server = Server::start(Some(&fleet.identity(Role::Keypool, "pool-a"))).await;
    let plain = channel::endpoint(&format!("http://{}", server.addr), None, Role::Keypool).unwrap();
    describe(plain).await.unwrap_err();
}

#[tokio::test]
async fn a_server_refuses_an_expired_client() {
    let fleet = Fleet::new();
    let (own, _) = fleet.bundle(Role::Keypool, "pool-a");
    let server = Server::start(Some(&Identity::load(&own).unwrap())).await;
    let late = fleet.bundle_valid(Role::Writer, "admin-1", expired());
    let name = Role::Keypool.dns_name(fleet.issuer.fleet());
    let refusal = describe(unchecked_endpoint(&server, &late, &own, name)).await.unwrap_err();
    assert!(refusal.contains("CertificateExpired"), "{refusal}");
}

#[tokio::test]
async fn a_server_refuses_a_certificate_that_was_changed_after_it_was_signed() {
    let fleet = Fleet::new();
    let (own, _) = fleet.bundle(Role::Keypool, "pool-a");
    let server = Server::start(Some(&Identity::load(&own).unwrap())).await;
    let (forged, _) = fleet.bundle(Role::Proxy, "proxy-0");
    rename_in_certificate(&forged, b"/proxy/proxy-0", b"/proxy/proxy-9");
    let name = Role::Keypool.dns_name(fleet.issuer.fleet());
    let refusal = describe(unchecked_endpoint(&server, &forged, &own, name)).await.unwrap_err();
    assert!(refusal.contains("DecryptError") || refusal.contains("BadCertificate"), "{refusal}");
    let refusal = channel::reason(&Identity::load(&forged).unwrap_err());
    assert!(refusal.contains("cert.pem was not signed by the authority"), "{refusal}");
}

/// Replaces bytes in `cert.pem`, which keeps its signature.
fn rename_in_certificate(bundle: &std::path::Path, from: &[u8], to: &[u8]) {
    let mut der = CertificateDer::from_pem_slice(&read(bundle, "cert.pem")).unwrap().to_vec();
    let at = der.windows(from.len()).position(|window| window == from).unwrap();
    der[at..at + to.len()].copy_from_slice(to);
    std::fs::write(bundle.join("cert.pem"), pem(&der)).unwrap();
}

/// A certificate's PEM form, with base64 on one long line (RFC 7468 allows readers to be lax).
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(*chunk.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
