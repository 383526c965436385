//! Records of one serial are one event, however they lie in the log.
//!
//! # Invariants
//!
//! - Events come out in the order in which their first records stand in the log.
//! - An event is complete with its `EOE`, with a record of a kind that stands alone, after
//!   [`PATIENCE`] further records, or at the end. At most [`MOST_OPEN`] wait, each with at most
//!   [`MOST_BYTES`]; beyond, the oldest goes on as it is.

use std::collections::VecDeque;

use picket_event::Text;

use super::record::AuditRecord;

/// The events that are not complete.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    open: VecDeque<Group>,
    arrived: u64,
}

#[derive(Debug)]
struct Group {
    serial: u64,
    millis: u64,
    node: Text,
    records: Vec<AuditRecord>,
    bytes: usize,
    last: u64,
    complete: bool,
}

impl Assembly {
    /// Takes the next record of the log.
    pub(super) fn accept(&mut self, record: AuditRecord) {
        self.arrived = self.arrived.saturating_add(1);
        let arrived = self.arrived;
        for group in &mut self.open {
            group.complete |= arrived.saturating_sub(group.last) > PATIENCE;
        }
        let ends = record.kind == "EOE";
        let of_event = |group: &&mut Group| {
            group.serial == record.stamp.serial
                && group.millis == record.stamp.millis
                && group.node == record.node
                && !group.complete
        };
        match self.open.iter_mut().rev().find(of_event) {
            Some(group) => group.take(record, arrived),
            None if ends => {}
            None => self.open.push_back(Group::new(record, arrived)),
        }
        if self.open.len() > MOST_OPEN
            && let Some(oldest) = self.open.front_mut()
        {
            oldest.complete = true;
        }
    }

    /// The next event that is complete.
    pub(super) fn next(&mut self) -> Option<Vec<AuditRecord>> {
        let is_complete = self.open.front().is_some_and(|group| group.complete);
        is_complete.then(|| self.open.pop_front().map(|group| group.records))?
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        for group in &mut self.open {
            group.complete = true;
        }
    }
}

impl Group {
    fn new(record: AuditRecord, arrived: u64) -> Self {
        let mut group = Self {
            serial: record.stamp.serial,
            millis: record.stamp.millis,
            node: record.node.clone(),
            records: Vec::new(),
            bytes: 0,
            last: arrived,
            complete: stands_alone(&record.kind),
        };
        group.take(record, arrived);
        group
    }

    fn take(&mut self, record: AuditRecord, arrived: u64) {
        self.last = arrived;
        self.bytes = self.bytes.saturating_add(record.line.as_bytes().len());
        self.complete |= record.kind == "EOE" || self.bytes > MOST_BYTES;
        if record.kind != "EOE" {
            self.records.push(record);
        }
    }
}

/// What programs report comes in one record; what the kernel tells of a system call in several.
fn stands_alone(kind: &str) -> bool {
    ALONE.iter().any(|prefix| kind.starts_with(prefix))
}

const ALONE: [&str; 12] = [
    "USER_", "CRED_", "ADD_", "DEL_", "GRP_", "CRYPTO_", "SYSTEM_", "SERVICE_", "DAEMON_", "ACCT_",
    "ROLE_", "USYS_",
];
const PATIENCE: u64 = 64;
const MOST_OPEN: usize = 256;
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(log: &str) -> Vec<String> {
        let mut assembly = Assembly::default();
        let mut found = Vec::new();
        let mut take = |assembly: &mut Assembly| {
            while let Some(records) = assembly.next() {
                let kinds: Vec<String> = records.into_iter().map(|record| record.kind).collect();
                found.push(kinds.join("+"));
            }
        };
        for line in log.lines() {
            assembly.accept(AuditRecord::parse(line.as_bytes()).unwrap());
            take(&mut assembly);
        }
        assembly.end();
        take(&mut assembly);
        found
    }

    #[test]
    fn interleaved_records_are_told_apart_and_one_that_stands_alone_waits_its_turn() {
        let log = "type=SYSCALL msg=audit(1.000:1): a=b\ntype=SYSCALL msg=audit(1.000:2): a=b\n\
                   type=EXECVE msg=audit(1.000:1): a0=\"x\"\ntype=USER_CMD msg=audit(1.000:3): pid=1\n\
                   type=PATH msg=audit(1.000:2): a=b\ntype=EOE msg=audit(1.000:1):\ntype=CWD msg=audit(2.000:2): a=b\n";
        assert_eq!(
            groups(log),
            ["SYSCALL+EXECVE", "SYSCALL+PATH", "USER_CMD", "CWD"]
        );
    }

    #[test]
    fn what_never_ends_goes_on_after_a_while() {
        let mut log = "type=SYSCALL msg=audit(1.000:1): a=b\n".to_owned();
        for serial in 2..200 {
            log.push_str("type=PATH msg=audit(1.000:");
            log.push_str(&serial.to_string());
            log.push_str("): a=b\n");
        }
        log.push_str("type=CWD msg=audit(1.000:1): a=b\n");
        assert_eq!(groups(&log).len(), 200);
    }
}
