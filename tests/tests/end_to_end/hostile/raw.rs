//! Calls with bytes of our own in place of messages, and what counts as an answer.

use std::marker::PhantomData;
use std::time::Duration;

use picket_proto::v1;
use picket_tests::rig::Rig;
use prost::Message;
use prost::bytes::BufMut;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstDecoder;

use crate::rogue::Rogue;

/// Sends bytes as they are.
struct Raw<U>(PhantomData<U>);

impl<U: Message + Default + Send + 'static> Codec for Raw<U> {
    type Encode = Vec<u8>;
    type Decode = U;
    type Encoder = AsIs;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> AsIs {
        AsIs
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::default())
    }
}

struct AsIs;

impl Encoder for AsIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

/// One question, one answer.
pub(crate) async fn ask<U: Message + Default + Send + 'static>(
    channel: Channel,
    method: &'static str,
    message: Vec<u8>,
) -> Result<U, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(method);
    let answer = client
        .unary(Request::new(message), path, Raw(PhantomData))
        .await?;
    Ok(answer.into_inner())
}

/// An open call in both directions.
pub(crate) struct RawCall<'a, U> {
    rogue: &'a Rogue,
    messages: mpsc::Sender<Vec<u8>>,
    answers: Streaming<U>,
}

impl<'a, U: Message + Default + Send + 'static> RawCall<'a, U> {
    /// On this channel. `first` goes with the call.
    pub(crate) fn open(
        rogue: &'a Rogue,
        channel: Channel,
        method: &'static str,
        first: Option<Vec<u8>>,
    ) -> Result<Self, Status> {
        let (messages, sent) = mpsc::channel(16);
        let answers = rogue.block(async {
            if let Some(first) = first {
                drop(messages.send(first).await);
            }
            let mut client = tonic::client::Grpc::new(channel);
            let ready = client.ready().await;
            ready.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PathAndQuery::from_static(method);
            let request = Request::new(ReceiverStream::new(sent));
            client.streaming(request, path, Raw(PhantomData)).await
        })?;
        Ok(Self {
            rogue,
            messages,
            answers: answers.into_inner(),
        })
    }

    /// Sends, and waits for the next answer.
    pub(crate) fn send(&mut self, message: Vec<u8>) -> Result<U, Status> {
        let (messages, answers) = (&self.messages, &mut self.answers);
        self.rogue.block(async {
            // A call that has ended says why in its next answer.
            drop(messages.send(message).await);
            let answer = answers.message().await?;
            answer.ok_or_else(|| Status::cancelled("ended"))
        })
    }

    /// Sends without waiting. Whether the call still takes anything.
    pub(crate) fn post(&self, message: Vec<u8>) -> bool {
        self.rogue.block(self.messages.send(message)).is_ok()
    }

    /// As [`RawCall::post`], but gives up after `limit`.
    pub(crate) fn post_within(&self, message: Vec<u8>, limit: Duration) -> bool {
        self.rogue.block(async {
            let sent = tokio::time::timeout(limit, self.messages.send(message));
            matches!(sent.await, Ok(Ok(())))
        })
    }

    /// The next answer.
    pub(crate) fn next(&mut self) -> Result<Option<U>, Status> {
        self.rogue.block(self.answers.message())
    }
}

/// A no that a peer can understand: `name: words` by us, or that the bytes are no message or too many.
pub(crate) fn is_typed(status: &Status) -> bool {
    let message = status.message();
    let name = message.split_once(": ").map(|(name, _)| name);
    let named = name.is_some_and(|name| is_reason(name) && name != "internal");
    let no_message = status.code() == Code::Internal && message.contains("decode");
    named || no_message || status.code() == Code::OutOfRange
}

/// A reason as they are named.
pub(crate) fn is_reason(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The largest memory that the collector ever had, in KiB.
pub(crate) fn peak_kib(rig: &mut Rig) -> u64 {
    let pid = rig.collector().expect("the collector runs").pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.expect("the kernel says it")
}

/// Nothing broke in the collector.
pub(crate) fn assert_unhurt(rig: &mut Rig) {
    let collector = rig.collector().expect("the collector runs");
    collector.still_runs().expect("the collector runs");
    let said = collector.said();
    let panic = said.lines().find(|line| line.contains("panicked"));
    assert_eq!(panic, None, "no call panics");
}

/// Where a chain stands, as the acknowledgement says.
pub(crate) fn stands(ack: &v1::EventAck) -> (u64, Vec<u8>) {
    (ack.durable_seq, ack.head.clone())
}
