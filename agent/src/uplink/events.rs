//! Sends batches from the spool, most important class first, and takes acknowledgements.
//!
//! # Invariants
//!
//! - In each class batches go in order, from the first that is not acknowledged.
//! - Bytes under way never exceed the collector's credit by more than the last batch, nor batches [`MAX_UNDER_WAY`].
//! - Of both, a part is kept for the more important classes ([`share`]): an alert never waits for answers to bulk.
//! - A class whose batch was refused waits; the others go on.
//! - Where the collector misses what cannot be sent any more, a signed header that says so goes first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use picket_event::{Class, StreamId};
use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use picket_seal::KeyId;
use picket_spool::{Position, Record};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::holes::{self, Ends};
use super::{LinkError, Uplink};
use crate::failure::chain;
use crate::seal::{Range, Sealed};
use crate::state::epoch::{epoch_of, newest_in_common, successions_after};
use crate::store::spool_class;

/// Batches that may wait inside the connection.
pub(super) const QUEUE: usize = 2;
/// Batches that may be sent without an answer.
const MAX_UNDER_WAY: usize = 48;
/// Bytes that may be sent before the collector has said how many.
const FIRST_CREDIT: u64 = 1 << 20;
/// How long the collector may take to answer a batch.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
/// How long a class waits after a refusal for which the collector names no time.
const REFUSED_WAIT: Duration = Duration::from_mins(5);
/// How long a class waits until the collector can say where its chain ends.
const UNSETTLED_WAIT: Duration = Duration::from_secs(1);
/// How long a class waits for the signature of a hole before it tries without.
const RANGE_WAIT: Duration = Duration::from_secs(10);
/// What a collector says when numbers before a batch are missing.
const CHAIN_SKIPPED: &str = "chain_skipped";
/// What a collector says of a run in which another branch of this host's keys signed.
const OTHER_BRANCH: &str = "other_branch";
/// Successions that one batch may bring.
const MAX_SUCCESSIONS: usize = 1_000;

/// The classes in the order in which they go.
const ORDER: [Class; 3] = [Class::Alert, Class::Security, Class::Bulk];

/// Batches and bytes that may be under way, of all classes together, while one of this class is sent; `credit` is what the collector
/// grants, in bytes. Security leaves an eighth to alerts, bulk a quarter to both.
const fn share(class: Class, credit: u64) -> (usize, u64) {
    match class {
        Class::Alert => (MAX_UNDER_WAY, credit),
        Class::Security => (MAX_UNDER_WAY - MAX_UNDER_WAY / 8, credit - credit / 8),
        Class::Bulk => (MAX_UNDER_WAY - MAX_UNDER_WAY / 4, credit - credit / 4),
    }
}

/// Sends until the connection ends.
pub(super) async fn send(
    uplink: &Uplink,
    mut client: AgentClient<Channel>,
    welcome: &v1::Welcome,
) -> Result<Infallible, LinkError> {
    uplink.store.ranges.forget();
    let (batches, outgoing) = mpsc::channel(QUEUE);
    let outgoing = Request::new(ReceiverStream::new(outgoing));
    // The collector answers the call itself only with its first acknowledgement or at once; both work.
    let opening = client.events(outgoing);
    tokio::pin!(opening);
    let mut sender = Sender::new(uplink, batches, welcome);
    let acks = loop {
        tokio::select! {
            biased;
            opened = &mut opening => break opened?.into_inner(),
            sent = sender.send_next() => sent?,
        }
    };
    sender.run(acks).await
}

struct Sender<'a> {
    uplink: &'a Uplink,
    batches: mpsc::Sender<v1::SignedBatch>,
    /// The newest epoch that the collector knew when the connection began, and whose key it has of this very host.
    greeted_epoch: u64,
    /// The newest epoch that was sent to it since.
    known_epoch: u64,
    lanes: [Lane; 3],
    under_way: VecDeque<UnderWay>,
    bytes_under_way: u64,
    credit: u64,
    ends: Ends,
}

/// The newest epoch of which the collector has the key that is here too. If it has none of ours behind a point, the keys branch
/// off there: this is a copy, or was copied.
fn shared_epoch(uplink: &Uplink, welcome: &v1::Welcome) -> u64 {
    let named = |key: &v1::KnownKey| Some((key.epoch, KeyId::from_slice(&key.key_id).ok()?));
    let known: Vec<(u64, KeyId)> = welcome.known_keys.iter().filter_map(named).collect();
    if known.is_empty() {
        return welcome.known_epoch;
    }
    match newest_in_common(&uplink.successions, &known) {
        // The first key is not in the log, and both have it: it names the host.
        Ok(common) => common.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(reason = chain(&error), "successions cannot be read");
            welcome.known_epoch
        }
    }
}

/// Where one class stands.
#[derive(Debug, Default)]
struct Lane {
    after: Option<Position>,
    paused_until: Option<Instant>,
    /// The last refusal because of numbers that are missing, until nothing of the class is under way.
    skipped: Option<v1::EventAck>,
}

/// A batch without an answer.
#[derive(Debug)]
struct UnderWay {
    class: Class,
    bytes: u64,
    since: Instant,
    /// Whether it stands for batches that are lost.
    is_range: bool,
}

/// What goes next.
#[derive(Debug)]
enum Next {
    Batch(Position, Record),
    Range(Sealed),
}

impl<'a> Sender<'a> {
    fn new(
        uplink: &'a Uplink,
        batches: mpsc::Sender<v1::SignedBatch>,
        welcome: &v1::Welcome,
    ) -> Self {
        let known_epoch = shared_epoch(uplink, welcome);
        let lines = uplink.store.spool().status().lines;
        let acked = |stream: StreamId, class| {
            if uplink.runs.was_whole(stream) {
                return u64::MAX;
            }
            let class = spool_class(class);
            let mut lines = lines.iter();
            let line = lines.find(|line| line.stream == *stream.as_bytes() && line.class == class);
            line.map_or(0, |line| line.durable_seq)
        };
        let ends = Ends::new(uplink.stream, &uplink.runs.ended(), &welcome.acks, acked);
        uplink.runs.note_whole(&ends.whole());
        Self {
            uplink,
            batches,
            greeted_epoch: known_epoch,
            known_epoch,
            lanes: Default::default(),
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            credit: FIRST_CREDIT,
            ends,
        }
    }

    async fn run(mut self, mut acks: Streaming<v1::EventAck>) -> Result<Infallible, LinkError> {
        loop {
            let deadline = self
                .under_way
                .front()
                .map(|first| first.since + ANSWER_WAIT);
            let overdue = deadline.unwrap_or_else(|| Instant::now() + ANSWER_WAIT);
            tokio::select! {
                biased;
                ack = acks.message() => match ack? {
                    Some(ack) => self.take(&ack),
                    None => return Err(LinkError::Protocol("the collector ended the batches")),
                },
                sent = self.send_next() => sent?,
                () = tokio::time::sleep_until(overdue), if deadline.is_some() => {
                    return Err(LinkError::Protocol("the collector does not answer batches"));
                }
            }
        }
    }

    /// Sends one batch; waits until there is one and it may go. May be dropped while it waits.
    async fn send_next(&mut self) -> Result<(), LinkError> {
        loop {
            let wake = self.uplink.store.wake.notified();
            if !self.has_room(ORDER[0]) {
                // Only an answer changes this, and it drops this wait.
                return std::future::pending().await;
            }
            let closed = |_closed| LinkError::Protocol("the batches' stream is closed");
            let permit = self.batches.clone().reserve_owned().await.map_err(closed)?;
            if let Some((lane, next)) = self.next()? {
                let batch = self.give(lane, next)?;
                permit.send(batch);
                return Ok(());
            }
            drop(permit);
            let resume = self.lanes.iter().filter_map(|lane| lane.paused_until).min();
            let resume = resume.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            tokio::select! {
                () = wake => {}
                () = tokio::time::sleep_until(resume) => {}
            }
        }
    }

    /// Whether a batch of this class may go before anything that is under way is answered.
    fn has_room(&self, class: Class) -> bool {
        let (batches, credit) = share(class, self.credit);
        self.under_way.len() < batches && self.bytes_under_way < credit
    }

    /// The next batch of the most important class that has one, has room and does not wait.
    fn next(&mut self) -> Result<Option<(usize, Next)>, LinkError> {
        let now = Instant::now();
        for (index, class) in ORDER.into_iter().enumerate() {
            // The classes behind it have less.
            if !self.has_room(class) {
                break;
            }
            if let Some(range) = self.uplink.store.ranges.take(class) {
                return Ok(Some((index, Next::Range(range))));
            }
            let lane = &mut self.lanes[index];
            if lane.paused_until.is_some_and(|until| until > now) {
                continue;
            }
            if lane.paused_until.take().is_some() {
                lane.after = None;
            }
            let next = self
                .uplink
                .store
                .spool()
                .next(spool_class(class), lane.after)?;
            if self.misses_the_end(index, next.as_ref().map(|(_, record)| record.stream)) {
                continue;
            }
            if let Some((position, record)) = next {
                return Ok(Some((index, Next::Batch(position, record))));
            }
        }
        Ok(None)
    }

    /// Before the first batch of a run in a class: whether the end of a run before it must be told first.
    fn misses_the_end(&mut self, lane: usize, next: Option<[u8; 16]>) -> bool {
        let class = ORDER[lane];
        if self.under_way.iter().any(|batch| batch.class == class) {
            return false;
        }
        let hole = self.ends.take(class, next);
        let found = hole.is_some();
        if let Some(hole) = hole {
            self.ask(hole);
        }
        found
    }

    /// Wants a hole signed; the class waits for it.
    fn ask(&mut self, hole: Range) {
        let (class, seq_first) = (hole.class(), hole.from.next_seq);
        let seq_end = hole.to.next_seq;
        tracing::warn!(
            class = class.name(),
            seq_first,
            seq_end,
            "telling the collector what is lost"
        );
        self.uplink.store.ranges.ask(hole);
        for (lane, of) in self.lanes.iter_mut().zip(ORDER) {
            if of == class {
                lane.paused_until = Some(Instant::now() + RANGE_WAIT);
            }
        }
    }

    /// Makes what goes into a batch, and notes that it is under way.
    fn give(&mut self, lane: usize, next: Next) -> Result<v1::SignedBatch, LinkError> {
        let is_range = matches!(next, Next::Range(_));
        let (header, payload, signature) = match next {
            Next::Batch(position, record) => {
                self.lanes[lane].after = Some(position);
                (record.header, record.payload, record.signature)
            }
            Next::Range(range) => {
                self.lanes[lane] = Lane::default();
                (range.header, range.payload, *range.signature.as_bytes())
            }
        };
        let bytes = header.len().saturating_add(payload.len()) as u64;
        let successions = self.successions_for(&header)?;
        self.bytes_under_way = self.bytes_under_way.saturating_add(bytes);
        self.under_way.push_back(UnderWay {
            class: ORDER[lane],
            bytes,
            since: Instant::now(),
            is_range,
        });
        Ok(v1::SignedBatch {
            header,
            payload,
            signature: signature.to_vec(),
            successions,
        })
    }

    /// The keys that the collector needs before this header.
    fn successions_for(&mut self, header: &[u8]) -> Result<Vec<v1::Succession>, LinkError> {
        let header = v1::BatchHeader::decode(header);
        let epoch = header.map_or(self.known_epoch, |header| header.epoch);
        let mut successions = Vec::new();
        if epoch > self.known_epoch {
            successions = successions_after(&self.uplink.successions, self.known_epoch)?;
            successions.retain(|one| epoch_of(one).is_some_and(|of| of <= epoch));
            successions.truncate(MAX_SUCCESSIONS);
            self.known_epoch = successions
                .last()
                .and_then(epoch_of)
                .unwrap_or(self.known_epoch);
        }
        Ok(successions)
    }

    fn take(&mut self, ack: &v1::EventAck) {
        let answered = self.under_way.pop_front();
        let bytes = answered.as_ref().map_or(0, |batch| batch.bytes);
        self.bytes_under_way = self.bytes_under_way.saturating_sub(bytes);
        if ack.credit_bytes > 0 {
            self.credit = ack.credit_bytes;
        }
        let class = Class::from_wire(ack.class);
        if let (Ok(stream), Some(class)) = (StreamId::from_slice(&ack.stream), class) {
            self.uplink.store.ack(stream, class, ack.durable_seq);
        }
        if let Some((stream, head)) = holes::stands(ack) {
            self.ends.moved(stream, head);
            if stream != self.uplink.stream {
                self.uplink.runs.note_whole(&self.ends.whole());
            }
        }
        let is_range = answered.as_ref().is_some_and(|batch| batch.is_range);
        if ack.refused.is_empty() {
            if is_range {
                self.uplink.store.settle_losses();
            }
        } else {
            // A collector that could not read the header names no class. Answers come in the order of the batches.
            let of = class.or_else(|| answered.as_ref().map(|batch| batch.class));
            self.pause(of, is_range, ack);
            if let (CHAIN_SKIPPED, false, Some(class)) = (ack.refused.as_str(), is_range, class) {
                self.lane(class).skipped = Some(ack.clone());
            }
        }
        if let Some(class) = class {
            self.look_for_hole(class);
        }
    }

    fn lane(&mut self, class: Class) -> &mut Lane {
        let index = match class {
            Class::Alert => 0,
            Class::Security => 1,
            Class::Bulk => 2,
        };
        &mut self.lanes[index]
    }

    /// The collector misses numbers of a class, which are not here either. Asked once nothing of the class is under
    /// way any more: what was sent behind may be of a later run, and taken.
    fn look_for_hole(&mut self, class: Class) {
        if self.under_way.iter().any(|batch| batch.class == class) {
            return;
        }
        let skipped = self.lane(class).skipped.take();
        let Some((stream, from)) = skipped.as_ref().and_then(holes::stands) else {
            return;
        };
        match holes::before_the_first(&self.uplink.store, stream, from) {
            Ok(Some(hole)) => self.ask(hole),
            Ok(None) => {}
            Err(error) => tracing::warn!(reason = chain(&error), "spool cannot be read"),
        }
    }

    /// After a refusal everything behind it in its class would be refused too.
    fn pause(&mut self, class: Option<Class>, is_range: bool, ack: &v1::EventAck) {
        // The keys that came with a refused batch may not have been kept: they go again.
        self.known_epoch = self.greeted_epoch;
        let mut status = self.uplink.health.status();
        status.refused_batches = status.refused_batches.saturating_add(1);
        drop(status);
        // Batches before it are still on their way to the collector's disk: it cannot say yet where its chain ends.
        let unsettled = ack.refused == CHAIN_SKIPPED && ack.head.is_empty();
        let wait = match ack.retry_after_ms {
            0 if unsettled => UNSETTLED_WAIT,
            // Another that speaks for this host may still have what is lost here: the rest goes on without.
            0 if is_range && ack.refused == OTHER_BRANCH => UNSETTLED_WAIT,
            0 => REFUSED_WAIT,
            some => Duration::from_millis(u64::from(some)),
        };
        let until = Instant::now() + wait;
        for (lane, of) in self.lanes.iter_mut().zip(ORDER) {
            let meant = class.is_none_or(|class| class == of);
            if meant && lane.paused_until.is_none() {
                lane.paused_until = Some(until);
                let (class, seq) = (of.name(), ack.received_seq);
                tracing::error!(
                    reason = ack.refused,
                    class,
                    seq,
                    "collector refused a batch"
                );
            }
        }
    }
}
