//! Which source `auto` takes where a better one cannot be had. The children lack something; this host lacks nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use picket_tests::programs::{Ended, Programs, finish};
use picket_tests::wait;
use serde_json::Value;

/// In a mount namespace of its own, where the kernel's type information is hidden.
const WITHOUT_TYPES: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"",
];
/// The same, and processes of its own.
const WITHOUT_TYPES_AND_HOST: [&str; 8] = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "sh",
    "-c",
    "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"",
];
/// Without the rights to load programs into the kernel, and so without those to mark file systems.
const WITHOUT_RIGHTS: [&str; 3] = [
    "setpriv",
    "--bounding-set=-sys_admin,-bpf,-perfmon",
    "--inh-caps=-sys_admin,-bpf,-perfmon",
];

#[test]
fn without_type_information_audit_is_next() {
    let ended = watch(&WITHOUT_TYPES);
    let said = "kernel sensor not available, using audit: kernel has no type information";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let events = lines(&ended);
    for kind in ["exec", "exit"] {
        let is_it = |event: &&Value| event["kind"] == kind && event["source"] == "audit";
        assert!(events.iter().any(|event| is_it(&event)), "no {kind}");
    }
    let last = &events.last().unwrap()["loss"];
    assert_eq!(last["exec"]["lost"], 0, "{last}");
}

#[test]
fn without_the_right_to_load_programs_audit_is_next_and_says_what_it_lacks() {
    let ended = watch(&WITHOUT_RIGHTS);
    let said = "kernel sensor not available, using audit: no kernel program could be loaded";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let hooks = lines(&run(&WITHOUT_RIGHTS, &["doctor", "--json"]));
    let state = |name: &str| {
        let mut hooks = hooks.iter();
        let hook = hooks.find(|hook| hook["backend"] == "audit" && hook["name"] == name);
        hook.map(|hook| hook["state"].clone())
    };
    assert_eq!(state("proc_connector"), Some("proved".into()));
    assert_eq!(state("fanotify"), Some("unavailable".into()));
}

#[test]
fn where_the_kernel_announces_nothing_the_portable_source_is_last() {
    let ended = watch(&WITHOUT_TYPES_AND_HOST);
    let said = "kernel sensor not available, using portable: kernel has no type information";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let why = "process connector did not tell of a program of ours";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn whoever_asks_for_audit_gets_audit_or_nothing() {
    let arguments = ["watch", "--source", "audit", "--json", "--for", "1s"];
    let host = run(&["env"], &arguments);
    assert_eq!(host.code, Some(0), "{}", host.stderr);
    assert!(lines(&host).iter().all(|event| event["source"] != "ebpf"));
    let inside = run(&WITHOUT_TYPES_AND_HOST, &arguments);
    assert_ne!(inside.code, Some(0));
    assert!(
        inside.stderr.contains("process connector"),
        "{}",
        inside.stderr
    );
}

/// Watches for two seconds, while a program is run now and then.
fn watch(prefix: &[&str]) -> Ended {
    let storm = std::thread::spawn(|| {
        for _ in 0..15 {
            Command::new("/bin/true").status().unwrap();
            wait::pause(Duration::from_millis(200));
        }
    });
    let ended = run(prefix, &["watch", "--json", "--for", "2s"]);
    storm.join().unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

fn run(prefix: &[&str], arguments: &[&str]) -> Ended {
    let agent = Programs::find().unwrap().path("picket-agent").unwrap();
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(agent).args(arguments);
    command.stdin(Stdio::null());
    finish(prefix[0], command).unwrap()
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
