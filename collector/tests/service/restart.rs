//! What is still true after a stop and a start, clean or not.

use picket_proto::v1;

use crate::collector::Collector;
use crate::host::{Host, exec};

#[tokio::test]
async fn heads_hosts_keys_and_events_are_there_after_a_restart() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    host.rotate();
    let first = host.batch(vec![exec("/a")]);
    assert_eq!(
        host.send_one(&collector, first.clone()).await.durable_seq,
        1
    );
    collector.stop().await;
    collector.run().await;
    let again = host.send_one(&collector, first).await;
    assert_eq!((again.durable_seq, again.refused.as_str()), (1, ""));
    let next = host.batch(vec![exec("/b")]);
    assert_eq!(host.send_one(&collector, next).await.durable_seq, 2);
    assert_eq!(collector.search("").await.len(), 2);
    assert_eq!(collector.figure("picket_ingest_duplicates_total").await, 1);
}

/// A kill leaves whatever was last written without its end.
#[tokio::test]
async fn a_torn_log_costs_nothing_that_was_acknowledged() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let first = host.batch(vec![exec("/a")]);
    host.send_one(&collector, first).await;
    collector.stop().await;
    let segment = collector
        .folder
        .path()
        .join("data/wal/segment-0000000001.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend(b"rec\x01\x00\x10\x00\x00and then the power went");
    std::fs::write(&segment, bytes).unwrap();
    collector.run().await;
    let next = host.batch(vec![exec("/b")]);
    assert_eq!(host.send_one(&collector, next).await.durable_seq, 2);
    assert_eq!(collector.search("").await.len(), 2);
}

#[tokio::test]
async fn a_revoked_host_stays_revoked() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let request = v1::RevokeHostRequest {
        host: "web-1".to_owned(),
    };
    collector
        .operators()
        .await
        .revoke_host(request)
        .await
        .unwrap();
    collector.stop().await;
    collector.run().await;
    let batch = host.batch(vec![exec("/a")]);
    let refused = host.send(&collector, vec![batch]).await.unwrap_err();
    assert!(refused.message().starts_with("revoked: "), "{refused}");
}

#[tokio::test]
async fn a_stop_tells_the_hosts_and_does_not_wait_for_them() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut client = host.connect(&collector).await;
    let (sender, batches) = tokio::sync::mpsc::channel(4);
    sender.send(host.batch(vec![exec("/a")])).await.unwrap();
    let batches = tokio_stream::wrappers::ReceiverStream::new(batches);
    let mut acks = client.events(batches).await.unwrap().into_inner();
    acks.message().await.unwrap().unwrap();
    let begun = std::time::Instant::now();
    collector.stop().await;
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let ended = acks.message().await.unwrap_err();
    assert!(ended.message().starts_with("shutting_down: "), "{ended}");
    drop(sender);
}
