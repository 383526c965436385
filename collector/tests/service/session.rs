//! Sessions: hello, welcome, heartbeats, and who takes over from whom.

use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as FromAgent;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::collector::{Collector, eventually};
use crate::host::{Host, exec};

/// One open session.
pub(crate) struct Session {
    pub(crate) to: mpsc::Sender<v1::AgentFrame>,
    pub(crate) from: Streaming<v1::CollectorFrame>,
    pub(crate) welcome: v1::Welcome,
}

pub(crate) async fn open(host: &Host, collector: &Collector) -> Session {
    open_as(host, collector, v1::HostFacts::default()).await
}

/// The same by an agent that says more of itself.
pub(crate) async fn open_as(host: &Host, collector: &Collector, facts: v1::HostFacts) -> Session {
    let (to, frames) = mpsc::channel(8);
    let facts = v1::HostFacts {
        hostname: "web-2".to_owned(),
        ..facts
    };
    let hello = v1::Hello {
        facts: Some(facts),
        host_epoch: 3,
        ..v1::Hello::default()
    };
    to.send(frame(FromAgent::Hello(hello))).await.unwrap();
    let mut client = host.connect(collector).await;
    let mut from = client
        .session(ReceiverStream::new(frames))
        .await
        .unwrap()
        .into_inner();
    let first = from.message().await.unwrap().unwrap().frame;
    let Some(ToAgent::Welcome(welcome)) = first else {
        panic!("{first:?}")
    };
    Session { to, from, welcome }
}

fn frame(frame: FromAgent) -> v1::AgentFrame {
    v1::AgentFrame { frame: Some(frame) }
}

async fn shown(collector: &Collector) -> v1::Host {
    let hosts = collector
        .operators()
        .await
        .list_hosts(v1::ListHostsRequest::default())
        .await;
    hosts.unwrap().into_inner().hosts.remove(0)
}

#[tokio::test]
async fn the_welcome_says_where_every_chain_stands() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    assert!(open(&host, &collector).await.welcome.acks.is_empty());
    host.rotate();
    let batch = host.batch(vec![exec("/a"), exec("/b")]);
    host.send_one(&collector, batch).await;
    let welcome = open(&host, &collector).await.welcome;
    assert_eq!(welcome.known_epoch, 1);
    assert_eq!(
        (welcome.acks[0].durable_seq, welcome.acks[0].class),
        (2, host.class.to_wire())
    );
    assert_eq!(welcome.acks[0].stream, host.stream.as_bytes());
}

#[tokio::test]
async fn a_heartbeat_is_shown_and_survives_a_restart() {
    let mut collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let session = open(&host, &collector).await;
    let beat = v1::Heartbeat {
        spool_bytes: 4711,
        ..v1::Heartbeat::default()
    };
    session
        .to
        .send(frame(FromAgent::Heartbeat(beat)))
        .await
        .unwrap();
    eventually(async || shown(&collector).await.heartbeat.is_some()).await;
    let now = shown(&collector).await;
    assert!(now.connected);
    assert_eq!((now.name.as_str(), now.host_epoch), ("web-2", 3));
    drop(session);
    eventually(async || !shown(&collector).await.connected).await;
    collector.stop().await;
    collector.run().await;
    let later = shown(&collector).await;
    assert_eq!(later.heartbeat.unwrap().spool_bytes, 4711);
    assert_eq!(
        (later.name.as_str(), later.last_seen_unix_ns),
        ("web-2", now.last_seen_unix_ns)
    );
}

#[tokio::test]
async fn a_newer_session_takes_over() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let mut old = open(&host, &collector).await;
    let new = open(&host, &collector).await;
    let ended = old.from.message().await.unwrap_err();
    assert!(ended.message().starts_with("superseded: "), "{ended}");
    drop(old);
    assert!(shown(&collector).await.connected);
    drop(new);
    eventually(async || !shown(&collector).await.connected).await;
}

#[tokio::test]
async fn a_session_without_a_hello_is_refused() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let mut client = host.connect(&collector).await;
    let frames = [frame(FromAgent::Heartbeat(v1::Heartbeat::default()))];
    let mut from = client
        .session(tokio_stream::iter(frames))
        .await
        .unwrap()
        .into_inner();
    let ended = from.message().await.unwrap_err();
    assert!(ended.message().starts_with("no_hello: "), "{ended}");
}

/// What is shown of a host that says hello with this epoch on this machine.
async fn alarms_after(host: &Host, collector: &Collector, epoch: u64, machine: u8) -> Vec<String> {
    let facts = v1::HostFacts {
        machine_id_hash: vec![machine; 32],
        ..v1::HostFacts::default()
    };
    let hello = v1::Hello {
        facts: Some(facts),
        epoch,
        ..v1::Hello::default()
    };
    let (to, frames) = mpsc::channel(8);
    to.send(frame(FromAgent::Hello(hello))).await.unwrap();
    let mut client = host.connect(collector).await;
    let answer = client.session(ReceiverStream::new(frames)).await.unwrap();
    answer.into_inner().message().await.unwrap().unwrap();
    let alarms = shown(collector).await.alarms;
    alarms.into_iter().map(|alarm| alarm.name).collect()
}

// A state directory that was copied to a second machine, or restored from an old copy, was refused batch by batch as
// `wrong_key`, and nobody was told why.
#[tokio::test]
async fn a_host_that_speaks_from_an_old_copy_or_another_machine_is_an_alarm_that_stays() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    for _ in 0..2 {
        host.rotate();
    }
    let batch = host.batch(vec![exec("/a")]);
    host.send_one(&collector, batch).await;
    let first = alarms_after(&host, &collector, 2, 1).await;
    assert!(first.is_empty(), "{first:?}");
    assert_eq!(alarms_after(&host, &collector, 1, 1).await, ["older_keys"]);
    let both = ["older_keys", "other_machine"];
    assert_eq!(alarms_after(&host, &collector, 2, 9).await, both);
    assert_eq!(alarms_after(&host, &collector, 2, 1).await, both);
    assert_eq!(collector.figure("picket_host_alarms_total").await, 2);
    collector.stop().await;
    collector.run().await;
    let kept = shown(&collector).await.alarms;
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|alarm| alarm.since_unix_ns > 0));
}
