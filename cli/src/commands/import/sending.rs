//! The body of an import: it grows as the file is read, no faster than it is taken.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::refusals::Refusals;
use crate::client::Body;
use crate::convert::{ConvertError, Lines, NOTHING};

/// About how many bytes are sent together.
const PIECE_BYTES: usize = 64 << 10;

/// Returns a body of the lines without the first `skip`, and where it is said why reading ended early. A record that cannot be taken over is
/// an empty line, which the API counts and passes over.
pub(super) fn body(
    lines: Lines,
    skip: u64,
    refusals: Arc<Refusals>,
) -> (Body, std::sync::mpsc::Receiver<ConvertError>) {
    let (pieces, sent) = mpsc::channel::<io::Result<Bytes>>(4);
    let (fail, failure) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
        for (line, number) in lines.zip(1..) {
            let line = match line {
                Ok(line) => line,
                Err(ConvertError::Record { what, .. }) => {
                    refusals.add(number, &what);
                    NOTHING.to_vec()
                }
                Err(error) => {
                    let _ = fail.send(error);
                    let _ = pieces.blocking_send(Err(io::Error::other("the file cannot be read")));
                    return;
                }
            };
            if number > skip {
                piece.extend_from_slice(&line);
            }
            if piece.len() >= PIECE_BYTES
                && pieces.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err()
            {
                return;
            }
        }
        let _ = pieces.blocking_send(Ok(piece.into()));
    });
    let frames = ReceiverStream::new(sent).map(|piece| piece.map(Frame::data));
    (BodyExt::boxed(StreamBody::new(frames)), failure)
}
