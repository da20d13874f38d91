//! The client: rustls, the same for both servers.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pipe::Pipe;

#[derive(Debug)]
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    /// A client that speaks one version, and keeps what it needs to come back or not.
    pub(crate) fn new(version: ProtocolVersion, resumes: bool) -> anyhow::Result<Client> {
        let version = match version {
            ProtocolVersion::TLSv1_2 => &rustls::version::TLS12,
            _ => &rustls::version::TLS13,
        };
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.resumption = if resumes { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        Ok(Client(Arc::new(config)))
    }

    pub(crate) fn connect(&self) -> anyhow::Result<ClientConnection> {
        Ok(ClientConnection::new(Arc::clone(&self.0), ServerName::try_from("go.example")?)?)
    }
}

/// Takes what has come and sends what is to be said.
pub(crate) fn exchange(client: &mut ClientConnection, pipe: &Pipe) -> anyhow::Result<()> {
    while !pipe.down.borrow().is_empty() {
        client.read_tls(&mut *pipe.down.borrow_mut())?;
        client.process_new_packets()?;
    }
    while client.wants_write() {
        client.write_tls(&mut *pipe.up.borrow_mut() as &mut dyn Write)?;
    }
    Ok(())
}

pub(crate) fn read_byte(client: &mut ClientConnection) -> anyhow::Result<u8> {
    let mut byte = [0];
    client.reader().read_exact(&mut byte)?;
    Ok(byte[0])
}

/// The certificate is not what is measured; the signature is checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
