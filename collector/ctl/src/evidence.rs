//! Verifies evidence without believing who sent it. Pure: messages in, findings out.
//!
//! # Invariants
//!
//! - A host is the one whose id is the hash of its first key; later keys count only if the key before vouched for
//!   them; a batch counts only if the key of its epoch signed its exact header and the header fits its payload.
//! - In each class of each run the headers follow each other without a hole, and every number is an event or lies
//!   in a gap that a signed header names. What other headers say of a chain must fit that chain.
//! - Where one key vouched for two, the keys branch off. Each branch counts by itself, and a run is of one branch.
//! - After its first fault a chain proves nothing more: what follows is counted, not checked.

mod checkpoints;
mod keys;
mod line;
mod payload;

use std::collections::BTreeMap;

use picket_event::batch::{ClassHead, Header};
use picket_event::{Class, EventError, Gap, HostId, IdError, StreamId};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use picket_seal::{
    ChainError, Digest, KeyId, Payload, PublicKey, SealError, Signature, SuccessionError,
    header_hash, verify_header,
};
use prost::Message;

pub(crate) use checkpoints::{Expected, Log};
pub(crate) use keys::Fork;
pub(crate) use line::{Line, Outcome};

use checkpoints::LogFault;
use keys::{Keys, Signer};

/// What is wrong with a piece of evidence. Whose fault it is cannot always be told: host or collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Successions or batches before any host.
    #[error("evidence begins without a host")]
    NoHost,
    /// An item that this version does not know.
    #[error("an item of the evidence is empty or unknown")]
    UnknownItem,
    /// The host's name is malformed.
    #[error("the host id is malformed")]
    HostId(#[source] IdError),
    /// The first key is malformed.
    #[error("the first event key is malformed")]
    FirstKey(#[source] SealError),
    /// The first key is another host's.
    #[error("the first event key makes the host {0}")]
    OtherFirstKey(HostId),
    /// A succession's message is malformed.
    #[error("a succession of event keys cannot be decoded")]
    SuccessionForm,
    /// A succession is another host's.
    #[error("a succession of event keys is for another host")]
    SuccessionHost,
    /// A succession is not signed, or does not follow.
    #[error("a succession of event keys is refused")]
    Succession(#[source] SuccessionError),
    /// A header's message is malformed.
    #[error("a header cannot be decoded")]
    HeaderForm,
    /// A header's field is malformed.
    #[error("a header is malformed")]
    Header(#[source] EventError),
    /// A header of another host.
    #[error("the header is of the host {0}")]
    OtherHost(HostId),
    /// Nobody vouched for the key.
    #[error("no key is known for the epoch {0}")]
    NoKey(u64),
    /// The header names another key than that of its epoch.
    #[error("the header names the key {got}, but epoch {epoch} has the key {expected}")]
    OtherKey {
        /// The header's epoch.
        epoch: u64,
        /// Its key.
        expected: KeyId,
        /// The key that is named.
        got: KeyId,
    },
    /// Signature or payload do not fit.
    #[error("the batch does not verify")]
    Seal(#[source] SealError),
    /// It goes on in a run that another branch of the host's keys wrote.
    #[error("the run is of another branch of the host's event keys")]
    OtherBranch,
    /// It does not follow the header before.
    #[error("the chain is broken")]
    Chain(#[source] ChainError),
    /// The same numbers again.
    #[error("the numbers from {0} on come twice")]
    Twice(u64),
    /// A payload that does not hold what its header says.
    #[error("the payload does not hold what its header says")]
    Payload(#[source] payload::PayloadError),
    /// A payload is gone and nobody said so.
    #[error("the payload of the numbers {first} to {last} is missing, and no header says why")]
    Unexplained {
        /// The first number.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Something about a checkpoint is wrong.
    #[error("the checkpoints do not hold")]
    Checkpoint(#[from] LogFault),
    /// Two signed headers disagree about the past.
    #[error(
        "another header says that the chain stood at {next_seq} with the head {said}, but it was {known}"
    )]
    OtherPast {
        /// Where.
        next_seq: u64,
        /// The head that the other header names.
        said: Digest,
        /// The head here.
        known: Digest,
    },
}

/// Verifies the evidence of hosts: the keys of each before its batches, the batches of several in any mixture.
#[derive(Debug)]
pub(crate) struct Verifier {
    from_start: bool,
    hosts: Vec<Host>,
    stray: Option<Fault>,
    log: Log,
    /// The batch that a proof may still come for.
    waiting: Option<Waiting>,
}

/// A batch whose proof would come next.
#[derive(Debug)]
struct Waiting {
    /// Which host, of those here.
    host: usize,
    stream: StreamId,
    class: Class,
    seq_first: u64,
    hash: Digest,
    /// The checkpoint that it names.
    named: Option<Digest>,
}

/// The evidence of one host.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its id; `None` if malformed.
    pub(crate) id: Option<HostId>,
    /// The name that the collector gives it.
    pub(crate) name: String,
    /// Its newest epoch.
    pub(crate) epoch: u64,
    /// The first fault that belongs to no chain.
    pub(crate) fault: Option<Fault>,
    /// Its chains, in the order of their streams and classes.
    pub(crate) lines: Vec<Line>,
    keys: Option<Keys>,
    index: BTreeMap<(StreamId, Class), usize>,
    claims: Vec<Claim>,
    from_start: bool,
}

/// What one header says about another chain.
#[derive(Clone, Copy, Debug)]
struct Claim {
    stream: StreamId,
    head: ClassHead,
}

impl Fault {
    /// The checkpoint that was seen before and is gone, if that is the fault.
    pub(crate) const fn gone(&self) -> Option<Digest> {
        match self {
            Self::Checkpoint(LogFault::Gone { hash, .. }) => Some(*hash),
            _ => None,
        }
    }
}

impl Verifier {
    /// `from_start`: every chain must begin with its first header.
    pub(crate) const fn new(from_start: bool, expected: Expected) -> Self {
        Self {
            from_start,
            hosts: Vec::new(),
            stray: None,
            log: Log::new(expected),
            waiting: None,
        }
    }

    /// Takes the next item.
    pub(crate) fn take(&mut self, item: v1::EvidenceItem) {
        let proof = match &item.item {
            Some(Item::Inclusion(proof)) => Some(proof),
            _ => None,
        };
        self.take_proof(proof);
        match (item.item, self.hosts.last_mut()) {
            (Some(Item::Inclusion(_)), _) => {}
            (Some(Item::Checkpoint(checkpoint)), _) => self.log.take(&checkpoint),
            (Some(Item::Audit(entry)), _) => self.log.take_audit(&entry),
            (Some(Item::Host(host)), _) => self.hosts.push(Host::open(host, self.from_start)),
            (Some(Item::Succession(succession)), Some(host)) => host.take_succession(&succession),
            (Some(Item::Batch(batch)), Some(_)) => self.take_batch(&batch, false),
            (Some(Item::Retired(batch)), Some(_)) => self.take_batch(&batch, true),
            (Some(_), None) => self.stray = Some(Fault::NoHost),
            (None, _) => self.stray = Some(Fault::UnknownItem),
        }
    }

    /// The batch before has a proof, or none.
    fn take_proof(&mut self, proof: Option<&v1::Inclusion>) {
        let Some(waiting) = self.waiting.take() else {
            if proof.is_some() {
                self.stray.get_or_insert(Fault::UnknownItem);
            }
            return;
        };
        let Some(host) = self.hosts.get_mut(waiting.host) else {
            return;
        };
        let checked = weigh(&self.log, &waiting, proof, &host.name);
        let line = host.line(waiting.stream, waiting.class);
        match checked {
            Ok(proven) => line.proven = line.proven.saturating_add(u64::from(proven)),
            Err(fault) => line.fail(waiting.seq_first, fault.into()),
        }
    }

    /// A batch belongs to the host that its header names; one that names no host here is a fault of the last.
    fn take_batch(&mut self, wire: &v1::SignedBatch, retired: bool) {
        let header = header_of(wire);
        let named = header.as_ref().ok().map(|header| header.host);
        let place = self
            .hosts
            .iter()
            .position(|host| host.id.is_some() && host.id == named);
        let last = self.hosts.len().saturating_sub(1);
        let place = place.unwrap_or(last);
        self.waiting = header.as_ref().ok().map(|header| Waiting {
            host: place,
            stream: header.stream,
            class: header.class,
            seq_first: header.seq_first,
            hash: header_hash(&wire.header),
            named: header.last_checkpoint,
        });
        if let Some(host) = self.hosts.get_mut(place) {
            host.take_batch(wire, header, retired);
        }
    }

    /// What was found. The fault is one that belongs to no host.
    pub(crate) fn finish(mut self) -> (Vec<Host>, Option<Fault>, Log) {
        self.take_proof(None);
        for host in &mut self.hosts {
            host.close();
        }
        self.log.close();
        let of_log = self.log.fault.take().map(Fault::from);
        (self.hosts, self.stray.or(of_log), self.log)
    }
}

/// Whether the batch is proven; what it says of a checkpoint must fit.
fn weigh(
    log: &Log,
    waiting: &Waiting,
    proof: Option<&v1::Inclusion>,
    host: &str,
) -> Result<bool, LogFault> {
    let index = proof.map(|proof| log.check_inclusion(&waiting.hash, proof));
    let index = index.transpose()?;
    if let Some(named) = &waiting.named {
        log.check_named(named, index, host)?;
    }
    match index {
        None if log.is_strict() => Err(LogFault::Unproven),
        index => Ok(index.is_some()),
    }
}

impl Host {
    /// Whether everything fits.
    pub(crate) fn is_good(&self) -> bool {
        self.fault.is_none() && self.lines.iter().all(|line| line.fault.is_none())
    }

    /// Where its keys branch off.
    pub(crate) fn forks(&self) -> Vec<Fork> {
        self.keys.as_ref().map(Keys::forks).unwrap_or_default()
    }

    fn open(wire: v1::EvidenceHost, from_start: bool) -> Self {
        let mut host = Self {
            id: HostId::from_slice(&wire.host_id).ok(),
            name: wire.name.clone(),
            epoch: 0,
            fault: None,
            lines: Vec::new(),
            keys: None,
            index: BTreeMap::new(),
            claims: Vec::new(),
            from_start,
        };
        match first_key(&wire) {
            Ok(key) => host.keys = Some(Keys::new(key)),
            Err(fault) => host.fault = Some(fault),
        }
        host
    }

    fn take_succession(&mut self, wire: &v1::Succession) {
        if let Err(fault) = self.accept(wire) {
            self.fault.get_or_insert(fault);
        }
    }

    fn accept(&mut self, wire: &v1::Succession) -> Result<(), Fault> {
        let (Some(id), Some(keys)) = (self.id, self.keys.as_mut()) else {
            return Ok(());
        };
        let body = v1::SuccessionBody::decode(wire.body.as_slice())
            .map_err(|_form| Fault::SuccessionForm)?;
        if body.host_id != id.as_bytes() {
            return Err(Fault::SuccessionHost);
        }
        let key = PublicKey::from_slice(&body.public_key).map_err(|_key| Fault::SuccessionForm)?;
        let signature =
            Signature::from_slice(&wire.signature).map_err(|_length| Fault::SuccessionForm)?;
        keys.accept(body.epoch, key, &wire.body, &signature)
            .map_err(Fault::Succession)?;
        self.epoch = keys.latest_epoch();
        Ok(())
    }

    fn take_batch(&mut self, wire: &v1::SignedBatch, header: Result<Header, Fault>, retired: bool) {
        for succession in &wire.successions {
            self.take_succession(succession);
        }
        match header {
            Ok(header) => self.take_header(wire, &header, retired),
            Err(fault) => {
                self.fault.get_or_insert(fault);
            }
        }
    }

    fn take_header(&mut self, wire: &v1::SignedBatch, header: &Header, retired: bool) {
        let verified = self.verify(wire, header);
        let from_start = self.from_start;
        let line = self.line(header.stream, header.class);
        if line.fault.is_some() {
            line.unchecked = line.unchecked.saturating_add(1);
            return;
        }
        let content = payload::Content {
            bytes: &wire.payload,
            retired,
        };
        let taken = verified.and_then(|(hash, signer)| {
            line.take(header, hash, content, from_start)?;
            Ok(signer)
        });
        let taken = taken.and_then(|signer| self.note_signer(header, signer));
        let line = self.line(header.stream, header.class);
        match taken {
            Ok(()) => self.note_claims(header),
            Err(fault) => line.fail(header.seq_first, fault),
        }
    }

    /// A run is of one branch: what others signed in it is what this one shares with them.
    fn note_signer(&mut self, header: &Header, signer: Signer) -> Result<(), Fault> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        let own = |line: &&Line| line.stream == header.stream;
        let mut before = self.lines.iter().filter(own).flat_map(|line| &line.signers);
        if !before.all(|before| keys.holds(signer, *before)) {
            return Err(Fault::OtherBranch);
        }
        let branch = keys.name(signer.branch);
        let line = self.line(header.stream, header.class);
        line.note_signer(signer, branch);
        Ok(())
    }

    /// Signature by the key of the epoch, and the payload's hash. Returns the header's hash and who signed.
    fn verify(&self, wire: &v1::SignedBatch, header: &Header) -> Result<(Digest, Signer), Fault> {
        if self.id != Some(header.host) {
            return Err(Fault::OtherHost(header.host));
        }
        let keys = self.keys.as_ref();
        let found = keys.and_then(|keys| keys.find(header.epoch, header.key_id));
        let (signer, key) = found.ok_or(Fault::NoKey(header.epoch))?;
        if key.key_id() != header.key_id {
            return Err(Fault::OtherKey {
                epoch: header.epoch,
                expected: key.key_id(),
                got: header.key_id,
            });
        }
        let signature = Signature::from_slice(&wire.signature).map_err(Fault::Seal)?;
        let payload = if wire.payload.is_empty() {
            Payload::Dropped
        } else {
            Payload::Present(&wire.payload)
        };
        verify_header(
            &key,
            &wire.header,
            &signature,
            payload,
            &header.payload_hash,
        )
        .map(|hash| (hash, signer))
        .map_err(Fault::Seal)
    }

    fn note_claims(&mut self, header: &Header) {
        let own = header.other_heads.iter().map(|head| Claim {
            stream: header.stream,
            head: *head,
        });
        let before = header.previous_stream.iter().flat_map(|previous| {
            previous.heads.iter().map(|head| Claim {
                stream: previous.stream,
                head: *head,
            })
        });
        let claims: Vec<Claim> = own.chain(before).collect();
        for claim in claims {
            self.weigh(claim);
        }
    }

    /// Checks a claim at once if the chain has come so far, else keeps it.
    fn weigh(&mut self, claim: Claim) {
        if claim.head.next_seq == 0 {
            return;
        }
        let line = self.line(claim.stream, claim.head.class);
        if line.reaches(claim.head.next_seq) {
            line.compare(claim.head.next_seq, claim.head.head);
        } else {
            self.claims.push(claim);
        }
    }

    /// Of a part only, a chain without a batch may well end before the part begins.
    fn close(&mut self) {
        let from_start = self.from_start;
        for claim in std::mem::take(&mut self.claims) {
            let line = self.line(claim.stream, claim.head.class);
            if line.reaches(claim.head.next_seq) {
                line.compare(claim.head.next_seq, claim.head.head);
            } else if from_start || line.batches > 0 {
                line.await_until(claim.head.next_seq);
            }
        }
        self.explain_elsewhere();
        for line in &mut self.lines {
            line.close();
        }
        self.lines
            .retain(|line| line.batches > 0 || line.fault.is_some() || line.outstanding > 0);
    }

    /// A run may say why payloads of the runs before it are gone.
    fn explain_elsewhere(&mut self) {
        let told: Vec<(Class, Gap)> = self
            .lines
            .iter_mut()
            .flat_map(|line| {
                let class = line.class;
                line.take_elsewhere()
                    .into_iter()
                    .map(move |gap| (class, gap))
            })
            .collect();
        for (class, gap) in told {
            if let Some(stream) = gap.stream {
                self.line(stream, class).explain(&gap);
            }
        }
    }

    fn line(&mut self, stream: StreamId, class: Class) -> &mut Line {
        let next = self.lines.len();
        let place = *self.index.entry((stream, class)).or_insert(next);
        if place == next {
            self.lines.push(Line::new(stream, class));
        }
        &mut self.lines[place]
    }
}

fn first_key(wire: &v1::EvidenceHost) -> Result<PublicKey, Fault> {
    let id = HostId::from_slice(&wire.host_id).map_err(Fault::HostId)?;
    let key = PublicKey::from_slice(&wire.first_event_public_key).map_err(Fault::FirstKey)?;
    match HostId::of_first_key(&key) {
        own if own == id => Ok(key),
        other => Err(Fault::OtherFirstKey(other)),
    }
}

fn header_of(wire: &v1::SignedBatch) -> Result<Header, Fault> {
    let header =
        v1::BatchHeader::decode(wire.header.as_slice()).map_err(|_form| Fault::HeaderForm)?;
    Header::try_from(header).map_err(Fault::Header)
}

#[cfg(test)]
mod tests;
