//! From audit records to execs: records of one serial are one event.
//!
//! # Invariants
//!
//! - At most 256 events with 16 MiB of arguments wait for their end; beyond, the oldest is dropped and
//!   counted.
//! - An event keeps at most 256 KiB of arguments; then it says that it is cut.

use std::collections::BTreeMap;

use picket_event::Text;

use super::record::{Argument, Record, Stamp, Syscall};

/// An exec as audit tells it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditedExec {
    /// Who called, and what the call gave.
    pub call: Syscall,
    /// Milliseconds since 1970.
    pub millis: u64,
    /// All arguments.
    pub argv: Vec<Text>,
    /// Whether `argv` lacks some.
    pub is_cut: bool,
    /// Working directory.
    pub cwd: Text,
    /// The file given to exec.
    pub file: Text,
}

impl AuditedExec {
    /// How long the arguments are with their ends.
    pub fn argv_bytes(&self) -> usize {
        let bytes = self.argv.iter().map(|text| text.as_bytes().len());
        bytes.fold(self.argv.len(), usize::saturating_add)
    }
}

/// The events that are not complete.
#[derive(Debug, Default)]
pub struct Reassembly {
    open: BTreeMap<u64, Partial>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Partial {
    millis: u64,
    call: Option<Syscall>,
    arguments: BTreeMap<(u32, u32), Vec<u8>>,
    bytes: usize,
    is_cut: bool,
    cwd: Text,
    file: Text,
}

impl Reassembly {
    /// Takes a record; gives the exec that it completes.
    pub fn accept(&mut self, stamp: Stamp, record: Record) -> Option<AuditedExec> {
        if matches!(record, Record::End) {
            return self.open.remove(&stamp.serial)?.exec();
        }
        if matches!(record, Record::Other) {
            return None;
        }
        let partial = self.open.entry(stamp.serial).or_default();
        partial.millis = stamp.millis;
        partial.add(record);
        while self.open.len() > MOST_OPEN || self.bytes() > MOST_BYTES_OPEN {
            self.open.pop_first();
            self.dropped = self.dropped.saturating_add(1);
        }
        None
    }

    fn bytes(&self) -> usize {
        let bytes = self.open.values().map(|partial| partial.bytes);
        bytes.fold(0, usize::saturating_add)
    }

    /// How many events were dropped because their end did not come.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Partial {
    fn add(&mut self, record: Record) {
        match record {
            Record::Syscall(call) => self.call = Some(*call),
            Record::Execve(arguments) => arguments.into_iter().for_each(|each| self.argument(each)),
            Record::Cwd(cwd) => self.cwd = cwd,
            Record::Path { item: 0, name } => self.file = name,
            Record::Path { .. } | Record::End | Record::Other => {}
        }
    }

    fn argument(&mut self, argument: Argument) {
        let with_end = argument.bytes.len().saturating_add(1);
        self.bytes = self.bytes.saturating_add(with_end);
        if self.bytes > MOST_BYTES {
            self.is_cut = true;
        } else {
            let place = (argument.index, argument.part);
            self.arguments.insert(place, argument.bytes);
        }
    }

    /// Failed calls and events without arguments are no execs.
    fn exec(self) -> Option<AuditedExec> {
        let call = self.call.filter(|call| call.success)?;
        if self.arguments.is_empty() {
            return None;
        }
        let (argv, has_hole) = joined(self.arguments);
        Some(AuditedExec {
            call,
            millis: self.millis,
            argv,
            is_cut: self.is_cut || has_hole,
            cwd: self.cwd,
            file: self.file,
        })
    }
}

/// The arguments in their order up to the first that is missing, and whether one is.
pub(crate) fn joined(parts: BTreeMap<(u32, u32), Vec<u8>>) -> (Vec<Text>, bool) {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    let mut next_part = 0_u32;
    for ((index, part), bytes) in parts {
        let count = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        let last = whole
            .last_mut()
            .filter(|_| index.checked_add(1) == Some(count));
        match (part, last) {
            (0, None) if index == count => {
                whole.push(bytes);
                next_part = 1;
            }
            (part, Some(last)) if part == next_part => {
                last.extend_from_slice(&bytes);
                next_part = next_part.saturating_add(1);
            }
            _ => {
                return (
                    whole.iter().map(|text| text.as_slice().into()).collect(),
                    true,
                );
            }
        }
    }
    (
        whole.iter().map(|text| text.as_slice().into()).collect(),
        false,
    )
}

const MOST_OPEN: usize = 256;
const MOST_BYTES: usize = 256 * 1024;
const MOST_BYTES_OPEN: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::record::parse_line;
    use super::*;

    fn execs(log: &[u8]) -> Vec<AuditedExec> {
        let mut reassembly = Reassembly::default();
        let mut found = Vec::new();
        let records = log.split(|byte| *byte == b'\n').filter_map(parse_line);
        let mut records: Vec<_> = records.collect();
        records.sort_by_key(|(stamp, _)| *stamp);
        let mut last: Option<Stamp> = None;
        for (stamp, record) in records {
            // The files leave out the records that end an event.
            if let Some(ended) = last.filter(|last| last.serial != stamp.serial) {
                found.extend(reassembly.accept(ended, Record::End));
            }
            reassembly.accept(stamp, record);
            last = Some(stamp);
        }
        found.extend(last.and_then(|last| reassembly.accept(last, Record::End)));
        assert!(reassembly.open.is_empty());
        found
    }

    fn recording(name: &str) -> Option<Vec<u8>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("../../../shared/data/recordings").join(name);
        let read = std::fs::read(&path).ok();
        if read.is_none() {
            eprintln!("SKIPPED: no recording {}", path.display());
        }
        read
    }

    fn argv(exec: &AuditedExec) -> Vec<&str> {
        exec.argv.iter().filter_map(Text::as_str).collect()
    }

    #[test]
    fn a_recorded_exec_has_its_arguments_folder_and_login() {
        let Some(log) = recording("otrf-security-datasets/sh_arp_cache_2020-11-10074812.log")
        else {
            return;
        };
        let execs = execs(&log);
        assert_eq!(execs.len(), 2);
        assert_eq!(argv(&execs[0]), ["arp", "-a"]);
        assert_eq!(argv(&execs[1]), ["grep", "-v", "^?"]);
        assert_eq!(execs[0].cwd.as_str(), Some("/home/wardog"));
        assert_eq!(execs[0].file.as_str(), Some("/usr/sbin/arp"));
        let call = &execs[0].call;
        assert_eq!((call.pid, call.ppid), (1631, Some(29_002)));
        assert_eq!((call.login_uid, call.session), (Some(1000), Some(104)));
    }

    #[test]
    fn every_execve_line_of_the_recordings_gives_the_arguments_it_counts() {
        let logs = [
            "audit-rhel6.log",
            "audit-rhel7.log",
            "audit-ubuntu14.log",
            "audit-ubuntu16.log",
            "audit-ubuntu17.log",
        ];
        let logs = logs.map(|name| format!("go-libaudit-testdata/auparse/testdata/{name}"));
        let logs: Vec<_> = logs.iter().filter_map(|name| recording(name)).collect();
        let mut lines = 0;
        for log in &logs {
            for line in log.split(|byte| *byte == b'\n') {
                let Some((_, Record::Execve(arguments))) = parse_line(line) else {
                    continue;
                };
                lines += 1;
                let line = String::from_utf8_lossy(line);
                let count = line.split("argc=").nth(1).unwrap();
                let count = count.split(' ').next().unwrap();
                assert_eq!(arguments.len().to_string(), count, "{line}");
            }
        }
        eprintln!("{lines} lines in {} recordings", logs.len());
        assert!(lines > 0 || logs.is_empty());
    }

    #[test]
    fn a_long_argument_is_put_together_and_a_missing_part_is_a_cut() {
        let log = "type=SYSCALL msg=audit(1.002:3): success=yes pid=7\n\
                   type=EXECVE msg=audit(1.002:3): argc=3 a0=\"x\" a1[0]=6162\n\
                   type=EXECVE msg=audit(1.002:3): a1[1]=6364 a2=\"y\"\n";
        let found = execs(log.as_bytes());
        assert_eq!(argv(&found[0]), ["x", "abcd", "y"]);
        assert!(!found[0].is_cut);
        let holed = log.replace("a1[0]=6162", "");
        let found = execs(holed.as_bytes());
        assert_eq!((argv(&found[0]), found[0].is_cut), (vec!["x"], true));
    }

    #[test]
    fn ends_that_do_not_come_are_bounded_and_counted() {
        let mut reassembly = Reassembly::default();
        for serial in 0..1_000 {
            let stamp = Stamp { serial, millis: 0 };
            assert_eq!(reassembly.accept(stamp, Record::Cwd(Text::NONE)), None);
        }
        assert_eq!(reassembly.open.len(), MOST_OPEN);
        assert_eq!(reassembly.dropped(), 1_000 - 256);
    }
}
