//! scratch
use crate::collector::{Collector, all};
use crate::host::{Host, exec};
use picket_proto::v1;
use std::time::Instant;

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn throughput() {
    for size in [1_usize, 64, 512] {
        let collector = Collector::start().await;
        let mut hosts = Vec::new();
        for _ in 0..4 {
            hosts.push(Host::enrolled(&collector).await);
        }
        let total = if size == 1 { 8_000 } else { 400_000 };
        let mut work = Vec::new();
        for host in &mut hosts {
            let batches: Vec<_> = (0..total / 4 / size)
                .map(|i| {
                    host.batch(
                        (0..size)
                            .map(|n| {
                                let mut e = exec("/usr/bin/curl");
                                e.time = picket_event::UnixNanos(
                                    1_767_607_200_000_000_000 + (i * size + n) as i64 * 1_000_000,
                                );
                                let p = e.process.as_mut().unwrap();
                                p.argv =
                                    vec!["curl".into(), format!("http://127.0.0.1/{n}").into()];
                                p.cwd = "/root".into();
                                p.cgroup = "/system.slice/ssh.service".into();
                                e
                            })
                            .collect(),
                    )
                })
                .collect();
            work.push((host.connect(&collector).await, batches));
        }
        let (begun, c0) = (Instant::now(), cpu());
        let mut tasks = tokio::task::JoinSet::new();
        for (mut client, batches) in work {
            tasks.spawn(async move {
                let stream = tokio_stream::iter(batches);
                all(client.events(stream).await.unwrap().into_inner())
                    .await
                    .unwrap()
                    .len()
            });
        }
        let mut acks = 0;
        while let Some(n) = tasks.join_next().await {
            acks += n.unwrap();
        }
        let t = begun.elapsed().as_secs_f64();
        eprintln!(
            "batch {size}: {:.0} events/s, {acks} acks, {:.2} us cpu/event (client included)",
            total as f64 / t,
            (cpu() - c0) * 1e6 / total as f64
        );
        let syncs = collector.figure("picket_wal_syncs_total").await;
        eprintln!("  syncs {syncs}");
        let s = Instant::now();
        let n = collector.search("process.argv ~ '/63'").await.len();
        eprintln!("  search {n} found in {:?}", s.elapsed());
        let s = Instant::now();
        let req = v1::SearchRequest {
            limit: 20,
            ..v1::SearchRequest::default()
        };
        let n = all(collector
            .operators()
            .await
            .search_events(req)
            .await
            .unwrap()
            .into_inner())
        .await
        .unwrap()
        .len();
        eprintln!("  newest {n} in {:?}", s.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn latency() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut client = host.connect(&collector).await;
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    let mut acks = client
        .events(tokio_stream::wrappers::ReceiverStream::new(rx))
        .await
        .unwrap()
        .into_inner();
    let mut times = Vec::new();
    for _ in 0..500 {
        let b = host.batch(vec![exec("/a")]);
        let s = Instant::now();
        tx.send(b).await.unwrap();
        acks.message().await.unwrap().unwrap();
        times.push(s.elapsed());
    }
    times.sort();
    eprintln!("ack p50 {:?} p99 {:?}", times[250], times[495]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn memory() {
    let mut collector = Collector::start().await;
    let mut hosts = Vec::new();
    for _ in 0..400 {
        hosts.push(Host::enrolled(&collector).await);
    }
    collector.stop().await;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_picket-collector"))
        .args([
            "serve",
            "--agents",
            "127.0.0.1:0",
            "--operators",
            "127.0.0.1:0",
            "--metrics",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(collector.folder.path().join("data"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(child.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let address = line
        .split_whitespace()
        .find_map(|p| p.strip_prefix("agents="))
        .unwrap()
        .to_owned();
    let rss = || {
        let t = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        t.lines()
            .find(|l| l.starts_with("VmRSS"))
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = rss();
    let mut keep = Vec::new();
    let s = Instant::now();
    for host in &mut hosts {
        let config =
            picket_rpc::tls::client_config(&collector.ca(), Some(host.identity())).unwrap();
        let channel = picket_rpc::channel::connect(&address, config)
            .await
            .unwrap();
        let mut client = picket_rpc::v1::agent_client::AgentClient::new(channel);
        let (to, frames) = tokio::sync::mpsc::channel(8);
        to.send(v1::AgentFrame {
            frame: Some(v1::agent_frame::Frame::Hello(v1::Hello::default())),
        })
        .await
        .unwrap();
        let mut from = client
            .session(tokio_stream::wrappers::ReceiverStream::new(frames))
            .await
            .unwrap()
            .into_inner();
        from.message().await.unwrap().unwrap();
        let (tx, rx) = tokio::sync::mpsc::channel(4);
        tx.send(host.batch(vec![exec("/a")])).await.unwrap();
        let mut acks = client
            .events(tokio_stream::wrappers::ReceiverStream::new(rx))
            .await
            .unwrap()
            .into_inner();
        acks.message().await.unwrap().unwrap();
        keep.push((client, to, from, tx, acks));
    }
    eprintln!("400 agents in {:?}", s.elapsed());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let after = rss();
    eprintln!(
        "memory: before {before} KiB after {after} KiB: {} KiB per agent with session and events call",
        (after as i64 - before as i64) / 400
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
