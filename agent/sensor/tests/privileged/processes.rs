//! Processes: who, where, what, and how they end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use picket_event::{Detail, Fidelity, ProcessUid, Source, Text};
use picket_sensor::{Sensor, identity};
use rustix::fs::MemfdFlags;

use super::rig::{collect, execs_of, has_exit, is_exit_of, patience, run};

#[test]
fn odd_arguments_arrive_byte_for_byte() {
    let mut sensor = sensor_or_skip!();
    let long = vec![b'x'; 100 * 1024];
    let odd: [&[u8]; 7] = [
        b"",
        b"two\nlines",
        b"\xff\xfe not utf-8",
        b" ",
        b"",
        &long,
        b"",
    ];
    let mut command = Command::new("/bin/true");
    command.args(odd.iter().map(|arg| OsStr::from_bytes(arg)));
    let mut child = command
        .env("LD_PICKET", "yes")
        .env("PICKET_SECRET", "no")
        .spawn()
        .unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let execs = execs_of(&events, pid);
    let process = execs[0].process.as_ref().unwrap();
    let argv: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
    assert_eq!(argv[0], b"/bin/true");
    assert_eq!(argv[1..], odd);
    assert_eq!(process.argc, 8);
    assert_eq!(
        process.argv_bytes,
        argv.iter().map(|arg| arg.len() as u64 + 1).sum::<u64>()
    );
    assert!(!process.argv_truncated);
    let names: Vec<&[u8]> = process.env.iter().map(|var| var.name.as_bytes()).collect();
    assert!(names.contains(&&b"LD_PICKET"[..]) && !names.contains(&&b"PICKET_SECRET"[..]));
}

#[test]
fn arguments_beyond_the_room_are_cut_and_say_so() {
    let mut sensor = sensor_or_skip!();
    let arg = "y".repeat(100 * 1024);
    let mut child = Command::new("/bin/true")
        .args([&arg, &arg])
        .spawn()
        .unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let process = execs_of(&events, pid)[0].process.clone().unwrap();
    assert!(process.argv_truncated);
    assert_eq!(
        (process.argc, process.argv_bytes),
        (3, 10 + 2 * (100 * 1024 + 1))
    );
    let lengths: Vec<usize> = process
        .argv
        .iter()
        .map(|arg| arg.as_bytes().len())
        .collect();
    // The first 96 KiB, and the last 32: "/bin/true", the beginning of an argument; the end of the last.
    assert_eq!(lengths, [9, 96 * 1024 - 10, 32 * 1024 - 1]);
    assert_eq!(process.argv_omitted_at, 2);
}

#[test]
fn an_exec_tells_who_where_and_what() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let pid = run("exec /bin/true one", folder.path());
    let (mut events, mut keys) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while !has_exit(&events, pid) && begun.elapsed() < patience(10) {
        let pause = Duration::from_millis(100);
        sensor.poll(pause, &mut events).unwrap();
        keys.extend(sensor.executables());
    }
    let execs = execs_of(&events, pid);
    assert_eq!(execs.len(), 2, "the shell, then true");
    let process = execs[1].process.as_ref().unwrap();
    let boot = identity::boot_id().unwrap();
    let own_start = identity::start_ticks(std::process::id()).unwrap();
    let own = ProcessUid::from_ticks(&boot, std::process::id(), own_start);
    assert_eq!(
        process.exe.as_bytes(),
        fs::canonicalize("/bin/true")
            .unwrap()
            .as_os_str()
            .as_bytes()
    );
    assert_eq!(
        process.cwd.as_bytes(),
        folder.path().canonicalize().unwrap().as_os_str().as_bytes()
    );
    assert_eq!(process.ppid, std::process::id());
    assert_eq!(process.parent_uid, Some(own));
    assert_eq!(process.uid, execs[0].process.as_ref().unwrap().uid);
    assert_eq!(process.user.as_ref().unwrap().uid, 0);
    assert_eq!(process.effective_uid, Some(0));
    assert_eq!(process.comm.as_bytes(), b"true");
    assert_eq!(process.fidelity, Some(Fidelity::Exact));
    assert!(process.caps.unwrap() > 0 && !process.memfd && process.script.is_empty());
    let inode = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let (_, number) = link.to_str().unwrap().split_once('[').unwrap();
        number.trim_end_matches(']').parse::<u32>().unwrap()
    };
    let ns = process.ns.unwrap();
    assert_eq!(
        [ns.pid, ns.mnt, ns.net, ns.user],
        ["pid", "mnt", "net", "user"].map(inode)
    );
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    assert_eq!(process.cgroup.as_str(), unified);
    assert_eq!(execs[1].source, Source::Ebpf);
    let stat = fs::metadata("/bin/true").unwrap();
    let key = keys
        .iter()
        .rev()
        .find(|(uid, _)| *uid == process.uid)
        .unwrap()
        .1;
    assert_eq!(key.inode, std::os::unix::fs::MetadataExt::ino(&stat));
    assert_eq!(key.size, stat.len());
}

#[test]
fn a_script_names_itself_and_its_interpreter() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh -e\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = Command::new(&script).arg("a").spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let process = execs_of(&events, pid)[0].process.clone().unwrap();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(process.exe.as_bytes(), shell.as_os_str().as_bytes());
    assert_eq!(process.script.as_bytes(), script.as_os_str().as_bytes());
    let argv: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
    assert_eq!(
        argv,
        [&b"/bin/sh"[..], b"-e", script.as_os_str().as_bytes(), b"a"]
    );
    let exit = events
        .iter()
        .find_map(|event| match (&event.detail, &event.process) {
            (Some(Detail::Exit(exit)), Some(process)) if process.pid == pid => Some(*exit),
            _ => None,
        });
    let exit = exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert!(exit.duration_ns.unwrap() > 0);
}

#[test]
fn a_program_in_memory_is_seen_being_made_and_run() {
    let mut sensor = sensor_or_skip!();
    let memory = rustix::fs::memfd_create("dropper", MemfdFlags::empty()).unwrap();
    let mut memory = File::from(memory);
    memory.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut child = Command::new(&path).spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let process = execs_of(&events, pid)[0].process.clone().unwrap();
    assert_eq!(process.exe.as_bytes(), b"/memfd:dropper");
    assert!(process.memfd);
    let made = events.iter().any(|event| {
        matches!(&event.detail, Some(Detail::Memfd(memfd)) if memfd.name.as_bytes() == b"dropper")
    });
    assert!(made);
}

#[test]
fn a_process_that_a_signal_ends_has_an_exit_with_that_signal() {
    let mut sensor = sensor_or_skip!();
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let exits: Vec<_> = events
        .iter()
        .filter_map(|event| match (&event.detail, &event.process) {
            (Some(Detail::Exit(exit)), Some(process)) if process.pid == pid => Some(*exit),
            _ => None,
        })
        .collect();
    assert_eq!(exits.len(), 1);
    assert_eq!((exits[0].code, exits[0].signal), (None, Some(9)));
}

#[test]
fn a_process_whose_threads_die_together_ends_once() {
    let mut sensor = sensor_or_skip!();
    let script = "import os,threading\nhold=threading.Event()\n\
                  [threading.Thread(target=hold.wait).start() for _ in range(20)]\nos._exit(0)\n";
    let mut pids = Vec::new();
    let mut events = Vec::new();
    for _ in 0..20 {
        let mut child = match Command::new("/usr/bin/python3")
            .args(["-c", script])
            .spawn()
        {
            Ok(child) => child,
            Err(error) => return eprintln!("SKIPPED: no python3: {error}"),
        };
        child.wait().unwrap();
        let pid = child.id();
        events.extend(collect(&mut sensor, |events| has_exit(events, pid)));
        pids.push(pid);
    }
    sensor.stop(&mut events).unwrap();
    for pid in pids {
        let ends = events.iter().filter(|event| is_exit_of(event, pid));
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn the_snapshot_names_processes_as_their_later_events_do() {
    let mut sensor = sensor_or_skip!();
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    let snapshot = sensor.snapshot();
    let before = snapshot.iter().find(|process| process.pid == pid).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let exec = execs_of(&events, pid)[0].process.clone().unwrap();
    assert_eq!(exec.uid, before.uid);
    assert_eq!(exec.parent_uid, before.parent_uid);
    assert_eq!(
        (&exec.exe, &exec.cwd, &exec.cgroup),
        (&before.exe, &before.cwd, &before.cgroup)
    );
    assert_eq!(
        (exec.ns, exec.caps, exec.gid),
        (before.ns, before.caps, before.gid)
    );
}

#[test]
fn a_program_started_by_another_thread_is_the_same_process() {
    let mut sensor = sensor_or_skip!();
    let script = "import os,threading\n\
                  threading.Thread(target=lambda: os.execv('/bin/true', ['true', 'by-thread'])).start()\n\
                  threading.Event().wait()\n";
    let mut child = match Command::new("/usr/bin/python3")
        .args(["-c", script])
        .spawn()
    {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: no python3: {error}"),
    };
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let execs = execs_of(&events, pid);
    let uids: Vec<_> = execs
        .iter()
        .map(|event| event.process.as_ref().unwrap().uid)
        .collect();
    assert_eq!(uids.len(), 2, "python, then true");
    assert_eq!(uids[0], uids[1]);
    assert_eq!(
        execs[1].process.as_ref().unwrap().argv[1].as_bytes(),
        b"by-thread"
    );
}
