//! What is stored goes on to a file and to syslog servers that are slow, away, or come back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use picket_collector::export::settings::Written;
use picket_rpc::tls::provider;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::collector::Collector;
use crate::host::{Host, exec};

/// What a receiver has heard, message by message.
type Heard = Arc<Mutex<Vec<String>>>;

fn exports(text: &str) -> Vec<Written> {
    #[derive(serde::Deserialize)]
    struct File {
        export: Vec<Written>,
    }
    toml::from_str::<File>(text).unwrap().export
}

pub(crate) async fn with_exports(text: &str) -> (Collector, Host) {
    let mut collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    collector.stop().await;
    collector.export = exports(text);
    collector.run().await;
    (collector, host)
}

pub(crate) async fn store(collector: &Collector, host: &mut Host, programs: std::ops::Range<u32>) {
    for program in programs {
        let batch = host.batch(vec![exec(&format!("/program/{program}"))]);
        assert_eq!(host.send_one(collector, batch).await.refused, "");
    }
}

pub(crate) fn program(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap();
    event["process"]["exe"].as_str().unwrap().to_owned()
}

/// Waits until as many lines are there, and gives the programs they tell.
pub(crate) async fn lines(wanted: usize, lines: impl Fn() -> Vec<String>) -> Vec<String> {
    for _ in 0..400 {
        let found = lines();
        if found.len() >= wanted {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{wanted} lines did not come: {:?}", lines());
}

#[tokio::test]
async fn a_file_has_each_event_once_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.json");
    let to = path.display();
    let text = format!("[[export]]\nname = \"archive\"\nto = \"file://{to}\"\nfrom = \"start\"\n");
    let (mut collector, mut host) = with_exports(&text).await;
    let read = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().map(program).collect::<Vec<_>>()
    };
    store(&collector, &mut host, 0..20).await;
    lines(20, read).await;
    // A line can be read before the export knows that it is written: what stops in between comes twice.
    let counted = "picket_export_events_total{export=\"archive\"}";
    assert_eq!(collector.figure_reaches(counted, 20).await, 20);
    collector.stop().await;
    collector.run().await;
    store(&collector, &mut host, 20..40).await;
    let all = lines(40, read).await;
    let expected: Vec<String> = (0..40).map(|one| format!("/program/{one}")).collect();
    assert_eq!(all, expected);
    assert_eq!(collector.figure_reaches(counted, 20).await, 20);
}

/// The messages of one connection, each behind its length.
async fn hear(mut stream: impl AsyncRead + Unpin, heard: Heard) {
    loop {
        let mut length = 0_usize;
        loop {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            if byte == b' ' {
                break;
            }
            length = length * 10 + usize::from(byte - b'0');
        }
        let mut message = vec![0; length];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        heard
            .lock()
            .unwrap()
            .push(String::from_utf8(message).unwrap());
    }
}

fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, heard: &Heard) -> JoinSet<()> {
    let heard = Arc::clone(heard);
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                None => hear(stream, Arc::clone(&heard)).await,
                Some(tls) => {
                    let stream = tls.accept(stream).await.unwrap();
                    hear(stream, Arc::clone(&heard)).await;
                }
            }
        }
    });
    server
}

fn programs(heard: &Heard) -> Vec<String> {
    let heard = heard.lock().unwrap();
    let text = |message: &String| {
        message
            .split_once(" exec - ")
            .map(|(_, text)| program(text))
    };
    heard.iter().filter_map(text).collect()
}

#[tokio::test]
async fn a_syslog_server_that_was_away_gets_everything_and_nobody_waited_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let text = format!("[[export]]\nname = \"siem\"\nto = \"syslog://{at}\"\nkinds = [\"exec\"]\n");
    let (collector, mut host) = with_exports(&text).await;
    let heard = Heard::default();
    let mut server = listen(listener, None, &heard);
    store(&collector, &mut host, 0..10).await;
    lines(10, || programs(&heard)).await;
    let first = heard.lock().unwrap()[0].clone();
    assert!(first.starts_with("<86>1 "), "{first}");
    assert!(first.contains(" picket - exec - {"), "{first}");
    // Away, connections and all.
    server.shutdown().await;
    store(&collector, &mut host, 10..30).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listener = TcpListener::bind(at).await.unwrap();
    let _server = listen(listener, None, &heard);
    store(&collector, &mut host, 30..40).await;
    let all = lines(40, || {
        let all: BTreeSet<String> = programs(&heard).into_iter().collect();
        all.into_iter().collect()
    });
    assert_eq!(all.await.len(), 40);
    let failures = "picket_export_failures_total{export=\"siem\"}";
    assert!(collector.figure_reaches(failures, 1).await > 0);
}

#[tokio::test]
async fn a_syslog_server_is_believed_only_with_a_certificate_of_the_named_authority() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority_pem).unwrap();
    let ca = ca.display();
    let text = format!("[[export]]\nname = \"siem\"\nto = \"syslog+tls://{at}\"\nca = \"{ca}\"\n");
    let (mut collector, mut host) = with_exports(&text).await;
    let heard = Heard::default();
    let _server = listen(listener, Some(TlsAcceptor::from(Arc::new(config))), &heard);
    store(&collector, &mut host, 0..5).await;
    lines(5, || programs(&heard)).await;
    // Another authority: nothing is said to the server.
    collector.stop().await;
    std::fs::copy(
        collector.folder.path().join("data/ca.pem"),
        folder.path().join("ca.pem"),
    )
    .unwrap();
    collector.run().await;
    store(&collector, &mut host, 5..8).await;
    let failures = "picket_export_failures_total{export=\"siem\"}";
    assert!(collector.figure_reaches(failures, 1).await > 0);
    assert_eq!(programs(&heard).len(), 5);
}
