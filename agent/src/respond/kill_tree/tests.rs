//! Trees of the test's own children: plain, respawning, daemonised, and a bystander who must live.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

struct Script {
    child: Child,
    _dir: tempfile::TempDir,
}

/// Starts a shell script; `$DIR` is a directory of its own.
fn script(text: &str) -> (Script, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let child = Command::new("setsid")
        .args(["--wait", "sh", "-c", text])
        .env("DIR", &path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Script { child, _dir: dir }, path)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(8);
    while !done() {
        assert!(Instant::now() < until, "no {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn kill(script: &mut Script, lineage: Lineage<'_>) -> Outcome {
    let boot = crate::clock::boot_id();
    let root = procfs::find(&boot, script.child.id()).unwrap();
    let protection = Protection::new(boot, Vec::new());
    let outcome = Tree::new(boot, root.uid, lineage, &protection).kill();
    script.child.wait().unwrap();
    outcome
}

/// How many processes have the directory in their environment.
fn alive(dir: &Path) -> usize {
    let mark = format!("DIR={}\0", dir.display()).into_bytes();
    let boot = crate::clock::boot_id();
    let found = procfs::all(&boot).into_iter().filter(|found| {
        let environment = std::fs::read(format!("/proc/{}/environ", found.pid)).unwrap_or_default();
        found.is_alive() && environment.windows(mark.len()).any(|part| part == mark)
    });
    found.count()
}

fn nobody() -> Vec<(ProcessUid, u32)> {
    Vec::new()
}

#[test]
fn a_plain_tree_dies_and_a_bystander_lives() {
    let (mut bystander, _) = script("sleep 60");
    let (mut tree, dir) = script("sleep 60 & sleep 60 & sh -c 'sleep 60 & wait' & wait");
    wait_for("tree", || alive(&dir) >= 5);
    let outcome = kill(&mut tree, &nobody);
    assert!(outcome.complete, "{outcome:?}");
    assert!(outcome.affected.len() >= 5);
    assert_eq!(alive(&dir), 0);
    assert!(bystander.child.try_wait().unwrap().is_none());
    kill(&mut bystander, &nobody);
}

#[test]
fn a_respawner_cannot_outrun_it() {
    let respawn = "respawn() { while :; do sleep 60; done; }
        for i in 1 2 3 4; do respawn & done
        while :; do sh -c 'sleep 0.01' & sleep 0.005; done";
    let (mut tree, dir) = script(respawn);
    wait_for("tree", || alive(&dir) >= 6);
    let outcome = kill(&mut tree, &nobody);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(alive(&dir), 0);
}

#[test]
fn a_daemon_that_left_its_parents_is_found_through_its_session() {
    let (mut tree, dir) =
        script("setsid sh -c 'sleep 60 & echo > $DIR/up; wait' & while :; do sleep 1; done");
    wait_for("daemon", || dir.join("up").exists());
    let outcome = kill(&mut tree, &nobody);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(alive(&dir), 0);
}

#[test]
fn a_daemon_whose_parent_is_gone_is_found_through_the_process_table() {
    let (mut tree, dir) = script("(setsid sleep 61 & echo $! > $DIR/pid); exec sleep 60");
    let mut daemon = None;
    wait_for("daemon", || {
        let text = std::fs::read_to_string(dir.join("pid")).unwrap_or_default();
        daemon = text.trim().parse::<u32>().ok();
        daemon.is_some() && alive(&dir) >= 2
    });
    let boot = crate::clock::boot_id();
    let daemon = procfs::find(&boot, daemon.unwrap()).unwrap();
    let outcome = kill(&mut tree, &|| vec![(daemon.uid, daemon.pid)]);
    assert!(outcome.complete, "{outcome:?}");
    assert_eq!(alive(&dir), 0);
}

#[test]
fn a_small_fork_bomb_does_not_escape() {
    // Each process makes two and waits a moment; at most about two hundred at a time.
    let bomb = "bomb() { [ $(ls $DIR | wc -l) -gt 400 ] && exit; : > $DIR/$1; \
                bomb $1.0 & bomb $1.1 & sleep 0.2; }
        bomb 0 & while :; do sleep 1; done";
    let (mut tree, dir) = script(bomb);
    wait_for("bomb", || alive(&dir) >= 20);
    let outcome = kill(&mut tree, &nobody);
    assert_eq!(alive(&dir), 0, "{} found", outcome.affected.len());
    assert!(outcome.complete);
}

#[test]
fn processes_that_only_fork_and_end_are_caught() {
    let (mut tree, dir) = script("hop() { (hop &) ; }; hop & while :; do sleep 1; done");
    wait_for("root", || alive(&dir) >= 2);
    std::thread::park_timeout(Duration::from_millis(100));
    let outcome = kill(&mut tree, &nobody);
    std::thread::park_timeout(Duration::from_millis(50));
    assert_eq!(
        (alive(&dir), outcome.complete),
        (0, true),
        "{}",
        outcome.affected.len()
    );
}

#[test]
fn a_protected_process_in_the_tree_is_left_alone_and_the_end_is_not_called_complete() {
    let (mut tree, dir) = script("sleep 60 & wait");
    let boot = crate::clock::boot_id();
    let sleep = std::fs::canonicalize("/usr/bin/sleep")
        .or_else(|_none| std::fs::canonicalize("/bin/sleep"))
        .unwrap();
    // A shell that has not become it yet is not protected.
    let sleeps = |found: &Found| {
        let exe = std::fs::read_link(format!("/proc/{}/exe", found.pid));
        exe.is_ok_and(|exe| exe == sleep)
    };
    wait_for("sleep", || members(&boot, &dir).iter().any(sleeps));
    let protection = Protection::new(boot, vec![sleep.clone()]);
    let root = procfs::find(&boot, tree.child.id()).unwrap();
    let outcome = Tree::new(boot, root.uid, &nobody, &protection).kill();
    assert!(!outcome.complete);
    tree.child.wait().unwrap();
    let left = members(&boot, &dir);
    assert_eq!(left.len(), 1, "only the protected one lives");
    super::super::kill::kill(&Held::take(&boot, &left[0]).unwrap()).unwrap();
}

/// Who lives and was started for this directory.
fn members(boot: &BootId, dir: &Path) -> Vec<Found> {
    let mark = format!("DIR={}", dir.display());
    let is_of_it = |found: &Found| {
        let environment = std::fs::read(format!("/proc/{}/environ", found.pid));
        environment.is_ok_and(|text| String::from_utf8_lossy(&text).contains(&mark))
    };
    let all = procfs::all(boot).into_iter();
    all.filter(Found::is_alive).filter(is_of_it).collect()
}
