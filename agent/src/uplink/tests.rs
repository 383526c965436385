//! The uplink against a collector of the test's own, over a plain connection.

use std::sync::Mutex;

use picket_event::fleet::{FleetSecret, Prior};
use picket_event::{BootId, Class, HostId, UnixNanos};
use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use picket_rpc::v1::agent_server::{Agent, AgentServer};
use picket_seal::{Digest, SigningKey};
use picket_spool::{Limits, RealDisk, Record, Spool};
use prost::Message as _;
use rcgen::CertificateParams;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Streaming};

use super::*;
use crate::content::Contents;
use crate::fleet::Fleet;
use crate::health::{Health, Status as Snapshot};
use crate::seal::{Now, Signer, Speaker};
use crate::state::epoch::Epochs;
use crate::state::host::tests::sample;
use crate::state::host::{self, Certificate};
use crate::store::spool_class;

const STREAM: StreamId = StreamId::new([5; 16]);

/// What the collector of a test does, and what it saw.
#[derive(Debug, Default)]
struct Script {
    known_epoch: u64,
    welcome_acks: Vec<v1::EventAck>,
    refuse: Option<Class>,
    silent: bool,
    next_chain: Vec<Vec<u8>>,
    /// Where its chain of BULK stands, if it cares.
    stands: Option<Mutex<u64>>,
    seen: Mutex<Vec<(v1::BatchHeader, usize)>>,
    hellos: Mutex<Vec<v1::Hello>>,
    fleet_secret: Vec<u8>,
    /// Sent behind the welcome.
    prior: Option<v1::SignedPrior>,
    /// Offered behind the welcome, and what is given of it.
    offer: Option<(v1::ContentOffer, Vec<u8>)>,
    /// A call for it ends behind so many bytes.
    breaks_at: Option<usize>,
    fetched_from: Mutex<Vec<u64>>,
    sketches: Mutex<Vec<v1::FleetSketch>>,
}

#[derive(Clone, Debug)]
struct Collector(Arc<Script>);

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Agent for Collector {
    type SessionStream = Answers<v1::CollectorFrame>;
    type UploadStream = ReceiverStream<Result<v1::ChunkAck, Status>>;
    type FetchStream = ReceiverStream<Result<v1::Chunk, Status>>;
    type EventsStream = Answers<v1::EventAck>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|first| first.frame);
        let Some(v1::agent_frame::Frame::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        self.0.hellos.lock().unwrap().push(hello);
        let welcome = v1::Welcome {
            known_epoch: self.0.known_epoch,
            known_keys: Vec::new(),
            branch: Vec::new(),
            acks: self.0.welcome_acks.clone(),
            wall_unix_ns: 0,
            checkpoint: vec![8; 32],
            addresses: vec!["192.0.2.7:7443".to_owned()],
            fleet_secret: self.0.fleet_secret.clone(),
        };
        let welcome = v1::collector_frame::Frame::Welcome(welcome);
        let (to, answers) = mpsc::channel(4);
        to.send(Ok(v1::CollectorFrame {
            frame: Some(welcome),
        }))
        .await
        .unwrap();
        if let Some(prior) = self.0.prior.clone() {
            let frame = Some(v1::collector_frame::Frame::Prior(prior));
            to.send(Ok(v1::CollectorFrame { frame })).await.unwrap();
        }
        if let Some((offer, _)) = self.0.offer.clone() {
            let frame = Some(v1::collector_frame::Frame::Offer(offer));
            to.send(Ok(v1::CollectorFrame { frame })).await.unwrap();
        }
        let script = Arc::clone(&self.0);
        let hear = async move {
            while let Ok(Some(frame)) = frames.message().await {
                if let Some(v1::agent_frame::Frame::Sketch(sketch)) = frame.frame {
                    script.sketches.lock().unwrap().push(sketch);
                }
            }
        };
        let runtime = tokio::runtime::Handle::current();
        drop(std::thread::spawn(move || {
            // Keeps the session open for as long as the test may take.
            let limit = Duration::from_secs(10);
            drop(runtime.block_on(async { tokio::time::timeout(limit, hear).await }));
            drop(to);
        }));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn events(
        &self,
        request: Request<Streaming<v1::SignedBatch>>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let script = Arc::clone(&self.0);
        let (to, answers) = mpsc::channel(64);
        let mut batches = request.into_inner();
        let work = async move {
            while let Some(Ok(batch)) = batches.next().await {
                let ack = script.take(&batch);
                if !script.silent && to.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        };
        let runtime = tokio::runtime::Handle::current();
        drop(std::thread::spawn(move || runtime.block_on(work)));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn upload(
        &self,
        _request: Request<Streaming<v1::Chunk>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        Err(Status::unimplemented("this collector takes no files"))
    }

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let Some((_, bytes)) = &self.0.offer else {
            return Err(Status::not_found("nothing was offered"));
        };
        let wanted = request.into_inner();
        let from = usize::try_from(wanted.offset).unwrap();
        self.0.fetched_from.lock().unwrap().push(wanted.offset);
        let (to, chunks) = mpsc::channel(64);
        let end = self
            .0
            .breaks_at
            .map_or(bytes.len(), |at| (from + at).min(bytes.len()));
        for at in (from..end).step_by(1000) {
            let data = bytes[at..end.min(at + 1000)].to_vec();
            let chunk = v1::Chunk {
                offset: at as u64,
                total: bytes.len() as u64,
                sha256: wanted.sha256.clone(),
                data,
                ..v1::Chunk::default()
            };
            to.send(Ok(chunk)).await.unwrap();
        }
        Ok(Response::new(ReceiverStream::new(chunks)))
    }

    async fn renew_certificate(
        &self,
        _request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::CertificateChain>, Status> {
        Ok(Response::new(v1::CertificateChain {
            certificates: self.0.next_chain.clone(),
        }))
    }
}

impl Script {
    fn take(&self, batch: &v1::SignedBatch) -> v1::EventAck {
        let header = v1::BatchHeader::decode(batch.header.as_slice()).unwrap();
        let refused = self
            .refuse
            .is_some_and(|class| class.to_wire() == header.class);
        let end = header.seq_first + header.count;
        let skipped = self.skipped(&header, end);
        // A collector that cannot read a header does not know of which class it is.
        let ack = if refused {
            v1::EventAck {
                refused: "bad_header".to_owned(),
                ..v1::EventAck::default()
            }
        } else if let Some(durable_seq) = skipped {
            v1::EventAck {
                stream: header.stream.clone(),
                class: header.class,
                durable_seq,
                head: vec![9; 32],
                refused: "chain_skipped".to_owned(),
                ..v1::EventAck::default()
            }
        } else {
            v1::EventAck {
                stream: header.stream.clone(),
                class: header.class,
                received_seq: header.seq_first,
                durable_seq: end,
                credit_bytes: 1 << 20,
                ..v1::EventAck::default()
            }
        };
        self.seen
            .lock()
            .unwrap()
            .push((header, batch.successions.len()));
        ack
    }

    /// Where the chain stands, if this is not its next batch; else it moves on.
    fn skipped(&self, header: &v1::BatchHeader, end: u64) -> Option<u64> {
        let mut stands = self.stands.as_ref()?.lock().unwrap();
        if header.stream != STREAM.as_bytes() {
            return None;
        }
        if *stands != header.seq_first {
            return Some(*stands);
        }
        *stands = end;
        None
    }

    fn numbers(&self, class: Class) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        let of_class = seen
            .iter()
            .filter(|(header, _)| header.class == class.to_wire());
        of_class.map(|(header, _)| header.seq_first).collect()
    }
}

struct Bench {
    uplink: Uplink,
    _dir: tempfile::TempDir,
    asked: mpsc::Receiver<Asked>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(StateDir::open(dir.path()).unwrap());
        let first = SigningKey::generate().unwrap();
        Epochs::create(&state, &first).unwrap();
        let host = sample(&first, &first);
        host::write(&state, &host, &host.trust.encode(), &certificate()).unwrap();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        for _ in 0..3 {
            epochs.rotate(UnixNanos(1)).unwrap();
        }
        let disk = RealDisk::new(state.directory("spool").unwrap()).unwrap();
        let limits = Limits {
            quota_bytes: 8 << 20,
            segment_bytes: 1 << 20,
        };
        let (spool, _) = Spool::open(Box::new(disk), limits).unwrap();
        let (commands, asked) = mpsc::channel(COMMANDS);
        let snapshot = Snapshot::new(HostId::new([1; 32]), STREAM, "test".to_owned());
        let uplink = Uplink {
            collectors: vec!["test".to_owned()],
            proxy: None,
            places: Arc::default(),
            ca: Vec::new(),
            host_epoch: 1,
            trust: watch::channel(Told::default()).1,
            contents: Contents::open(Arc::clone(&state), "/nonexistent".into(), &host.trust),
            fleet: Fleet::open(&state, true).unwrap(),
            stream: STREAM,
            successions: epochs.log().to_owned(),
            store: Shared::new(spool, Vec::new()),
            health: Health::new(snapshot),
            clock: crate::clock::system(),
            commands,
            stop: Arc::default(),
            runs: Runs::new(Arc::clone(&state), Vec::new()),
            state,
        };
        Self {
            uplink,
            _dir: dir,
            asked,
        }
    }

    /// One batch of two numbers for each of `firsts`.
    fn spool(&self, class: Class, epoch: u64, firsts: &[u64]) {
        self.spool_of(STREAM, class, epoch, firsts);
    }

    fn spool_of(&self, stream: StreamId, class: Class, epoch: u64, firsts: &[u64]) {
        let mut spool = self.uplink.store.spool();
        for seq_first in firsts {
            let header = v1::BatchHeader {
                host_id: vec![1; 32],
                stream: stream.as_bytes().to_vec(),
                class: class.to_wire(),
                seq_first: *seq_first,
                count: 2,
                prev_hash: vec![seq_first.to_le_bytes()[0]; 32],
                payload_hash: vec![0; 32],
                epoch,
                key_id: vec![0; 8],
                boot_id: vec![0; 16],
                ..v1::BatchHeader::default()
            };
            let record = Record {
                stream: *stream.as_bytes(),
                class: spool_class(class),
                seq_first: *seq_first,
                count: 2,
                header: header.encode_to_vec(),
                payload: vec![7; 10_000],
                signature: [0; 64],
                extra: Vec::new(),
                payload_dropped: false,
            };
            spool.append(record).unwrap();
        }
        spool.sync().unwrap();
    }

    fn left(&self) -> u64 {
        let status = self.uplink.store.spool().status();
        status.classes.iter().map(|class| class.records).sum()
    }

    /// Talks with the collector until the connection ends or `time` is over.
    async fn talk(&self, script: &Arc<Script>, time: Duration) -> Option<LinkError> {
        let mut servers = JoinSet::new();
        let channel = serve(Arc::clone(script), &mut servers).await;
        let mut backoff = Backoff::default();
        let talk = connection::talk(&self.uplink, channel, certificate(), &mut backoff);
        tokio::select! {
            ended = tokio::time::timeout(time, talk) => ended.ok().and_then(Result::err),
            () = self.sign() => None,
        }
    }

    /// Signs holes as the path does.
    async fn sign(&self) {
        let key = SigningKey::generate().unwrap();
        let speaker = Speaker {
            host: HostId::new([1; 32]),
            stream: STREAM,
            boot: BootId::new([3; 16]),
        };
        let now = Now {
            wall: UnixNanos(1),
            mono_ns: 1,
        };
        let signer = Signer {
            epoch: 0,
            key: &key,
        };
        loop {
            let store = &self.uplink.store;
            if store.ranges.sign(|range| range.seal(speaker, now, signer)) {
                store.wake.notify_one();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn serve(script: Arc<Script>, servers: &mut JoinSet<()>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Server::builder().add_service(AgentServer::new(Collector(script)));
    servers.spawn(async move {
        service
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// Good for many years, and not yet at half of its life.
fn certificate() -> Certificate {
    let key = certificate::new_key().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.not_after = rcgen::date_time_ymd(4000, 1, 1);
    Certificate {
        chain: vec![
            parameters
                .self_signed(&key)
                .unwrap()
                .der()
                .as_ref()
                .to_vec(),
        ],
        key: key.serialize_der(),
    }
}

const A_WHILE: Duration = Duration::from_millis(700);

#[tokio::test]
async fn batches_go_in_order_and_leave_the_spool_when_they_are_durable() {
    let bench = Bench::new();
    bench.spool(Class::Bulk, 0, &[0, 2, 4]);
    bench.spool(Class::Alert, 0, &[0]);
    let script = Arc::new(Script::default());
    assert!(bench.talk(&script, A_WHILE).await.is_none());
    assert_eq!(script.numbers(Class::Bulk), [0, 2, 4]);
    let first = script.seen.lock().unwrap()[0].0.class;
    assert_eq!(
        first,
        Class::Alert.to_wire(),
        "the most important class goes first"
    );
    assert_eq!(bench.left(), 0);
    assert_eq!(script.hellos.lock().unwrap()[0].host_epoch, 1);
    let heard = bench.uplink.store.checkpoint();
    assert_eq!(heard, Digest::from_slice(&[8; 32]).ok());
}

#[tokio::test]
async fn what_the_collector_has_already_is_not_sent_again() {
    let bench = Bench::new();
    bench.spool(Class::Bulk, 0, &[0, 2, 4]);
    let ack = v1::EventAck {
        stream: STREAM.as_bytes().to_vec(),
        class: Class::Bulk.to_wire(),
        durable_seq: 4,
        ..v1::EventAck::default()
    };
    let script = Arc::new(Script {
        welcome_acks: vec![ack],
        ..Script::default()
    });
    bench.talk(&script, A_WHILE).await;
    assert_eq!(script.numbers(Class::Bulk), [4]);
}

#[tokio::test]
async fn keys_come_with_the_first_batch_that_needs_them() {
    let bench = Bench::new();
    bench.spool(Class::Bulk, 2, &[0]);
    bench.spool(Class::Bulk, 3, &[2, 4]);
    let script = Arc::new(Script {
        known_epoch: 1,
        ..Script::default()
    });
    bench.talk(&script, A_WHILE).await;
    let keys: Vec<usize> = script
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(_, keys)| *keys)
        .collect();
    assert_eq!(keys, [1, 1, 0]);
}

#[tokio::test]
async fn a_refused_class_waits_and_the_others_go_on() {
    let bench = Bench::new();
    bench.spool(Class::Security, 0, &[0, 2]);
    bench.spool(Class::Bulk, 0, &[0, 2]);
    let script = Arc::new(Script {
        refuse: Some(Class::Security),
        ..Script::default()
    });
    assert!(
        bench.talk(&script, A_WHILE).await.is_none(),
        "the connection lives"
    );
    assert_eq!(script.numbers(Class::Bulk), [0, 2]);
    assert!(
        script.numbers(Class::Security).len() <= 2,
        "nothing is sent again and again"
    );
    assert_eq!(bench.left(), 2);
    assert!(bench.uplink.health.status().refused_batches >= 1);
}

// A record that the spool had lost to damage left a hole in its chain. The collector refused everything behind it, and
// the class waited for ever, with those of all later runs behind it.
#[tokio::test]
async fn a_hole_is_signed_and_the_class_goes_on() {
    let bench = Bench::new();
    bench.spool(Class::Bulk, 0, &[6, 8]);
    bench.uplink.store.ack(STREAM, Class::Bulk, 8);
    bench.spool(Class::Bulk, 0, &[12, 14]);
    // A batch of a later run is under way behind the hole, and taken: once, that made the hole forgotten.
    bench.spool_of(StreamId::new([6; 16]), Class::Bulk, 0, &[0]);
    let script = Arc::new(Script {
        stands: Some(Mutex::new(2)),
        ..Script::default()
    });
    assert!(bench.talk(&script, A_WHILE).await.is_none());
    let seen = script.seen.lock().unwrap();
    let ranges = seen.iter().map(|(header, _)| header);
    let ranges: Vec<_> = ranges
        .filter(|header| !header.range_end.is_empty())
        .map(|header| {
            let gap = &header.gaps[0];
            assert_eq!(
                (gap.seq_first, gap.count),
                (header.seq_first, Some(header.count))
            );
            (
                gap.seq_first,
                header.count,
                gap.reason(),
                header.range_end[0],
            )
        })
        .collect();
    let expected = [
        (2, 6, v1::GapReason::CollectorLoss, 8),
        (10, 2, v1::GapReason::Corrupt, 12),
    ];
    assert_eq!(ranges, expected);
    drop(seen);
    let numbers = script.numbers(Class::Bulk);
    assert!(numbers.contains(&14) && numbers.contains(&0), "{numbers:?}");
    assert_eq!(bench.left(), 0);
}

fn much_bulk_and_no_answers() -> (Bench, Arc<Script>) {
    let bench = Bench::new();
    let firsts: Vec<u64> = (0..100).map(|number| number * 2).collect();
    bench.spool(Class::Bulk, 0, &firsts);
    let script = Script {
        silent: true,
        ..Script::default()
    };
    (bench, Arc::new(script))
}

#[tokio::test]
async fn a_collector_that_does_not_answer_gets_no_more_than_it_may_have() {
    let (bench, script) = much_bulk_and_no_answers();
    bench.talk(&script, A_WHILE).await;
    assert!(script.numbers(Class::Bulk).len() <= 48);
    assert_eq!(bench.left(), 100);
}

#[tokio::test]
async fn an_alert_does_not_wait_for_answers_to_bulk() {
    let (bench, script) = much_bulk_and_no_answers();
    let later = async {
        tokio::time::sleep(A_WHILE / 2).await;
        assert_eq!(script.numbers(Class::Bulk).len(), 36, "bulk has its share");
        bench.spool(Class::Security, 0, &[0]);
        bench.spool(Class::Alert, 0, &[0]);
        bench.uplink.store.wake.notify_one();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ended = bench.talk(&script, A_WHILE) => {}
        () = later => {}
    }
    assert_eq!(script.numbers(Class::Alert), [0]);
    assert_eq!(script.numbers(Class::Security), [0]);
    assert_eq!(script.numbers(Class::Bulk).len(), 36);
}

#[tokio::test]
async fn a_certificate_past_half_of_its_life_is_renewed_under_the_same_key() {
    let bench = Bench::new();
    let next = certificate();
    let script = Arc::new(Script {
        next_chain: next.chain.clone(),
        ..Script::default()
    });
    let mut servers = JoinSet::new();
    let channel = serve(Arc::clone(&script), &mut servers).await;
    let mut client = AgentClient::new(channel);
    let current = Certificate::read(&bench.uplink.state).unwrap();
    let key = current.key.clone();
    certificate::renew(&bench.uplink, &mut client, current)
        .await
        .unwrap();
    let kept = Certificate::read(&bench.uplink.state).unwrap();
    assert_eq!((kept.chain, kept.key), (next.chain, key));
}

#[tokio::test]
async fn the_fleets_secret_and_prior_are_heard_and_a_sketch_goes_the_other_way() {
    let bench = Bench::new();
    let secret = FleetSecret::new([4; 16]);
    let prior = Prior {
        fleet: secret.id(),
        number: 7,
        wall: UnixNanos(1),
        hosts: 9,
        contexts: Vec::new(),
        values: Vec::new(),
    };
    let script = Arc::new(Script {
        fleet_secret: secret.as_bytes().to_vec(),
        prior: Some(prior.sign(&SigningKey::generate().unwrap())),
        ..Script::default()
    });
    let sketch = v1::FleetSketch {
        fleet: vec![1; 8],
        contexts: vec![1],
        values: vec![2],
    };
    bench.uplink.fleet.tell(sketch.clone());
    bench.talk(&script, Duration::from_millis(500)).await;
    assert_eq!(bench.uplink.fleet.number(), 7);
    assert_eq!(*script.sketches.lock().unwrap(), [sketch]);
    bench.talk(&script, Duration::from_millis(500)).await;
    let hellos = script.hellos.lock().unwrap();
    let numbers: Vec<u64> = hellos.iter().map(|hello| hello.prior).collect();
    assert_eq!(numbers, [0, 7]);
}

/// Content of this many bytes, and an offer of it.
fn offered(size: usize) -> (v1::SignedContent, v1::ContentOffer, Vec<u8>) {
    let content = v1::SignedContent {
        body: (0..size).map(|at| at.to_le_bytes()[0]).collect(),
        ..v1::SignedContent::default()
    };
    let bytes = content.encode_to_vec();
    let offer = v1::ContentOffer {
        kind: v1::ContentKind::Rules.into(),
        version: 4,
        sha256: Digest::of(&bytes).as_bytes().to_vec(),
        bytes: bytes.len() as u64,
    };
    (content, offer, bytes)
}

#[tokio::test]
async fn offered_content_is_fetched_also_in_parts_and_handed_on() {
    let mut bench = Bench::new();
    let (content, offer, bytes) = offered(9_000);
    let script = Arc::new(Script {
        offer: Some((offer, bytes)),
        breaks_at: Some(5_000),
        ..Script::default()
    });
    assert!(bench.talk(&script, Duration::from_secs(4)).await.is_none());
    assert_eq!(*script.fetched_from.lock().unwrap(), [0, 5_000]);
    let Ok(Asked::Content(got)) = bench.asked.try_recv() else {
        panic!("nothing was handed on")
    };
    assert_eq!(got, content);
}

#[tokio::test]
async fn what_is_not_what_was_offered_is_not_handed_on_and_the_collector_hears_why() {
    let (_, offer, bytes) = offered(3_000);
    let mut other = bytes.clone();
    other[1_500] ^= 1;
    let huge = v1::ContentOffer {
        bytes: u64::MAX,
        ..offer.clone()
    };
    let longer = [bytes.clone(), vec![0; 10]].concat();
    let cases = [
        (offer.clone(), other, "is not what was offered"),
        (huge, bytes, "bytes are offered"),
        (offer, longer, "not the one that was asked for"),
    ];
    for (offer, bytes, why) in cases {
        let mut bench = Bench::new();
        let script = Arc::new(Script {
            offer: Some((offer, bytes)),
            ..Script::default()
        });
        assert!(bench.talk(&script, A_WHILE).await.is_none());
        assert!(bench.asked.try_recv().is_err());
        let told = bench.uplink.contents.told().borrow().clone();
        let said: Vec<_> = told
            .iter()
            .map(|ack| (ack.offered, ack.refused.as_str()))
            .collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].0 == 4 && said[0].1.contains(why), "{said:?}");
    }
}
