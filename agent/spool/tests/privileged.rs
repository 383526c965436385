//! A real file system that runs full and turns read-only: a small tmpfs in a mount namespace of its
//! own.

use std::path::{Path, PathBuf};
use std::process::Command;

use picket_spool::{Class, Limits, RealDisk, Record, Spool, SpoolError};

const MOUNT: &str = "PICKET_SPOOL_TEST_MOUNT";
const LIMITS: Limits = Limits {
    quota_bytes: 64 << 20,
    segment_bytes: 256 << 10,
};

#[test]
fn a_full_file_system_refuses_and_takes_again_when_there_is_room() {
    let Some(root) = own_tmpfs("a_full_file_system_refuses_and_takes_again_when_there_is_room")
    else {
        return;
    };
    let ballast = root.join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let mut spool = open(&root.join("spool"));
    let (mut seq, mut failed) = (0, 0);
    while failed < 30 {
        let taken = spool.append(record(seq)).is_ok();
        seq += u64::from(taken);
        failed += u32::from(!taken || spool.sync().is_err());
        assert!(seq < 1000, "two MiB cannot hold this");
    }
    let synced = seqs(&mut spool);
    assert!(synced.iter().copied().eq(0..synced.len() as u64) && synced.len() > 5);
    std::fs::remove_file(ballast).unwrap();
    spool.sync().unwrap();
    assert!(
        seqs(&mut spool).into_iter().eq(0..seq),
        "everything taken is there"
    );
    drop(spool);
    assert!(seqs(&mut open(&root.join("spool"))).into_iter().eq(0..seq));
}

#[test]
fn a_file_system_that_turns_read_only_can_still_be_sent_from() {
    let Some(root) = own_tmpfs("a_file_system_that_turns_read_only_can_still_be_sent_from") else {
        return;
    };
    let mut spool = open(&root.join("spool"));
    for seq in 0..20 {
        spool.append(record(seq)).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    mount(&["-o", "remount,ro", &root.display().to_string()]);
    let mut spool = open(&root.join("spool"));
    assert_eq!(seqs(&mut spool).len(), 20);
    spool.append(record(20)).unwrap();
    assert!(matches!(
        spool.sync(),
        Err(SpoolError::Io {
            operation: "create",
            ..
        })
    ));
    mount(&["-o", "remount,rw", &root.display().to_string()]);
    spool.sync().unwrap();
    assert_eq!(seqs(&mut spool).len(), 21);
}

/// In the child: the tmpfs that was mounted for it. In the parent: runs the child, gives nothing.
fn own_tmpfs(test: &str) -> Option<PathBuf> {
    if let Ok(root) = std::env::var(MOUNT) {
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            "size=2m,mode=700",
            "picket-spool-test",
            &root,
        ]);
        return Some(root.into());
    }
    let temp = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare").args(["--mount", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: needs root and unshare");
        return None;
    }
    let child = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("privileged::{test}"), "--nocapture"])
        .env(MOUNT, temp.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{child:?}"
    );
    None
}

fn mount(args: &[&str]) {
    assert!(
        Command::new("mount").args(args).status().unwrap().success(),
        "mount {args:?}"
    );
}

fn open(dir: &Path) -> Spool {
    Spool::open(Box::new(RealDisk::new(dir).unwrap()), LIMITS)
        .unwrap()
        .0
}

fn record(seq: u64) -> Record {
    Record {
        stream: [1; 16],
        class: Class::Security,
        seq_first: seq,
        count: 1,
        header: vec![7; 300],
        payload: vec![seq.to_le_bytes()[0]; 64 << 10],
        signature: [9; 64],
        extra: Vec::new(),
        payload_dropped: false,
    }
}

fn seqs(spool: &mut Spool) -> Vec<u64> {
    let (mut after, mut seqs) = (None, Vec::new());
    while let Some((position, record)) = spool.next(Class::Security, after).unwrap() {
        after = Some(position);
        seqs.push(record.seq_first);
    }
    seqs
}
