//! Order, acknowledgement and counting while nothing goes wrong.

use picket_spool::{Class, SpoolError};

use crate::fake::{FakeDisk, fill, open, read_all, record, seqs};

#[test]
fn nothing_is_handed_out_before_it_is_synced() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(record(1, Class::Alert, 0, 1, 10)).unwrap();
    assert_eq!(spool.next(Class::Alert, None).unwrap(), None);
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), [0]);
}

#[test]
fn records_come_back_byte_for_byte_in_order_over_many_segments() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    let records: Vec<_> = (0..60)
        .map(|n| record(1, Class::Bulk, n * 3, 3, 400))
        .collect();
    for chunk in records.chunks(4) {
        for record in chunk {
            spool.append(record.clone()).unwrap();
        }
        spool.sync().unwrap();
    }
    assert!(disk.segments().len() > 5);
    assert_eq!(read_all(&mut spool, Class::Bulk), records);
    drop(spool);
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.records, recovery.events), (60, 180));
    assert_eq!(read_all(&mut spool, Class::Bulk), records);
}

#[test]
fn classes_do_not_wait_for_each_other() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..100);
    fill(&mut spool, 1, Class::Alert, 0..1);
    assert_eq!(
        spool.next(Class::Alert, None).unwrap().unwrap().1.seq_first,
        0
    );
    spool.ack([1; 16], Class::Alert, 1).unwrap();
    assert_eq!(spool.next(Class::Alert, None).unwrap(), None);
    assert_eq!(seqs(&mut spool, Class::Bulk).len(), 100);
}

#[test]
fn older_runs_come_before_newer_ones_and_are_acknowledged_apart() {
    let disk = FakeDisk::default();
    for (stream, seqs) in [(7, 0..20), (3, 0..10), (5, 0..10)] {
        let (mut spool, _) = open(&disk);
        fill(&mut spool, stream, Class::Security, seqs);
    }
    let (mut spool, _) = open(&disk);
    let streams = |spool: &mut _| {
        let mut streams: Vec<u8> = read_all(spool, Class::Security)
            .iter()
            .map(|r| r.stream[0])
            .collect();
        streams.dedup();
        streams
    };
    assert_eq!(streams(&mut spool), [7, 3, 5]);
    spool.ack([3; 16], Class::Security, 10).unwrap();
    assert_eq!(streams(&mut spool), [7, 5]);
    spool.ack([7; 16], Class::Security, 19).unwrap();
    assert_eq!(read_all(&mut spool, Class::Security)[0].seq_first, 19);
}

#[test]
fn several_records_are_in_flight_and_a_rewind_starts_at_the_first_unacknowledged_one() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..30);
    let (first, _) = spool.next(Class::Bulk, None).unwrap().unwrap();
    let (second, record) = spool.next(Class::Bulk, Some(first)).unwrap().unwrap();
    assert_eq!(record.seq_first, 1);
    spool.ack([1; 16], Class::Bulk, 1).unwrap();
    assert_eq!(
        spool
            .next(Class::Bulk, Some(second))
            .unwrap()
            .unwrap()
            .1
            .seq_first,
        2
    );
    assert_eq!(
        spool.next(Class::Bulk, None).unwrap().unwrap().1.seq_first,
        1
    );
    spool.ack([1; 16], Class::Bulk, 25).unwrap();
    assert_eq!(
        spool
            .next(Class::Bulk, Some(second))
            .unwrap()
            .unwrap()
            .1
            .seq_first,
        25
    );
}

#[test]
fn a_reader_at_the_end_goes_on_when_more_is_synced() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..1);
    let (position, _) = spool.next(Class::Bulk, None).unwrap().unwrap();
    spool.ack([1; 16], Class::Bulk, 1).unwrap();
    assert_eq!(spool.next(Class::Bulk, Some(position)).unwrap(), None);
    fill(&mut spool, 1, Class::Bulk, 1..40);
    let (_, record) = spool.next(Class::Bulk, Some(position)).unwrap().unwrap();
    assert_eq!(record.seq_first, 1);
}

#[test]
fn segments_go_once_everything_in_them_is_acknowledged() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..200);
    let before = disk.segments().len();
    spool.ack([1; 16], Class::Bulk, 100).unwrap();
    let half = disk.segments().len();
    spool.ack([1; 16], Class::Bulk, 200).unwrap();
    assert!(
        half < before && disk.segments().len() <= 1,
        "{before} {half}"
    );
    assert_eq!(spool.status().lines[0].spooled, 0);
}

#[test]
fn an_ack_inside_a_record_does_not_cover_it() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(record(1, Class::Alert, 0, 10, 5)).unwrap();
    spool.sync().unwrap();
    spool.ack([1; 16], Class::Alert, 9).unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), [0]);
    assert_eq!(spool.status().lines[0].spooled, 1);
}

#[test]
fn an_ack_never_reaches_past_what_was_synced_or_backwards() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..3);
    spool.ack([1; 16], Class::Alert, u64::MAX).unwrap();
    spool.ack([1; 16], Class::Alert, 1).unwrap();
    spool.ack([9; 16], Class::Alert, 5).unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), []);
    fill(&mut spool, 1, Class::Alert, 3..5);
    assert_eq!(seqs(&mut spool, Class::Alert), [3, 4]);
}

#[test]
fn what_was_acknowledged_before_a_clean_end_does_not_come_again() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..30);
    spool.ack([1; 16], Class::Bulk, 17).unwrap();
    spool.save_cursor().unwrap();
    drop(spool);
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.records, recovery.events), (13, 13));
    assert_eq!(seqs(&mut spool, Class::Bulk), (17..30).collect::<Vec<_>>());
}

#[test]
fn numbers_that_do_not_follow_are_refused() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..3);
    let again = spool.append(record(1, Class::Alert, 2, 1, 1));
    assert!(matches!(
        again,
        Err(SpoolError::OutOfOrder {
            expected: 3,
            got: 2,
            ..
        })
    ));
    let empty = spool.append(record(1, Class::Alert, 3, 0, 1));
    assert!(matches!(empty, Err(SpoolError::BadRange { .. })));
    let past = spool.append(record(1, Class::Alert, u64::MAX, 2, 1));
    assert!(matches!(past, Err(SpoolError::BadRange { .. })));
    spool.append(record(2, Class::Alert, 0, 1, 1)).unwrap();
    let ended = spool.append(record(1, Class::Alert, 3, 1, 1));
    assert!(matches!(ended, Err(SpoolError::StreamEnded)));
    spool.append(record(2, Class::Alert, 10, 1, 1)).unwrap();
}

#[test]
fn a_record_beyond_the_largest_is_refused_and_one_larger_than_a_segment_is_not() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    let huge = spool.append(record(1, Class::Bulk, 0, 1, 600 << 10));
    assert!(matches!(huge, Err(SpoolError::TooLarge { .. })));
    spool
        .append(record(1, Class::Bulk, 0, 1, 100 << 10))
        .unwrap();
    spool.append(record(1, Class::Bulk, 1, 1, 10)).unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1]);
}

#[test]
fn the_status_counts_records_and_numbers_synced_or_not() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    spool.append(record(1, Class::Security, 0, 5, 100)).unwrap();
    spool.append(record(1, Class::Security, 5, 5, 100)).unwrap();
    spool.sync().unwrap();
    spool
        .append(record(1, Class::Security, 10, 5, 100))
        .unwrap();
    spool.ack([1; 16], Class::Security, 5).unwrap();
    let status = spool.status();
    let class = status
        .classes
        .iter()
        .find(|c| c.class == Class::Security)
        .unwrap();
    assert_eq!((class.records, class.events), (2, 10));
    let line = status.lines[0];
    assert_eq!((line.durable_seq, line.next_seq, line.spooled), (5, 15, 10));
    assert_eq!(status.oldest.unwrap().seq_first, 5);
    assert!(status.pending_bytes > 0 && status.bytes > status.pending_bytes);
}

#[test]
fn the_last_record_of_a_class_tells_where_its_chain_stands() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    assert_eq!(spool.last(Class::Bulk).unwrap(), None);
    fill(&mut spool, 1, Class::Bulk, 0..40);
    drop(spool);
    let (mut spool, _) = open(&disk);
    assert_eq!(spool.last(Class::Bulk).unwrap().unwrap().seq_first, 39);
}

#[test]
fn a_group_of_many_records_costs_one_sync_per_class() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..1);
    disk.world().syncs = 0;
    fill(&mut spool, 1, Class::Alert, 1..8);
    assert_eq!(disk.world().syncs, 1);
    spool.sync().unwrap();
    assert_eq!(disk.world().syncs, 1);
}
