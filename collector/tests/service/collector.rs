//! A collector with one operator, on ports of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use picket_collector::authority;
use picket_collector::config::{Config, QuerySettings};
use picket_collector::data::DataDir;
use picket_collector::export::settings::Written;
use picket_collector::init::{Setup, init};
use picket_collector::serve::{Addresses, ServeError, Service};
use picket_event::audit::Chain;
use picket_event::request::OperatorRequest;
use picket_event::token::EnrolmentToken;
use picket_event::{Clock, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_rpc::channel::connect;
use picket_rpc::tls::{Identity, client_config};
use picket_rpc::v1::operator_client::OperatorClient;
use picket_seal::{Digest, SigningKey};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// The host's clock, moved on by as much as the test likes.
#[derive(Debug, Default)]
pub(crate) struct Ahead(AtomicI64);

impl Ahead {
    pub(crate) fn by(&self, duration: Duration) {
        self.0.store(
            i64::try_from(duration.as_nanos()).unwrap(),
            Ordering::Relaxed,
        );
    }
}

impl Clock for Ahead {
    fn now(&self) -> UnixNanos {
        UnixNanos(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

/// A collector, and what its operator holds.
pub(crate) struct Collector {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) operator: Operator,
    /// The others who may approve.
    pub(crate) others: Vec<Operator>,
    pub(crate) fingerprint: Digest,
    pub(crate) clock: Arc<Ahead>,
    /// Where events go from the next start on.
    pub(crate) export: Vec<Written>,
    running: Option<Running>,
}

struct Running {
    addresses: Addresses,
    stop: oneshot::Sender<()>,
    tasks: JoinSet<Result<(), ServeError>>,
}

/// An operator's keys and certificate.
pub(crate) struct Operator {
    pub(crate) signing: SigningKey,
    pub(crate) tls: KeyPair,
    pub(crate) folder: PathBuf,
}

impl Operator {
    pub(crate) fn new(name: &str, folder: &Path) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        let (signing, tls) = (
            SigningKey::generate().unwrap(),
            KeyPair::generate().unwrap(),
        );
        let csr = CertificateParams::default()
            .serialize_request(&tls)
            .unwrap();
        let request = OperatorRequest::prove(name, csr.der().to_vec(), &signing).unwrap();
        std::fs::write(folder.join("request.pem"), request.to_pem()).unwrap();
        Self {
            signing,
            tls,
            folder,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        let pem = std::fs::read(self.folder.join("certificate.pem")).unwrap();
        identity(
            authority::certificates(&pem, "certificate.pem").unwrap(),
            &self.tls,
        )
    }
}

pub(crate) fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Identity {
    Identity {
        chain,
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

impl Collector {
    /// Made and running.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further operators.
    pub(crate) async fn start_with(others: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let operator = Operator::new("alice", folder.path());
        let others = others.iter().map(|name| Operator::new(name, folder.path()));
        let others: Vec<Operator> = others.collect();
        let all = [&operator].into_iter().chain(&others);
        let setup = Setup {
            data: folder.path().join("data"),
            names: vec!["127.0.0.1".to_owned()],
            operators: all.map(|one| one.folder.join("request.pem")).collect(),
        };
        let made = init(&setup, SystemClock.now()).unwrap();
        let mut collector = Self {
            folder,
            operator,
            others,
            fingerprint: made.fingerprint,
            clock: Arc::default(),
            export: Vec::new(),
            running: None,
        };
        collector.run().await;
        collector
    }

    pub(crate) async fn run(&mut self) {
        let data = DataDir::open(&self.folder.path().join("data")).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            agents: any,
            operators: any,
            metrics: any,
            handshake_timeout_seconds: 2,
            seal_seconds: 1,
            query: QuerySettings {
                at_once: 2,
                memory_mib: 32,
                seconds: 3,
            },
            export: self.export.clone(),
            ..Config::default()
        };
        let clock: Arc<dyn Clock> = Arc::<Ahead>::clone(&self.clock);
        let service = Service::start_with(data, config, clock, PROGRAM.into())
            .await
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let addresses = service.addresses();
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run_until(async move { drop(stopped.await) }));
        self.running = Some(Running {
            addresses,
            stop,
            tasks,
        });
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(&mut self) {
        let mut running = self.running.take().unwrap();
        running.stop.send(()).unwrap();
        running.tasks.join_next().await.unwrap().unwrap().unwrap();
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.running.as_ref().unwrap().addresses
    }

    pub(crate) fn ca(&self) -> Vec<u8> {
        let pem = std::fs::read(self.folder.path().join("data/ca.pem")).unwrap();
        authority::certificates(&pem, "ca.pem")
            .unwrap()
            .remove(0)
            .to_vec()
    }

    /// A channel to the agents' port.
    pub(crate) async fn agents(&self, identity: Option<Identity>) -> Channel {
        let config = client_config(&self.ca(), identity).unwrap();
        connect(&self.addresses().agents.to_string(), config)
            .await
            .unwrap()
    }

    /// The operator's client.
    pub(crate) async fn operators(&self) -> OperatorClient<Channel> {
        let config = client_config(&self.ca(), Some(self.operator.identity())).unwrap();
        let channel = connect(&self.addresses().operators.to_string(), config)
            .await
            .unwrap();
        OperatorClient::new(channel).max_decoding_message_size(8 << 20)
    }

    /// A fresh token.
    pub(crate) async fn token(&self, uses: u32, ttl_seconds: u64) -> EnrolmentToken {
        let token = EnrolmentToken::generate(self.fingerprint).unwrap();
        let request = v1::CreateTokenRequest {
            id: token.id.clone(),
            secret_hash: token.secret_hash().as_bytes().to_vec(),
            ttl_seconds,
            uses,
            group: "test".to_owned(),
        };
        self.operators().await.create_token(request).await.unwrap();
        token
    }

    /// One figure, as Prometheus would read it.
    pub(crate) async fn figure(&self, line: &str) -> u64 {
        let text = self.metrics().await;
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found
            .unwrap_or_else(|| panic!("no `{line}` in {text}"))
            .trim()
            .parse()
            .unwrap()
    }

    /// What is counted once it is at least as much; what it is after 20 s where it is less.
    pub(crate) async fn figure_reaches(&self, line: &str, wanted: u64) -> u64 {
        for _ in 0..400 {
            let figure = self.figure(line).await;
            if figure >= wanted {
                return figure;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.figure(line).await
    }

    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        self.figure(&format!(
            "picket_ingest_refused_total{{reason=\"{reason}\"}}"
        ))
        .await
    }

    pub(crate) async fn calls_refused(&self, reason: &str) -> u64 {
        self.figure(&format!(
            "picket_calls_refused_total{{reason=\"{reason}\"}}"
        ))
        .await
    }

    async fn metrics(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.addresses().metrics)
            .await
            .unwrap();
        let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Everything that is stored.
    /// The audit with its chain, which holds.
    pub(crate) async fn audit(&self) -> (Vec<v1::AuditEntry>, Chain) {
        let mut client = self.operators().await;
        let read = client.read_audit(v1::ReadAuditRequest::default()).await;
        let entries = all(read.unwrap().into_inner()).await.unwrap();
        let mut chain = Chain::new();
        for entry in &entries {
            chain.take(entry).unwrap();
        }
        (entries, chain)
    }

    pub(crate) async fn search(&self, r#where: &str) -> Vec<v1::FoundEvent> {
        let request = v1::SearchRequest {
            r#where: r#where.to_owned(),
            ..v1::SearchRequest::default()
        };
        let found = self.operators().await.search_events(request).await.unwrap();
        all(found.into_inner()).await.unwrap()
    }
}

/// What answers queries in SQL.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_picket-collector");

/// Everything that a stream says.
pub(crate) async fn all<T>(mut stream: tonic::Streaming<T>) -> Result<Vec<T>, tonic::Status> {
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await? {
        parts.push(part);
    }
    Ok(parts)
}

/// Waits until it is so, at most five seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    for _ in 0..250 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never became so");
}
