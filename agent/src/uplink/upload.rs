//! Sends files that commands asked for, one after the other, from where the collector has them.

use std::convert::Infallible;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::{LinkError, Uplink};
use crate::outbox::{Outbox, Parcel, ParcelEnd};

/// How often it is looked for files that wait.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of one chunk.
const CHUNK: usize = 256 << 10;
/// How long the collector may take to answer a chunk.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
/// How long it waits after a call that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// Sends what waits, until the connection ends.
pub(super) async fn send(
    uplink: &Uplink,
    client: AgentClient<Channel>,
) -> Result<Infallible, LinkError> {
    let outbox = Outbox::open(&uplink.state)?;
    loop {
        tokio::time::sleep(LOOK).await;
        for parcel in outbox.all().iter().filter(|parcel| parcel.end.is_none()) {
            let end = match one(&outbox, parcel, client.clone()).await {
                Ok(end) => end,
                // Also a collector of an older version: the file waits for a newer one.
                Err(error) => {
                    tracing::warn!(
                        reason = error.message(),
                        "a file was not sent, trying again"
                    );
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let ended = Parcel {
                end: Some(end),
                ..parcel.clone()
            };
            outbox.put(&ended)?;
        }
    }
}

async fn one(
    outbox: &Outbox,
    parcel: &Parcel,
    mut client: AgentClient<Channel>,
) -> Result<ParcelEnd, Status> {
    let unreadable = |error: std::io::Error| Status::internal(error.to_string());
    let mut file = match outbox.read(&parcel.command) {
        Ok(file) => file,
        Err(error) => {
            let why = format!("the copy cannot be read any more: {error}");
            return Ok(ParcelEnd::Refused(why));
        }
    };
    let (chunks, outgoing) = mpsc::channel(1);
    let give = async |chunk| {
        let given = chunks.send(chunk).await;
        given.map_err(|_closed| Status::unavailable("the collector ended the call"))
    };
    give(chunk(parcel, 0, Vec::new())).await?;
    let call = client.upload(Request::new(ReceiverStream::new(outgoing)));
    let late = |_elapsed| Status::deadline_exceeded("the collector does not answer");
    let opened = tokio::time::timeout(ANSWER_WAIT, call).await;
    let mut answers = opened.map_err(late)??.into_inner();
    loop {
        let answer = next(&mut answers).await?;
        if !answer.refused.is_empty() {
            return Ok(ParcelEnd::Refused(answer.refused));
        }
        if answer.complete {
            return Ok(ParcelEnd::Sent);
        }
        file.seek(SeekFrom::Start(answer.received))
            .map_err(unreadable)?;
        let mut data = Vec::with_capacity(CHUNK);
        (&mut file)
            .take(CHUNK as u64)
            .read_to_end(&mut data)
            .map_err(unreadable)?;
        give(chunk(parcel, answer.received, data)).await?;
    }
}

async fn next(answers: &mut Streaming<v1::ChunkAck>) -> Result<v1::ChunkAck, Status> {
    let late = |_elapsed| Status::deadline_exceeded("the collector does not answer");
    let answer = tokio::time::timeout(ANSWER_WAIT, answers.message()).await;
    let ended = || Status::unavailable("the collector ended the call");
    answer.map_err(late)??.ok_or_else(ended)
}

fn chunk(parcel: &Parcel, offset: u64, data: Vec<u8>) -> v1::Chunk {
    v1::Chunk {
        command_id: hex::decode(&parcel.command).unwrap_or_default(),
        offset,
        total: parcel.total,
        sha256: hex::decode(&parcel.sha256).unwrap_or_default(),
        data,
    }
}
