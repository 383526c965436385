//! An event without what its columns hold, and back.
//!
//! # Invariants
//!
//! - Only what a column holds exactly is left out: text that is UTF-8, numbers that an `i64` holds.
//! - What the rest lacks, its column has; what the rest has counts, whatever the column says.
//! - An event comes back as it was, to the byte. Whoever seals leaves an event whole that is not written as [`Event::encode`] writes it.

use std::net::IpAddr;

use memchr::memchr_iter;
use picket_event::{
    Detail, Event, Exit, File, Fork, Network, Process, ProcessUid, Text, UnixNanos,
};
use picket_seal::Digest;

/// What stands in a column of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Number(i64),
}

/// A part of an event that its column holds.
pub(crate) struct Held {
    /// The column's name.
    pub(crate) column: &'static str,
    /// Leaves it out, if the column holds it exactly.
    take: fn(&mut Event),
    /// Puts it back, if the rest lacks it; `None`: the column cannot be read.
    give: fn(&mut Event, Cell<'_>) -> Option<()>,
}

/// Leaves out what columns hold. What only some columns hold in a way of their own is said by [`boot_time`] and [`age_ns`].
pub(crate) fn strip(event: &mut Event) {
    for held in HELD {
        (held.take)(event);
    }
}

/// Puts back what is left out; `cell` is what stands in the column at this place of [`HELD`].
pub(crate) fn restore<'a>(
    event: &mut Event,
    cell: impl Fn(usize) -> Option<Cell<'a>>,
) -> Option<()> {
    for (place, held) in HELD.iter().enumerate() {
        if let Some(cell) = cell(place) {
            (held.give)(event, cell)?;
        }
    }
    Some(())
}

/// When the host booted, as the event's two times have it: the same for all events of a boot, or nearly.
pub(crate) fn boot_time(event: &Event) -> Option<i64> {
    let since_boot = i64::try_from(event.boot_ns).ok()?;
    let known = event.boot_ns != 0;
    event.time.0.checked_sub(since_boot).filter(|_| known)
}

/// How old the process was, if it had only just begun. What is older has events enough that all tell of one start.
pub(crate) fn age_ns(event: &Event) -> Option<i64> {
    let start = event.process.as_ref()?.start_time?;
    // A start at 0 is written as none.
    let age = event.time.0.checked_sub(start.0).filter(|_| start.0 != 0);
    age.filter(|age| (0..YOUNG_NS).contains(age))
}

/// In an order in which each finds what it counts from: the time comes back first and goes last.
pub(crate) const HELD: &[Held] = &[
    Held {
        column: super::columns::TIME,
        // It goes with `boot_time`, which counts from it.
        take: |_| {},
        give: |event, cell| {
            event.time = UnixNanos(number(cell)?);
            Some(())
        },
    },
    Held {
        column: super::columns::PROCESS_AGE,
        take: |event| {
            if age_ns(event).is_some()
                && let Some(process) = &mut event.process
            {
                process.start_time = None;
            }
        },
        give: |event, cell| {
            let time = event.time.0;
            let process = event.process.as_mut()?;
            if process.start_time.is_none() {
                process.start_time = Some(UnixNanos(time.checked_sub(number(cell)?)?));
            }
            Some(())
        },
    },
    Held {
        column: super::columns::BOOT_TIME,
        take: |event| {
            if boot_time(event).is_some() {
                event.boot_ns = 0;
            }
            event.time = UnixNanos(0);
        },
        give: |event, cell| {
            if event.boot_ns == 0 {
                let since_boot = event.time.0.checked_sub(number(cell)?)?;
                event.boot_ns = since_boot.try_into().ok()?;
            }
            Some(())
        },
    },
    Held {
        column: "seq",
        take: |event| event.seq = left_u64(event.seq),
        give: |event, cell| back_u64(&mut event.seq, cell),
    },
    Held {
        column: "process_uid",
        take: |event| {
            if let Some(process) = &mut event.process {
                process.uid = NOBODY;
            }
        },
        give: |event, cell| back_uid(&mut event.process.as_mut()?.uid, cell),
    },
    Held {
        column: "process_parent_uid",
        take: |event| {
            if let Some(process) = &mut event.process {
                process.parent_uid = None;
            }
        },
        give: |event, cell| {
            let uid = ProcessUid::parse(text(cell)?).ok()?;
            event.process.as_mut()?.parent_uid.get_or_insert(uid);
            Some(())
        },
    },
    Held {
        column: "process_pid",
        take: |event| {
            if let Some(process) = &mut event.process {
                process.pid = 0;
            }
        },
        give: |event, cell| back_u32(&mut event.process.as_mut()?.pid, cell),
    },
    Held {
        column: "process_ppid",
        take: |event| {
            if let Some(process) = &mut event.process {
                process.ppid = 0;
            }
        },
        give: |event, cell| back_u32(&mut event.process.as_mut()?.ppid, cell),
    },
    Held {
        column: "process_exe",
        take: |event| {
            if let Some(process) = &mut event.process {
                leave_text(&mut process.exe);
            }
        },
        give: |event, cell| back_text(&mut event.process.as_mut()?.exe, cell),
    },
    Held {
        column: super::columns::COMMAND_LINE,
        take: |event| {
            if let Some(process) = &mut event.process {
                leave_arguments(process);
            }
        },
        give: |event, cell| back_arguments(event.process.as_mut()?, text(cell)?),
    },
    Held {
        column: "process_cwd",
        take: |event| {
            if let Some(process) = &mut event.process {
                leave_text(&mut process.cwd);
            }
        },
        give: |event, cell| back_text(&mut event.process.as_mut()?.cwd, cell),
    },
    Held {
        column: "process_sha256",
        take: |event| {
            if let Some(process) = &mut event.process {
                process.sha256 = None;
            }
        },
        give: |event, cell| back_hash(&mut event.process.as_mut()?.sha256, cell),
    },
    Held {
        column: "file_path",
        take: |event| {
            if let Some(file) = file(event) {
                leave_text(&mut file.path);
            }
        },
        give: |event, cell| back_text(&mut file(event)?.path, cell),
    },
    Held {
        column: "file_new_path",
        take: |event| {
            if let Some(file) = file(event) {
                leave_text(&mut file.new_path);
            }
        },
        give: |event, cell| back_text(&mut file(event)?.new_path, cell),
    },
    Held {
        column: super::columns::FILE_INODE,
        take: |event| {
            if let Some(file) = file(event) {
                leave(&mut file.inode);
            }
        },
        give: |event, cell| back(&mut file(event)?.inode, cell),
    },
    Held {
        column: "file_size",
        take: |event| {
            if let Some(file) = file(event) {
                leave(&mut file.size);
            }
        },
        give: |event, cell| back(&mut file(event)?.size, cell),
    },
    Held {
        column: "file_sha256_before",
        take: |event| {
            if let Some(file) = file(event) {
                file.sha256_before = None;
            }
        },
        give: |event, cell| back_hash(&mut file(event)?.sha256_before, cell),
    },
    Held {
        column: "file_sha256_after",
        take: |event| {
            if let Some(file) = file(event) {
                file.sha256_after = None;
            }
        },
        give: |event, cell| back_hash(&mut file(event)?.sha256_after, cell),
    },
    Held {
        column: "network_local_port",
        take: |event| {
            if let Some(network) = network(event) {
                network.local_port = 0;
            }
        },
        give: |event, cell| back_u32(&mut network(event)?.local_port, cell),
    },
    Held {
        column: "network_remote_ip",
        take: |event| {
            if let Some(network) = network(event) {
                network.remote_ip = None;
            }
        },
        give: |event, cell| {
            let address: IpAddr = text(cell)?.parse().ok()?;
            network(event)?.remote_ip.get_or_insert(address);
            Some(())
        },
    },
    Held {
        column: "network_remote_port",
        take: |event| {
            if let Some(network) = network(event) {
                network.remote_port = 0;
            }
        },
        give: |event, cell| back_u32(&mut network(event)?.remote_port, cell),
    },
    Held {
        column: "network_bytes_in",
        take: |event| {
            if let Some(network) = network(event) {
                leave(&mut network.bytes_in);
            }
        },
        give: |event, cell| back(&mut network(event)?.bytes_in, cell),
    },
    Held {
        column: "network_bytes_out",
        take: |event| {
            if let Some(network) = network(event) {
                leave(&mut network.bytes_out);
            }
        },
        give: |event, cell| back(&mut network(event)?.bytes_out, cell),
    },
    Held {
        column: "fork_child_uid",
        take: |event| {
            if let Some(fork) = fork(event) {
                fork.child_uid = NOBODY;
            }
        },
        give: |event, cell| back_uid(&mut fork(event)?.child_uid, cell),
    },
    Held {
        column: super::columns::CHILD_PID,
        take: |event| {
            if let Some(fork) = fork(event) {
                fork.child_pid = 0;
            }
        },
        give: |event, cell| back_u32(&mut fork(event)?.child_pid, cell),
    },
    Held {
        column: "exit_duration_ns",
        take: |event| {
            if let Some(exit) = exit(event) {
                leave(&mut exit.duration_ns);
            }
        },
        give: |event, cell| back(&mut exit(event)?.duration_ns, cell),
    },
    Held {
        column: "dns_query",
        take: |event| {
            if let Some(Detail::Dns(dns)) = &mut event.detail {
                leave_text(&mut dns.query);
            }
        },
        give: |event, cell| match &mut event.detail {
            Some(Detail::Dns(dns)) => back_text(&mut dns.query, cell),
            _ => None,
        },
    },
    Held {
        column: "login_source_port",
        take: |event| {
            if let Some(Detail::Login(login)) = &mut event.detail {
                login.source_port = None;
            }
        },
        give: |event, cell| match &mut event.detail {
            Some(Detail::Login(login)) => {
                let port = number(cell)?.try_into().ok()?;
                login.source_port.get_or_insert(port);
                Some(())
            }
            _ => None,
        },
    },
];

fn file(event: &mut Event) -> Option<&mut File> {
    match &mut event.detail {
        Some(Detail::File(file)) => Some(file),
        _ => None,
    }
}

fn network(event: &mut Event) -> Option<&mut Network> {
    match &mut event.detail {
        Some(Detail::Network(network)) => Some(network),
        _ => None,
    }
}

fn fork(event: &mut Event) -> Option<&mut Fork> {
    match &mut event.detail {
        Some(Detail::Fork(fork)) => Some(fork),
        _ => None,
    }
}

fn exit(event: &mut Event) -> Option<&mut Exit> {
    match &mut event.detail {
        Some(Detail::Exit(exit)) => Some(exit),
        _ => None,
    }
}

fn number(cell: Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Number(number) => Some(number),
        Cell::Text(_) => None,
    }
}

fn text(cell: Cell<'_>) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        Cell::Number(_) => None,
    }
}

/// A number that no column holds stays.
fn left_u64(number: u64) -> u64 {
    match i64::try_from(number) {
        Ok(_) => 0,
        Err(_) => number,
    }
}

fn leave(number: &mut Option<u64>) {
    *number = number.filter(|number| i64::try_from(*number).is_err());
}

fn leave_text(text: &mut Text) {
    if text.as_str().is_some() {
        *text = Text::NONE;
    }
}

fn back_u64(place: &mut u64, cell: Cell<'_>) -> Option<()> {
    if *place == 0 {
        *place = number(cell)?.try_into().ok()?;
    }
    Some(())
}

fn back_u32(place: &mut u32, cell: Cell<'_>) -> Option<()> {
    *place = number(cell)?.try_into().ok()?;
    Some(())
}

fn back(place: &mut Option<u64>, cell: Cell<'_>) -> Option<()> {
    if place.is_none() {
        *place = Some(number(cell)?.try_into().ok()?);
    }
    Some(())
}

fn back_uid(place: &mut ProcessUid, cell: Cell<'_>) -> Option<()> {
    *place = ProcessUid::parse(text(cell)?).ok()?;
    Some(())
}

fn back_hash(place: &mut Option<Digest>, cell: Cell<'_>) -> Option<()> {
    *place = Some(Digest::from_hex(text(cell)?).ok()?);
    Some(())
}

fn back_text(place: &mut Text, cell: Cell<'_>) -> Option<()> {
    if place.is_empty() {
        *place = Text::from(text(cell)?);
    }
    Some(())
}

/// The command line has the arguments joined by single spaces. Where arguments have spaces of their own, those alone stay of them, so that
/// it is known how many words belong to each.
fn leave_arguments(process: &mut Process) {
    if !process.argv.iter().all(|one| one.as_str().is_some()) {
        return;
    }
    let spaces = |one: &Text| memchr_iter(b' ', one.as_bytes()).count();
    if process.argv.iter().all(|one| spaces(one) == 0) {
        process.argv = Vec::new();
        return;
    }
    for one in &mut process.argv {
        *one = Text::from(" ".repeat(spaces(one)));
    }
}

fn back_arguments(process: &mut Process, line: &str) -> Option<()> {
    if process.argv.is_empty() {
        process.argv = line.split(' ').map(Text::from).collect();
        return Some(());
    }
    let only_spaces = |one: &Text| one.as_bytes().iter().all(|byte| *byte == b' ');
    if !process.argv.iter().all(only_spaces) {
        return Some(());
    }
    let mut rest = Some(line);
    for one in &mut process.argv {
        let own = one.as_bytes().len();
        let line = rest?;
        let end = line.match_indices(' ').nth(own).map(|(at, _)| at);
        *one = Text::from(line.get(..end.unwrap_or(line.len()))?);
        rest = end.and_then(|end| line.get(end.saturating_add(1)..));
    }
    Some(())
}

/// Stands for a process uid that its column has.
const NOBODY: ProcessUid = ProcessUid::new([0; 16]);

/// A process of this age has only just begun.
const YOUNG_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn again(arguments: &[&str]) -> Vec<Text> {
        let mut process = Process::new(NOBODY, 1);
        process.argv = arguments.iter().copied().map(Text::from).collect();
        let line = String::from_utf8(process.command_line()).unwrap();
        leave_arguments(&mut process);
        let spared = process.argv.iter().map(|one| one.as_bytes().len());
        assert!(spared.sum::<usize>() <= line.matches(' ').count());
        back_arguments(&mut process, &line).unwrap();
        process.argv
    }

    #[test]
    fn arguments_come_back_whatever_spaces_they_have() {
        let lines: [&[&str]; 8] = [
            &["ls"],
            &[""],
            &["", " "],
            &[" ", "", ""],
            &["sh", "-c", "a b  c"],
            &["", "a", ""],
            &["a ", " b"],
            &["  ", "\u{e9} \u{e9}", "x"],
        ];
        for line in lines {
            let expected: Vec<Text> = line.iter().copied().map(Text::from).collect();
            assert_eq!(again(line), expected, "{line:?}");
        }
    }

    #[test]
    fn no_column_is_held_twice() {
        for (place, held) in HELD.iter().enumerate() {
            let first = HELD.iter().position(|one| one.column == held.column);
            assert_eq!(first, Some(place), "{}", held.column);
        }
    }
}
