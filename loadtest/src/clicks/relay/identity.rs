//! The keys the relay uses: towards a proxy the writer's, towards the writer those of the proxy. They lie in the fleet's folder.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::side::Side;
use crate::handshakes::AnyCertificate;

/// HTTP/2 is what the parts speak to each other.
const ALPN: &[u8] = b"h2";

/// Where the keys are.
#[derive(Debug)]
pub(super) struct Identities {
    fleet_dir: PathBuf,
}

/// A bundle as it is on disk.
struct Bundle {
    authority: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Bundle {
    fn read(dir: &Path) -> anyhow::Result<Bundle> {
        let cannot = || format!("cannot read the keys in {}", dir.display());
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(dir.join("cert.pem")).with_context(cannot)?.collect();
        Ok(Bundle {
            authority: CertificateDer::from_pem_file(dir.join("ca.pem")).with_context(cannot)?,
            chain: chain.with_context(cannot)?,
            key: PrivateKeyDer::from_pem_file(dir.join("key.pem")).with_context(cannot)?,
        })
    }
}

impl Identities {
    /// Those of a fleet. They are read for every connection: a fleet makes them while it starts.
    pub(super) fn of(fleet_dir: PathBuf) -> Identities {
        Identities { fleet_dir }
    }

    fn proxy_dir(&self, name: &str) -> PathBuf {
        self.fleet_dir.join(name).join("tls")
    }

    /// Shakes hands with a proxy, as the writer; returns the proxy's name.
    pub(super) fn accept(&self, socket: TcpStream) -> anyhow::Result<(String, Side)> {
        let bundle = Bundle::read(&self.fleet_dir.join("ca").join("writer"))?;
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(bundle.authority)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(bundle.chain, bundle.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let side = Side::begin(ServerConnection::new(Arc::new(config))?, socket)?;
        let shown = side.peer().context("a proxy without a certificate")?;
        let name = (0..)
            .map(|index| format!("proxy-{index}"))
            .take_while(|name| self.proxy_dir(name).exists())
            .find(|name| {
                let own = CertificateDer::from_pem_file(self.proxy_dir(name).join("cert.pem"));
                own.is_ok_and(|own| own.as_ref() == shown)
            })
            .context("a certificate that is no proxy's")?;
        Ok((name, side))
    }

    /// Connects to the writer as a proxy.
    pub(super) fn connect(&self, name: &str, writer: SocketAddr) -> anyhow::Result<Side> {
        let bundle = Bundle::read(&self.proxy_dir(name))?;
        let provider = Arc::new(ring::default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        // What the writer shows is of no interest here: the fleet's parts check each other in every other test.
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
            .with_client_auth_cert(bundle.chain, bundle.key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        Ok(Side::begin(tls, TcpStream::connect(writer)?)?)
    }
}
