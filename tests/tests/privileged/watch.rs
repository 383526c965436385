//! `watch` with the kernel sensor: the whole environment only if one asks for it.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use picket_tests::programs::Programs;
use picket_tests::wait;

#[test]
fn the_whole_environment_is_shown_to_those_who_ask() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the kernel sensor needs root");
        return;
    }
    let (listed, asked) = (watched("--json"), watched("--env"));
    if !listed.contains("\"source\":\"ebpf\"") {
        eprintln!("SKIPPED: no kernel sensor here");
        return;
    }
    assert!(listed.contains("\"LD_BIND_NOW\":\"1\""), "listed: {listed}");
    assert!(
        !listed.contains("PICKET_TOKEN"),
        "nobody asked for it: {listed}"
    );
    assert!(asked.contains(" PICKET_TOKEN='a b'"), "asked for: {asked}");
}

/// What `watch` prints with this flag while a program with an environment of its own is run all the time.
fn watched(flag: &str) -> String {
    let words = ["watch", "--for", "3s", "--kinds", "exec", flag];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| run_with_a_token(&over));
        let printed = Programs::find().unwrap().succeed("picket-agent", &words);
        over.store(true, Ordering::Relaxed);
        printed.unwrap()
    })
}

fn run_with_a_token(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut command = Command::new("/bin/true");
        command.env("PICKET_TOKEN", "a b").env("LD_BIND_NOW", "1");
        assert!(command.stdin(Stdio::null()).status().unwrap().success());
        wait::pause(Duration::from_millis(100));
    }
}
