//! The same promises on a real directory, with a real process killed in the middle, and what it
//! costs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use picket_spool::{Class, Limits, RealDisk, Recovery, Spool};

use crate::fake::{read_all, record};

const LIMITS: Limits = Limits {
    quota_bytes: 64 << 20,
    segment_bytes: 256 << 10,
};
const CHILD_DIR: &str = "PICKET_SPOOL_TEST_DIR";

fn open(dir: &Path) -> (Spool, Recovery) {
    Spool::open(Box::new(RealDisk::new(dir).unwrap()), LIMITS).unwrap()
}

#[test]
fn records_survive_a_restart_and_go_with_their_acks() {
    let temp = tempfile::tempdir().unwrap();
    let (mut spool, recovery) = open(temp.path());
    assert_eq!(recovery, Recovery::default());
    for seq in 0..100 {
        spool
            .append(record(1, Class::Bulk, seq, 1, 20_000))
            .unwrap();
        spool.sync().unwrap();
    }
    drop(spool);
    let (mut spool, recovery) = open(temp.path());
    assert_eq!(
        (recovery.records, recovery.lost.len(), recovery.unconfirmed),
        (100, 0, false)
    );
    let read = read_all(&mut spool, Class::Bulk);
    assert!(
        (0..)
            .zip(&read)
            .all(|(seq, read)| *read == record(1, Class::Bulk, seq, 1, 20_000))
    );
    spool.ack([1; 16], Class::Bulk, 95).unwrap();
    drop(spool);
    let (mut spool, _) = open(temp.path());
    assert_eq!(read_all(&mut spool, Class::Bulk).len(), 5);
    assert!(std::fs::read_dir(temp.path()).unwrap().count() <= 3);
}

#[test]
fn payloads_are_dropped_on_a_real_disk_too() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits {
        quota_bytes: 1 << 20,
        segment_bytes: 128 << 10,
    };
    let disk = RealDisk::new(temp.path()).unwrap();
    let (mut spool, _) = Spool::open(Box::new(disk), limits).unwrap();
    for seq in 0..100 {
        spool
            .append(record(1, Class::Bulk, seq, 1, 20_000))
            .unwrap();
        spool.sync().unwrap();
    }
    let on_disk: u64 = std::fs::read_dir(temp.path())
        .unwrap()
        .map(|f| f.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk <= limits.quota_bytes);
    assert_eq!(read_all(&mut spool, Class::Bulk).len(), 100);
}

#[test]
fn what_was_synced_before_a_sigkill_is_there_afterwards() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0..4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "real_disk::child_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD_DIR, temp.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let synced = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("synced ")?.parse::<u64>().ok())
            .nth(40 + 25 * usize::try_from(round).unwrap())
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut spool, recovery) = open(temp.path());
        let read = read_all(&mut spool, Class::Bulk);
        let seqs: Vec<_> = read.iter().map(|record| record.seq_first).collect();
        assert!(
            seqs.iter().copied().eq(0..seqs.len() as u64),
            "a hole or a double: {seqs:?}"
        );
        assert!(seqs.len() as u64 > synced, "{} of {synced}", seqs.len());
        assert!(!recovery.unconfirmed);
        spool.settle_losses().unwrap();
    }
}

#[test]
fn child_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let (mut spool, _) = open(Path::new(&dir));
    let from = spool
        .last(Class::Bulk)
        .unwrap()
        .map_or(0, |last| last.seq_first + 1);
    // Ends by itself if nobody kills it.
    for seq in from..from + 20_000 {
        spool.append(record(1, Class::Bulk, seq, 1, 3000)).unwrap();
        if seq % 3 == 0 {
            spool.sync().unwrap();
            println!("synced {seq}");
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test -p picket-spool -- --ignored --nocapture measure"]
fn measure_append_and_sync_of_64_kib_records() {
    let root = std::env::var("CARGO_TARGET_TMPDIR").unwrap_or_else(|_| ".".to_owned());
    let temp = tempfile::tempdir_in(root).unwrap();
    let limits = Limits {
        quota_bytes: 1 << 30,
        segment_bytes: 8 << 20,
    };
    let disk = RealDisk::new(temp.path()).unwrap();
    let (mut spool, _) = Spool::open(Box::new(disk), limits).unwrap();
    let mut seq = 0;
    for group in [1, 4, 15] {
        let mut times = Vec::new();
        for _ in 0..400 / group {
            let records: Vec<_> = (0..group)
                .map(|n| record(1, Class::Bulk, seq + n, 1, 64 << 10))
                .collect();
            seq += group;
            let start = Instant::now();
            for record in records {
                spool.append(record).unwrap();
            }
            spool.sync().unwrap();
            times.push(start.elapsed());
        }
        times.sort();
        println!(
            "groups of {group}: median {:?}, p99 {:?}, {} MiB/s",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            mib_per_s(400 / group * group, times.iter().sum())
        );
    }
    let start = Instant::now();
    let read = read_all(&mut spool, Class::Bulk).len();
    let time = start.elapsed();
    println!(
        "read of {read} records: {time:?}, {} MiB/s",
        mib_per_s(read as u64, time)
    );
    let (bytes, start) = (spool.status().bytes, Instant::now());
    drop(spool);
    let disk = RealDisk::new(temp.path()).unwrap();
    let (mut spool, _) = Spool::open(Box::new(disk), limits).unwrap();
    println!("open of {} MiB: {:?}", bytes >> 20, start.elapsed());
    let start = Instant::now();
    (1..=64).for_each(|n| spool.ack([1; 16], Class::Bulk, n).unwrap());
    println!("64 acks and one cursor: {:?}", start.elapsed());
}

/// Of records of 64 KiB.
fn mib_per_s(records: u64, time: Duration) -> u128 {
    u128::from(records) * 62_500 / time.as_micros()
}
