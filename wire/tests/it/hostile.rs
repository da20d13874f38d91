//! Bytes nobody vouches for: certificates, bundles and messages made of noise are errors, never panics.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use wire::{
    feed::{FollowerMessage, WriterMessage},
    identity::{FleetId, PeerIdentity, Role},
    keys::{DescribeReply, LeaseReply, MarkUsedRequest},
};

use crate::fixture::{Fleet, read};

static CERTIFICATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let fleet = Fleet::new();
    let (bundle, _) = fleet.bundle(Role::Proxy, "proxy-0");
    CertificateDer::from_pem_slice(&read(&bundle, "cert.pem")).unwrap().to_vec()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_damaged_certificate_is_an_error_or_names_what_it_holds(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut der = CERTIFICATE.clone();
        for (at, byte) in damage {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if cuts {
            der.truncate(cut.index(der.len()));
        }
        if let Ok(peer) = PeerIdentity::from_der(&der) {
            let uri = peer.uri();
            prop_assert!(der.windows(uri.len()).any(|window| window == uri.as_bytes()));
        }
    }

    #[test]
    fn noise_is_no_message_and_no_identity(bytes in prop::collection::vec(any::<u8>(), 0..256), text in "\\PC*") {
        let _ = PeerIdentity::from_der(&bytes);
        let _ = FleetId::try_from(&bytes[..]);
        prop_assert!(text.parse::<FleetId>().map_or(true, |id| id.to_string() == text));
        let _ = FollowerMessage::decode(&bytes[..]);
        let _ = WriterMessage::decode(&bytes[..]);
        let _ = LeaseReply::decode(&bytes[..]);
        let _ = MarkUsedRequest::decode(&bytes[..]);
        let _ = DescribeReply::decode(&bytes[..]);
    }
}
