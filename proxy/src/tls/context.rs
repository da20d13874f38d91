//! What OpenSSL is told about a certificate's connections: TLS 1.2 and 1.3, forward secrecy only, little memory.
//!
//! Ciphers and groups follow Mozilla's "intermediate" recommendation without its DHE, whose cost is the server's and which every
//! client since 2014 can do without. Renegotiation, compression and early data are off: a redirect needs none of them, and a replayed
//! request would be a click that nobody made.

use std::sync::{Arc, OnceLock};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef,
    SslSessionCacheMode, SslVersion, select_next_proto,
};

use super::certificate::Certificate;
use super::tickets::{Tickets, callback};

/// For TLS 1.2, in our order of preference.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                       ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
const CIPHERS_13: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const GROUPS: &str = "X25519:P-256:P-384";
/// Tickets a visitor gets after a full handshake: one comes back with one connection, and a browser opens one to us.
const TICKETS: usize = 1;

/// What a listener speaks over TLS, as RFC 7301 §3.1 writes it.
const HTTP_1: &[u8] = b"\x08http/1.1";
const HTTP_1_AND_2: &[u8] = b"\x02h2\x08http/1.1";

/// Begins a context for one certificate.
pub(super) fn new(
    certificate: &Certificate,
    tickets: &Arc<Tickets>,
) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_cipher_list(CIPHERS)?;
    context.set_ciphersuites(CIPHERS_13)?;
    context.set_groups_list(GROUPS)?;
    context.set_options(
        SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION
            | SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::PRIORITIZE_CHACHA,
    );
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::RELEASE_BUFFERS,
    );
    // One read takes what the socket has, instead of two for each record: its header, then the rest.
    context.set_read_ahead(true);
    // Sessions live in tickets, at the visitors, not in our memory.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_num_tickets(TICKETS)?;
    callback::install(&mut context, tickets)?;
    context.set_alpn_select_callback(|ssl, offered| {
        let spoken = if speaks_http2(ssl) { HTTP_1_AND_2 } else { HTTP_1 };
        // Nothing in common is an error (RFC 7301 §3.2): the bytes that followed would not be HTTP.
        select_next_proto(spoken, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    context.set_certificate(&certificate.own)?;
    for link in &certificate.chain {
        context.add_extra_chain_cert(link.clone())?;
    }
    context.set_private_key(&certificate.key)?;
    context.check_private_key()?;
    Ok(context)
}

/// Begins a connection that HTTP/2 may be spoken on, or not.
pub(super) fn connection(context: &SslContext, http2: bool) -> Result<Ssl, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_ex_data(place()?, http2);
    Ok(ssl)
}

fn speaks_http2(ssl: &SslRef) -> bool {
    place().is_ok_and(|place| ssl.ex_data(place).copied().unwrap_or(false))
}

/// Where a connection keeps whether HTTP/2 may be spoken on it.
fn place() -> Result<Index<Ssl, bool>, ErrorStack> {
    static PLACE: OnceLock<Index<Ssl, bool>> = OnceLock::new();
    match PLACE.get() {
        Some(place) => Ok(*place),
        None => {
            let place = Ssl::new_ex_index()?;
            Ok(*PLACE.get_or_init(|| place))
        }
    }
}
