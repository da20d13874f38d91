//! What a TLS handshake costs the server: the same handshakes through memory, with OpenSSL or with BoringSSL on the server's side.
//!
//! Signpost's proxy uses the OpenSSL of the system; this says what BoringSSL would save. A build has one of them (`--features openssl`
//! or `--features boring`); `bench/tls.py` runs both in turns. The client is rustls in every case, in the same thread; its time is not
//! counted. Settings of the server are the proxy's: P-256 certificate, X25519 first, one ticket, no session cache.
//!
//! Usage: bench-tls HANDSHAKES. Prints one line of JSON: for each kind of handshake the processor time of the server in µs.

mod client;
mod pipe;
mod server;

use std::time::Duration;

use anyhow::Context;
use rustls::ProtocolVersion;

use crate::client::Client;
use crate::pipe::Pipe;
use crate::server::{Handshake, Server, Step};

/// Handshakes before anything is counted.
const WARM_UP: usize = 200;

fn main() -> anyhow::Result<()> {
    let count: usize = std::env::args().nth(1).context("usage: bench-tls HANDSHAKES")?.parse()?;
    let mut found = serde_json::Map::new();
    found.insert("library".to_owned(), server::library().into());
    for (name, version, resumed) in [
        ("full 1.3", ProtocolVersion::TLSv1_3, false),
        ("resumed 1.3", ProtocolVersion::TLSv1_3, true),
        ("full 1.2", ProtocolVersion::TLSv1_2, false),
        ("resumed 1.2", ProtocolVersion::TLSv1_2, true),
    ] {
        let us = measure(count, version, resumed).with_context(|| name.to_owned())?;
        found.insert(name.to_owned(), us.into());
    }
    println!("{}", serde_json::Value::Object(found));
    Ok(())
}

/// Mean processor time of the server for one handshake, in µs.
fn measure(count: usize, version: ProtocolVersion, resumed: bool) -> anyhow::Result<f64> {
    let issued = rcgen::generate_simple_self_signed(["go.example".to_owned()])?;
    let server = Server::new(&issued.cert.pem(), &issued.signing_key.serialize_pem())?;
    let client = Client::new(version, resumed)?;
    if resumed {
        // The first one is given the ticket that the others come with.
        handshake(&server, &client, version, false)?;
    }
    let mut spent = Duration::ZERO;
    for n in 0..WARM_UP + count {
        let took = handshake(&server, &client, version, resumed)?;
        if n >= WARM_UP {
            spent += took;
        }
    }
    Ok(spent.as_secs_f64() * 1e6 / count as f64)
}

/// One handshake and one byte each way; returns the server's processor time.
fn handshake(
    server: &Server,
    client: &Client,
    version: ProtocolVersion,
    resumed: bool,
) -> anyhow::Result<Duration> {
    let mut spent = Duration::ZERO;
    let pipe = Pipe::default();
    let mut visitor = client.connect()?;
    let mut handshake: Option<Handshake> = None;
    loop {
        client::exchange(&mut visitor, &pipe)?;
        let begun = processor_time();
        let step = match handshake.take() {
            None => server.accept(pipe.server_end())?,
            Some(handshake) => handshake.go_on()?,
        };
        spent += processor_time() - begun;
        match step {
            Step::Waits(waits) => handshake = Some(waits),
            Step::Done(mut stream) => {
                // The client has the end of the handshake and, with TLS 1.3, the ticket in front of the byte.
                let begun = processor_time();
                stream.write_byte(b'x')?;
                spent += processor_time() - begun;
                client::exchange(&mut visitor, &pipe)?;
                anyhow::ensure!(client::read_byte(&mut visitor)? == b'x', "another byte came");
                anyhow::ensure!(visitor.protocol_version() == Some(version), "another version");
                anyhow::ensure!(stream.is_resumed() == resumed, "resumed: {}", stream.is_resumed());
                let begun = processor_time();
                drop(stream);
                spent += processor_time() - begun;
                return Ok(spent);
            }
        }
    }
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, and the clock is there on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
