//! Bytes that change on disk cost the records they are in, and nothing is lost in silence.

use picket_spool::{Class, LossReason, Lost, Spool};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fake::{FakeDisk, FakeFile, cases, fill, open, record, seqs};

const HEADER: usize = 40;

/// A spool of single-number BULK records 0..n in one stream, closed.
fn filled(n: u64) -> FakeDisk {
    let disk = FakeDisk::default();
    fill(&mut open(&disk).0, 1, Class::Bulk, 0..n);
    disk
}

/// Where the record `n` of the first segment begins.
fn offset(n: u64) -> usize {
    let len = |seq| {
        let record = record(1, Class::Bulk, seq, 1, 300);
        8 + 106 + record.header.len() + record.extra.len() + record.payload.len()
    };
    HEADER + (0..n).map(len).sum::<usize>()
}

fn lost(seq_first: u64, count: Option<u64>, reason: LossReason) -> Lost {
    Lost {
        stream: [1; 16],
        class: Class::Bulk,
        seq_first,
        count,
        reason,
    }
}

#[test]
fn a_flipped_record_is_skipped_and_named() {
    let disk = filled(5);
    disk.flip(&disk.segments()[0], (offset(2) + 150) * 8);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 3, 4]);
    assert_eq!(recovery.lost, [lost(2, Some(1), LossReason::Corrupt)]);
    assert_eq!(recovery.corrupt_bytes, (offset(3) - offset(2)) as u64);
    assert_eq!((recovery.records, recovery.torn_bytes), (4, 0));
}

#[test]
fn a_flipped_length_does_not_cost_the_records_behind_it() {
    for bit in 0..32 {
        let disk = filled(5);
        disk.flip(&disk.segments()[0], offset(1) * 8 + bit);
        let (mut spool, recovery) = open(&disk);
        assert_eq!(seqs(&mut spool, Class::Bulk), [0, 2, 3, 4], "bit {bit}");
        assert_eq!(
            recovery.lost,
            [lost(1, Some(1), LossReason::Corrupt)],
            "bit {bit}"
        );
    }
}

#[test]
fn a_flip_in_the_last_record_has_no_known_count() {
    let disk = filled(3);
    disk.flip(&disk.segments()[0], (offset(2) + 200) * 8);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1]);
    assert_eq!(recovery.lost, [lost(2, None, LossReason::Corrupt)]);
}

#[test]
fn a_flip_at_the_end_of_a_segment_is_counted_from_the_next_one() {
    let disk = filled(40);
    let first = disk.segments()[0].clone();
    let end = disk.world().files[&first].data.len();
    disk.flip(&first, (end - 1) * 8);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery.lost.len(), 1);
    let last = recovery.lost[0].seq_first;
    assert_eq!(recovery.lost, [lost(last, Some(1), LossReason::Corrupt)]);
    let expected: Vec<_> = (0..40).filter(|seq| *seq != last).collect();
    assert_eq!(seqs(&mut spool, Class::Bulk), expected);
}

#[test]
fn a_damaged_segment_header_costs_no_record() {
    for bit in 0..HEADER * 8 {
        let disk = filled(3);
        disk.flip(&disk.segments()[0], bit);
        let (mut spool, recovery) = open(&disk);
        assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2], "bit {bit}");
        assert_eq!(recovery.lost, [], "bit {bit}");
    }
}

#[test]
fn a_segment_of_garbage_is_named_and_its_neighbours_tell_what_it_held() {
    let disk = filled(40);
    let second = disk.segments()[1].clone();
    disk.world().files.get_mut(&second).unwrap().data.fill(0xa5);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery.unreadable, std::slice::from_ref(&second));
    let Lost {
        seq_first,
        count: Some(count),
        ..
    } = recovery.lost[0]
    else {
        panic!("a count")
    };
    let gone = seq_first..seq_first + count;
    let expected: Vec<_> = (0..40).filter(|seq| !gone.contains(seq)).collect();
    assert_eq!(seqs(&mut spool, Class::Bulk), expected);
    spool.settle_losses().unwrap();
    assert!(!disk.segments().contains(&second));
}

#[test]
fn a_segment_of_a_newer_version_is_left_as_it_is() {
    let disk = filled(3);
    let name = disk.segments()[0].clone();
    {
        let mut world = disk.world();
        let data = &mut world.files.get_mut(&name).unwrap().data;
        data[8] = 2;
        let crc = crc32c::crc32c(&data[..36]).to_le_bytes();
        data[36..40].copy_from_slice(&crc);
    }
    let (mut spool, recovery) = open(&disk);
    assert_eq!(
        (recovery.records, &recovery.unreadable[..]),
        (0, &[name.clone()][..])
    );
    spool.settle_losses().unwrap();
    fill(&mut spool, 2, Class::Bulk, 0..1);
    assert!(disk.segments().contains(&name));
    assert_eq!(seqs(&mut spool, Class::Bulk), [0]);
}

#[test]
fn a_loss_is_reported_again_until_it_is_settled() {
    let disk = filled(5);
    disk.flip(&disk.segments()[0], (offset(2) + 150) * 8);
    for _ in 0..2 {
        assert_eq!(open(&disk).1.lost.len(), 1);
    }
    let (mut spool, _) = open(&disk);
    spool.settle_losses().unwrap();
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 3, 4]);
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.lost.len(), recovery.corrupt_bytes), (0, 0));
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 3, 4]);
}

#[test]
fn damage_that_comes_while_running_is_skipped_and_reported_once() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..40);
    let (first, _) = spool.next(Class::Bulk, None).unwrap().unwrap();
    disk.flip(&disk.segments()[0], (offset(1) + 150) * 8);
    let (_, record) = spool.next(Class::Bulk, Some(first)).unwrap().unwrap();
    assert_eq!(record.seq_first, 2);
    assert_eq!(spool.take_lost(), [lost(1, Some(1), LossReason::Corrupt)]);
    assert_eq!(seqs(&mut spool, Class::Bulk).len(), 39);
    assert_eq!(spool.take_lost(), []);
    assert_eq!(spool.status().lines[0].spooled, 39);
}

#[test]
fn losses_that_were_not_taken_are_not_settled() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..5);
    disk.flip(&disk.segments()[0], (offset(1) + 150) * 8);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 2, 3, 4]);
    spool.settle_losses().unwrap();
    assert_eq!(open(&disk).1.lost.len(), 1);
}

#[test]
fn a_damaged_cursor_means_resending() {
    let disk = filled(5);
    let (mut spool, _) = open(&disk);
    spool.ack([1; 16], Class::Bulk, 4).unwrap();
    spool.save_cursor().unwrap();
    disk.flip("cursor", 100);
    let (mut spool, recovery) = open(&disk);
    assert!(recovery.cursor_lost);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2, 3, 4]);
}

#[test]
fn what_was_acknowledged_is_not_reported_lost() {
    let disk = filled(5);
    let (mut spool, _) = open(&disk);
    spool.ack([1; 16], Class::Bulk, 3).unwrap();
    spool.save_cursor().unwrap();
    disk.flip(&disk.segments()[0], (offset(1) + 150) * 8);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery.lost, []);
    assert_eq!(seqs(&mut spool, Class::Bulk), [3, 4]);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let disk = filled(2);
    for name in [
        "notes",
        "segment-1.log",
        "segment-ffffffffffffffff.log",
        "segment-zz.log",
    ] {
        disk.world()
            .files
            .insert(name.to_owned(), FakeFile::default());
    }
    let (mut spool, recovery) = open(&disk);
    fill(&mut spool, 2, Class::Bulk, 0..2);
    assert_eq!(
        (recovery.unreadable.len(), disk.world().files.len()),
        (0, 6)
    );
}

proptest! {
    #![proptest_config(cases(300))]
    #[test]
    fn every_number_is_readable_or_reported(
        groups in prop::collection::vec((1u64..4, 0usize..900), 1..40),
        flips in prop::collection::vec((any::<Index>(), any::<Index>()), 1..6),
        while_open: bool,
    ) {
        let disk = FakeDisk::default();
        let (mut spool, _) = open(&disk);
        let mut next = 0;
        for (count, len) in groups {
            spool.append(record(1, Class::Bulk, next, count, len)).unwrap();
            spool.sync().unwrap();
            next += count;
        }
        for (file, bit) in flips {
            let name = file.get(&disk.segments()).clone();
            let len = disk.world().files[&name].data.len();
            disk.flip(&name, bit.index(len * 8));
        }
        let mut reported = Vec::new();
        let mut blind = false;
        if !while_open {
            let (reopened, recovery) = open(&disk);
            spool = reopened;
            blind = !recovery.unreadable.is_empty();
            reported = recovery.lost;
        }
        let read = numbers(&mut spool);
        reported.extend(spool.take_lost());
        for seq in 0..next {
            let named = reported.iter().filter(|lost| covers(lost, seq));
            let exactly = named.clone().filter(|lost| lost.count.is_some()).count();
            let here = read.contains(&seq);
            prop_assert!(here || named.count() > 0 || blind, "{} is gone: {:?}", seq, reported);
            prop_assert!(exactly <= usize::from(!here), "{} is here: {:?}", seq, reported);
        }
        spool.settle_losses().unwrap();
        let (mut spool, recovery) = open(&disk);
        prop_assert_eq!(recovery.lost, []);
        prop_assert_eq!(numbers(&mut spool), read);
    }

    #[test]
    fn any_bytes_in_any_file_open_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        cursor in prop::collection::vec(any::<u8>(), 0..200),
        at in 0usize..2000,
    ) {
        let disk = filled(8);
        {
            let mut world = disk.world();
            let file = world.files.values_mut().next().unwrap();
            let at = at.min(file.data.len());
            file.data.splice(at.., bytes);
            world.files.entry("cursor".to_owned()).or_default().data = cursor;
        }
        let (mut spool, _) = open(&disk);
        seqs(&mut spool, Class::Bulk);
        spool.settle_losses().unwrap();
        fill(&mut spool, 2, Class::Bulk, 0..1);
    }
}

fn numbers(spool: &mut Spool) -> Vec<u64> {
    let records = crate::fake::read_all(spool, Class::Bulk);
    records
        .iter()
        .flat_map(|record| record.seq_first..record.seq_first + record.count)
        .collect()
}

fn covers(lost: &Lost, seq: u64) -> bool {
    seq >= lost.seq_first && lost.count.is_none_or(|count| seq < lost.seq_first + count)
}
