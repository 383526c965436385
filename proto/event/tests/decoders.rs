//! Decoders of what comes over the wire, under mutated messages: no panic, and what is taken can be said again and is
//! then the same.

#![cfg(test)]

use picket_event::batch::{ClassHead, Header, PreviousStream};
use picket_event::checkpoint::{self, Checkpoint};
use picket_event::command::{Action, Command, Mode, Target};
use picket_event::fleet::{
    FleetSecret, LEAST_HOSTS, MOST_CONTEXTS, Pair, Prior, SharedContext, SharedValue, Sketch,
};
use picket_event::request::OperatorRequest;
use picket_event::token::EnrolmentToken;
use picket_event::trust::{Person, Role, TrustRoot};
use picket_event::{
    BootId, Class, CommandId, Event, Gap, GapReason, HostId, Kind, ProcessUid, StreamId, UnixNanos,
};
use picket_proto::v1;
use picket_seal::{Digest, Domain, SigningKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

/// What is done to bytes, one after the other.
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

/// A header that says something in every field; with a hole it stands for lost ones.
fn header(hole: bool) -> Header {
    let head = |class, next_seq| ClassHead {
        class,
        next_seq,
        head: Digest::of(b"head"),
    };
    let gap = |seq_first, count, reason| Gap {
        seq_first,
        count,
        reason,
        kinds: vec![(Kind::Exec, 2)],
        stream: None,
    };
    Header {
        host: HostId::new([1; 32]),
        stream: StreamId::new([2; 16]),
        class: Class::Security,
        seq_first: 300,
        count: 70_000,
        prev_hash: Digest::of(b"before"),
        payload_hash: Digest::of(b"payload"),
        other_heads: vec![head(Class::Alert, 7), head(Class::Bulk, u64::MAX)],
        gaps: vec![
            gap(300, Some(70_000), GapReason::SpoolFull),
            gap(70_300, None, GapReason::Crash),
        ],
        epoch: 3,
        key_id: picket_seal::KeyId([4; 8]),
        boot: BootId::new([5; 16]),
        wall: UnixNanos(1_767_600_000_000_000_000),
        mono_ns: 6,
        agent_version: "0.1.0".to_owned(),
        previous_stream: Some(PreviousStream {
            stream: StreamId::new([7; 16]),
            heads: vec![head(Class::Alert, 1)],
            clean: false,
        }),
        last_checkpoint: Some(Digest::of(b"checkpoint")),
        range_end: hole.then(|| Digest::of(b"end")),
    }
}

fn command() -> Command {
    Command {
        id: CommandId::new([1; 16]),
        hosts: vec![HostId::new([2; 32]), HostId::new([3; 32])],
        host_epoch: 4,
        not_before: UnixNanos(5),
        expires: UnixNanos(6),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: Some(Digest::of(b"exe")),
        action: Action::KillTree(Target {
            process: ProcessUid::new([7; 16]),
            pid: 8,
        }),
        reason: "why".to_owned(),
        incident: "one".to_owned(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

fn trust_root(key: &SigningKey) -> TrustRoot {
    let person = Person {
        name: "alice".to_owned(),
        keys: vec![key.public_key()],
        roles: vec![Role::Requester, Role::Approver],
    };
    TrustRoot::first(vec![person], UnixNanos(1))
}

proptest! {
    #[test]
    fn mutated_headers_are_refused_or_can_be_said_again(hole: bool, wounds in wounds()) {
        let honest = v1::BatchHeader::from(header(hole)).encode_to_vec();
        let taken = v1::BatchHeader::decode(mutated(&honest, &wounds).as_slice());
        if let Some(header) = taken.ok().and_then(|wire| Header::try_from(wire).ok()) {
            let again = v1::BatchHeader::from(header.clone()).encode_to_vec();
            let again = v1::BatchHeader::decode(again.as_slice()).unwrap();
            prop_assert_eq!(Header::try_from(again), Ok(header));
        }
    }

    #[test]
    fn mutated_sketches_are_refused_or_can_be_said_again(wounds in wounds()) {
        let sketch = Sketch {
            fleet: FleetSecret::new([1; 16]).id(),
            pairs: (0..5).map(|n| Pair { context: n, value: n << 40 }).collect(),
        };
        let honest = v1::FleetSketch::from(sketch).encode_to_vec();
        let taken = v1::FleetSketch::decode(mutated(&honest, &wounds).as_slice());
        if let Some(sketch) = taken.ok().and_then(|wire| Sketch::try_from(wire).ok()) {
            let again = v1::FleetSketch::from(sketch.clone());
            prop_assert_eq!(Sketch::try_from(again).ok(), Some(sketch));
        }
    }

    /// Signed again each time, so that more than the signature is tried.
    #[test]
    fn mutated_priors_are_refused_or_can_be_said_again(wounds in wounds()) {
        let key = SigningKey::generate().unwrap();
        let shared = |n: u32| SharedValue { value: u64::from(n) << 40, hosts: n + LEAST_HOSTS };
        let prior = Prior {
            fleet: FleetSecret::new([1; 16]).id(),
            number: 300,
            wall: UnixNanos(1_767_600_000_000_000_000),
            hosts: 40,
            contexts: vec![SharedContext { context: 1, hosts: 40, values: 3 }],
            values: (0..5).map(shared).collect(),
        };
        let body = mutated(&prior.sign(&key).body, &wounds);
        let signature = key.sign(Domain::Prior, &body).as_bytes().to_vec();
        let signed = v1::SignedPrior { body, signature, public_key: Vec::new() };
        if let Ok(prior) = Prior::read(&signed, &key.public_key()) {
            let few = prior.values.iter().any(|one| one.hosts < LEAST_HOSTS);
            prop_assert!(!few && prior.contexts.len() <= MOST_CONTEXTS);
            let again = Prior::read(&prior.sign(&key), &key.public_key());
            prop_assert_eq!(again.ok(), Some(prior));
        }
    }

    #[test]
    fn no_bytes_of_a_header_or_a_payload_panic(bytes: Vec<u8>) {
        if let Ok(wire) = v1::BatchHeader::decode(bytes.as_slice()) {
            drop(Header::try_from(wire));
        }
        if let Ok(wire) = v1::BatchPayload::decode(bytes.as_slice()) {
            for event in wire.events {
                drop(Event::try_from(event));
            }
        }
    }

    #[test]
    fn mutated_frames_of_a_session_are_refused_or_can_be_said_again(beat: bool, wounds in wounds()) {
        let honest = frame(beat).encode_to_vec();
        if let Ok(frame) = v1::AgentFrame::decode(mutated(&honest, &wounds).as_slice()) {
            prop_assert_eq!(v1::AgentFrame::decode(frame.encode_to_vec().as_slice()), Ok(frame));
        }
    }

    #[test]
    fn mutated_commands_are_refused_or_can_be_said_again(wounds in wounds()) {
        if let Ok(command) = Command::decode(&mutated(&command().encode(), &wounds)) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    /// The bytes, the list beside them and what a host is shown: each mutated by itself.
    #[test]
    fn mutated_commands_by_their_root_are_refused_or_the_same(wounds in wounds(), at in 0..2_u8) {
        let hosts = (0..9).map(|n| HostId::new([n; 32])).collect();
        let command = Command { hosts, rings: vec![2, 9], ..command() }.by_root().unwrap();
        let (body, host_ids) = (command.encode(), command.beside());
        let tree = command.tree_of(&host_ids).unwrap().unwrap();
        if at == 0 {
            if let Ok(taken) = Command::decode(&mutated(&body, &wounds)) {
                prop_assert_eq!(Command::decode(&taken.encode()), Ok(taken));
            }
            let beside = v1::SignedCommand { host_ids, ..v1::SignedCommand::default() };
            let taken = v1::SignedCommand::decode(mutated(&beside.encode_to_vec(), &wounds).as_slice());
            if let Ok(read) = taken.map(|taken| Command::read(&v1::SignedCommand { body, ..taken })) {
                prop_assert!(read.is_err() || read == Ok(command));
            }
        } else {
            let host = HostId::new([5; 32]);
            let honest = tree.proof(&host).unwrap();
            let bytes = mutated(&honest.encode_to_vec(), &wounds);
            if let Ok(shown) = v1::HostProof::decode(bytes.as_slice()) {
                let ring = command.ring_for(&host, Some(&shown));
                prop_assert_eq!(ring, (shown == honest).then_some(2));
            }
        }
    }

    #[test]
    fn mutated_trust_roots_are_refused_or_can_be_said_again(wounds in wounds()) {
        let honest = trust_root(&KEY.with(Clone::clone)).encode();
        if let Ok(root) = TrustRoot::decode(&mutated(&honest, &wounds)) {
            prop_assert_eq!(TrustRoot::decode(&root.encode()), Ok(root));
        }
    }

    #[test]
    fn mutated_checkpoints_are_refused(wounds in wounds(), at in 0..2_u8) {
        let key = KEY.with(Clone::clone);
        let checkpoint = Checkpoint {
            number: 3,
            size: 700,
            root: Digest::of(b"root"),
            wall: UnixNanos(5),
            previous: Digest::of(b"previous"),
            audit: None,
        };
        let honest = checkpoint.sign(&key);
        let mut signed = honest.clone();
        if at == 0 {
            signed.body = mutated(&signed.body, &wounds);
        } else {
            signed.signature = mutated(&signed.signature, &wounds);
        }
        let read = Checkpoint::read(&signed, &key.public_key());
        prop_assert_eq!(read.is_ok(), signed == honest);
        // Signed by the right key, whatever it says.
        let sealed = key.sign(Domain::Checkpoint, &signed.body);
        let signed = v1::SignedCheckpoint { signature: sealed.as_bytes().to_vec(), ..signed };
        if let Ok((read, named)) = Checkpoint::read(&signed, &key.public_key()) {
            prop_assert_eq!(named, checkpoint::hash(&signed));
            let again = read.sign(&key);
            prop_assert_eq!(Checkpoint::read(&again, &key.public_key()).unwrap().0, read);
        }
    }

    #[test]
    fn mutated_tokens_are_refused_or_can_be_said_again(wounds in wounds()) {
        let honest = TOKEN.with(Clone::clone);
        let text = String::from_utf8_lossy(&mutated(honest.as_bytes(), &wounds)).into_owned();
        if let Ok(token) = EnrolmentToken::parse(&text) {
            prop_assert_eq!(EnrolmentToken::parse(&token.to_string()).unwrap().to_string(), token.to_string());
        }
    }

    #[test]
    fn mutated_requests_of_operators_are_refused_or_the_same(wounds in wounds()) {
        let honest = OperatorRequest::prove("alice", vec![1; 90], &KEY.with(Clone::clone)).unwrap();
        let text = mutated(honest.to_pem().as_bytes(), &wounds);
        if let Ok(read) = OperatorRequest::from_pem(&String::from_utf8_lossy(&text)) {
            prop_assert_eq!(read, honest);
        }
    }
}

fn frame(beat: bool) -> v1::AgentFrame {
    let sensor = Some(v1::SensorState {
        backend: "ebpf".to_owned(),
        ..v1::SensorState::default()
    });
    let frame = if beat {
        let line = v1::ClassLedger {
            stream: vec![1; 16],
            class: 2,
            numbered: 300,
            spooled: 4,
            gaps: 5,
            durable_seq: 291,
        };
        v1::agent_frame::Frame::Heartbeat(v1::Heartbeat {
            classes: vec![line.clone(), line],
            kinds: vec![v1::KindCounts::default()],
            spool_bytes: 6,
            sensor,
            ..v1::Heartbeat::default()
        })
    } else {
        v1::agent_frame::Frame::Hello(v1::Hello {
            facts: Some(v1::HostFacts {
                hostname: "host".to_owned(),
                ..v1::HostFacts::default()
            }),
            stream: vec![1; 16],
            epoch: 7,
            sensor,
            ..v1::Hello::default()
        })
    };
    v1::AgentFrame { frame: Some(frame) }
}

thread_local! {
    static KEY: Shared = Shared(std::rc::Rc::new(SigningKey::generate().expect("entropy")));
    static TOKEN: String = EnrolmentToken::generate(Digest::of(b"anchors")).expect("entropy").to_string();
}

/// One key for all cases: making keys is what takes time.
#[derive(Clone)]
struct Shared(std::rc::Rc<SigningKey>);

impl std::ops::Deref for Shared {
    type Target = SigningKey;

    fn deref(&self) -> &SigningKey {
        &self.0
    }
}
