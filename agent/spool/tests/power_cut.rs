//! What a power cut may take, and what it may not.
//!
//! The model test runs a spool beside a list of what it was given, over a disk that fails and loses
//! power at any moment. It holds that what was synced and not acknowledged is there, unaltered and
//! in order; that what was acknowledged and saved does not come again; and that nothing comes that
//! was never appended.

use std::collections::BTreeMap;

use picket_spool::{Class, LossReason, Record, Recovery, Spool};
use proptest::prelude::*;

use crate::fake::{Cut, FakeDisk, cases, fill, open, read_all, record, seqs};

#[test]
fn synced_records_survive_and_unsynced_ones_go() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Alert, 0..5);
    spool.append(record(1, Class::Alert, 5, 1, 300)).unwrap();
    disk.power_cut(Cut::LosesAll);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(seqs(&mut spool, Class::Alert), [0, 1, 2, 3, 4]);
    assert_eq!(
        recovery,
        Recovery {
            records: 5,
            events: 5,
            ..Recovery::default()
        }
    );
}

#[test]
fn a_torn_record_is_left_out_and_said_to_be_torn() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..3);
    let (name, whole) = (disk.segments()[0].clone(), disk.bytes());
    fill(&mut spool, 1, Class::Bulk, 3..4);
    for cut in whole + 1..disk.bytes() {
        let torn = FakeDisk::default();
        let file = disk.world().files[&name].clone();
        torn.world().files.insert(name.clone(), file);
        torn.world()
            .files
            .values_mut()
            .for_each(|file| file.data.truncate(cut));
        let (mut spool, recovery) = open(&torn);
        assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2]);
        assert_eq!(recovery.torn_bytes, (cut - whole) as u64);
        assert_eq!(
            (recovery.lost[0].seq_first, recovery.lost[0].count),
            (3, None)
        );
        assert_eq!(recovery.lost[0].reason, LossReason::Torn);
    }
}

#[test]
fn a_torn_end_is_reported_until_it_is_settled_and_new_records_follow_it() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..4);
    disk.world()
        .files
        .values_mut()
        .for_each(|file| file.data.truncate(file.data.len() - 1));
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.lost.len(), 1);
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery.lost.len(), 1);
    fill(&mut spool, 2, Class::Bulk, 0..2);
    spool.settle_losses().unwrap();
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.lost.len(), recovery.torn_bytes), (0, 0));
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2, 0, 1]);
}

#[test]
fn a_segment_whose_first_write_was_torn_leaves_nothing_behind() {
    for len in 0..40 {
        let disk = FakeDisk::default();
        let (mut spool, _) = open(&disk);
        fill(&mut spool, 1, Class::Bulk, 0..1);
        disk.world()
            .files
            .values_mut()
            .for_each(|file| file.data.truncate(len));
        let (mut spool, recovery) = open(&disk);
        assert_eq!((recovery.unreadable.len(), disk.segments().len()), (0, 0));
        fill(&mut spool, 1, Class::Bulk, 0..1);
        assert_eq!(seqs(&mut spool, Class::Bulk), [0]);
    }
}

#[test]
fn a_half_made_replacement_is_removed_and_its_original_counts() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..2);
    let name = disk.segments()[0].clone();
    let half = disk.world().files[&name].clone();
    disk.world()
        .files
        .insert(format!("{name}.new"), half.clone());
    disk.world()
        .files
        .insert("cursor.new".to_owned(), half.clone());
    disk.world().files.insert("notes.new".to_owned(), half);
    let (mut spool, _) = open(&disk);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1]);
    let left: Vec<_> = disk.world().files.keys().cloned().collect();
    assert_eq!(
        left,
        ["notes.new", &name],
        "only our own half-made files go"
    );
}

#[test]
fn without_the_cursor_records_come_again_and_none_is_lost() {
    let disk = FakeDisk::default();
    let (mut spool, _) = open(&disk);
    fill(&mut spool, 1, Class::Bulk, 0..5);
    spool.ack([1; 16], Class::Bulk, 3).unwrap();
    spool.save_cursor().unwrap();
    disk.world().files.remove("cursor").unwrap();
    let (mut spool, recovery) = open(&disk);
    assert!(!recovery.cursor_lost);
    assert_eq!(seqs(&mut spool, Class::Bulk), [0, 1, 2, 3, 4]);
}

proptest! {
    #![proptest_config(cases(500))]
    #[test]
    fn nothing_synced_and_unacknowledged_is_ever_lost(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
        }
        model.end();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        class: Class,
        count: u64,
        len: usize,
    },
    Sync,
    Ack {
        class: Class,
        part: u8,
    },
    SaveCursor,
    Settle,
    NewStream,
    PowerCut(Cut),
    Restart,
    Break(Fault),
    Mend,
    Check(Class),
}

#[derive(Clone, Debug)]
enum Fault {
    After {
        calls: u32,
        stays: bool,
    },
    Sync,
    Rename,
    ReadOnly,
    Full {
        room: usize,
    },
    /// From now on it does, or does not, set space aside.
    Reserves(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let class = || prop::sample::select(Class::ALL.to_vec());
    let cut = prop_oneof![
        Just(Cut::LosesAll),
        Just(Cut::KeepsAll),
        any::<u8>().prop_map(Cut::Tears),
        any::<u8>().prop_map(Cut::Holes),
    ];
    let fault = prop_oneof![
        (0u32..6, any::<bool>()).prop_map(|(calls, stays)| Fault::After { calls, stays }),
        Just(Fault::Sync),
        Just(Fault::Rename),
        Just(Fault::ReadOnly),
        (0usize..3000).prop_map(|room| Fault::Full { room }),
        any::<bool>().prop_map(Fault::Reserves),
    ];
    prop_oneof![
        12 => (class(), 1u64..4, 0usize..1500)
            .prop_map(|(class, count, len)| Step::Append { class, count, len }),
        6 => Just(Step::Sync),
        4 => (class(), any::<u8>()).prop_map(|(class, part)| Step::Ack { class, part }),
        2 => Just(Step::SaveCursor),
        1 => Just(Step::Settle),
        1 => Just(Step::NewStream),
        3 => cut.prop_map(Step::PowerCut),
        1 => Just(Step::Restart),
        3 => fault.prop_map(Step::Break),
        3 => Just(Step::Mend),
        2 => class().prop_map(Step::Check),
    ]
}

/// What the spool was given.
struct Model {
    disk: FakeDisk,
    spool: Spool,
    stream: u8,
    lines: BTreeMap<(u8, Class), Line>,
    first_sectors_may_be_gone: bool,
}

#[derive(Default)]
struct Line {
    given: Vec<Given>,
    next: u64,
    acked: u64,
    ack_saved: u64,
}

struct Given {
    record: Record,
    synced: bool,
}

impl Given {
    fn end(&self) -> u64 {
        self.record.seq_first + self.record.count
    }
}

impl Model {
    fn new() -> Self {
        let disk = FakeDisk::default();
        let (spool, _) = open(&disk);
        Self {
            disk,
            spool,
            stream: 1,
            lines: BTreeMap::new(),
            first_sectors_may_be_gone: false,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append { class, count, len } => self.append(class, count, len),
            Step::Sync => self.sync(),
            Step::Ack { class, part } => self.ack(class, part),
            Step::SaveCursor => self.save_cursor(),
            Step::Settle => drop(self.spool.settle_losses()),
            Step::NewStream => self.stream += 1,
            Step::PowerCut(cut) => self.reopen(Some(cut)),
            Step::Restart => self.reopen(None),
            Step::Break(fault) => self.break_disk(&fault),
            Step::Mend => self.disk.mend(),
            Step::Check(class) => drop(self.check(class)),
        }
    }

    fn append(&mut self, class: Class, count: u64, len: usize) {
        let line = self.lines.entry((self.stream, class)).or_default();
        let record = record(self.stream, class, line.next, count, len);
        line.next += count;
        if self.spool.append(record.clone()).is_ok() {
            line.given.push(Given {
                record,
                synced: false,
            });
        }
    }

    fn sync(&mut self) {
        if self.spool.sync().is_ok() {
            let given = self.lines.values_mut().flat_map(|line| &mut line.given);
            given.for_each(|given| given.synced = true);
            for class in Class::ALL {
                self.check_counts(class);
            }
        }
    }

    /// Acknowledges a part of what can be read, in the first stream that has something.
    fn ack(&mut self, class: Class, part: u8) {
        let read = read_all(&mut self.spool, class);
        let Some(first) = read.first() else { return };
        let same: Vec<_> = read
            .iter()
            .filter(|record| record.stream == first.stream)
            .collect();
        let last = same[(same.len() - 1) * usize::from(part) / 255];
        let durable_seq = last.seq_first + last.count;
        // It may fail to save or to delete, but it counts.
        drop(self.spool.ack(first.stream, class, durable_seq));
        self.lines.get_mut(&(first.stream[0], class)).unwrap().acked = durable_seq;
    }

    fn save_cursor(&mut self) {
        if self.spool.save_cursor().is_ok() {
            self.lines
                .values_mut()
                .for_each(|line| line.ack_saved = line.acked);
        }
    }

    fn reopen(&mut self, cut: Option<Cut>) {
        match cut {
            Some(cut) => self.disk.power_cut(cut),
            None => self.disk.restart(),
        }
        let (spool, recovery) = open(&self.disk);
        self.spool = spool;
        assert!(!recovery.unconfirmed && !recovery.cursor_lost);
        self.first_sectors_may_be_gone |= matches!(cut, Some(Cut::Holes(_)));
        assert!(recovery.unreadable.is_empty() || self.first_sectors_may_be_gone);
        self.check_losses(&recovery);
        for class in Class::ALL {
            self.adopt(class);
            self.check_counts(class);
        }
    }

    /// After an `open` the model takes over what came back of that which was never confirmed.
    fn adopt(&mut self, class: Class) {
        let read = self.check(class);
        for ((stream, _), line) in self.lines.iter_mut().filter(|(key, _)| key.1 == class) {
            let mine = read.iter().filter(|record| record.stream[0] == *stream);
            let first = mine.clone().map(|record| record.seq_first).next();
            let seqs: Vec<_> = mine.map(|record| record.seq_first).collect();
            line.given
                .retain(|given| given.synced || seqs.contains(&given.record.seq_first));
            line.given.iter_mut().for_each(|given| given.synced = true);
            // An ack may have been saved, or its segment deleted, before the model was told.
            let lowest = line
                .given
                .iter()
                .filter(|given| Some(given.record.seq_first) >= first);
            let lowest = lowest.map(|given| given.record.seq_first).next();
            line.acked = lowest.filter(|_| first.is_some()).unwrap_or(line.next);
        }
    }

    fn check_losses(&self, recovery: &Recovery) {
        for lost in &recovery.lost {
            let end = lost.count.map_or(u64::MAX, |count| lost.seq_first + count);
            let line = &self.lines[&(lost.stream[0], lost.class)];
            for given in line
                .given
                .iter()
                .filter(|g| g.synced && g.end() > line.acked)
            {
                let apart = given.end() <= lost.seq_first || end <= given.record.seq_first;
                assert!(apart, "{lost:?} was synced: {:?}", given.record.seq_first);
            }
        }
    }

    fn check_counts(&mut self, class: Class) {
        let read = self.check(class);
        let status = self.spool.status();
        let counted = status
            .classes
            .iter()
            .find(|status| status.class == class)
            .unwrap();
        let events: u64 = read.iter().map(|record| record.count).sum();
        assert_eq!(
            (counted.records, counted.events),
            (read.len() as u64, events)
        );
    }

    fn check(&mut self, class: Class) -> Vec<Record> {
        let read = read_all(&mut self.spool, class);
        let order: Vec<_> = read
            .iter()
            .map(|record| (record.stream[0], record.seq_first))
            .collect();
        assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
        for record in &read {
            let line = &self.lines[&(record.stream[0], class)];
            let given = line
                .given
                .iter()
                .find(|given| given.record.seq_first == record.seq_first);
            let given = given.expect("what comes was appended");
            assert_eq!(&given.record, record);
            assert!(given.end() > line.ack_saved, "came again: {order:?}");
        }
        for ((stream, _), line) in self.lines.iter().filter(|(key, _)| key.1 == class) {
            for given in line
                .given
                .iter()
                .filter(|g| g.synced && g.end() > self.told(*stream, class))
            {
                let here = order.contains(&(*stream, given.record.seq_first));
                assert!(
                    here,
                    "lost {stream} {class:?} {}: {order:?}",
                    given.record.seq_first
                );
            }
        }
        read
    }

    /// The highest ack ever given: what is below may go at any time.
    fn told(&self, stream: u8, class: Class) -> u64 {
        self.lines[&(stream, class)].acked
    }

    fn break_disk(&mut self, fault: &Fault) {
        let room = self.disk.bytes();
        let mut world = self.disk.world();
        match *fault {
            Fault::After { calls, stays } => {
                (world.fail_after, world.stays_failed) = (Some(calls), stays);
            }
            Fault::Sync => world.fail_next_sync = true,
            Fault::Rename => world.fail_after_rename = true,
            Fault::ReadOnly => world.read_only = true,
            Fault::Full { room: more } => world.capacity = Some(room + more),
            Fault::Reserves(does) => world.reserves = does,
        }
    }

    /// A disk that works again is used again, and everything taken becomes durable.
    fn end(&mut self) {
        self.disk.mend();
        self.spool.sync().unwrap();
        self.sync();
        self.reopen(Some(Cut::LosesAll));
    }
}
