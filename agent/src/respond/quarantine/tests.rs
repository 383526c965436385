//! Files of the test, taken away and brought back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::CommandId;
use picket_event::command::Action;

use rustix::fs::XattrFlags;

use super::*;
use crate::respond::tests::{Ask, Bench, command};

struct Victim {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Victim {
    fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("miner\u{7f}");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o4751)).unwrap();
        Self { _dir: dir, path }
    }

    fn target(&self) -> FileTarget {
        FileTarget::at(self.path.as_os_str().as_encoded_bytes()).unwrap()
    }
}

fn taken_by(bench: &Bench, number: u8, target: FileTarget) -> Containment {
    let command = command(number, Action::Quarantine(target));
    bench.responder().ask(&bench.sign(&command)).unwrap()
}

fn restored(bench: &Bench, number: u8, quarantine: u8) -> Containment {
    let restore = Action::Restore(CommandId::new([quarantine; 16]));
    let signed = bench.sign(&command(number, restore));
    bench.responder().ask(&signed).unwrap()
}

fn looks(path: &Path) -> (u32, u32, u32, i64, i64, u64) {
    let found = fs::metadata(path).unwrap();
    let times = (found.mtime(), found.mtime_nsec());
    let owner = (found.mode(), found.uid(), found.gid());
    (owner.0, owner.1, owner.2, times.0, times.1, found.len())
}

#[test]
fn a_file_is_gone_and_comes_back_as_it_was() {
    let (bench, victim) = (Bench::new(), Victim::new(b"bad program"));
    rustix::fs::setxattr(&victim.path, "user.note", b"\x00\xff", XattrFlags::empty()).unwrap();
    let before = looks(&victim.path);
    std::thread::park_timeout(Duration::from_millis(20));
    let taken = taken_by(&bench, 1, victim.target());
    assert_eq!(
        (
            taken.state,
            taken.verified,
            taken.affected[0].outcome.as_str()
        ),
        (ReceiptState::Executed, true, "quarantined"),
        "{taken:?}"
    );
    assert!(!victim.path.exists());
    let back = restored(&bench, 2, 1);
    assert_eq!(
        (back.state, back.verified),
        (ReceiptState::Executed, true),
        "{back:?}"
    );
    assert_eq!(fs::read(&victim.path).unwrap(), b"bad program");
    assert_eq!(looks(&victim.path), before);
    let mut note = [0; 8];
    let length = rustix::fs::getxattr(&victim.path, "user.note", &mut note).unwrap();
    assert_eq!(&note[..length], b"\x00\xff");
    assert_eq!(restored(&bench, 3, 1).reason, "not_in_force");
}

#[test]
fn another_content_inode_or_kind_is_left_alone() {
    let (bench, victim) = (Bench::new(), Victim::new(b"good program"));
    let other = FileTarget {
        sha256: Some(Digest::of(b"bad program")),
        ..victim.target()
    };
    assert_eq!(taken_by(&bench, 1, other).reason, "precondition");
    let other = FileTarget {
        inode: Some((1, 2)),
        ..victim.target()
    };
    assert_eq!(taken_by(&bench, 2, other).reason, "precondition");
    let link = victim.path.with_file_name("link");
    std::os::unix::fs::symlink(&victim.path, &link).unwrap();
    for (number, path) in [link.as_path(), link.parent().unwrap()].iter().enumerate() {
        let target = FileTarget::at(path.as_os_str().as_encoded_bytes()).unwrap();
        let number = u8::try_from(number).unwrap() + 3;
        assert_eq!(taken_by(&bench, number, target).reason, "precondition");
    }
    let nothing = FileTarget::at(b"/nonexistent/file").unwrap();
    assert_eq!(taken_by(&bench, 9, nothing).reason, "not_found");
    assert_eq!(fs::read(&victim.path).unwrap(), b"good program");
    assert_eq!(bench.responder().tick().len(), 0);
}

#[test]
fn a_content_with_other_names_is_reported_as_still_there() {
    let (bench, victim) = (Bench::new(), Victim::new(b"bad program"));
    let other = victim.path.with_file_name("other");
    fs::hard_link(&victim.path, &other).unwrap();
    let taken = taken_by(&bench, 1, victim.target());
    assert_eq!(
        (taken.state, taken.reason.as_str(), taken.verified),
        (ReceiptState::Partial, "hard_links", false)
    );
    assert!(!victim.path.exists() && other.exists());
}

#[test]
fn a_restore_never_takes_the_place_of_another_file() {
    let (bench, victim) = (Bench::new(), Victim::new(b"bad program"));
    taken_by(&bench, 1, victim.target());
    fs::write(&victim.path, b"new").unwrap();
    let back = restored(&bench, 2, 1);
    assert_eq!((back.state, back.verified), (ReceiptState::Partial, false));
    assert_eq!(fs::read(&victim.path).unwrap(), b"new");
    fs::remove_file(&victim.path).unwrap();
    assert_eq!(restored(&bench, 3, 1).state, ReceiptState::Executed);
    assert_eq!(fs::read(&victim.path).unwrap(), b"bad program");
}

#[test]
fn what_the_host_needs_is_protected() {
    let bench = Bench::new();
    for (number, path) in ["/etc/passwd", "/proc/self/exe"].iter().enumerate() {
        let path = fs::canonicalize(path).unwrap();
        let target = FileTarget::at(path.as_os_str().as_encoded_bytes()).unwrap();
        let dry = picket_event::command::Command {
            mode: Mode::DryRun,
            ..command(u8::try_from(number).unwrap(), Action::Quarantine(target))
        };
        let answer = bench.responder().ask(&bench.sign(&dry)).unwrap();
        assert_eq!(answer.reason, "protected", "{path:?}");
    }
}

#[test]
fn a_dry_run_looks_and_leaves_the_file() {
    let (bench, victim) = (Bench::new(), Victim::new(b"bad program"));
    let dry = picket_event::command::Command {
        mode: Mode::DryRun,
        ..command(1, Action::Quarantine(victim.target()))
    };
    let answer = bench.responder().ask(&bench.sign(&dry)).unwrap();
    assert_eq!(answer.reason, "dry_run");
    assert!(
        answer
            .effect
            .contains(&Digest::of(b"bad program").to_string())
    );
    assert!(victim.path.exists());
}
