//! Ancestors and descendants.

use std::sync::Arc;

use picket_event::{Ancestor, Detail, Event, Exit, Fork, Kind, Process, Source, Text, UnixNanos};
use picket_store::Store;

use crate::host::{Host, SMALL, uid};

fn process(number: u64, parent: u64, exe: &str) -> Process {
    let mut process = Process::new(uid(number), u32::try_from(number).unwrap());
    process.parent_uid = Some(uid(parent));
    process.exe = Text::from(exe);
    process
}

fn event(kind: Kind, process: Process) -> Event {
    Event::new(kind, UnixNanos(1), Source::Ebpf).by(process)
}

fn fork(parent: Process, child: u64) -> Event {
    let child_pid = u32::try_from(child).unwrap();
    event(Kind::Fork, parent).with(Detail::Fork(Fork {
        child_uid: uid(child),
        child_pid,
    }))
}

#[test]
fn a_tree_is_built_whatever_the_order_of_arrival() {
    let mut web = process(10, 1, "/usr/sbin/web");
    web.ancestry = Arc::new([Ancestor {
        uid: uid(1),
        pid: 1,
        exe: Text::from("/sbin/init"),
    }]);
    let exit = Exit {
        code: Some(3),
        signal: None,
        duration_ns: None,
    };
    let mut events = vec![
        event(Kind::Exec, web.clone()),
        fork(web.clone(), 20),
        event(Kind::Exec, process(20, 10, "/bin/sh")),
        fork(process(20, 10, "/bin/sh"), 30),
        fork(process(20, 10, "/bin/sh"), 31),
        event(Kind::Exec, process(31, 20, "/tmp/x")),
        event(Kind::Exit, process(31, 20, "/tmp/x")).with(Detail::Exit(exit)),
        event(Kind::Exec, process(99, 1, "/bin/other")),
    ];
    for _ in 0..events.len() {
        events.rotate_left(1);
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut host) = (Store::open(folder.path(), SMALL).unwrap().0, Host::new());
        store.append(host.batch(events.clone())).unwrap();
        store.sync().unwrap();
        let tree = store.reader().tree(host.id(), uid(20)).unwrap();
        let shown: Vec<_> = tree
            .nodes
            .iter()
            .map(|node| {
                (
                    node.depth,
                    node.process.pid,
                    node.process.exe.to_string(),
                    node.target,
                )
            })
            .collect();
        let mut expected = vec![
            (0, 1, "/sbin/init".to_owned(), false),
            (1, 10, "/usr/sbin/web".to_owned(), false),
            (2, 20, "/bin/sh".to_owned(), true),
        ];
        assert_eq!(shown[..3], expected);
        expected = vec![
            (3, 30, "/bin/sh".to_owned(), false),
            (3, 31, "/tmp/x".to_owned(), false),
        ];
        let mut children = shown[3..].to_vec();
        children.sort();
        assert_eq!(children, expected);
        let ended: Vec<_> = tree.nodes.iter().filter_map(|node| node.exit).collect();
        assert_eq!(ended, [exit]);
        assert!(!tree.cut);
    }
}

#[test]
fn an_unknown_process_has_no_tree_and_a_circle_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (Store::open(folder.path(), SMALL).unwrap().0, Host::new());
    let circle = vec![
        event(Kind::Exec, process(1, 2, "/a")),
        event(Kind::Exec, process(2, 3, "/b")),
        event(Kind::Exec, process(3, 1, "/c")),
    ];
    store.append(host.batch(circle)).unwrap();
    store.sync().unwrap();
    assert!(
        store
            .reader()
            .tree(host.id(), uid(77))
            .unwrap()
            .nodes
            .is_empty()
    );
    assert_eq!(
        store.reader().tree(host.id(), uid(1)).unwrap().nodes.len(),
        3
    );
}

#[test]
fn a_tree_of_very_many_is_cut_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (Store::open(folder.path(), SMALL).unwrap().0, Host::new());
    for first in (100..6_100).step_by(1_000) {
        let events = (first..first + 1_000)
            .map(|n| fork(process(2, 1, "/bomb"), n))
            .collect();
        store.append(host.batch(events)).unwrap();
    }
    store.sync().unwrap();
    let tree = store.reader().tree(host.id(), uid(2)).unwrap();
    assert!(tree.cut);
    assert!(tree.nodes.len() < 6_000);
}
