//! Fetches content that the collector offered, beside commands and batches.
//!
//! # Invariants
//!
//! - What is handed on is what the offer's hash names; whether it is believed is not decided here.
//! - A fetch that breaks off goes on where it stood, as long as the connection lives.

use std::convert::Infallible;
use std::time::Duration;

use picket_event::content::{ContentKind, MAX_CONTENT_BYTES};
use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use picket_seal::Digest;
use prost::Message;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::connection::hand_over;
use super::{LinkError, Uplink};
use crate::respond::Asked;

/// Offers that may wait.
pub(super) const OFFERS: usize = 8;
/// How long the collector may take for each chunk.
const CHUNK_WAIT: Duration = Duration::from_secs(30);
/// How long it waits after a call that broke off.
const AGAIN: Duration = Duration::from_secs(2);
/// Calls that may break off before the content counts as not to be had.
const CALLS: u32 = 10;

/// Fetches what is offered, one after the other, until the connection ends.
pub(super) async fn take(
    uplink: &Uplink,
    client: AgentClient<Channel>,
    mut offers: mpsc::Receiver<v1::ContentOffer>,
) -> Result<Infallible, LinkError> {
    while let Some(offer) = offers.recv().await {
        match whole(&offer, client.clone()).await {
            Ok(content) => hand_over(uplink, Asked::Content(content)).await?,
            Err(reason) => {
                let version = offer.version;
                tracing::warn!(
                    version,
                    reason,
                    "content that was offered cannot be fetched"
                );
                if let Some(kind) = ContentKind::from_wire(offer.kind) {
                    uplink.contents.not_fetched(kind, version, reason);
                }
            }
        }
    }
    Err(LinkError::Protocol("the session is closed"))
}

/// The content that an offer names, or why it cannot be had.
async fn whole(
    offer: &v1::ContentOffer,
    client: AgentClient<Channel>,
) -> Result<v1::SignedContent, String> {
    if offer.bytes == 0 || offer.bytes > MAX_CONTENT_BYTES as u64 {
        return Err(format!("{} bytes are offered", offer.bytes));
    }
    let mut bytes = Vec::new();
    let mut calls = 0;
    while let Err(broken) = go_on(offer, &mut bytes, client.clone()).await {
        calls += 1;
        if calls >= CALLS || !may_work_later(&broken) {
            return Err(broken.message().to_owned());
        }
        tracing::debug!(reason = broken.message(), "a fetch broke off");
        tokio::time::sleep(AGAIN).await;
    }
    if Digest::of(&bytes).as_bytes().as_slice() != offer.sha256 {
        return Err("what was fetched is not what was offered".to_owned());
    }
    v1::SignedContent::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

/// Fetches what is missing behind `bytes`.
async fn go_on(
    offer: &v1::ContentOffer,
    bytes: &mut Vec<u8>,
    mut client: AgentClient<Channel>,
) -> Result<(), Status> {
    let late = |_elapsed| Status::deadline_exceeded("the collector does not answer");
    let request = v1::FetchRequest {
        sha256: offer.sha256.clone(),
        offset: bytes.len() as u64,
    };
    let call = tokio::time::timeout(CHUNK_WAIT, client.fetch(request)).await;
    let mut chunks = call.map_err(late)??.into_inner();
    while (bytes.len() as u64) < offer.bytes {
        let next = tokio::time::timeout(CHUNK_WAIT, chunks.message()).await;
        let next = next.map_err(late)??;
        let chunk = next.ok_or_else(|| Status::unavailable("the collector ended the call"))?;
        let left = offer.bytes.saturating_sub(bytes.len() as u64);
        let fits = !chunk.data.is_empty() && chunk.data.len() as u64 <= left;
        if !fits || chunk.offset != bytes.len() as u64 {
            return Err(Status::data_loss(
                "a chunk is not the one that was asked for",
            ));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    Ok(())
}

/// Whether another call may give what this one did not.
fn may_work_later(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::NotFound
            | Code::DataLoss
            | Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
    )
}
