//! How a client dials another part of the fleet.
//!
//! Invariant: an [`Endpoint`] made here is mutual TLS to a server of the expected role in our fleet, or plain TCP to
//! this machine. A dead peer is noticed within [`KEEP_ALIVE_INTERVAL`] + [`KEEP_ALIVE_TIMEOUT`], idle or not.
//!
//! Not here: deadlines of single calls, retries, which address comes next. A channel reconnects when it is used
//! again; when to use it again is the caller's policy.

use std::{error::Error, net::IpAddr, time::Duration};

use http::{Uri, uri::Scheme};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::{
    budgets::budgets_client::BudgetsClient,
    clicks::clicks_client::ClicksClient,
    clicks::copies_client::CopiesClient,
    feed::feed_client::FeedClient,
    identity::{Identity, Role},
    keys::key_supply_client::KeySupplyClient,
    limits::{
        ACCOUNTANT_MESSAGE_BYTES_MAX, BUDGETS_MESSAGE_BYTES_MAX, COPIER_MESSAGE_BYTES_MAX,
        ENTRIES_MESSAGE_BYTES_MAX, FOLLOWER_MESSAGE_BYTES_MAX, KEYS_MESSAGE_BYTES_MAX,
        REPORTER_MESSAGE_BYTES_MAX, SNAPSHOT_REPLY_BYTES_MAX, SNAPSHOT_REQUEST_BYTES_MAX,
        WRITER_MESSAGE_BYTES_MAX,
    },
    snapshots::snapshots_client::SnapshotsClient,
    succession::succession_client::SuccessionClient,
};

/// How long the TCP connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the TLS handshake may take after that.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the peer is pinged (HTTP/2 PING, RFC 9113 section 6.7).
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the answer to a ping may take before the connection is given up.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of response headers: status, a few words.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// Why an address cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The address is not of the form.
    #[error("{url:?} is not an address to connect to: {problem}; write https://HOST:PORT")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `http://` to another machine.
    #[error(
        "{url} would send secrets in the clear: http:// is for loopback only; use https:// and a credential bundle"
    )]
    PlainNotLoopback {
        /// The address.
        url: String,
    },
    /// `https://` without a bundle.
    #[error("{url} needs a credential bundle: set tls_dir")]
    NoIdentity {
        /// The address.
        url: String,
    },
    /// The TLS configuration was refused.
    #[error("TLS cannot be set up for {url}")]
    Tls {
        /// The address.
        url: String,
        /// What the TLS stack said.
        source: tonic::transport::Error,
    },
}

/// Prepares to dial `url`, where a member of role `expect` must answer. Nothing is sent yet.
///
/// `https://HOST:PORT` needs an `identity`; `http://HOST:PORT` is plain TCP and accepted for loopback addresses and
/// `localhost` only, with or without one.
///
/// # Errors
/// The address is malformed, would be plain to another machine, or needs an identity that is not there.
pub fn endpoint(url: &str, identity: Option<&Identity>, expect: Role) -> Result<Endpoint, ChannelError> {
    let uri = parse(url)?;
    let bare = Endpoint::from(uri.clone());
    let endpoint = if uri.scheme() == Some(&Scheme::HTTPS) {
        let identity = identity.ok_or_else(|| ChannelError::NoIdentity { url: url.to_owned() })?;
        let tls = bare.tls_config(identity.client_tls(expect));
        tls.map_err(|source| ChannelError::Tls { url: url.to_owned(), source })?
    } else if uri.host().is_some_and(is_loopback) {
        bare
    } else {
        return Err(ChannelError::PlainNotLoopback { url: url.to_owned() });
    };
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADER_BYTES_MAX))
}

/// Makes the client of a key pool, with the limits both ends share.
pub fn keys_client(channel: Channel) -> KeySupplyClient<Channel> {
    KeySupplyClient::new(channel)
        .max_decoding_message_size(KEYS_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(KEYS_MESSAGE_BYTES_MAX)
}

/// Makes the client of the feed, with the limits both ends share.
pub fn feed_client(channel: Channel) -> FeedClient<Channel> {
    FeedClient::new(channel)
        .max_decoding_message_size(WRITER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(FOLLOWER_MESSAGE_BYTES_MAX)
}

/// Makes the client of the click accounts, with the limits both ends share.
pub fn clicks_client(channel: Channel) -> ClicksClient<Channel> {
    ClicksClient::new(channel)
        .max_decoding_message_size(ACCOUNTANT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(REPORTER_MESSAGE_BYTES_MAX)
}

/// Makes the client of copies of the click accounts, with the limits both ends share.
pub fn copies_client(channel: Channel) -> CopiesClient<Channel> {
    CopiesClient::new(channel)
        .max_decoding_message_size(ENTRIES_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(COPIER_MESSAGE_BYTES_MAX)
}

/// Makes the client of budgets, with the limits both ends share.
pub fn budgets_client(channel: Channel) -> BudgetsClient<Channel> {
    BudgetsClient::new(channel)
        .max_decoding_message_size(BUDGETS_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(BUDGETS_MESSAGE_BYTES_MAX)
}

/// Makes the client of the succession, with the limits both ends share.
pub fn succession_client(channel: Channel) -> SuccessionClient<Channel> {
    SuccessionClient::new(channel)
        .max_decoding_message_size(WRITER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(FOLLOWER_MESSAGE_BYTES_MAX)
}

/// Makes the client of snapshots, with the limits both ends share.
pub fn snapshots_client(channel: Channel) -> SnapshotsClient<Channel> {
    SnapshotsClient::new(channel)
        .max_decoding_message_size(SNAPSHOT_REPLY_BYTES_MAX)
        .max_encoding_message_size(SNAPSHOT_REQUEST_BYTES_MAX)
}

/// Joins an error and its causes into one line, leaving out what a cause merely repeats.
///
/// tonic's own text is often only "transport error"; the reason (a refused connection, a certificate of another
/// fleet) is at the end of the chain. Of a [`Status`] the message is taken, not its long text form.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let mut line = match error.downcast_ref::<Status>() {
        Some(status) if status.message().is_empty() => status.code().to_string(),
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

fn parse(url: &str) -> Result<Uri, ChannelError> {
    let wrong = |problem| ChannelError::Url { url: url.to_owned(), problem };
    let uri: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it must begin with https:// (or http:// on loopback)"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it has a user name or password"));
    }
    if uri.port_u16().is_none_or(|port| port == 0) {
        return Err(wrong("it has no port"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has a path or query"));
    }
    Ok(uri)
}

/// `localhost` names this machine by RFC 6761, section 6.3.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(url: &str) -> String {
        endpoint(url, None, Role::Keypool).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in
            ["http://127.0.0.1:7400", "http://127.8.9.1:1/", "http://[::1]:7400", "http://localhost:7400"]
        {
            endpoint(url, None, Role::Keypool).map(|_| ()).unwrap();
        }
        for url in
            ["http://10.0.0.1:7400", "http://keypool:7400", "http://0.0.0.0:7400", "http://localhost.evil:1"]
        {
            assert!(refusal(url).contains("in the clear"), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn https_without_a_bundle_says_what_to_set() {
        assert_eq!(
            refusal("https://127.0.0.1:7400"),
            "https://127.0.0.1:7400 needs a credential bundle: set tls_dir"
        );
    }

    #[test]
    fn an_address_that_is_not_one_is_named_with_its_problem() {
        for (url, problem) in [
            ("", "it is not a URL"),
            ("127.0.0.1:7400", "it must begin with https://"),
            ("unix:///run/x", "it is not a URL"),
            ("ftp://127.0.0.1:1", "it must begin with https://"),
            ("https://127.0.0.1", "it has no port"),
            ("https://127.0.0.1:0", "it has no port"),
            ("https://me@127.0.0.1:1", "it has a user name or password"),
            ("https://127.0.0.1:1/x", "it has a path or query"),
            ("https://127.0.0.1:1/?x", "it has a path or query"),
        ] {
            assert!(refusal(url).contains(problem), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn a_reason_holds_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("middle: inner")]
        struct Middle(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner;
        assert_eq!(reason(&Outer(Middle(Inner))), "outer: middle: inner");
    }

    #[test]
    fn the_reason_of_a_status_is_its_message() {
        assert_eq!(reason(&Status::not_found("no such pool")), "no such pool");
        assert_eq!(reason(&Status::not_found("")), Status::not_found("").code().to_string());
    }
}
