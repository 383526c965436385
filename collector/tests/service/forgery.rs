//! Batches that no honest host sends, each with the reason for which it must be refused.

use picket_event::{Event, HostId};
use picket_proto::v1;
use picket_seal::{Chain, SigningKey};
use picket_store::payload;
use prost::Message;

use crate::collector::Collector;
use crate::host::{Host, exec};

/// Makes forgeries, each as if it came first.
struct Forger {
    host: Host,
    other: HostId,
    forged: Vec<(&'static str, v1::SignedBatch)>,
}

impl Forger {
    fn add(&mut self, reason: &'static str, make: impl FnOnce(&mut Host) -> v1::SignedBatch) {
        self.host.chain = Chain::START;
        self.forged.push((reason, make(&mut self.host)));
    }

    /// A batch whose header was changed before it was signed.
    fn header(&mut self, reason: &'static str, change: impl FnOnce(&mut v1::BatchHeader)) {
        self.add(reason, |host| host.batch_with(one(), change));
    }

    /// A batch that was changed after it was signed.
    fn tampered(&mut self, reason: &'static str, change: impl FnOnce(&mut v1::SignedBatch)) {
        self.add(reason, |host| {
            let mut batch = host.batch(one());
            change(&mut batch);
            batch
        });
    }

    /// A well-signed batch of one number with this payload.
    fn payload(&mut self, reason: &'static str, payload: Vec<u8>) {
        self.add(reason, |host| host.sealed(payload, 1, |_| {}));
    }

    fn headers(&mut self) {
        let other = self.other.as_bytes().to_vec();
        self.header("wrong_host", |header| header.host_id = other);
        self.header("bad_header", |header| header.stream = vec![1; 5]);
        self.header("bad_header", |header| {
            let (seq_first, count) = (u64::MAX, Some(9));
            header.gaps = vec![v1::Gap {
                seq_first,
                count,
                reason: 1,
                kinds: vec![],
                stream: vec![],
            }];
        });
        self.header("bad_header", |header| header.range_end = vec![1; 5]);
        self.header("bad_header", |header| header.range_end = vec![1; 32]);
        self.header("unknown_enum", |header| header.class = 77);
        self.header("unknown_epoch", |header| header.epoch = 9);
        self.header("wrong_key", |header| header.key_id = vec![1; 8]);
        self.header("bad_sequence", |header| header.count = 2);
        self.header("empty_batch", |header| header.count = 0);
        self.header("chain_fork", |header| header.prev_hash = vec![1; 32]);
        self.tampered("bad_header", |batch| batch.header = vec![0xff; 9]);
        self.tampered("too_large", |batch| batch.header = vec![0; 300 << 10]);
    }

    fn signatures(&mut self) {
        self.tampered("bad_signature", |batch| batch.signature[7] ^= 1);
        self.tampered("bad_signature", |batch| batch.signature.truncate(3));
        self.tampered("bad_signature", |batch| {
            let mut header = v1::BatchHeader::decode(batch.header.as_slice()).unwrap();
            header.wall_unix_ns += 1;
            batch.header = header.encode_to_vec();
        });
        self.add("bad_succession", |host| {
            host.rotate();
            host.successions[0].signature[0] ^= 1;
            let batch = host.batch(one());
            host.event = SigningKey::from_pkcs8(host.first.to_pkcs8()).unwrap();
            host.epoch = 0;
            batch
        });
    }

    fn payloads(&mut self) {
        let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
        let event = || v1::Event::from(exec("/a"));
        let close = |event| payload::close(vec![event]).unwrap();
        self.tampered("payload_hash", |batch| batch.payload.push(0));
        self.payload("bad_payload", b"not zstd".to_vec());
        self.payload("bad_payload", compress(&[0xff; 64]));
        self.payload("bad_payload", [compress(&[]), compress(&[0x0a])].concat());
        self.payload("too_large", compress(&vec![0; 5 << 20]));
        self.payload(
            "unknown_enum",
            close(v1::Event {
                kind: 4711,
                ..event()
            }),
        );
        self.payload("bad_sequence", close(v1::Event { seq: 5, ..event() }));
        let (cwd, uid) = (vec![b'x'; 300_000], vec![1; 16]);
        let process = Some(v1::Process {
            cwd,
            uid,
            ..v1::Process::default()
        });
        self.payload("too_large", close(v1::Event { process, ..event() }));
        // Two bytes of payload can stand for a message of hundreds in memory.
        self.payload("unknown_enum", compress(&[0x0a, 0x00].repeat(2 << 20)));
    }

    fn chain(&mut self) {
        self.add("chain_skipped", |host| {
            host.batch(one());
            host.batch(one())
        });
    }
}

fn one() -> Vec<Event> {
    vec![exec("/a")]
}

#[tokio::test]
async fn every_forgery_has_its_reason_and_the_connection_lives() {
    let collector = Collector::start().await;
    let other = Host::enrolled(&collector).await.id();
    let host = Host::enrolled(&collector).await;
    let mut forger = Forger {
        host,
        other,
        forged: Vec::new(),
    };
    forger.headers();
    forger.signatures();
    forger.payloads();
    forger.chain();
    let Forger {
        mut host, forged, ..
    } = forger;
    host.chain = Chain::START;
    let good = host.batch(one());
    let reasons: Vec<_> = forged.iter().map(|(reason, _)| *reason).collect();
    let batches = forged.into_iter().map(|(_, batch)| batch).chain([good]);
    let mut acks = host.send(&collector, batches.collect()).await.unwrap();
    let last = acks.pop().unwrap();
    let answers: Vec<_> = acks.iter().map(|ack| ack.refused.as_str()).collect();
    assert_eq!(answers, reasons);
    assert_eq!((last.refused.as_str(), last.durable_seq), ("", 1));
    for reason in &reasons {
        let expected = reasons.iter().filter(|other| other == &reason).count() as u64;
        assert_eq!(collector.refused(reason).await, expected, "{reason}");
    }
    assert_eq!(collector.search("").await.len(), 1);
}
