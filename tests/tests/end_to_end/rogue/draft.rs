//! A batch before it is signed, as an honest agent would make it; a test alters what it likes.

use picket_event::batch::Header;
use picket_event::{
    BootId, Class, Event, Kind, Process, ProcessUid, Source, StreamId, Text, UnixNanos,
};
use picket_proto::v1;
use picket_seal::{Chain, Digest, SigningKey, header_hash, seal_header};
use prost::Message;

use super::Rogue;

/// One run of a rogue: the chain of its security events.
pub(crate) struct Run {
    stream: StreamId,
    chain: Chain,
    first: v1::BatchHeader,
}

/// Whatever stands here when it is sealed is what gets signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) header: v1::BatchHeader,
    pub(crate) events: Vec<v1::Event>,
    pub(crate) payload: Vec<u8>,
}

impl Run {
    /// A new run under the rogue's first key.
    pub(crate) fn of(rogue: &Rogue) -> Self {
        let stream = picket_seal::random().expect("the kernel gives random bytes");
        let stream = StreamId::new(stream);
        Self {
            stream,
            chain: Chain::START,
            first: blank(rogue, stream),
        }
    }

    /// The next batch: one exec event for each of these markers.
    pub(crate) fn next(&self, markers: &[&str]) -> Draft {
        let link = self.chain.next_link(markers.len() as u64);
        let numbered = (link.seq_first..).zip(markers);
        let events = numbered.map(|(seq, marker)| event(seq, marker).into());
        let header = v1::BatchHeader {
            seq_first: link.seq_first,
            count: link.count,
            prev_hash: link.prev_hash.as_bytes().to_vec(),
            ..self.first.clone()
        };
        let mut draft = Draft {
            header,
            events: events.collect(),
            payload: Vec::new(),
        };
        draft.pack();
        draft
    }

    /// The collector has it: the next batch follows this one.
    pub(crate) fn goes_on_behind(&mut self, draft: &Draft) {
        let next_seq = draft.header.seq_first + draft.header.count;
        let head = header_hash(&draft.header.encode_to_vec());
        self.chain = Chain { next_seq, head };
    }

    /// The collector says that its chain stands here.
    pub(crate) fn stands_at(&mut self, (next_seq, head): (u64, Vec<u8>)) {
        let head = Digest::from_slice(&head).expect("a settled chain has a head");
        self.chain = Chain { next_seq, head };
    }

    /// Its run's name on the wire.
    pub(crate) fn stream(&self) -> Vec<u8> {
        self.stream.as_bytes().to_vec()
    }
}

impl Draft {
    /// Makes the payload from the events, and says so in the header.
    pub(crate) fn pack(&mut self) {
        let payload = v1::BatchPayload {
            events: self.events.clone(),
        };
        let packed = zstd::bulk::compress(&payload.encode_to_vec(), 1);
        self.carry(packed.expect("memory can be compressed"));
    }

    /// Takes these bytes for its payload, and says so in the header.
    pub(crate) fn carry(&mut self, payload: Vec<u8>) {
        self.header.payload_hash = Digest::of(&payload).as_bytes().to_vec();
        self.payload = payload;
    }

    /// Signed by this key, whatever the header says.
    pub(crate) fn seal(&self, key: &SigningKey) -> v1::SignedBatch {
        let header = self.header.encode_to_vec();
        v1::SignedBatch {
            signature: seal_header(key, &header).as_bytes().to_vec(),
            header,
            payload: self.payload.clone(),
            successions: Vec::new(),
        }
    }
}

/// An exec event that a search for `marker` would find.
fn event(seq: u64, marker: &str) -> Event {
    let mut process = Process::new(ProcessUid::new([0xee; 16]), 4242);
    process.argv = vec![Text::from("rogue"), Text::from(marker)];
    let mut event = Event::new(
        Kind::Exec,
        UnixNanos(1_700_000_000_000_000_000),
        Source::Ebpf,
    );
    event.seq = seq;
    event.by(process)
}

fn blank(rogue: &Rogue, stream: StreamId) -> v1::BatchHeader {
    v1::BatchHeader::from(Header {
        host: rogue.host,
        stream,
        class: Class::Security,
        seq_first: 0,
        count: 0,
        prev_hash: Digest::ZERO,
        payload_hash: Digest::ZERO,
        other_heads: Vec::new(),
        gaps: Vec::new(),
        epoch: 0,
        key_id: rogue.key.public_key().key_id(),
        boot: BootId::new([1; 16]),
        wall: UnixNanos(1_700_000_000_000_000_000),
        mono_ns: 1,
        agent_version: "rogue".to_owned(),
        previous_stream: None,
        last_checkpoint: None,
        range_end: None,
    })
}
