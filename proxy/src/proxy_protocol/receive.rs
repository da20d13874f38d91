//! Reading a PROXY header off a new connection, within bounded bytes and time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{Fault, Parsed, V2_BYTES_MAX, parse};

/// A header that has come.
#[derive(PartialEq, Eq, Debug)]
pub struct Received {
    /// Where the visitor comes from; `None`: the balancer speaks for itself.
    pub source: Option<SocketAddr>,
    /// What was read beyond the header: the beginning of what the visitor sends.
    pub rest: Vec<u8>,
}

/// Why there is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReceived {
    /// What came is not one.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
    /// The connection ended first, as those of port checks do.
    #[error("the connection ended before the PROXY header")]
    Gone,
}

/// Reads a header, and perhaps more.
///
/// # Errors
/// There is none, or not within `deadline`.
///
/// # Cancel safety
/// Cancelled, what was read is lost.
pub async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    deadline: Duration,
) -> Result<Received, NotReceived> {
    let reading = async {
        let mut bytes = vec![0; V2_BYTES_MAX];
        let mut filled = 0;
        loop {
            // There is room: a header that fills the buffer is whole, or refused.
            match stream.read(&mut bytes[filled..]).await {
                Ok(read @ 1..) => filled += read,
                Ok(0) | Err(_) => return Err(NotReceived::Gone),
            }
            if let Parsed::Whole { consumed, source } = parse(&bytes[..filled])? {
                return Ok(Received { source, rest: bytes[consumed..filled].to_vec() });
            }
        }
    };
    timeout(deadline, reading).await.unwrap_or(Err(NotReceived::Late))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n";

    fn received(pieces: &[&[u8]], end: bool) -> Result<Received, NotReceived> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut stream, mut balancer) = tokio::io::duplex(64);
            let sending = async {
                for piece in pieces {
                    if balancer.write_all(piece).await.is_err() {
                        break;
                    }
                }
                if end {
                    drop(balancer);
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let deadline = Duration::from_millis(if end { 10_000 } else { 50 });
            tokio::select! {
                received = receive(&mut stream, deadline) => received,
                () = async { sending.await; std::future::pending().await } => unreachable!("it is pending"),
            }
        })
    }

    #[test]
    fn a_header_in_pieces_is_read_and_what_follows_it_is_kept() {
        let source = Some("192.0.2.1:1000".parse().unwrap());
        let pieces: Vec<&[u8]> = LINE.chunks(1).collect();
        assert_eq!(received(&pieces, true), Ok(Received { source, rest: Vec::new() }));
        let together = [LINE, b"GET / HT"].concat();
        assert_eq!(received(&[&together], true), Ok(Received { source, rest: b"GET / HT".to_vec() }));
    }

    #[test]
    fn no_header_is_waited_for_longer_than_the_deadline_or_read_beyond_its_bytes() {
        assert_eq!(received(&[&LINE[..20]], false), Err(NotReceived::Late));
        assert_eq!(received(&[&LINE[..20]], true), Err(NotReceived::Gone));
        assert_eq!(received(&[b"GET / HTTP/1.1\r\n"], false), Err(NotReceived::Fault(Fault::Missing)));
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 4_000]].concat();
        assert_eq!(received(&[&endless], false), Err(NotReceived::Fault(Fault::TooLong)));
    }
}
