//! One simulated host: its papers, its event keys, its chains, and the batches that nobody has acknowledged yet.
//!
//! # Invariants
//!
//! - Batches are numbered, chained and signed by the agent's own sealer.
//! - A batch is kept until an ack says that it is durable, and goes again over the next connection. It is kept in
//!   memory: there is no spool.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_agent::seal::{Now, Numbered, Sealed, Sealer, Signer, Speaker};
use picket_event::trust::TrustRoot;
use picket_event::{
    BootId, Class, Clock, Detail, Event, HostId, Kind, Source, StreamId, SystemClock,
};
use picket_proto::v1;
use picket_rpc::tls::Identity;
use picket_seal::{Domain, SigningKey};
use prost::Message;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::dice::Dice;
use super::obey::{HOST_EPOCH, Obedience};
use super::world::{Moment, World};

/// What enrolment gives.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) id: HostId,
    pub(super) name: String,
    pub(super) first_key: SigningKey,
    pub(super) papers: Papers,
}

/// A certificate chain and its key, DER.
#[derive(Debug)]
pub(super) struct Papers {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Vec<u8>,
}

/// A host in one run of its agent.
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) name: String,
    pub(super) papers: Papers,
    pub(super) stream: StreamId,
    pub(super) boot: BootId,
    pub(super) waiting: VecDeque<Waiting>,
    sealer: Sealer,
    key: SigningKey,
    epoch: u64,
    epoch_began: Instant,
    epoch_lasts: Duration,
    successions: Vec<v1::Succession>,
    acked: [u64; 3],
    kinds: Vec<(Kind, u64)>,
    dice: Dice,
    began: Instant,
    obedience: Obedience,
}

/// A sealed batch that is not known to be durable.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: v1::SignedBatch,
    pub(super) class: Class,
    pub(super) seq_end: u64,
    pub(super) events: u64,
    /// When it was due to be sent for the first time.
    pub(super) since: Instant,
    /// When it was last sent.
    pub(super) sent: Instant,
    epoch: u64,
}

/// A batch as it goes over the wire.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) signed: v1::SignedBatch,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// What the host knows of one of its chains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) class: Class,
    pub(super) numbered: u64,
    pub(super) acked: u64,
}

impl Host {
    /// Begins a run, with an epoch of its own as every start of an agent does.
    pub(super) fn begin(
        enrolled: Enrolled,
        trust: Arc<TrustRoot>,
        seed: u64,
        epoch_lasts: Duration,
    ) -> io::Result<Self> {
        let mut dice = Dice::new(seed);
        let (stream, boot) = (StreamId::new(dice.bytes()), BootId::new(dice.bytes()));
        let speaker = Speaker {
            host: enrolled.id,
            stream,
            boot,
        };
        let now = Instant::now();
        let mut host = Self {
            id: enrolled.id,
            name: enrolled.name,
            papers: enrolled.papers,
            stream,
            boot,
            waiting: VecDeque::new(),
            sealer: Sealer::new(speaker, None)?,
            key: enrolled.first_key,
            epoch: 0,
            epoch_began: now,
            epoch_lasts,
            successions: Vec::new(),
            acked: [0; 3],
            kinds: Kind::ALL.iter().map(|kind| (*kind, 0)).collect(),
            dice,
            began: now,
            obedience: Obedience::to(trust),
        };
        host.rotate()?;
        Ok(host)
    }

    /// Makes `count` events of one class and seals them; what reaches the agent's size of a batch is sealed earlier.
    /// `due`: when a real agent would have sent it. Gives how many events were made.
    pub(super) fn make(&mut self, world: &World, count: usize, due: Instant) -> io::Result<u64> {
        if self.epoch_began.elapsed() >= self.epoch_lasts {
            self.rotate()?;
        }
        let (class, count) = match self.dice.below(100) {
            0 => (Class::Alert, 1),
            1..=45 => (Class::Security, count),
            _ => (Class::Bulk, count),
        };
        let now = self.now();
        let mut made = 0;
        for _ in 0..count {
            made += 1;
            let moment = Moment {
                wall: now.wall,
                boot_ns: now.mono_ns,
            };
            let event = world.event(class, moment, &mut self.dice);
            if self.push(event, now, due)? {
                break;
            }
        }
        self.flush(now, due)?;
        Ok(made)
    }

    /// Answers a command, at once and as a signed event like any other.
    pub(super) fn obey(
        &mut self,
        signed: &v1::SignedCommand,
        start: Option<&v1::SignedStatement>,
    ) -> io::Result<()> {
        let (now, due) = (self.now(), Instant::now());
        let answer = self.obedience.answer(self.id, signed, start, now.wall);
        let mut event = Event::new(Kind::Containment, now.wall, Source::Agent);
        event.boot_ns = now.mono_ns;
        let event = event.with(Detail::Containment(answer));
        self.push(event, now, due)?;
        self.flush(now, due)
    }

    /// The waiting batch of this index, on its way over a connection on which the collector is known to hold the keys up
    /// to `known_epoch`.
    pub(super) fn send(&mut self, index: usize, known_epoch: &mut u64) -> Option<Outgoing> {
        let waiting = self.waiting.get_mut(index)?;
        waiting.sent = Instant::now();
        let mut signed = waiting.batch.clone();
        if waiting.epoch > *known_epoch {
            let from = usize::try_from(*known_epoch).unwrap_or(usize::MAX);
            let to = usize::try_from(waiting.epoch).unwrap_or(usize::MAX);
            let needed = self.successions.get(from..to);
            signed.successions = needed.unwrap_or_default().to_vec();
            *known_epoch = waiting.epoch;
        }
        Some(Outgoing {
            signed,
            events: waiting.events,
            bytes: waiting.bytes(),
        })
    }

    /// Everything below `durable_seq` is on the collector's disk.
    pub(super) fn durable(&mut self, class: Class, durable_seq: u64) {
        let acked = &mut self.acked[place(class)];
        *acked = durable_seq.max(*acked);
    }

    pub(super) fn is_durable(&self, waiting: &Waiting) -> bool {
        waiting.seq_end <= self.acked[place(waiting.class)]
    }

    pub(super) fn lines(&self) -> [Line; 3] {
        self.sealer.numbered().map(|line: Numbered| Line {
            class: line.class,
            numbered: line.given,
            acked: self.acked[place(line.class)],
        })
    }

    /// The books as a heartbeat carries them. The sensor's are those of a sensor that lost nothing: there is none.
    pub(super) fn heartbeat(&self) -> v1::Heartbeat {
        let lines = self.lines().into_iter().filter(|line| line.numbered > 0);
        let classes = lines.map(|line| v1::ClassLedger {
            stream: self.stream.as_bytes().to_vec(),
            class: line.class.to_wire(),
            numbered: line.numbered,
            spooled: line.numbered.saturating_sub(line.acked),
            gaps: 0,
            durable_seq: line.acked,
        });
        let kinds = self.kinds.iter().filter(|(_, count)| *count > 0);
        let kinds = kinds.map(|(kind, count)| v1::KindCounts {
            kind: kind.to_wire(),
            generated: *count,
            submitted: *count,
            ..v1::KindCounts::default()
        });
        v1::Heartbeat {
            classes: classes.collect(),
            kinds: kinds.collect(),
            spool_bytes: 0,
            spool_quota_bytes: 1 << 30,
            resident_bytes: 40 << 20,
            sensor: Some(sensor()),
        }
    }

    pub(super) fn hello(&self) -> v1::Hello {
        v1::Hello {
            facts: Some(facts(&self.name)),
            stream: self.stream.as_bytes().to_vec(),
            boot_id: self.boot.as_bytes().to_vec(),
            epoch: self.epoch,
            host_epoch: HOST_EPOCH,
            sensor: Some(sensor()),
            trust_version: 1,
            content: Vec::new(),
            prior: 0,
            key_id: self.key.public_key().key_id().as_bytes().to_vec(),
            successions: Vec::new(),
        }
    }

    /// Numbers an event; whether that filled a batch, which then waits to be sent.
    fn push(&mut self, event: Event, now: Now, due: Instant) -> io::Result<bool> {
        self.count(event.kind);
        let signer = Signer {
            epoch: self.epoch,
            key: &self.key,
        };
        let full = self.sealer.push(Box::new(event), now, signer)?;
        let is_full = full.is_some();
        if let Some(sealed) = full {
            self.keep(sealed, due);
        }
        Ok(is_full)
    }

    fn count(&mut self, kind: Kind) {
        let known = self.kinds.iter_mut().find(|(of, _)| *of == kind);
        if let Some((_, count)) = known {
            *count = count.saturating_add(1);
        }
    }

    /// The next epoch: the old key vouches for the new one and is gone.
    fn rotate(&mut self) -> io::Result<()> {
        let next = self.epoch.saturating_add(1);
        let key = SigningKey::generate().map_err(io::Error::other)?;
        let body = v1::SuccessionBody {
            host_id: self.id.as_bytes().to_vec(),
            epoch: next,
            public_key: key.public_key().as_bytes().to_vec(),
            wall_unix_ns: SystemClock.now().0,
        }
        .encode_to_vec();
        let signature = self.key.sign(Domain::Succession, &body);
        self.successions.push(v1::Succession {
            signature: signature.as_bytes().to_vec(),
            body,
        });
        (self.epoch, self.key) = (next, key);
        self.epoch_began = Instant::now();
        Ok(())
    }

    fn flush(&mut self, now: Now, due: Instant) -> io::Result<()> {
        let signer = Signer {
            epoch: self.epoch,
            key: &self.key,
        };
        for sealed in self.sealer.flush_all(now, signer)? {
            self.keep(sealed, due);
        }
        Ok(())
    }

    fn keep(&mut self, sealed: Sealed, since: Instant) {
        self.waiting.push_back(Waiting {
            class: sealed.class,
            seq_end: sealed.seq_first.saturating_add(sealed.count),
            events: sealed.count,
            since,
            sent: since,
            epoch: self.epoch,
            batch: v1::SignedBatch {
                header: sealed.header,
                payload: sealed.payload,
                signature: sealed.signature.as_bytes().to_vec(),
                successions: Vec::new(),
            },
        });
    }

    fn now(&self) -> Now {
        let mono = UPTIME + self.began.elapsed();
        Now {
            wall: SystemClock.now(),
            mono_ns: u64::try_from(mono.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Papers {
    /// For TLS.
    pub(super) fn identity(&self) -> Identity {
        let chain = self.chain.iter().cloned().map(CertificateDer::from);
        Identity {
            chain: chain.collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
        }
    }
}

impl Waiting {
    /// Bytes on the wire, as the collector's credit counts them.
    pub(super) fn bytes(&self) -> u64 {
        (self.batch.header.len() + self.batch.payload.len()) as u64
    }
}

/// What a simulated host says about itself; its system names the simulation.
pub(super) fn facts(name: &str) -> v1::HostFacts {
    v1::HostFacts {
        hostname: name.to_owned(),
        machine_id_hash: vec![0; 32],
        os: "simulated (picket-sim)".to_owned(),
        kernel: "0.0.0-sim".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        takes_host_sets: true,
        // It takes no content at all.
        fetches_content: true,
    }
}

fn sensor() -> v1::SensorState {
    v1::SensorState {
        backend: "simulated".to_owned(),
        change: String::new(),
        hooks: Vec::new(),
    }
}

const fn place(class: Class) -> usize {
    match class {
        Class::Alert => 0,
        Class::Security => 1,
        Class::Bulk => 2,
    }
}

/// How long the simulated hosts have been up when their run begins.
const UPTIME: Duration = Duration::from_hours(1);
