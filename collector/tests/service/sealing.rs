//! What is sealed in the background is found as before, through a real collector and its operator's calls.

use std::time::Duration;

use picket_proto::v1;

use crate::collector::Collector;
use crate::host::{Host, exec};

/// A collector that seals after a second, with some events that are sealed.
async fn sealed() -> (Collector, Host) {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let programs = ["/often", "/often", "/rare", "/often"];
    for exe in programs {
        let batch = host.batch(vec![exec(exe)]);
        assert_eq!(host.send_one(&collector, batch).await.refused, "");
    }
    all_sealed(&collector, programs.len()).await;
    (collector, host)
}

async fn all_sealed(collector: &Collector, events: usize) {
    // Sealing gives way to everybody: on a busy machine it takes its time.
    for _ in 0..400 {
        let sealed = collector.figure("picket_sealed_events_total").await;
        if sealed >= events as u64 && collector.figure("picket_unsealed_bytes").await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was never sealed");
}

fn programs(found: &[v1::FoundEvent]) -> Vec<String> {
    let process = |found: &v1::FoundEvent| found.event.clone()?.process;
    let processes = found.iter().filter_map(process);
    let names = processes.map(|process| String::from_utf8(process.exe).unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn sealed_events_are_found_before_and_after_a_restart_beside_those_that_come() {
    let (mut collector, mut host) = sealed().await;
    let all = ["/often", "/often", "/often", "/rare"];
    assert_eq!(programs(&collector.search("").await), all);
    assert_eq!(
        programs(&collector.search("process.exe = '/rare'").await),
        ["/rare"]
    );
    let batch = host.batch(vec![exec("/late")]);
    host.send_one(&collector, batch).await;
    assert_eq!(programs(&collector.search("").await).len(), 5);
    collector.stop().await;
    collector.run().await;
    assert_eq!(programs(&collector.search("").await).len(), 5);
    assert_eq!(
        programs(&collector.search("process.exe ~ 'ate'").await),
        ["/late"]
    );
    let folder = collector.folder.path().join("data/sealed");
    assert!(folder.join("catalogue").exists());
}

#[tokio::test]
async fn the_rarest_value_comes_first_with_the_name_of_its_host() {
    let (collector, mut host) = sealed().await;
    let batch = host.batch(vec![exec("/late")]);
    host.send_one(&collector, batch).await;
    let request = v1::StackRequest {
        field: "process.exe".to_owned(),
        ..v1::StackRequest::default()
    };
    let stack = collector.operators().await.stack(request).await.unwrap();
    let stack = stack.into_inner();
    let rows = stack.rows.iter();
    let rows: Vec<_> = rows
        .map(|row| (row.value.as_str(), row.count, row.hosts))
        .collect();
    assert_eq!(rows, [("/late", 1, 1), ("/rare", 1, 1), ("/often", 3, 1)]);
    assert_eq!(stack.rows[0].host_name, "web-1");
    assert_eq!((stack.values, stack.events), (3, 5));
    let unknown = v1::StackRequest {
        field: "process.colour".to_owned(),
        ..v1::StackRequest::default()
    };
    let refused = collector
        .operators()
        .await
        .stack(unknown)
        .await
        .unwrap_err();
    assert!(refused.message().contains("there is no field"), "{refused}");
}
