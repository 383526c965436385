//! `Agent.Events`: batches in, acknowledgements out, each only once its batch is on disk.
//!
//! One call is two tasks. The first reads, verifies and queues; the second waits for the disk and
//! answers, in order. Both end with the call.
//!
//! # Queues
//!
//! - Batches queued and not yet answered: `IN_FLIGHT` per call. Full: the reader waits.
//! - Answers not yet sent: `ANSWERS` per call. Full: the second task waits, then the first.

use std::sync::Arc;
use std::time::Duration;

use picket_event::batch::Header;
use picket_event::{Class, Clock, HostId, StreamId};
use picket_proto::v1;
use picket_seal::{KeyId, PublicKey};
use picket_store::{Entry, Head, Reader, SignedBy};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use crate::alarm::{Alarm, Alarms};
use crate::budget::Budgets;
use crate::database::keys::{self, Forks, KeyError};
use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::peer::{HostIdentity, closed};
use crate::refusal::Refusal;
use crate::verify::{self, Signed};
use crate::writer::{Answer, Writer};

/// What ingest needs.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Who hears when a host contradicts itself.
    pub alarms: Alarms,
    /// Whose epoch keys are known.
    pub database: Database,
    /// Where batches are stored.
    pub writer: Writer,
    /// Where chains stand.
    pub reader: Reader,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What each host may send.
    pub budgets: Budgets,
}

/// What the second task does next.
#[derive(Debug)]
pub enum Pending {
    /// Wait for the disk.
    Queued(Place, Answer),
    /// Say no.
    Refused(Option<Place>, Refusal),
    /// End the call.
    End(Status),
}

/// A key that was looked up.
#[derive(Clone, Copy, Debug)]
struct Signer {
    name: KeyId,
    key: PublicKey,
    by: SignedBy,
}

/// Which batch is spoken of.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    host: HostId,
    stream: StreamId,
    class: Class,
    seq_first: u64,
}

impl Ingest {
    /// Reads, verifies and queues until the host ends the call or its connection closes.
    pub async fn read(
        self,
        host: HostIdentity,
        mut batches: Streaming<v1::SignedBatch>,
        pending: mpsc::Sender<Pending>,
    ) {
        let mut closing = host.closing();
        let mut signer = None;
        loop {
            let next = tokio::select! {
                biased;
                reason = closed(&mut closing) => Err(reason.status()),
                next = batches.message() => next,
            };
            let said = match next {
                Ok(Some(batch)) => {
                    let wait = self.budgets.take(host.id(), size(&batch), Instant::now());
                    tokio::time::sleep(wait).await;
                    self.take(host.id(), batch, &mut signer).await
                }
                Ok(None) => return,
                Err(status) => Pending::End(self.ended(status)),
            };
            let last = matches!(said, Pending::End(_));
            if pending.send(said).await.is_err() || last {
                return;
            }
        }
    }

    /// Answers in the order of the batches.
    pub async fn answer(
        self,
        host: HostId,
        mut pending: mpsc::Receiver<Pending>,
        answers: mpsc::Sender<Result<v1::EventAck, Status>>,
    ) {
        let mut log = RefusalLog { host, refused: 0 };
        while let Some(next) = pending.recv().await {
            let answer = match next {
                Pending::Queued(place, answer) => Ok(self.stored(place, answer).await),
                Pending::Refused(place, refusal) => Ok(self.refused(place, refusal).await),
                Pending::End(status) => Err(status),
            };
            if let Ok(ack) = &answer {
                log.note(ack);
            }
            if answers.send(answer).await.is_err() {
                return;
            }
        }
    }

    async fn take(
        &self,
        host: HostId,
        batch: v1::SignedBatch,
        signer: &mut Option<Signer>,
    ) -> Pending {
        let header = match verify::read_header(&batch, host) {
            Ok(header) => header,
            Err(refusal) => return Pending::Refused(None, refusal),
        };
        let place = Place::of(&header);
        let entry = match self.checked(batch, header, signer).await {
            Ok(entry) => entry,
            Err(refusal) => return Pending::Refused(Some(place), refusal),
        };
        match self.writer.store(entry).await {
            Ok(answer) => Pending::Queued(place, answer),
            Err(refusal) => Pending::End(refusal.status()),
        }
    }

    async fn checked(
        &self,
        batch: v1::SignedBatch,
        header: Header,
        signer: &mut Option<Signer>,
    ) -> Result<Entry, Refusal> {
        let is_it = |known: &Signer| known.by.epoch == header.epoch && known.name == header.key_id;
        let known = signer.filter(|known| is_it(known) && batch.successions.is_empty());
        let known = match known {
            Some(known) => known,
            None => self.signer(&header, &batch).await?,
        };
        *signer = Some(known);
        let registry = &self.alarms.registry;
        let signed = Signed {
            key: known.key,
            lineage: registry.lineage(&header.host, known.by)?,
            received: self.clock.now(),
        };
        if batch.payload.len() <= INLINE {
            return verify::check(batch, header, signed);
        }
        let checked = tokio::task::spawn_blocking(move || verify::check(batch, header, signed));
        checked.await.map_err(|_ended| Refusal::Internal)?
    }

    /// The key of the batch's epoch, after its successions were taken and are on disk.
    async fn signer(&self, header: &Header, batch: &v1::SignedBatch) -> Result<Signer, Refusal> {
        let successions = batch.successions.clone();
        let (host, epoch, name) = (header.host, header.epoch, header.key_id);
        let now = self.clock.now();
        let moved = self.alarms.registry.has_moved(&host, header.stream);
        let forks = if moved {
            Forks::Apart(now)
        } else {
            Forks::Taken(now)
        };
        let found = self.database.call(move |t| -> Result<_, KeyError> {
            let begun = keys::accept(t, &host, &successions, forks)?;
            Ok((begun, keys::signer(t, &host, epoch, name)?))
        });
        let (begun, found) = found.await.map_err(|refused| key_refusal(&refused))?;
        self.alarms.branches_begun(host, begun, moved).await;
        let (branch, key) = found.ok_or(Refusal::UnknownEpoch)?;
        let by = SignedBy { branch, epoch };
        if key.key_id() == name {
            self.alarms.registry.speaks(&host, header.stream, by);
        }
        Ok(Signer { name, key, by })
    }

    async fn stored(&self, place: Place, answer: Answer) -> v1::EventAck {
        match answer.await {
            // A later batch may have been synced meanwhile; what was promised never falls.
            Ok(Ok(stored)) => {
                let ack = ack_of(self.head(place));
                if ack.durable_seq >= stored.durable_seq {
                    return ack;
                }
                v1::EventAck {
                    received_seq: stored.durable_seq,
                    durable_seq: stored.durable_seq,
                    head: Vec::new(),
                    ..ack
                }
            }
            Ok(Err(refusal)) => self.refused(Some(place), refusal).await,
            Err(_dropped) => self.refused(Some(place), Refusal::ShuttingDown).await,
        }
    }

    /// Says no. A batch whose header could not be read has no place that could be named.
    async fn refused(&self, place: Option<Place>, refusal: Refusal) -> v1::EventAck {
        self.metrics.batch_refused(refusal);
        if let (Some(place), Some(alarm)) = (place, Alarm::of(refusal)) {
            self.alarms.raise(place.host, alarm).await;
        }
        let seq_first = place.map_or(0, |place| place.seq_first);
        let ack = place.map_or_else(v1::EventAck::default, |place| ack_of(self.head(place)));
        v1::EventAck {
            received_seq: seq_first,
            refused: refusal.name().to_owned(),
            retry_after_ms: retry_after(refusal)
                .as_millis()
                .try_into()
                .unwrap_or(u32::MAX),
            ..ack
        }
    }

    fn head(&self, place: Place) -> Head {
        self.reader.head(&place.host, place.stream, place.class)
    }

    /// How the call ends: a message that cannot be taken, or the host is gone.
    fn ended(&self, status: Status) -> Status {
        if status.code() == Code::OutOfRange {
            self.metrics.batch_refused(Refusal::TooLarge);
            return Refusal::TooLarge.status();
        }
        if status.code() == Code::Internal && status.message().contains("decode") {
            self.metrics.batch_refused(Refusal::BadHeader);
        }
        status
    }
}

/// Writes refusals of one call to the log: the first few for people, the others for debugging, so
/// that no host can fill the disk with them. All are counted in the metrics.
struct RefusalLog {
    host: HostId,
    refused: u32,
}

impl RefusalLog {
    fn note(&mut self, ack: &v1::EventAck) {
        if ack.refused.is_empty() {
            return;
        }
        self.refused = self.refused.saturating_add(1);
        let class = Class::from_wire(ack.class).map_or("unknown", Class::name);
        let (host, reason, seq) = (self.host, ack.refused.as_str(), ack.received_seq);
        if self.refused <= LOGGED_REFUSALS {
            tracing::warn!(%host, reason, class, seq, "refused a batch");
        } else {
            tracing::debug!(%host, reason, class, seq, "refused a batch");
        }
    }
}

impl Place {
    fn of(header: &Header) -> Self {
        let Header {
            host,
            stream,
            class,
            seq_first,
            ..
        } = *header;
        Self {
            host,
            stream,
            class,
            seq_first,
        }
    }
}

/// What a batch costs its host, in bytes: everything that has to be looked at.
fn size(batch: &v1::SignedBatch) -> usize {
    let successions = batch.successions.iter();
    let successions = successions.map(|one| one.body.len() + one.signature.len());
    batch.payload.len() + batch.header.len() + successions.sum::<usize>()
}

/// How far a chain is on disk, and what its next header must name.
pub(crate) fn ack_of(head: Head) -> v1::EventAck {
    v1::EventAck {
        stream: head.key.stream.as_bytes().to_vec(),
        class: head.key.class.to_wire(),
        received_seq: head.durable_seq,
        durable_seq: head.durable_seq,
        credit_bytes: CREDIT_BYTES,
        retry_after_ms: 0,
        refused: String::new(),
        head: head
            .head
            .map_or_else(Vec::new, |head| head.as_bytes().to_vec()),
    }
}

/// Why successions were not taken, as the peer hears it.
pub(crate) fn key_refusal(refused: &KeyError) -> Refusal {
    use picket_seal::SuccessionError;
    match refused {
        KeyError::Refused(SuccessionError::TwoSuccessors { .. }) | KeyError::TooManyBranches => {
            Refusal::TwoSuccessors
        }
        KeyError::Ended => Refusal::BranchRefused,
        KeyError::Refused(SuccessionError::EpochSkipped { .. }) => Refusal::UnknownEpoch,
        KeyError::Refused(_) | KeyError::Form | KeyError::TooMany => Refusal::BadSuccession,
        KeyError::Database(failed) => internal(failed),
    }
}

/// The collector's own fault: the log says what, the peer only that.
pub(crate) fn internal(failed: &DatabaseError) -> Refusal {
    tracing::error!(error = %crate::failure::chain(failed), "the database failed");
    Refusal::Internal
}

/// When it makes sense to send the same batch again; zero: never.
fn retry_after(refusal: Refusal) -> Duration {
    match refusal {
        Refusal::DiskFull | Refusal::Storage | Refusal::Internal => Duration::from_secs(10),
        Refusal::Busy | Refusal::ShuttingDown => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

/// Batches queued and not yet answered, per call.
pub(crate) const IN_FLIGHT: usize = 64;

/// Answers not yet sent, per call.
pub(crate) const ANSWERS: usize = 64;

/// What a host may have sent without an answer; the reader stops by itself when the disk is slow.
const CREDIT_BYTES: u64 = 8 << 20;

/// Refusals of one call that are written to the log.
const LOGGED_REFUSALS: u32 = 8;

/// Payloads up to this size, in bytes, are checked on the spot (about 0.4 ms).
const INLINE: usize = 64 << 10;
