//! What is sealed in the background is found as before, through a real collector and its operator's calls.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use picket_proto::v1;

use crate::collector::{Collector, all};
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

fn sealed_files(collector: &Collector) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![collector.folder.path().join("data/sealed")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "parquet") {
                found.push(path);
            }
        }
    }
    found
}

/// How many events each kind of question counts, with those that the answer says it lacks.
async fn counted(collector: &Collector) -> Vec<(u64, u64)> {
    let lacking = |files: &[v1::UnreadFile]| files.iter().map(|file| file.events).sum();
    let found = collector.search("").await;
    let unread: Vec<_> = found.iter().flat_map(|one| one.unread.clone()).collect();
    let events = found.iter().filter(|one| one.event.is_some()).count();
    let mut counts = vec![(events as u64, lacking(&unread))];
    let request = v1::StackRequest {
        field: "process.exe".to_owned(),
        ..v1::StackRequest::default()
    };
    let stack = collector.operators().await.stack(request).await.unwrap();
    let stack = stack.into_inner();
    counts.push((stack.events, lacking(&stack.unread)));
    let request = v1::QueryRequest {
        sql: "SELECT seq FROM events".to_owned(),
        limit: 0,
    };
    let replies = collector.operators().await.query(request).await.unwrap();
    for reply in all(replies.into_inner()).await.unwrap() {
        if let Some(v1::query_reply::Reply::End(end)) = reply.reply {
            counts.push((end.rows, lacking(&end.unread)));
        }
    }
    counts
}

#[tokio::test]
async fn a_damaged_file_is_named_in_every_answer_until_its_events_are_back_from_the_log() {
    let (collector, _host) = sealed().await;
    assert_eq!(counted(&collector).await, [(4, 0); 3]);
    let file = sealed_files(&collector).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let first = counted(&collector).await;
    assert!(first[0].1 > 0, "{first:?}");
    for _ in 0..100 {
        let counts = counted(&collector).await;
        // Never too few without a word, never one twice.
        assert!(
            counts.iter().all(|(events, lacking)| events + lacking == 4),
            "{counts:?}"
        );
        if counts == [(4, 0); 3] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counted(&collector).await, [(4, 0); 3]);
    let again = collector.figure("picket_sealed_again_events_total").await;
    assert_eq!(again, first[0].1);
    assert_eq!(collector.figure("picket_sealed_lost_events").await, 0);
    let aside = file.with_extension("parquet.damaged");
    assert_eq!(fs::read(aside).unwrap(), bytes);
    assert!(!file.exists());
}
