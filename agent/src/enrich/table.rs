//! The processes of this host: who is whose child, and what each was last seen to be.
//!
//! # Invariants
//!
//! - It holds at most [`MAX_PROCESSES`]; the processes that ended first go first.
//! - A pid names the process that was last seen to have it.
//! - What is learned later never changes what an event said.
//! - The ancestry that siblings share is that of the moment: whatever changes one ends all that are kept.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use picket_event::{
    Ancestor, Detail, Event, Fork, HashStatus, Kind, Namespaces, Process, ProcessUid, Text,
    UnixNanos,
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
/// Unknown processes that are remembered as somebody's ancestors.
const MAX_MISSING: usize = 1_024;

/// One process, as it was last seen.
#[derive(Clone, Debug)]
struct Entry {
    pid: u32,
    parent: Option<ProcessUid>,
    exe: Text,
    script: Text,
    cgroup: Text,
    container: Option<Arc<str>>,
    uid: Option<u32>,
    login_uid: Option<u32>,
    session: Option<u32>,
    start: Option<UnixNanos>,
    ns: Option<Namespaces>,
    hash: Option<(Digest, HashStatus)>,
    memfd: bool,
    ended: bool,
    /// Whether it is in an ancestry that is kept.
    is_ancestor: bool,
    /// It and its ancestors, as its children see them, and after how many changes that was found.
    line: Option<(u64, Arc<[Ancestor]>)>,
}

/// A process uid is the beginning of a SHA-256 and needs no hashing: whoever starts processes cannot choose it, only try.
type AsItIs = BuildHasherDefault<Uid>;

/// The first eight bytes of a process uid.
#[derive(Debug, Default)]
struct Uid(u64);

impl Hasher for Uid {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    /// How often an ancestry changed, or may have.
    changes: u64,
    /// Where a way up ended because nothing was known.
    missing: HashSet<ProcessUid, AsItIs>,
    entries: HashMap<ProcessUid, Entry, AsItIs>,
    by_pid: HashMap<u32, ProcessUid>,
    order: VecDeque<ProcessUid>,
    ended: VecDeque<ProcessUid>,
}

impl ProcessTable {
    /// Takes in a process that was there before the sensor, or that acts.
    pub(crate) fn see(&mut self, process: &Process) {
        if let Some(entry) = self.entries.get_mut(&process.uid) {
            let changed = entry.learn(process) && entry.is_ancestor;
            self.changes = self.changes.wrapping_add(u64::from(changed));
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
            Some(slot) => {
                self.changes = self.changes.wrapping_add(u64::from(slot.is_ancestor));
                *slot = entry;
            }
            None => self.insert(process.uid, entry),
        }
    }

    /// Takes an event of a recording in and completes its process, without a look at this host.
    pub(crate) fn recorded(&mut self, event: &mut Event) {
        // A recording may not say which number a process had.
        let Some(process) = event.process.as_mut().filter(|process| process.pid != 0) else {
            return;
        };
        self.complete(process);
        if process.container.is_none() {
            process.container = super::container::of_cgroup(process.cgroup.as_bytes());
        }
        self.follow(event.kind, event.detail.as_ref(), process);
    }

    /// Notes what became of a process, and sets its ancestors.
    pub(crate) fn follow(&mut self, kind: Kind, detail: Option<&Detail>, process: &mut Process) {
        match (kind, detail) {
            (Kind::Fork, Some(Detail::Fork(fork))) => self.fork(process, *fork),
            (Kind::Exit, _) => self.exit(process),
            (Kind::Exec, _) => self.exec(process),
            _ => self.see(process),
        }
        if !matches!(kind, Kind::Fork | Kind::Exit) && process.ancestry.is_empty() {
            process.ancestry = self.ancestry(process);
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
            is_ancestor: false,
            line: None,
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
            self.remove(oldest);
        }
    }

    /// Forgets the half of the ended processes that ended first.
    pub(crate) fn forget_ended(&mut self) {
        let half = self.ended.len().div_ceil(2);
        let gone: Vec<ProcessUid> = self.ended.drain(..half).collect();
        for uid in gone {
            self.remove(uid);
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
    pub(crate) fn ancestry(&mut self, process: &Process) -> Arc<[Ancestor]> {
        let Some(parent) = process.parent_uid else {
            return Arc::default();
        };
        let kept = self.entries.get(&parent).and_then(|it| it.line.as_ref());
        if let Some((_, line)) = kept.filter(|(changes, _)| *changes == self.changes) {
            return Arc::clone(line);
        }
        let line: Arc<[Ancestor]> = self.climb(parent).into();
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.line = Some((self.changes, Arc::clone(&line)));
        }
        line
    }

    /// The way up from one process, itself included.
    fn climb(&mut self, from: ProcessUid) -> Vec<Ancestor> {
        let mut ancestors: Vec<Ancestor> = Vec::new();
        let mut next = Some(from);
        while let Some(uid) = next
            && ancestors.len() < MAX_ANCESTORS
            && !ancestors.iter().any(|ancestor| ancestor.uid == uid)
        {
            let Some(entry) = self.entries.get_mut(&uid) else {
                self.miss(uid);
                break;
            };
            entry.is_ancestor = true;
            ancestors.push(Ancestor {
                uid,
                pid: entry.pid,
                exe: entry.exe.clone(),
            });
            next = entry.parent;
        }
        ancestors
    }

    /// If this one becomes known, ancestries change.
    fn miss(&mut self, uid: ProcessUid) {
        if self.missing.len() >= MAX_MISSING {
            self.missing.clear();
            self.changes = self.changes.wrapping_add(1);
        }
        self.missing.insert(uid);
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
        if !self.missing.is_empty() && self.missing.remove(&uid) {
            self.changes = self.changes.wrapping_add(1);
        }
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

    fn remove(&mut self, uid: ProcessUid) -> Option<Entry> {
        let entry = self.entries.remove(&uid)?;
        self.changes = self.changes.wrapping_add(u64::from(entry.is_ancestor));
        Some(entry)
    }

    /// Ended ones first, then the one that came first.
    fn evict(&mut self) {
        let Some(uid) = self.ended.pop_front().or_else(|| self.order.pop_front()) else {
            return;
        };
        if let Some(entry) = self.remove(uid)
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
            exe: process.exe.clone(),
            script: process.script.clone(),
            cgroup: process.cgroup.clone(),
            container: process.container.as_deref().map(Into::into),
            uid: process.user.as_ref().map(|user| user.uid),
            login_uid: process.login_uid,
            session: process.session,
            start: process.start_time,
            ns: process.ns,
            hash: process.sha256.zip(process.hash_status),
            memfd: process.memfd,
            ended: false,
            is_ancestor: false,
            line: None,
        }
    }

    /// Takes in what was not known before. Whether that changes what its descendants' ancestry says.
    fn learn(&mut self, process: &Process) -> bool {
        let changed = (self.parent.is_none() && process.parent_uid.is_some())
            || (self.exe.is_empty() && !process.exe.is_empty());
        self.parent = self.parent.or(process.parent_uid);
        self.start = self.start.or(process.start_time);
        self.uid = process.user.as_ref().map(|user| user.uid).or(self.uid);
        self.login_uid = process.login_uid.or(self.login_uid);
        self.session = process.session.or(self.session);
        if self.exe.is_empty() {
            self.exe = process.exe.clone();
        }
        if self.cgroup.is_empty() {
            self.cgroup = process.cgroup.clone();
            self.container = process.container.as_deref().map(Into::into);
        }
        changed
    }

    /// Hash and script belong to the executable: they are taken only together with it.
    fn complete_executable(&self, process: &mut Process) {
        if process.exe.is_empty() {
            process.exe = self.exe.clone();
            process.memfd |= self.memfd;
        }
        let same = process.exe == self.exe && process.argv.is_empty();
        if same {
            fill(&mut process.script, &self.script);
        }
        if let (true, None, Some((sha256, status))) = (same, process.sha256, self.hash) {
            process.sha256 = Some(sha256);
            process.hash_status = Some(status);
        }
    }
}

fn fill(text: &mut Text, known: &Text) {
    if text.is_empty() {
        *text = known.clone();
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
            .iter()
            .map(|ancestor| ancestor.exe.clone())
            .collect();
        assert_eq!(names, [Text::from("/bin/p1")]);
    }

    #[test]
    fn what_a_script_does_is_told_with_the_script_until_it_starts_another_program() {
        let mut table = ProcessTable::default();
        let mut adduser = process(1, 0);
        adduser.exe = "/usr/bin/perl".into();
        adduser.argv = vec!["/usr/bin/perl".into(), "/usr/sbin/adduser".into()];
        adduser.script = "/usr/sbin/adduser".into();
        table.exec(&adduser);
        let mut later = Process::new(uid(1), 1);
        later.exe = "/usr/bin/perl".into();
        table.complete(&mut later);
        assert_eq!(later.script, Text::from("/usr/sbin/adduser"));
        table.exec(&process(1, 0));
        let mut other = Process::new(uid(1), 1);
        table.complete(&mut other);
        assert!(other.script.is_empty());
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
    fn siblings_share_an_ancestry_until_something_in_it_changes() {
        let mut table = ProcessTable::default();
        let names = |table: &mut ProcessTable| -> Vec<String> {
            let line = table.ancestry(&process(4, 3));
            assert!(Arc::ptr_eq(&line, &table.ancestry(&process(5, 3))));
            let name = |ancestor: &Ancestor| ancestor.exe.for_terminal();
            line.iter().map(name).collect()
        };
        table.exec(&process(3, 2));
        assert_eq!(names(&mut table), ["/bin/p3"]);
        table.exec(&process(2, 1));
        assert_eq!(names(&mut table), ["/bin/p3", "/bin/p2"], "now it is known");
        let mut renewed = process(2, 1);
        renewed.exe = Text::from("/bin/other");
        table.exec(&renewed);
        assert_eq!(names(&mut table), ["/bin/p3", "/bin/other"]);
        table.exec(&process(9, 3));
        table.exit(&process(2, 1));
        assert_eq!(names(&mut table), ["/bin/p3", "/bin/other"]);
        table.forget_ended();
        assert_eq!(names(&mut table), ["/bin/p3"]);
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
