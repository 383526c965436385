//! Accounts of a root of the test's own; its processes are run as a user that no account of this host has.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command as Program, Stdio};

use picket_event::command::Action;

use super::*;
use crate::respond::tests::{Ask, Bench, command};

/// A number that no account has.
const UID: u32 = 3_912_345;
const SHADOW: &str =
    "root:*:19000:0:99999:7:::\nada:$y$hash:19000:0:99999:7:::\nadam:!$y$other:1::::::\n";

fn bench() -> Bench {
    let bench = Bench::new();
    let root = bench.accounts();
    let etc = root.join("etc");
    let ssh = root.join("home/ada/.ssh");
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(&ssh).unwrap();
    let passwd = format!("root:x:0:0::/root:/bin/sh\nada:x:{UID}:{UID}::/home/ada:/bin/sh\n");
    fs::write(etc.join("passwd"), passwd).unwrap();
    fs::write(etc.join("shadow"), SHADOW).unwrap();
    fs::set_permissions(etc.join("shadow"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(ssh.join("authorized_keys"), "ssh-ed25519 AAAA ada\n").unwrap();
    bench
}

fn shadow(bench: &Bench) -> String {
    fs::read_to_string(bench.accounts().join("etc/shadow")).unwrap()
}

fn ask(bench: &Bench, number: u8, action: Action) -> Containment {
    let signed = bench.sign(&command(number, action));
    bench.responder().ask(&signed).unwrap()
}

#[test]
fn a_locked_user_has_no_password_no_keys_and_no_end_in_the_future() {
    let bench = bench();
    let keys = bench.accounts().join("home/ada/.ssh/authorized_keys");
    let locked = ask(&bench, 1, Action::LockUser("ada".to_owned()));
    assert_eq!(
        (locked.state, locked.verified),
        (ReceiptState::Executed, true),
        "{locked:?}"
    );
    assert_eq!(
        shadow(&bench),
        SHADOW.replace(
            "ada:$y$hash:19000:0:99999:7:::",
            "ada:!$y$hash:19000:0:99999:7::1:"
        )
    );
    assert!(!keys.exists());
    let mode = fs::metadata(bench.accounts().join("etc/shadow"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let unlocked = ask(&bench, 2, Action::UnlockUser("ada".to_owned()));
    assert_eq!(unlocked.state, ReceiptState::Executed, "{unlocked:?}");
    assert_eq!(shadow(&bench), SHADOW);
    assert!(keys.exists());
}

#[test]
fn what_was_locked_before_or_changed_meanwhile_stays_so() {
    let bench = bench();
    let passwd = bench.accounts().join("etc/passwd");
    let mut text = fs::read_to_string(&passwd).unwrap();
    text.push_str("adam:x:3912346:3912346::/home/adam:/bin/sh\n");
    fs::write(&passwd, text).unwrap();
    ask(&bench, 1, Action::LockUser("adam".to_owned()));
    let changed = shadow(&bench).replace("$y$other", "$y$new");
    fs::write(bench.accounts().join("etc/shadow"), changed).unwrap();
    ask(&bench, 2, Action::UnlockUser("adam".to_owned()));
    assert_eq!(shadow(&bench), SHADOW.replace("$y$other", "$y$new"));
}

#[test]
fn the_first_user_and_strangers_are_not_locked() {
    let bench = bench();
    let refused =
        |number, name: &str| ask(&bench, number, Action::LockUser(name.to_owned())).reason;
    assert_eq!(refused(1, "root"), "protected");
    assert_eq!(refused(2, "nobody-here"), "not_found");
    assert_eq!(refused(3, "ad"), "not_found");
    assert_eq!(shadow(&bench), SHADOW);
}

#[test]
fn a_link_in_the_home_leads_nowhere() {
    let bench = bench();
    let ssh = bench.accounts().join("home/ada/.ssh");
    fs::remove_dir_all(&ssh).unwrap();
    let outside = bench.accounts().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("authorized_keys"), "root's").unwrap();
    std::os::unix::fs::symlink(&outside, &ssh).unwrap();
    let locked = ask(&bench, 1, Action::LockUser("ada".to_owned()));
    assert_eq!(locked.state, ReceiptState::Partial, "{locked:?}");
    assert!(outside.join("authorized_keys").exists());
}

#[test]
fn what_the_user_has_open_is_ended() {
    if !rustix::process::geteuid().is_root() {
        println!(
            "SKIPPED what_the_user_has_open_is_ended: only root runs programs as another user"
        );
        return;
    }
    let bench = bench();
    let mut child = Program::new("sleep")
        .arg("60")
        .uid(UID)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let locked = ask(&bench, 1, Action::LockUser("ada".to_owned()));
    assert_eq!(
        (locked.affected.len(), locked.state),
        (1, ReceiptState::Executed)
    );
    assert_eq!(locked.affected[0].pid, child.id());
    assert!(!child.wait().unwrap().success());
}
