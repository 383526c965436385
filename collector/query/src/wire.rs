//! Replies on their way to the collector.

use std::io::{self, Write};

use picket_proto::v1;
use picket_proto::v1::query_reply::Reply;
use prost::Message;

/// The largest reply, in bytes.
pub const LARGEST_FRAME: usize = 12 << 20;

/// A worker's output is not what a worker writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a reply of {0} bytes is too large")]
pub struct FrameError(pub usize);

/// The length of the reply that follows these four bytes.
pub fn length_of(head: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
    if length > LARGEST_FRAME {
        return Err(FrameError(length));
    }
    Ok(length)
}

/// Writes one reply.
pub(crate) fn send(out: &mut impl Write, reply: Reply) -> io::Result<()> {
    let body = v1::QueryReply { reply: Some(reply) }.encode_to_vec();
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&body)?;
    out.flush()
}
