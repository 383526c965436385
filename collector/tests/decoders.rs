//! What a host sends, mutated: refused by name or taken, and what is taken is what was signed.

#![cfg(test)]

use picket_collector::authority::Request;
use picket_collector::verify::{self, Signed};
use picket_event::batch::Header;
use picket_event::{
    BootId, Class, Event, Gap, GapReason, HostId, Kind, Source, StreamId, UnixNanos,
};
use picket_proto::v1;
use picket_seal::{Digest, Payload, Signature, SigningKey, seal_header, verify_header};
use picket_store::Lineage;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

fn wounds() -> impl Strategy<Value = Vec<(u8, Index, u8)>> {
    vec((0_u8..6, any::<Index>(), any::<u8>()), 1..6)
}

fn mutated(bytes: &[u8], wounds: &[(u8, Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (kind, at, byte) in wounds {
        let at = at.index(bytes.len().max(1)).min(bytes.len());
        match kind {
            0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            1 if at < bytes.len() => bytes[at] = *byte,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, *byte),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let end = at.saturating_add(usize::from(*byte)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// A host with one batch of two events and a gap.
struct Host {
    key: SigningKey,
    id: HostId,
    header: Header,
    payload: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let id = HostId::of_first_key(&key.public_key());
        let payload = v1::BatchPayload {
            events: [10, 11].map(event).to_vec(),
        };
        let payload = payload.encode_to_vec();
        let header = Header {
            host: id,
            stream: StreamId::new([2; 16]),
            class: Class::Security,
            seq_first: 10,
            count: 5,
            prev_hash: Digest::of(b"before"),
            payload_hash: Digest::ZERO,
            other_heads: Vec::new(),
            gaps: vec![Gap {
                seq_first: 12,
                count: Some(3),
                reason: GapReason::KernelRing,
                kinds: Vec::new(),
                stream: None,
            }],
            epoch: 0,
            key_id: key.public_key().key_id(),
            boot: BootId::new([1; 16]),
            wall: UnixNanos(1),
            mono_ns: 1,
            agent_version: "test".to_owned(),
            previous_stream: None,
            last_checkpoint: None,
            range_end: None,
        };
        Self {
            key,
            id,
            header,
            payload,
        }
    }

    /// Sealed over these bytes of a payload, packed.
    fn seal(&self, payload: &[u8]) -> v1::SignedBatch {
        let payload = zstd::bulk::compress(payload, 1).unwrap();
        let mut header = self.header.clone();
        header.payload_hash = Digest::of(&payload);
        let header = v1::BatchHeader::from(header).encode_to_vec();
        self.sealed(header, payload)
    }

    fn sealed(&self, header: Vec<u8>, payload: Vec<u8>) -> v1::SignedBatch {
        v1::SignedBatch {
            signature: seal_header(&self.key, &header).as_bytes().to_vec(),
            header,
            payload,
            successions: Vec::new(),
        }
    }

    /// What the collector makes of it; a batch that is taken must be what was signed, number for number.
    fn look_at(&self, batch: v1::SignedBatch) -> bool {
        let Ok(header) = verify::read_header(&batch, self.id) else {
            return false;
        };
        let key = self.key.public_key();
        let signed = Signed {
            key,
            lineage: Lineage::trunk(),
            received: UnixNanos(1),
        };
        let Ok(entry) = verify::check(batch.clone(), header, signed) else {
            return false;
        };
        assert_eq!(entry.batch, batch, "kept as it was sent");
        let signature = Signature::from_slice(&batch.signature).unwrap();
        let payload = match batch.payload.as_slice() {
            [] => Payload::Dropped,
            bytes => Payload::Present(bytes),
        };
        let hash = verify_header(
            &key,
            &batch.header,
            &signature,
            payload,
            &entry.header.payload_hash,
        );
        assert_eq!(hash.unwrap(), entry.header_hash);
        let (gaps, _) = entry.header.gap_counts();
        assert!(gaps <= entry.header.count, "{:?}", entry.header);
        true
    }
}

fn event(seq: u64) -> v1::Event {
    let mut event = Event::new(Kind::Exec, UnixNanos(5), Source::Ebpf);
    event.seq = seq;
    event.into()
}

thread_local! {
    static HOST: Host = Host::new();
    static REQUEST: Vec<u8> = {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        request.der().to_vec()
    };
}

#[test]
fn an_honest_batch_is_taken() {
    HOST.with(|host| assert!(host.look_at(host.seal(&host.payload))));
}

proptest! {
    #[test]
    fn mutated_batches_are_refused_or_what_was_signed(wounds in wounds()) {
        HOST.with(|host| {
            let honest = host.seal(&host.payload).encode_to_vec();
            if let Ok(batch) = v1::SignedBatch::decode(mutated(&honest, &wounds).as_slice()) {
                host.look_at(batch);
            }
        });
    }

    #[test]
    fn mutated_headers_that_are_signed_again_are_refused_or_what_was_signed(wounds in wounds()) {
        HOST.with(|host| {
            let honest = host.seal(&host.payload);
            host.look_at(host.sealed(mutated(&honest.header, &wounds), honest.payload));
        });
    }

    #[test]
    fn mutated_payloads_that_are_signed_again_are_refused_or_what_was_signed(
        packed: bool,
        wounds in wounds(),
    ) {
        HOST.with(|host| {
            let batch = host.seal(&host.payload);
            let batch = if packed {
                let payload = mutated(&batch.payload, &wounds);
                let mut header = host.header.clone();
                header.payload_hash = Digest::of(&payload);
                host.sealed(v1::BatchHeader::from(header).encode_to_vec(), payload)
            } else {
                host.seal(&mutated(&host.payload, &wounds))
            };
            host.look_at(batch);
        });
    }

    #[test]
    fn mutated_requests_for_certificates_are_refused_or_fit_their_key(wounds in wounds()) {
        let honest = REQUEST.with(Clone::clone);
        let bytes = mutated(&honest, &wounds);
        if let Ok(request) = Request::read(&bytes) {
            prop_assert!(!request.key_signed(b"message", b"signature"));
        }
    }

    #[test]
    fn no_bytes_are_a_request_for_a_certificate(bytes: Vec<u8>) {
        prop_assert!(Request::read(&bytes).is_err());
    }
}
