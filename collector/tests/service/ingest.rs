//! Batches: what is taken, and each thing that is refused, with its reason and its count.

use picket_event::{Class, Kind, StreamId, UnixNanos};
use picket_proto::v1;
use picket_seal::SigningKey;

use crate::collector::Collector;
use crate::host::{Host, exec};

#[tokio::test]
async fn what_is_acknowledged_is_found() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let batches = (0..50)
        .map(|n| host.batch(vec![exec(&format!("/bin/{n}")), exec("/x")]))
        .collect();
    let acks = host.send(&collector, batches).await.unwrap();
    assert_eq!(acks.len(), 50);
    assert!(acks.iter().all(|ack| ack.refused.is_empty()));
    assert_eq!(acks.last().unwrap().durable_seq, 100);
    assert_eq!(acks.last().unwrap().stream, host.stream.as_bytes());
    let found = collector.search("process.exe = '/bin/49'").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].host_id, host.id().as_bytes());
    assert_eq!(found[0].host_name, "web-1");
    assert_eq!(collector.search("").await.len(), 100);
    let security = "picket_ingest_events_total{class=\"security\"}";
    assert_eq!(collector.figure(security).await, 100);
}

#[tokio::test]
async fn a_batch_that_comes_again_is_acknowledged_and_stored_once() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let batch = host.batch(vec![exec("/a")]);
    for _ in 0..3 {
        let ack = host.send_one(&collector, batch.clone()).await;
        assert_eq!((ack.durable_seq, ack.refused.as_str()), (1, ""));
    }
    assert_eq!(collector.search("").await.len(), 1);
    assert_eq!(collector.figure("picket_ingest_duplicates_total").await, 2);
}

#[tokio::test]
async fn keys_of_later_epochs_count_once_the_key_before_vouched_for_them() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let first = host.batch(vec![exec("/0")]);
    host.rotate();
    host.rotate();
    let second = host.batch(vec![exec("/2")]);
    host.rotate();
    let mut third = host.batch(vec![exec("/3")]);
    let successions = std::mem::take(&mut third.successions);
    let acks = host
        .send(&collector, vec![first, second, third.clone()])
        .await
        .unwrap();
    let refused: Vec<_> = acks.iter().map(|ack| ack.refused.as_str()).collect();
    assert_eq!(refused, ["", "", "unknown_epoch"]);
    assert_eq!(acks[2].durable_seq, 2);
    third.successions = successions;
    assert_eq!(host.send_one(&collector, third).await.durable_seq, 3);
    let hosts = collector
        .operators()
        .await
        .list_hosts(v1::ListHostsRequest::default())
        .await;
    assert_eq!(hosts.unwrap().into_inner().hosts[0].epoch, 3);
}

#[tokio::test]
async fn two_successors_of_one_key_are_an_alarm() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let before = SigningKey::from_pkcs8(host.event.to_pkcs8()).unwrap();
    host.rotate();
    let honest = host.batch(vec![exec("/a")]);
    assert_eq!(host.send_one(&collector, honest).await.durable_seq, 1);
    host.event = before;
    host.epoch = 0;
    host.rotate();
    // The run goes on where the honest one wrote: that is refused, whoever may be the host.
    let cloned = host.batch(vec![exec("/b")]);
    assert_eq!(
        host.send_one(&collector, cloned).await.refused,
        "other_branch"
    );
    assert_eq!(collector.figure("picket_ingest_forks_total").await, 1);
    assert_eq!(collector.figure("picket_host_alarms_total").await, 2);
}

#[tokio::test]
async fn a_second_history_of_stored_numbers_is_a_fork() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let start = host.chain;
    let first = host.batch(vec![exec("/a")]);
    host.chain = start;
    let second = host.batch(vec![exec("/b")]);
    assert_eq!(host.send_one(&collector, first).await.refused, "");
    assert_eq!(
        host.send_one(&collector, second).await.refused,
        "chain_fork"
    );
    assert_eq!(collector.figure("picket_ingest_forks_total").await, 1);
}

#[tokio::test]
async fn one_hosts_batches_are_refused_from_another() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let thief = Host::enrolled(&collector).await;
    let batch = host.batch(vec![exec("/a")]);
    assert_eq!(
        thief.send_one(&collector, batch.clone()).await.refused,
        "wrong_host"
    );
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
}

#[tokio::test]
async fn a_message_beyond_all_bounds_ends_its_call_and_nothing_else() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let huge = v1::SignedBatch {
        payload: vec![7; 9 << 20],
        ..host.batch(vec![exec("/a")])
    };
    let ended = host.send(&collector, vec![huge]).await.unwrap_err();
    assert!(ended.message().starts_with("too_large: "), "{ended}");
    assert_eq!(collector.refused("too_large").await, 1);
    host.chain = picket_seal::Chain::START;
    let good = host.batch(vec![exec("/a")]);
    assert_eq!(host.send_one(&collector, good).await.durable_seq, 1);
}

#[tokio::test]
async fn a_dropped_payload_leaves_its_header_and_counts_as_gaps() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let dropped = host.sealed(b"gone".to_vec(), 40, |_header| {});
    let dropped = v1::SignedBatch {
        payload: Vec::new(),
        ..dropped
    };
    assert_eq!(host.send_one(&collector, dropped).await.durable_seq, 40);
    let next = host.batch(vec![exec("/after")]);
    assert_eq!(host.send_one(&collector, next).await.durable_seq, 41);
    let hosts = collector
        .operators()
        .await
        .list_hosts(v1::ListHostsRequest::default())
        .await;
    let line = hosts.unwrap().into_inner().hosts[0].stored[0].clone();
    assert_eq!((line.next_seq, line.stored, line.gaps), (41, 1, 40));
}

#[tokio::test]
async fn a_large_batch_of_many_events_is_taken() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let events = (0..20_000)
        .map(|n| exec(&format!("/bin/{n}/{}", n * 7919)))
        .collect();
    let batch = host.batch(events);
    assert!(batch.payload.len() > 64 << 10);
    assert_eq!(host.send_one(&collector, batch).await.durable_seq, 20_000);
    assert_eq!(collector.search("process.exe ~ '/19999/'").await.len(), 1);
}

#[tokio::test]
async fn classes_and_streams_go_on_side_by_side() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut batches = Vec::new();
    for _ in 0..3 {
        host.stream = StreamId::new(picket_seal::random().unwrap());
        for class in Class::ALL {
            (host.class, host.chain) = (*class, picket_seal::Chain::START);
            batches.push(host.batch(vec![exec("/a")]));
            let mut event = exec("/b");
            (event.kind, event.time) = (Kind::Exit, UnixNanos(2));
            batches.push(host.batch(vec![event]));
        }
    }
    let acks = host.send(&collector, batches).await.unwrap();
    assert!(acks.iter().all(|ack| ack.refused.is_empty()));
    // The second of each chain; the first may already speak for it.
    assert!(
        acks.iter()
            .skip(1)
            .step_by(2)
            .all(|ack| ack.durable_seq == 2)
    );
    let exits = collector.search("kind = exit").await;
    assert_eq!(exits.len(), 9);
}
