//! What processes do to themselves, to each other and to the kernel.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use picket_event::{Detail, Event, Kind};
use picket_sensor::ebpf::KernelSensor;

use super::rig::{collect, execs_of, has_exit};

#[test]
fn a_program_that_cannot_be_run_is_seen_with_its_arguments() {
    let mut sensor = sensor_or_skip!();
    let script = "/no/such/program one 'two words' ''; exit 0";
    let (pid, events) = run_and_collect(&mut sensor, Command::new("/bin/sh").args(["-c", script]));
    let failed = details(&events, Kind::ExecFailed, |detail| match detail {
        Detail::ExecFailed(failed) if failed.path.as_bytes() == b"/no/such/program" => Some(failed),
        _ => None,
    });
    let failed = failed.first().expect("the attempt");
    let argv: Vec<&[u8]> = failed
        .argv
        .iter()
        .map(picket_event::Text::as_bytes)
        .collect();
    assert_eq!(argv, [&b"/no/such/program"[..], b"one", b"two words", b""]);
    assert_eq!((failed.argc, failed.argv_truncated), (4, false));
    assert_eq!(failed.result, -libc::ENOENT);
    assert!(has_exit(&events, pid));
}

#[test]
fn whoever_becomes_another_is_seen_before_and_after() {
    let mut sensor = sensor_or_skip!();
    let mut command = Command::new("/bin/true");
    let (pid, events) = run_and_collect(&mut sensor, command.uid(65_534).gid(65_533));
    let changes: Vec<_> = of_process(&events, pid)
        .filter_map(|event| match event.detail {
            Some(Detail::Cred(change)) => Some(change),
            _ => None,
        })
        .collect();
    let last = changes.last().expect("a change");
    assert_eq!((changes[0].old.uid, changes[0].old.effective_uid), (0, 0));
    assert_eq!(
        (last.new.uid, last.new.effective_uid, last.new.saved_uid),
        (65_534, 65_534, 65_534)
    );
    assert_eq!((last.new.gid, last.new.effective_gid), (65_533, 65_533));
    assert_eq!(last.new.caps_effective, 0);
    let exec = execs_of(&events, pid)[0].process.clone().unwrap();
    assert_eq!(exec.user.unwrap().uid, 65_534);
}

#[test]
fn a_signal_that_ends_another_process_names_both() {
    let mut sensor = sensor_or_skip!();
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let own = of_process(&events, std::process::id());
    let mut signals = own.filter_map(|event| match event.detail {
        Some(Detail::Signal(signal)) => Some(signal),
        _ => None,
    });
    let signal = signals.next().expect("the signal");
    assert_eq!((signal.number, signal.target_pid), (9, pid.cast_signed()));
    let target = execs_of(&events, pid)[0].process.as_ref().unwrap().uid;
    assert_eq!(signal.target_uid, Some(target));
}

#[test]
fn tracing_and_reading_another_process_is_seen() {
    let mut sensor = sensor_or_skip!();
    let script = "import ctypes,os\n\
        c=ctypes.CDLL(None,use_errno=True)\n\
        p=os.posix_spawn('/bin/sleep',['sleep','60'],os.environ)\n\
        assert c.ptrace(16,p,0,0)==0\n\
        os.waitpid(p,os.WUNTRACED)\n\
        c.syscall(310,p,0,0,0,0,0)\n\
        c.ptrace(17,p,0,0)\n\
        os.kill(p,9);os.waitpid(p,0)\n";
    let Some((pid, events)) = python(&mut sensor, script) else {
        return;
    };
    let reached: Vec<_> = of_process(&events, pid)
        .filter_map(|event| match &event.detail {
            Some(Detail::Ptrace(reached)) => Some(reached.clone()),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = reached.iter().map(|one| one.request.as_str()).collect();
    assert_eq!(names, ["attach", "vm_readv"]);
    let target = execs_of(&events, reached[0].target_pid)[0];
    assert_eq!(
        reached[0].target_uid,
        Some(target.process.as_ref().unwrap().uid)
    );
    assert_eq!(reached[0].result, Some(0));
}

#[test]
fn memory_that_is_writable_and_executable_is_seen_once() {
    let mut sensor = sensor_or_skip!();
    let script = "import mmap\nfor _ in range(50): mmap.mmap(-1,8192,prot=7)\n";
    let Some((pid, events)) = python(&mut sensor, script) else {
        return;
    };
    let mapped: Vec<_> = of_process(&events, pid)
        .filter_map(|event| match &event.detail {
            Some(Detail::MemExec(mapped)) if mapped.protection == 7 => Some(mapped.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(mapped.len(), 1, "{mapped:?}");
    assert_eq!((mapped[0].call.as_str(), mapped[0].length), ("mmap", 8192));
    let ledger = picket_sensor::Sensor::ledger(&sensor);
    let line = ledger
        .iter()
        .find(|line| line.kind == Kind::MemExec)
        .unwrap();
    assert!(line.balances() && line.aggregated >= 49, "{line:?}");
}

#[test]
fn what_extends_the_kernel_is_seen() {
    let mut sensor = sensor_or_skip!();
    let script = "import ctypes\nc=ctypes.CDLL(None)\n\
        c.syscall(321,5,(ctypes.c_uint64*9)(7<<32|2),72)\n\
        c.syscall(425,4,(ctypes.c_uint32*30)())\n";
    let Some((pid, events)) = python(&mut sensor, script) else {
        return;
    };
    let mine: Vec<&Event> = of_process(&events, pid).collect();
    let bpf = mine.iter().find_map(|event| match &event.detail {
        Some(Detail::Bpf(bpf)) => Some(bpf),
        _ => None,
    });
    let bpf = bpf.expect("the program");
    assert_eq!(
        (bpf.action.as_str(), bpf.prog_type.as_str()),
        ("prog_load", "kprobe")
    );
    assert_eq!(bpf.instructions, Some(7));
    assert!(bpf.result.is_some_and(|result| result < 0));
    let ring = mine.iter().find_map(|event| match &event.detail {
        Some(Detail::IoUring(ring)) => Some(ring),
        _ => None,
    });
    let ring = ring.expect("the ring");
    assert_eq!((ring.action.as_str(), ring.entries), ("setup", Some(4)));
}

#[test]
fn a_mount_in_a_namespace_of_its_own_is_seen() {
    let mut sensor = sensor_or_skip!();
    if !Path::new("/usr/bin/unshare").exists() {
        return eprintln!("SKIPPED: no unshare");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let script = format!("mount -t tmpfs picket {path} && umount {path}");
    let mut command = Command::new("/usr/bin/unshare");
    let (_, events) = run_and_collect(&mut sensor, command.args(["-m", "/bin/sh", "-c", &script]));
    let mounts = details(&events, Kind::Mount, |detail| match detail {
        Detail::Mount(mount) if mount.target.as_bytes() == path.as_bytes() => Some(mount),
        _ => None,
    });
    let actions: Vec<&str> = mounts.iter().map(|mount| mount.action.as_str()).collect();
    // Newer mount(8) mounts through a descriptor and moves that to its place; this kernel's user space decides.
    assert!(
        actions == ["mount", "unmount"] || actions == ["move", "unmount"],
        "{mounts:?}"
    );
    assert!(mounts.iter().all(|mount| mount.result == Some(0)));
}

fn python(sensor: &mut KernelSensor, script: &str) -> Option<(u32, Vec<Event>)> {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED: no python3");
        return None;
    }
    Some(run_and_collect(
        sensor,
        Command::new("/usr/bin/python3").args(["-c", script]),
    ))
}

fn run_and_collect(sensor: &mut KernelSensor, command: &mut Command) -> (u32, Vec<Event>) {
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(sensor, |events| has_exit(events, pid));
    (pid, events)
}

fn of_process(events: &[Event], pid: u32) -> impl Iterator<Item = &Event> {
    let is_by = move |event: &&Event| {
        event
            .process
            .as_ref()
            .is_some_and(|process| process.pid == pid)
    };
    events.iter().filter(is_by)
}

fn details<T>(events: &[Event], kind: Kind, pick: impl Fn(&Detail) -> Option<&T>) -> Vec<&T> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind
        .filter_map(|event| pick(event.detail.as_ref()?))
        .collect()
}
