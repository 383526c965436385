//! What goes when the quota is used up, in which order, and that each loss is said once.

use std::collections::BTreeMap;

use picket_spool::{Class, Limits, LossReason, Lost, Record, Spool, SpoolError};
use proptest::prelude::*;

use crate::fake::{Cut, FakeDisk, cases, fill, open_with, read_all, record, seqs};

const SMALL: Limits = Limits {
    quota_bytes: 64 << 10,
    segment_bytes: 8 << 10,
};
const KIB: usize = 1024;

fn open(disk: &FakeDisk) -> Spool {
    open_with(disk, SMALL).0
}

/// Appends and syncs single-number records of 1 KiB; gives the losses.
fn push(spool: &mut Spool, class: Class, seqs: std::ops::Range<u64>) -> Vec<Lost> {
    let mut lost = Vec::new();
    for seq in seqs {
        lost.extend(spool.append(record(1, class, seq, 1, KIB)).unwrap().lost);
        spool.sync().unwrap();
    }
    lost
}

fn with_payload(spool: &mut Spool, class: Class) -> usize {
    read_all(spool, class)
        .iter()
        .filter(|record| !record.payload_dropped)
        .count()
}

#[test]
fn the_files_never_grow_past_the_quota() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    for seq in 0..300 {
        push(&mut spool, Class::Bulk, seq..seq + 1);
        assert!(
            disk.bytes() as u64 <= SMALL.quota_bytes,
            "{} after {seq}",
            disk.bytes()
        );
        assert!(spool.status().bytes <= SMALL.quota_bytes);
    }
}

#[test]
fn the_oldest_payloads_go_and_their_headers_stay_exactly_as_they_were() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    let lost = push(&mut spool, Class::Bulk, 0..80);
    let read = read_all(&mut spool, Class::Bulk);
    assert_eq!(read.len(), 80);
    let dropped = read
        .iter()
        .take_while(|record| record.payload_dropped)
        .count();
    assert!(dropped > 10 && read[dropped..].iter().all(|record| !record.payload_dropped));
    for (seq, found) in (0..).zip(&read) {
        let given = record(1, Class::Bulk, seq, 1, KIB);
        let payload = if found.payload_dropped {
            Vec::new()
        } else {
            given.payload.clone()
        };
        let payload_dropped = found.payload_dropped;
        assert_eq!(
            *found,
            Record {
                payload,
                payload_dropped,
                ..given
            }
        );
    }
    let said: u64 = lost.iter().map(|lost| lost.count.unwrap()).sum();
    assert_eq!(said, dropped as u64);
    assert!(lost.iter().all(|lost| lost.reason == LossReason::Quota));
    assert_eq!(
        spool.status().lines[0].spooled,
        80,
        "headers count as spooled"
    );
}

#[test]
fn bulk_goes_before_security_and_security_before_alerts() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    for class in Class::ALL {
        push(&mut spool, class, 0..16);
    }
    push(&mut spool, Class::Alert, 16..26);
    assert_eq!(with_payload(&mut spool, Class::Alert), 26);
    assert_eq!(with_payload(&mut spool, Class::Security), 16);
    assert!(with_payload(&mut spool, Class::Bulk) < 16);
    push(&mut spool, Class::Alert, 26..40);
    assert_eq!(with_payload(&mut spool, Class::Alert), 40);
    assert_eq!(with_payload(&mut spool, Class::Bulk), 0);
    assert!(with_payload(&mut spool, Class::Security) < 16);
    push(&mut spool, Class::Alert, 40..70);
    assert_eq!(with_payload(&mut spool, Class::Security), 0);
    assert!(with_payload(&mut spool, Class::Alert) < 70);
    for (class, n) in [(Class::Alert, 70), (Class::Security, 16), (Class::Bulk, 16)] {
        assert_eq!(seqs(&mut spool, class), (0..n).collect::<Vec<_>>());
    }
}

#[test]
fn bulk_never_pushes_out_an_alert_but_gives_up_its_own_payload() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    push(&mut spool, Class::Alert, 0..52);
    let lost = push(&mut spool, Class::Bulk, 0..5);
    assert_eq!(with_payload(&mut spool, Class::Alert), 52);
    let dropped = 5 - with_payload(&mut spool, Class::Bulk) as u64;
    assert_eq!(
        lost.iter().map(|lost| lost.count.unwrap()).sum::<u64>(),
        dropped
    );
    assert!(dropped > 0 && lost.iter().all(|lost| lost.class == Class::Bulk));
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2, 3, 4]);
}

#[test]
fn a_record_that_is_worth_less_than_all_there_is_is_refused_and_nothing_is_touched() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    let mut seq = 0;
    while spool.status().bytes + 500 < SMALL.quota_bytes {
        assert_eq!(
            spool
                .append(record(1, Class::Alert, seq, 1, 10))
                .unwrap()
                .lost,
            []
        );
        seq += 1;
    }
    spool.sync().unwrap();
    let alerts = read_all(&mut spool, Class::Alert);
    for class in [Class::Security, Class::Bulk] {
        let large = Record {
            extra: vec![0; 500],
            ..record(1, class, 0, 1, 10)
        };
        assert!(matches!(spool.append(large), Err(SpoolError::Full { .. })));
        assert_eq!(spool.take_lost(), []);
    }
    assert_eq!(read_all(&mut spool, Class::Alert), alerts);
}

#[test]
fn acknowledged_data_goes_before_anything_that_is_still_wanted() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    for seq in 0..500 {
        let lost = push(&mut spool, Class::Bulk, seq..seq + 1);
        assert_eq!(lost, []);
        spool.ack([1; 16], Class::Bulk, seq).unwrap();
    }
}

#[test]
fn dropped_payloads_stay_dropped_and_known_after_a_restart() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    push(&mut spool, Class::Bulk, 0..80);
    let before = read_all(&mut spool, Class::Bulk);
    disk.power_cut(Cut::LosesAll);
    let (mut spool, recovery) = open_with(&disk, SMALL);
    assert_eq!(recovery.lost, []);
    assert_eq!(read_all(&mut spool, Class::Bulk), before);
}

#[test]
fn headers_fold_when_they_alone_take_too_much_and_the_ends_of_each_fold_stay() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    let mut lost = Vec::new();
    for seq in 0..6000 {
        lost.extend(
            spool
                .append(record(1, Class::Bulk, seq, 1, 100))
                .unwrap()
                .lost,
        );
    }
    spool.sync().unwrap();
    let numbers = |reason| -> Vec<u64> {
        let of_reason = lost.iter().filter(move |lost| lost.reason == reason);
        of_reason
            .flat_map(|lost| lost.seq_first..lost.seq_first + lost.count.unwrap())
            .collect()
    };
    let folded = numbers(LossReason::Folded);
    let dropped = numbers(LossReason::Quota);
    assert!(!folded.is_empty() && folded.iter().all(|seq| dropped.contains(seq)));
    assert!(disk.segments().len() < 80, "folded segments become one");
    let read = seqs(&mut spool, Class::Bulk);
    assert!((0..6000).all(|seq| read.contains(&seq) != folded.contains(&seq)));
    assert_eq!((read[0], *read.last().unwrap()), (0, 5999));
    let recovery = open_with(&disk, SMALL).1;
    assert_eq!(recovery.lost, [], "a fold is no damage");
}

#[test]
fn a_reader_in_the_middle_goes_on_through_dropped_payloads() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    push(&mut spool, Class::Bulk, 0..40);
    let (position, _) = spool.next(Class::Bulk, None).unwrap().unwrap();
    push(&mut spool, Class::Bulk, 40..80);
    let (_, next) = spool.next(Class::Bulk, Some(position)).unwrap().unwrap();
    assert!((next.seq_first, next.payload_dropped) == (1, true));
}

#[test]
fn a_full_spool_takes_everything_again_once_it_was_acknowledged() {
    let disk = FakeDisk::default();
    let mut spool = open(&disk);
    push(&mut spool, Class::Bulk, 0..200);
    spool.ack([1; 16], Class::Bulk, 200).unwrap();
    assert_eq!(push(&mut spool, Class::Bulk, 200..230), []);
    assert_eq!(with_payload(&mut spool, Class::Bulk), 30);
}

#[test]
fn a_disk_that_fails_while_making_room_refuses_the_record_and_loses_nothing_silently() {
    for calls in 0..20 {
        let disk = FakeDisk::default();
        let mut spool = open(&disk);
        let mut lost = push(&mut spool, Class::Bulk, 0..52);
        disk.world().fail_after = Some(calls);
        disk.world().fail_after_rename = calls % 2 == 0;
        let mut given = 52;
        for seq in 52..70 {
            if let Ok(appended) = spool.append(record(1, Class::Bulk, seq, 1, KIB)) {
                lost.extend(appended.lost);
                given += 1;
            }
            drop(spool.sync());
        }
        disk.mend();
        spool.sync().unwrap();
        let read = read_all(&mut spool, Class::Bulk);
        lost.extend(spool.take_lost());
        let dropped = read.iter().filter(|record| record.payload_dropped).count() as u64;
        assert_eq!(read.len(), given, "after {calls}");
        assert_eq!(
            lost.iter().map(|lost| lost.count.unwrap()).sum::<u64>(),
            dropped
        );
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    for (quota_bytes, segment_bytes) in [(1 << 20, 0), (1 << 20, 1 << 20), (1 << 40, 1 << 30)] {
        let limits = Limits {
            quota_bytes,
            segment_bytes,
        };
        let opened = Spool::open(Box::new(FakeDisk::default()), limits);
        assert!(matches!(opened, Err(SpoolError::Limits { .. })));
    }
}

#[test]
fn a_smaller_quota_after_a_restart_is_kept_from_the_next_append_on() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open_with(
        &disk,
        Limits {
            quota_bytes: 1 << 20,
            ..SMALL
        },
    );
    fill(&mut spool, 1, Class::Bulk, 0..1500);
    drop(spool);
    let mut spool = open(&disk);
    push(&mut spool, Class::Bulk, 1500..1501);
    assert!(disk.bytes() as u64 <= SMALL.quota_bytes);
}

proptest! {
    #![proptest_config(cases(200))]
    #[test]
    fn every_number_is_whole_or_acknowledged_or_said_to_be_lost_once(
        steps in prop::collection::vec((0usize..3, 0usize..3000, 0u8..12), 1..300),
    ) {
        let disk = FakeDisk::default();
        let mut spool = open(&disk);
        let mut given: BTreeMap<(Class, u64), Vec<u8>> = BTreeMap::new();
        let mut next: BTreeMap<Class, u64> = BTreeMap::new();
        let mut acked: BTreeMap<Class, u64> = BTreeMap::new();
        let mut lost: Vec<Lost> = Vec::new();
        for (class, len, action) in steps {
            let class = Class::ALL[class];
            let seq = next.entry(class).or_default();
            let record = record(1, class, *seq, 1, len);
            if let Ok(appended) = spool.append(record.clone()) {
                lost.extend(appended.lost);
                given.insert((class, *seq), record.payload);
            }
            *seq += 1;
            match action {
                0..4 => spool.sync().unwrap(),
                4 => {
                    let seen = read_all(&mut spool, class);
                    if let Some(record) = seen.get(seen.len() / 2) {
                        spool.ack([1; 16], class, record.seq_first).unwrap();
                        acked.insert(class, record.seq_first);
                    }
                }
                5 => {
                    spool.sync().unwrap();
                    spool.save_cursor().unwrap();
                    disk.power_cut(Cut::LosesAll);
                    spool = open(&disk);
                }
                _ => {}
            }
            prop_assert!(disk.bytes() as u64 <= SMALL.quota_bytes + 1024, "{}", disk.bytes());
        }
        spool.sync().unwrap();
        for class in Class::ALL {
            let read = read_all(&mut spool, class);
            for ((_, seq), payload) in given.range((class, 0)..=(class, u64::MAX)) {
                let said = |reason| {
                    let covers = |lost: &&Lost| lost.class == class && lost.reason == reason
                        && (lost.seq_first..lost.seq_first + lost.count.unwrap()).contains(seq);
                    lost.iter().filter(covers).count()
                };
                let (dropped, folded) = (said(LossReason::Quota), said(LossReason::Folded));
                let here = read.iter().find(|record| record.seq_first == *seq);
                let acked = acked.get(&class).is_some_and(|acked| seq < acked);
                prop_assert!(dropped <= 1 && folded <= dropped);
                match here {
                    Some(record) if record.payload_dropped => {
                        prop_assert_eq!((dropped, folded), (1, 0));
                    }
                    Some(record) => {
                        prop_assert_eq!(dropped, 0);
                        prop_assert_eq!(&record.payload, payload);
                    }
                    None => prop_assert!(acked || folded == 1, "{:?} {} is gone", class, seq),
                }
            }
        }
    }
}
