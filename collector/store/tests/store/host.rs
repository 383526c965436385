//! A host that signs real batches, for the tests of the store.

use std::path::Path;

use picket_event::batch::Header;
use picket_event::{
    BootId, Class, Event, Gap, GapReason, HostId, Kind, Process, ProcessUid, Source, StreamId,
    Text, UnixNanos,
};
use picket_proto::v1;
use picket_seal::{Chain, Digest, SigningKey, header_hash, seal_header};
use picket_store::{Entry, Head, Lineage, Options, Store, Summary, payload};
use prost::Message;

pub(crate) const BOOT: BootId = BootId::new([9; 16]);

/// One host with one chain per class of one stream.
pub(crate) struct Host {
    pub(crate) key: SigningKey,
    pub(crate) stream: StreamId,
    pub(crate) chain: Chain,
    pub(crate) class: Class,
}

impl Host {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let stream = StreamId::new(picket_seal::random().unwrap());
        Self {
            key,
            stream,
            chain: Chain::START,
            class: Class::Security,
        }
    }

    pub(crate) fn id(&self) -> HostId {
        HostId::of_first_key(&self.key.public_key())
    }

    /// The next batch with these events; their numbers are set.
    pub(crate) fn batch(&mut self, mut events: Vec<Event>) -> Entry {
        for (event, seq) in events.iter_mut().zip(self.chain.next_seq..) {
            event.seq = seq;
        }
        let count = events.len() as u64;
        self.sealed(events, count, Vec::new())
    }

    /// The next batch with events as these bytes have them, of these kinds.
    pub(crate) fn raw(&mut self, events: &[Vec<u8>], kinds: &[Kind]) -> Entry {
        let mut plain = Vec::new();
        for event in events {
            prost::encoding::bytes::encode(1, event, &mut plain);
        }
        let summary = Summary {
            first: UnixNanos(0),
            last: UnixNanos(i64::MAX),
            kinds: kinds.iter().copied().collect(),
            worst: None,
        };
        let payload = zstd::bulk::compress(&plain, 1).unwrap();
        self.with_payload(events.len() as u64, Vec::new(), (payload, summary))
    }

    /// The next batch, all of whose numbers are a gap.
    pub(crate) fn gap(&mut self, gap: Gap) -> Entry {
        let count = gap.count.unwrap_or(0);
        self.sealed(Vec::new(), count, vec![gap])
    }

    pub(crate) fn sealed(&mut self, events: Vec<Event>, count: u64, gaps: Vec<Gap>) -> Entry {
        let summary = Summary::of(&events);
        let payload = match events.as_slice() {
            [] => Vec::new(),
            _ => payload::close(events.into_iter().map(Into::into).collect()).unwrap(),
        };
        self.with_payload(count, gaps, (payload, summary))
    }

    fn with_payload(
        &mut self,
        count: u64,
        gaps: Vec<Gap>,
        (payload, summary): (Vec<u8>, Summary),
    ) -> Entry {
        let link = self.chain.next_link(count);
        let header = self.header(count, gaps, &payload);
        let entry = self.entry(header, payload, summary);
        let moved = self.chain.advance(&link, entry.header_hash);
        assert_eq!(moved, Ok(picket_seal::Position::Next));
        entry
    }

    /// A header that stands for what is lost between `from` and where this host's chain is now.
    pub(crate) fn range(&self, from: &Head, reason: GapReason) -> Entry {
        let count = self.chain.next_seq - from.durable_seq;
        let gap = Gap {
            seq_first: from.durable_seq,
            count: Some(count),
            reason,
            kinds: Vec::new(),
            stream: None,
        };
        let mut header = self.header(count, vec![gap], &[]);
        header.seq_first = from.durable_seq;
        header.prev_hash = from.head.unwrap();
        header.range_end = Some(self.chain.head);
        self.entry(header, Vec::new(), Summary::EMPTY)
    }

    fn header(&self, count: u64, gaps: Vec<Gap>, payload: &[u8]) -> Header {
        let link = self.chain.next_link(count);
        Header {
            host: self.id(),
            stream: self.stream,
            class: self.class,
            seq_first: link.seq_first,
            count,
            prev_hash: link.prev_hash,
            payload_hash: Digest::of(payload),
            other_heads: Vec::new(),
            gaps,
            epoch: 0,
            key_id: self.key.public_key().key_id(),
            boot: BOOT,
            wall: UnixNanos(1),
            mono_ns: 1,
            agent_version: "0".to_owned(),
            previous_stream: None,
            last_checkpoint: None,
            range_end: None,
        }
    }

    fn entry(&self, header: Header, payload: Vec<u8>, summary: Summary) -> Entry {
        let bytes = v1::BatchHeader::from(header.clone()).encode_to_vec();
        let signature = seal_header(&self.key, &bytes).0.to_vec();
        Entry {
            received: UnixNanos(5),
            header,
            header_hash: header_hash(&bytes),
            batch: v1::SignedBatch {
                header: bytes,
                payload,
                signature,
                successions: Vec::new(),
            },
            summary,
            lineage: Lineage::trunk(),
        }
    }
}

/// An exec of this program at this second.
pub(crate) fn exec(exe: &str, second: i64) -> Event {
    let mut process = Process::new(uid(second.unsigned_abs()), 1);
    process.exe = Text::from(exe);
    Event::new(Kind::Exec, UnixNanos(second * 1_000_000_000), Source::Ebpf).by(process)
}

pub(crate) fn uid(number: u64) -> ProcessUid {
    ProcessUid::from_ticks(&BOOT, 1, number)
}

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(folder, Options::default()).unwrap().0
}

/// Small segments, so that a test has several.
pub(crate) const SMALL: Options = Options {
    segment_bytes: 2_000,
};
