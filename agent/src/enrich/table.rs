//! The processes of this host: who is whose child, and what each was last seen to be.
//!
//! # Invariants
//!
//! - It holds at most [`MAX_PROCESSES`]; the processes that ended first go first.
//! - A pid names the process that was last seen to have it.
//! - What is learned later never changes what an event said.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use picket_event::{
    Ancestor, Event, Fork, HashStatus, Namespaces, Process, ProcessUid, Text, UnixNanos,
};
use picket_seal::Digest;

use super::hash::Hashed;
use super::unnamed;

/// The most processes that are remembered, ended ones included.
pub(crate) const MAX_PROCESSES: usize = 16_384;
/// Ended processes that are remembered, for their children's ancestry.
const MAX_ENDED: usize = 4_096;
/// How far up ancestry goes.
const MAX_ANCESTORS: usize = 8;

/// One process, as it was last seen.
#[derive(Clone, Debug)]
struct Entry {
    pid: u32,
    parent: Option<ProcessUid>,
    exe: Arc<[u8]>,
    cgroup: Arc<[u8]>,
    container: Option<Arc<str>>,
    uid: Option<u32>,
    login_uid: Option<u32>,
    session: Option<u32>,
    start: Option<UnixNanos>,
    ns: Option<Namespaces>,
    hash: Option<(Digest, HashStatus)>,
    memfd: bool,
    ended: bool,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    entries: HashMap<ProcessUid, Entry>,
    by_pid: HashMap<u32, ProcessUid>,
    order: VecDeque<ProcessUid>,
    ended: VecDeque<ProcessUid>,
}

impl ProcessTable {
    /// Takes in a process that was there before the sensor, or that acts.
    pub(crate) fn see(&mut self, process: &Process) {
        if let Some(entry) = self.entries.get_mut(&process.uid) {
            entry.learn(process);
            return;
        }
        self.insert(process.uid, Entry::of(process));
    }

    /// A program was started in it: what it was before no longer counts.
    pub(crate) fn exec(&mut self, process: &Process) {
        let known = self
            .entries
            .get(&process.uid)
            .and_then(|entry| entry.parent);
        let mut entry = Entry::of(process);
        entry.parent = entry.parent.or(known);
        match self.entries.get_mut(&process.uid) {
            Some(slot) => *slot = entry,
            None => self.insert(process.uid, entry),
        }
    }

    /// It made a child, which is a copy of it until it starts a program.
    pub(crate) fn fork(&mut self, process: &Process, fork: Fork) {
        self.see(process);
        let Some(parent) = self.entries.get(&process.uid) else {
            return;
        };
        let child = Entry {
            pid: fork.child_pid,
            parent: Some(process.uid),
            start: None,
            ended: false,
            ..parent.clone()
        };
        self.insert(fork.child_uid, child);
    }

    /// It ended. It stays for a while as somebody's ancestor.
    pub(crate) fn exit(&mut self, process: &Process) {
        self.see(process);
        if let Some(entry) = self.entries.get_mut(&process.uid) {
            entry.ended = true;
            self.ended.push_back(process.uid);
        }
        if self.by_pid.get(&process.pid) == Some(&process.uid) {
            self.by_pid.remove(&process.pid);
        }
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Forgets the half of the ended processes that ended first.
    pub(crate) fn forget_ended(&mut self) {
        let half = self.ended.len().div_ceil(2);
        for uid in self.ended.drain(..half) {
            self.entries.remove(&uid);
        }
        self.entries.shrink_to_fit();
    }

    /// Remembers the hash of the executable that an event speaks of.
    pub(crate) fn note_hash(&mut self, event: &Event, hashed: Hashed) {
        let uid = event.process.as_ref().map(|process| process.uid);
        if let (Some(entry), Some(sha256), Some(status)) = (
            uid.and_then(|uid| self.entries.get_mut(&uid)),
            hashed.sha256,
            hashed.status,
        ) {
            entry.hash = Some((sha256, status));
        }
    }

    /// Fills in what the sensor could not know.
    pub(crate) fn complete(&self, process: &mut Process) {
        if process.parent_uid.is_none() {
            process.parent_uid = self.by_pid.get(&process.ppid).copied();
        }
        let Some(entry) = self.entries.get(&process.uid) else {
            return;
        };
        process.parent_uid = process.parent_uid.or(entry.parent);
        process.start_time = process.start_time.or(entry.start);
        process.login_uid = process.login_uid.or(entry.login_uid);
        process.session = process.session.or(entry.session);
        process.ns = process.ns.or(entry.ns);
        process.user = process.user.take().or_else(|| entry.uid.map(unnamed));
        fill(&mut process.cgroup, &entry.cgroup);
        if process.container.is_none() {
            process.container = entry.container.as_deref().map(str::to_owned);
        }
        entry.complete_executable(process);
    }

    /// The process that `asker` means by this number: if it gives numbers as the process `own` does, whose are the table's.
    pub(crate) fn meant(&self, own: ProcessUid, asker: &Process, pid: u32) -> Option<ProcessUid> {
        let numbers = self.entries.get(&own)?.ns?.pid;
        let same = asker.ns.is_some_and(|ns| ns.pid == numbers);
        same.then(|| self.by_pid.get(&pid).copied()).flatten()
    }

    /// Its parent, its parent's parent and so on, as far as they are known.
    pub(crate) fn ancestry(&self, process: &Process) -> Vec<Ancestor> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let mut next = process.parent_uid;
        while let Some(uid) = next
            && ancestors.len() < MAX_ANCESTORS
            && let Some(entry) = self.entries.get(&uid)
            && !ancestors.iter().any(|ancestor| ancestor.uid == uid)
        {
            ancestors.push(Ancestor {
                uid,
                pid: entry.pid,
                exe: Text::from(&entry.exe[..]),
            });
            next = entry.parent;
        }
        ancestors
    }

    /// Every process that descends from `root`, ended ones included, so that a child whose parent
    /// ended is still found.
    pub(crate) fn descendants(&self, root: ProcessUid) -> Vec<(ProcessUid, u32)> {
        let mut children: HashMap<ProcessUid, Vec<ProcessUid>> = HashMap::new();
        for (uid, entry) in &self.entries {
            if let Some(parent) = entry.parent {
                children.entry(parent).or_default().push(*uid);
            }
        }
        let (mut found, mut at) = (vec![root], 0);
        while let Some(uid) = found.get(at).copied() {
            found.extend(children.remove(&uid).unwrap_or_default());
            at += 1;
        }
        let pids = found
            .iter()
            .skip(1)
            .filter_map(|uid| Some((*uid, self.entries.get(uid)?.pid)));
        pids.collect()
    }

    fn insert(&mut self, uid: ProcessUid, entry: Entry) {
        self.by_pid.insert(entry.pid, uid);
        if self.entries.insert(uid, entry).is_none() {
            self.order.push_back(uid);
        }
        while self.entries.len() > MAX_PROCESSES {
            self.evict();
        }
        if self.order.len() > MAX_PROCESSES * 2 {
            self.order.retain(|uid| self.entries.contains_key(uid));
        }
    }

    /// Ended ones first, then the one that came first.
    fn evict(&mut self) {
        let Some(uid) = self.ended.pop_front().or_else(|| self.order.pop_front()) else {
            return;
        };
        if let Some(entry) = self.entries.remove(&uid)
            && self.by_pid.get(&entry.pid) == Some(&uid)
        {
            self.by_pid.remove(&entry.pid);
        }
    }
}

impl Entry {
    fn of(process: &Process) -> Self {
        Self {
            pid: process.pid,
            parent: process.parent_uid,
            exe: process.exe.as_bytes().into(),
            cgroup: process.cgroup.as_bytes().into(),
            container: process.container.as_deref().map(Into::into),
            uid: process.user.as_ref().map(|user| user.uid),
            login_uid: process.login_uid,
            session: process.session,
            start: process.start_time,
            ns: process.ns,
            hash: process.sha256.zip(process.hash_status),
            memfd: process.memfd,
            ended: false,
        }
    }

    /// Takes in what was not known before.
    fn learn(&mut self, process: &Process) {
        self.parent = self.parent.or(process.parent_uid);
        self.start = self.start.or(process.start_time);
        self.uid = process.user.as_ref().map(|user| user.uid).or(self.uid);
        self.login_uid = process.login_uid.or(self.login_uid);
        self.session = process.session.or(self.session);
        if self.exe.is_empty() {
            self.exe = process.exe.as_bytes().into();
        }
        if self.cgroup.is_empty() {
            self.cgroup = process.cgroup.as_bytes().into();
            self.container = process.container.as_deref().map(Into::into);
        }
    }

    /// The hash belongs to the executable: it is taken only together with it.
    fn complete_executable(&self, process: &mut Process) {
        if process.exe.is_empty() {
            process.exe = Text::from(&self.exe[..]);
            process.memfd |= self.memfd;
        }
        let same = process.exe.as_bytes() == &self.exe[..] && process.argv.is_empty();
        if let (true, None, Some((sha256, status))) = (same, process.sha256, self.hash) {
            process.sha256 = Some(sha256);
            process.hash_status = Some(status);
        }
    }
}

fn fill(text: &mut Text, known: &[u8]) {
    if text.is_empty() && !known.is_empty() {
        *text = Text::from(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(number: u32, parent: u32) -> Process {
        let mut process = Process::new(uid(number), number);
        process.ppid = parent;
        process.parent_uid = (parent > 0).then(|| uid(parent));
        process.exe = Text::from(format!("/bin/p{number}"));
        process
    }

    fn uid(number: u32) -> ProcessUid {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        ProcessUid::new(bytes)
    }

    #[test]
    fn a_child_is_its_parent_until_it_starts_a_program() {
        let mut table = ProcessTable::default();
        table.exec(&process(1, 0));
        table.fork(
            &process(1, 0),
            Fork {
                child_uid: uid(2),
                child_pid: 2,
            },
        );
        let mut child = Process::new(uid(2), 2);
        table.complete(&mut child);
        assert_eq!(
            (child.exe, child.parent_uid),
            (Text::from("/bin/p1"), Some(uid(1)))
        );
        table.exec(&process(2, 1));
        let names: Vec<Text> = table
            .ancestry(&process(2, 1))
            .into_iter()
            .map(|ancestor| ancestor.exe)
            .collect();
        assert_eq!(names, [Text::from("/bin/p1")]);
    }

    #[test]
    fn ancestry_outlives_a_parent_and_survives_a_circle() {
        let mut table = ProcessTable::default();
        table.exec(&process(1, 2));
        table.exec(&process(2, 1));
        table.exit(&process(1, 2));
        assert_eq!(table.ancestry(&process(3, 1)).len(), 2);
    }

    #[test]
    fn descendants_are_found_behind_a_parent_that_ended() {
        let mut table = ProcessTable::default();
        for (number, parent) in [(1, 0), (2, 1), (3, 2), (4, 3), (9, 8)] {
            table.exec(&process(number, parent));
        }
        table.exit(&process(2, 1));
        let mut pids: Vec<u32> = table
            .descendants(uid(1))
            .into_iter()
            .map(|(_, pid)| pid)
            .collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 3, 4]);
    }

    #[test]
    fn memory_is_bounded_whatever_the_host_starts() {
        let mut table = ProcessTable::default();
        for number in 1..100_000 {
            table.exec(&process(number, 1));
            if number % 3 == 0 {
                table.exit(&process(number, 1));
            }
        }
        assert!(table.entries.len() <= MAX_PROCESSES);
        assert!(table.order.len() <= MAX_PROCESSES * 2);
        assert!(table.by_pid.len() <= MAX_PROCESSES);
    }

    #[test]
    fn a_number_is_believed_only_from_who_numbers_processes_alike() {
        let mut table = ProcessTable::default();
        let numbered_in = |number, pids| {
            let mut process = process(number, 1);
            process.ns = Some(Namespaces {
                pid: pids,
                mnt: 1,
                net: 1,
                user: 1,
            });
            process
        };
        for (number, pids) in [(1, 7), (2, 7), (3, 8)] {
            table.see(&numbered_in(number, pids));
        }
        let meant = |asker, pids| table.meant(uid(1), &numbered_in(asker, pids), 2);
        assert_eq!(meant(2, 7), Some(uid(2)));
        assert_eq!(meant(3, 8), None);
        assert_eq!(table.meant(uid(9), &numbered_in(2, 7), 2), None);
    }

    #[test]
    fn a_reused_pid_names_the_new_process() {
        let mut table = ProcessTable::default();
        table.exec(&process(5, 1));
        table.exit(&process(5, 1));
        let mut second = process(5, 1);
        second.uid = uid(77);
        table.exec(&second);
        let mut child = process(6, 5);
        child.parent_uid = None;
        table.complete(&mut child);
        assert_eq!(child.parent_uid, Some(uid(77)));
    }
}
