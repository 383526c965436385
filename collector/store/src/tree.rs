//! A process with its ancestors and descendants.
//!
//! Two walks over the host's events: the first learns who is whose child, the second collects what
//! is known of those in the tree. Classes travel apart, so a child may be stored before its parent.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use picket_event::{Detail, Event, Exit, HostId, Kind, Process, ProcessUid, UnixNanos, Verdict};

use crate::{KindSet, Order, Query, Reader, StoreError};

/// Ancestors from the root, the process, its descendants depth first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// The processes.
    pub nodes: Vec<TreeNode>,
    /// Whether there are more descendants than are shown.
    pub cut: bool,
}

/// One process in a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeNode {
    /// How far below the first.
    pub depth: u32,
    /// The process, as its latest exec shows it.
    pub process: Process,
    /// When it was first seen.
    pub time: UnixNanos,
    /// How it ended, if that was seen.
    pub exit: Option<Exit>,
    /// Whether it is the one that was asked for.
    pub target: bool,
    /// What was judged about anything that it did.
    pub verdicts: Vec<Verdict>,
}

/// No more processes than this are shown.
const MAX_NODES: usize = 4_000;

/// Processes of one host whose parents are kept while a tree is built, about 100 bytes each.
const MAX_KNOWN: usize = 2_000_000;

/// No chain of ancestors is longer; a longer one was made up.
const MAX_ANCESTORS: usize = 256;

impl Reader {
    /// The tree around a process. Without a node if nothing is known of it.
    pub fn tree(&self, host: HostId, target: ProcessUid) -> Result<Tree, StoreError> {
        let query = Query {
            hosts: Some(HashSet::from([host])),
            ..Query::default()
        };
        let births = Query {
            kinds: births(),
            ..query.clone()
        };
        let mut family = Family::default();
        self.scan(&births, Order::OldestFirst, &mut |stored| {
            family.learn(&stored.event);
            ControlFlow::Continue(())
        })?;
        let (order, cut) = family.around(target);
        let mut nodes = Nodes::new(&order, target);
        self.scan(&query, Order::OldestFirst, &mut |stored| {
            nodes.learn(stored.event);
            ControlFlow::Continue(())
        })?;
        Ok(Tree {
            nodes: nodes.in_order(&order),
            cut,
        })
    }
}

fn births() -> KindSet {
    KindSet::from_iter([Kind::Exec, Kind::Fork, Kind::Exit])
}

/// Who is whose child.
#[derive(Default)]
struct Family {
    parents: HashMap<ProcessUid, ProcessUid>,
    children: HashMap<ProcessUid, Vec<ProcessUid>>,
    /// Whether there were more processes than are kept.
    full: bool,
}

impl Family {
    fn learn(&mut self, event: &Event) {
        let Some(process) = &event.process else {
            return;
        };
        if let Some(Detail::Fork(fork)) = event.detail {
            self.add(fork.child_uid, process.uid);
        }
        let mut child = process.uid;
        if let Some(parent) = process.parent_uid {
            self.add(child, parent);
        }
        for ancestor in process.ancestry.iter() {
            self.add(child, ancestor.uid);
            child = ancestor.uid;
        }
    }

    /// The first parent that is told stays: a later one is the reaper that took an orphan.
    fn add(&mut self, child: ProcessUid, parent: ProcessUid) {
        if self.parents.len() >= MAX_KNOWN {
            self.full = true;
        } else if child != parent && !self.parents.contains_key(&child) {
            self.parents.insert(child, parent);
            self.children.entry(parent).or_default().push(child);
        }
    }

    /// Uids with their depths in the order of the tree, and whether it was cut.
    fn around(&self, target: ProcessUid) -> (Vec<(ProcessUid, u32)>, bool) {
        let mut line = vec![target];
        let mut seen = HashSet::from([target]);
        let mut above = self.parents.get(&target);
        while let Some(parent) =
            above.filter(|uid| line.len() < MAX_ANCESTORS && seen.insert(**uid))
        {
            line.push(*parent);
            above = self.parents.get(parent);
        }
        let ancestors = line.iter().skip(1).rev().copied();
        let mut order: Vec<_> = ancestors.zip(0..).collect();
        let depth = u32::try_from(order.len()).unwrap_or(u32::MAX);
        let mut open = vec![(target, depth)];
        while let Some((uid, depth)) = open.pop() {
            if order.len() >= MAX_NODES {
                return (order, true);
            }
            order.push((uid, depth));
            let children = self.children.get(&uid).into_iter().flatten().rev();
            let new = children.filter(|child| seen.insert(**child));
            open.extend(new.map(|child| (*child, depth.saturating_add(1))));
        }
        (order, self.full)
    }
}

/// What is known of those in the tree.
struct Nodes {
    known: HashMap<ProcessUid, TreeNode>,
    wanted: HashSet<ProcessUid>,
    target: ProcessUid,
}

impl Nodes {
    fn new(order: &[(ProcessUid, u32)], target: ProcessUid) -> Self {
        let wanted = order.iter().map(|(uid, _)| *uid).collect();
        Self {
            known: HashMap::new(),
            wanted,
            target,
        }
    }

    fn learn(&mut self, event: Event) {
        let Some(process) = event.process else {
            return;
        };
        if let Some(Detail::Fork(fork)) = &event.detail {
            self.forked(&process, fork.child_uid, fork.child_pid, event.time);
        }
        self.named(&process, event.time);
        if !self.wanted.contains(&process.uid) {
            return;
        }
        let is_exec = event.kind == Kind::Exec;
        let node = self.node(process.uid, event.time, || process.clone());
        if is_exec || node.process.exe.is_empty() {
            node.process = process;
        }
        if let Some(Detail::Exit(exit)) = event.detail {
            node.exit = Some(exit);
        }
        node.verdicts.extend(event.verdicts);
    }

    /// A child that never runs another program is what its parent was.
    fn forked(&mut self, parent: &Process, uid: ProcessUid, pid: u32, time: UnixNanos) {
        if self.wanted.contains(&uid) {
            let child = || Process {
                exe: parent.exe.clone(),
                comm: parent.comm.clone(),
                user: parent.user.clone(),
                parent_uid: Some(parent.uid),
                ppid: parent.pid,
                ..Process::new(uid, pid)
            };
            self.node(uid, time, child);
        }
    }

    /// Ancestors that began before the sensor did are known by name only.
    fn named(&mut self, process: &Process, time: UnixNanos) {
        for ancestor in process.ancestry.iter() {
            if self.wanted.contains(&ancestor.uid) {
                let named = || Process {
                    exe: ancestor.exe.clone(),
                    ..Process::new(ancestor.uid, ancestor.pid)
                };
                self.node(ancestor.uid, time, named);
            }
        }
    }

    fn node(
        &mut self,
        uid: ProcessUid,
        time: UnixNanos,
        process: impl FnOnce() -> Process,
    ) -> &mut TreeNode {
        let target = uid == self.target;
        self.known.entry(uid).or_insert_with(|| TreeNode {
            depth: 0,
            process: process(),
            time,
            exit: None,
            target,
            verdicts: Vec::new(),
        })
    }

    fn in_order(mut self, order: &[(ProcessUid, u32)]) -> Vec<TreeNode> {
        if !self.known.contains_key(&self.target) {
            return Vec::new();
        }
        let place = |(uid, depth): &(ProcessUid, u32)| {
            let unknown = || TreeNode {
                depth: 0,
                process: Process::new(*uid, 0),
                time: UnixNanos(0),
                exit: None,
                target: false,
                verdicts: Vec::new(),
            };
            let node = self.known.remove(uid).unwrap_or_else(unknown);
            TreeNode {
                depth: *depth,
                ..node
            }
        };
        order.iter().map(place).collect()
    }
}
