//! A disk that is full, read-only or broken: calls fail, the spool stays usable, nothing
//! half-written is seen.

use picket_spool::{Class, SpoolError};

use crate::fake::{Cut, FakeDisk, LIMITS, fill, open, read_all, record, seqs};

#[test]
fn a_full_disk_fails_the_sync_and_the_records_wait_for_room() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..3);
    disk.world().capacity = Some(disk.bytes() + 100);
    spool.append(record(1, Class::Alert, 3, 1, 300)).unwrap();
    assert!(matches!(
        spool.sync(),
        Err(SpoolError::Io {
            operation: "write",
            ..
        })
    ));
    assert_eq!(seqs(&mut spool, Class::Alert), [0, 1, 2]);
    assert_eq!(
        disk.bytes(),
        disk.world()
            .files
            .values()
            .map(|f| f.data.len())
            .sum::<usize>()
    );
    disk.mend();
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), [0, 1, 2, 3]);
    disk.power_cut(Cut::LosesAll);
    assert_eq!(seqs(&mut open(&disk).0, Class::Alert), [0, 1, 2, 3]);
}

#[test]
fn what_was_set_aside_is_there_when_others_fill_the_disk_and_goes_to_what_is_worth_more() {
    let disk = FakeDisk::default();
    disk.world().reserves = true;
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..2);
    // Others took everything but what was set aside.
    disk.world().capacity = Some(LIMITS.segment_bytes.try_into().unwrap());
    fill(&mut spool, 1, Class::Bulk, 2..5);
    spool.append(record(1, Class::Alert, 0, 1, 300)).unwrap();
    assert!(
        spool.sync().is_err(),
        "nothing is left for a second segment"
    );
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), [0]);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2, 3, 4]);
    // The next segment needs none of the one before, nor does a spool that was opened anew.
    disk.mend();
    fill(&mut spool, 1, Class::Bulk, 5..30);
    let set_aside = || {
        let world = disk.world();
        let files = world.files.values();
        files.filter(|file| file.reserved > file.data.len()).count()
    };
    assert!(set_aside() <= 1, "{}", set_aside());
    drop(spool);
    drop(open(&disk));
    assert_eq!(set_aside(), 0);
}

#[test]
fn append_refuses_once_its_buffer_is_full_and_takes_again_when_the_disk_is_back() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    disk.world().read_only = true;
    let mut taken = 0;
    while spool.append(record(1, Class::Bulk, taken, 1, 300)).is_ok() {
        taken += 1;
    }
    assert!((2..20).contains(&taken), "{taken}");
    assert_eq!(spool.next(Class::Bulk, None).unwrap(), None);
    disk.mend();
    spool.append(record(1, Class::Bulk, taken, 1, 300)).unwrap();
    spool.sync().unwrap();
    assert_eq!(
        seqs(&mut spool, Class::Bulk),
        (0..=taken).collect::<Vec<_>>()
    );
}

#[test]
fn a_spool_on_a_read_only_disk_opens_and_can_be_sent() {
    let disk = FakeDisk::default();
    fill(&mut open(&disk).0, 1, Class::Bulk, 0..20);
    disk.world().read_only = true;
    let (mut spool, recovery) = open(&disk);
    assert!(recovery.unconfirmed);
    assert_eq!(seqs(&mut spool, Class::Bulk).len(), 20);
    assert!(spool.ack([1; 16], Class::Bulk, 20).is_err());
    assert_eq!(
        seqs(&mut spool, Class::Bulk),
        [],
        "the ack counts although nothing can be deleted"
    );
    disk.mend();
    spool.ack([1; 16], Class::Bulk, 20).unwrap();
    assert_eq!(disk.segments().len(), 0);
}

#[test]
fn a_failed_sync_is_not_trusted_and_the_group_is_written_anew() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..2);
    spool.append(record(1, Class::Alert, 2, 1, 300)).unwrap();
    disk.world().fail_next_sync = true;
    assert!(matches!(
        spool.sync(),
        Err(SpoolError::Io {
            operation: "sync",
            ..
        })
    ));
    assert_eq!(seqs(&mut spool, Class::Alert), [0, 1]);
    spool.sync().unwrap();
    disk.power_cut(Cut::LosesAll);
    assert_eq!(seqs(&mut open(&disk).0, Class::Alert), [0, 1, 2]);
}

#[test]
fn wherever_the_disk_fails_nothing_half_written_is_seen_and_nothing_is_doubled() {
    for (calls, stays) in (0..12).flat_map(|calls| [(calls, false), (calls, true)]) {
        let disk = FakeDisk::default();
        let (mut spool, _) = open(&disk);
        fill(&mut spool, 1, Class::Security, 0..2);
        let mut given = vec![0, 1];
        disk.world().fail_after = Some(calls);
        disk.world().stays_failed = stays;
        for seq in 2..40 {
            if spool
                .append(record(1, Class::Security, seq, 1, 300))
                .is_ok()
            {
                given.push(seq);
            }
            let complete = spool.sync().is_ok();
            let read = seqs(&mut spool, Class::Security);
            assert!(
                given.starts_with(&read) && (!complete || read == given),
                "after {calls}"
            );
        }
        disk.mend();
        spool.sync().unwrap();
        assert_eq!(seqs(&mut spool, Class::Security), given, "after {calls}");
        disk.power_cut(Cut::LosesAll);
        let (mut spool, recovery) = open(&disk);
        assert_eq!(seqs(&mut spool, Class::Security), given, "after {calls}");
        assert_eq!(recovery.lost, [], "after {calls}");
    }
}

#[test]
fn one_class_that_cannot_be_written_does_not_keep_the_others_from_disk() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..1);
    spool.append(record(1, Class::Alert, 0, 1, 300)).unwrap();
    spool.append(record(1, Class::Bulk, 1, 1, 300)).unwrap();
    // Alert needs a new file, which fails; bulk has its own already.
    disk.world().fail_after = Some(0);
    assert!(spool.sync().is_err());
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1]);
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool, Class::Alert), [0]);
}

#[test]
fn what_a_failed_write_left_is_removed_when_the_disk_lets_us() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..2);
    let good = disk.bytes();
    spool.append(record(1, Class::Bulk, 2, 1, 300)).unwrap();
    disk.world().fail_after = Some(0);
    disk.world().stays_failed = true;
    assert!(spool.sync().is_err());
    assert!(disk.bytes() > good);
    disk.mend();
    spool.sync().unwrap();
    let copies = disk.bytes() - good;
    spool.ack([1; 16], Class::Bulk, 3).unwrap();
    assert!(copies < 500 + 40, "{copies}");
}

#[test]
fn a_bad_sector_costs_what_stands_in_it() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    for seq in 0..40 {
        spool
            .append(record(1, Class::Bulk, seq, 1, 20_000))
            .unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    disk.world().unreadable = Some(8192..8300);
    let (mut spool, recovery) = open(&disk);
    // Each segment holds one record here, and the zeros that stand in for the sector fit the first.
    assert_eq!(seqs(&mut spool, Class::Bulk), [0]);
    assert_eq!(recovery.records, 1);
    assert!(recovery.corrupt_bytes > 0);
    disk.mend();
    assert_eq!(
        seqs(&mut open(&disk).0, Class::Bulk).len(),
        40,
        "nothing was thrown away"
    );
}

#[test]
fn a_read_that_fails_once_is_an_error_and_no_loss() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..5);
    disk.world().unreadable = Some(0..u64::MAX);
    assert!(matches!(
        spool.next(Class::Bulk, None),
        Err(SpoolError::Io {
            operation: "read",
            ..
        })
    ));
    disk.mend();
    assert_eq!(seqs(&mut spool, Class::Bulk).len(), 5);
    assert_eq!(spool.take_lost(), []);
}

#[test]
fn a_cursor_that_cannot_be_saved_costs_only_resending() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..5);
    spool.ack([1; 16], Class::Bulk, 2).unwrap();
    spool.save_cursor().unwrap();
    spool.ack([1; 16], Class::Bulk, 4).unwrap();
    for calls in 0..4 {
        disk.world().fail_after = Some(calls);
        assert!(spool.save_cursor().is_err(), "{calls}");
    }
    drop(spool);
    disk.power_cut(Cut::LosesAll);
    let (mut spool, recovery) = open(&disk);
    assert!(!recovery.cursor_lost);
    assert_eq!(seqs(&mut spool, Class::Bulk), [2, 3, 4]);
}

#[test]
fn errors_name_the_operation_and_the_file() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    disk.world().read_only = true;
    spool.append(record(1, Class::Bulk, 0, 1, 1)).unwrap();
    let error = spool.sync().unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create spool file `segment-0000000000000000.log`"
    );
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(read_all(&mut spool, Class::Bulk), []);
}
