//! Ways around a sensor. Each is taken by a child of the test, and must be an event with the right actor, or stand in
//! [`NOT_SEEN`] with the reason.
//!
//! # Invariants
//!
//! - What stands in [`NOT_SEEN`] and is seen after all fails the test as well, and `docs/sensors.md` repeats all of it.
//! - What cannot be done on this host is skipped by its name, with the reason.

mod deeds;

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use picket_event::{Detail, Event, HookState, Kind, Process, Text};
use picket_sensor::{Sensor, Settings};

use self::deeds::Deed;
use super::rig::{collect, execs_of, has_exit};

/// What is not seen, and why not.
const NOT_SEEN: &[Unseen] = &[
    unseen(
        "a write through a mapping after the last close",
        "a mapping is written to without a system call; files are compared when they are closed",
    ),
    unseen(
        "a file made through a bind mount outside the watched folders",
        "what is watched is the path that was used; the bind mount itself is an event",
    ),
    unseen(
        "a write to a watched file through a hard link elsewhere",
        "what is watched is the path that was used; the link itself is an event",
    ),
    without(
        "io_uring_file_open",
        "the name of a file made in io_uring",
        "requests in a ring pass by the system calls; the first of each operation is an event without names",
    ),
    without(
        "io_uring_file_delete",
        "the name of a file removed in io_uring",
        "requests in a ring pass by the system calls; the first of each operation is an event without names",
    ),
    without(
        "io_uring_file_open",
        "a file made by a 32-bit call",
        "the tracepoints of system calls are those of 64-bit calls",
    ),
    without(
        "io_uring_file_delete",
        "a file removed by a 32-bit call",
        "the tracepoints of system calls are those of 64-bit calls",
    ),
];

/// What is not seen.
struct Unseen {
    name: &'static str,
    reason: &'static str,
    /// It is seen where this hook is; empty: nowhere.
    but_by: &'static str,
}

const fn unseen(name: &'static str, reason: &'static str) -> Unseen {
    without("", name, reason)
}

const fn without(but_by: &'static str, name: &'static str, reason: &'static str) -> Unseen {
    Unseen {
        name,
        reason,
        but_by,
    }
}

/// What must come of a deed.
struct Case {
    name: &'static str,
    deed: Deed,
    seen: fn(&Scene<'_>) -> bool,
}

const CASES: &[Case] = &[
    case(
        "a set-user-ID program run by a user",
        Deed::RunRaised,
        |scene| {
            scene.ran("/in/raised", |process| {
                let user = process.user.as_ref().map(|user| user.uid);
                user == Some(65_534) && process.effective_uid == Some(0)
            })
        },
    ),
    case(
        "a program in memory, by its descriptor",
        Deed::RunMemory,
        |scene| {
            scene
                .execs()
                .any(|process| process.memfd && process.exe.as_bytes() == b"/memfd:evasion")
        },
    ),
    case("a script run by a script", Deed::RunScript, |scene| {
        let (outer, inner) = (scene.path("in/outer"), scene.path("in/inner"));
        scene.execs().any(|process| {
            let argv: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
            process.script.as_bytes() == outer
                && argv.contains(&&inner[..])
                && argv.contains(&&outer[..])
        })
    }),
    case(
        "a program of a registered format",
        Deed::RunRegistered,
        |scene| {
            let program = scene.path("in/registered");
            scene
                .started()
                .any(|process| process.script.as_bytes() == program)
        },
    ),
    case(
        "a program run by another thread",
        Deed::RunFromThread,
        |scene| {
            scene.execs().any(|process| {
                process
                    .argv
                    .iter()
                    .any(|arg| arg.as_bytes() == b"from-thread")
            })
        },
    ),
    case(
        "arguments rewritten after the start",
        Deed::RewriteArguments,
        |scene| {
            let was =
                |process: &Process| process.argv.iter().any(|arg| arg.as_bytes() == b"--exact");
            let later = scene.of_path(Kind::FileCreate, "in/rewritten");
            scene
                .execs()
                .any(|process| was(process) && later.is_some_and(|event| is_by(event, process)))
        },
    ),
    case("a program run by vfork", Deed::RunByVfork, |scene| {
        let own = scene.execs().next().map(|process| process.uid);
        scene
            .started()
            .any(|process| process.parent_uid == own && process.comm.as_bytes() == b"true")
    }),
    case(
        "a process that ends by a signal",
        Deed::DieBySignal,
        |scene| {
            scene.own().any(
                |event| matches!(&event.detail, Some(Detail::Exit(exit)) if exit.signal == Some(9)),
            )
        },
    ),
    case("a file moved over another", Deed::MoveOver, |scene| {
        let event = scene.of_path(Kind::FileRename, "in/new");
        event.is_some_and(|event| scene.leads_to(event, "in/old"))
    }),
    case("another name for a file", Deed::LinkHard, |scene| {
        let event = scene.of_path(Kind::FileLink, "in/linked");
        event.is_some_and(|event| scene.leads_to(event, "out/link"))
    }),
    case(
        "a write to a watched file through a hard link elsewhere",
        Deed::LinkHard,
        |scene| {
            scene.of_path(Kind::FileModify, "in/linked").is_some()
                || scene.of_path(Kind::FileModify, "out/link").is_some()
        },
    ),
    case(
        "a file made without a name that gets one",
        Deed::LinkUnnamed,
        |scene| {
            scene
                .own()
                .any(|event| event.kind == Kind::FileLink && scene.leads_to(event, "in/named"))
        },
    ),
    case("a write through a mapping", Deed::WriteMapping, |scene| {
        scene.of_path(Kind::FileModify, "in/mapped").is_some()
    }),
    case(
        "a write through a mapping after the last close",
        Deed::WriteMappingLate,
        |scene| scene.of_path(Kind::FileModify, "in/mapped-late").is_some(),
    ),
    case(
        "a bind mount of a watched folder",
        Deed::BindMount,
        |scene| {
            let target = scene.path("out");
            scene.events.iter().any(|event| {
            matches!(&event.detail, Some(Detail::Mount(mount)) if mount.target.as_bytes() == target)
        })
        },
    ),
    case(
        "a file made through a bind mount outside the watched folders",
        Deed::BindMount,
        |scene| scene.anywhere("bound"),
    ),
    case("a file opened in io_uring", Deed::RingOpen, |scene| {
        scene.asked("openat")
    }),
    case(
        "the name of a file made in io_uring",
        Deed::RingOpen,
        |scene| scene.anywhere("by-ring"),
    ),
    case("a file removed in io_uring", Deed::RingUnlink, |scene| {
        scene.asked("unlinkat")
    }),
    case(
        "the name of a file removed in io_uring",
        Deed::RingUnlink,
        |scene| scene.anywhere("ring-victim"),
    ),
    case("a file made by a 32-bit call", Deed::Open32, |scene| {
        scene.of_path(Kind::FileCreate, "in/by-32").is_some()
    }),
    case("a file removed by a 32-bit call", Deed::Unlink32, |scene| {
        scene.of_path(Kind::FileDelete, "in/victim-of-32").is_some()
    }),
    case(
        "a connection made in io_uring",
        Deed::RingConnect,
        |scene| {
            let port = fs::read_to_string(scene.root.join("port")).unwrap();
            scene.own().any(|event| {
                let network = event.network();
                event.kind == Kind::NetConnect
                    && network.is_some_and(|network| network.remote_port.to_string() == port)
            })
        },
    ),
];

const fn case(name: &'static str, deed: Deed, seen: fn(&Scene<'_>) -> bool) -> Case {
    Case { name, deed, seen }
}

#[test]
fn every_way_around_is_seen_or_is_known_not_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    deeds::set_the_scene(&root);
    let watched = root.join("in");
    let mut sensor = sensor_or_skip!(move |settings: &mut Settings| settings.watch = vec![watched]);
    let mut actors: HashMap<Deed, Result<u32, String>> = HashMap::new();
    for case in CASES {
        actors
            .entry(case.deed)
            .or_insert_with(|| act(case.deed, &root));
    }
    let pids: Vec<u32> = actors.values().flatten().copied().collect();
    let events = collect(&mut sensor, |events| {
        pids.iter().all(|pid| has_exit(events, *pid))
    });
    let hooks = sensor.hooks().into_iter();
    let hooks = hooks.filter(|hook| hook.state == HookState::Proved);
    let hooks: Vec<String> = hooks.map(|hook| hook.name).collect();
    let is_excused = |unseen: &&Unseen| !hooks.iter().any(|hook| hook == unseen.but_by);
    let excuses: Vec<&Unseen> = NOT_SEEN.iter().filter(is_excused).collect();
    let wrong: Vec<String> = CASES
        .iter()
        .filter_map(|case| {
            let scene = match &actors[&case.deed] {
                Ok(pid) => Scene {
                    events: &events,
                    pid: *pid,
                    root: &root,
                },
                Err(reason) => {
                    eprintln!("SKIPPED: {}: {reason}", case.name);
                    return None;
                }
            };
            judge(case, &scene, &excuses)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is wrong about a case, if anything is.
fn judge(case: &Case, scene: &Scene<'_>, excuses: &[&Unseen]) -> Option<String> {
    let name = case.name;
    let excuse = excuses.iter().find(|unseen| unseen.name == name);
    match ((case.seen)(scene), excuse) {
        (true, None) => None,
        (false, Some(unseen)) => {
            eprintln!("not seen, as known: {name}: {}", unseen.reason);
            None
        }
        (false, None) => {
            let own: Vec<Kind> = scene.own().map(|event| event.kind).collect();
            Some(format!("{name}: not seen; of its process: {own:?}"))
        }
        (true, Some(_)) => Some(format!("{name}: seen, and listed as not seen")),
    }
}

#[test]
fn what_is_not_seen_is_a_case_and_is_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sensors.md");
    let Ok(page) = fs::read_to_string(page) else {
        return eprintln!("SKIPPED: the sources are not on this host");
    };
    for unseen in NOT_SEEN {
        let Unseen {
            name,
            reason,
            but_by,
        } = unseen;
        assert!(
            CASES.iter().any(|case| case.name == *name),
            "{name} is no case"
        );
        let line = match *but_by {
            "" => format!("- {name}: {reason}\n"),
            hook => format!("- {name}: {reason}; seen where the hook `{hook}` can be had\n"),
        };
        assert!(page.contains(&line), "docs/sensors.md lacks: {line}");
    }
}

/// Runs this test program anew as [`actor`]. Gives its process id, or why the deed cannot be done here.
fn act(deed: Deed, root: &Path) -> Result<u32, String> {
    let excuse = root.join("unavailable");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "privileged::evasion::actor", "--ignored"])
        .env("PICKET_DEED", format!("{deed:?}"))
        .env("PICKET_SCENE", root)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    if let Ok(reason) = fs::read_to_string(&excuse) {
        fs::remove_file(&excuse).unwrap();
        return Err(reason);
    }
    assert!(
        status.success() || deed == Deed::DieBySignal,
        "{deed:?}: {status}"
    );
    Ok(child.id())
}

#[test]
#[ignore = "not a test: the process that does a deed"]
fn actor() {
    let (Ok(deed), Some(root)) = (
        std::env::var("PICKET_DEED"),
        std::env::var_os("PICKET_SCENE"),
    ) else {
        return;
    };
    let root = PathBuf::from(root);
    let cases = CASES.iter().map(|case| case.deed);
    let deed = cases
        .into_iter()
        .find(|one| format!("{one:?}") == deed)
        .unwrap();
    if let Err(reason) = deed.done_at(&root) {
        fs::write(root.join("unavailable"), reason).unwrap();
    }
}

/// What was seen while one actor acted.
struct Scene<'a> {
    events: &'a [Event],
    pid: u32,
    root: &'a Path,
}

impl Scene<'_> {
    fn own(&self) -> impl Iterator<Item = &Event> {
        let is_own = |event: &&Event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == self.pid)
        };
        self.events.iter().filter(is_own)
    }

    fn execs(&self) -> impl Iterator<Item = &Process> {
        execs_of(self.events, self.pid)
            .into_iter()
            .filter_map(|event| event.process.as_ref())
    }

    /// The programs that children of the actor ran.
    fn started(&self) -> impl Iterator<Item = &Process> {
        let execs = self.events.iter().filter(|event| event.kind == Kind::Exec);
        let processes = execs.filter_map(|event| event.process.as_ref());
        processes.filter(|process| process.ppid == self.pid)
    }

    fn ran(&self, end: &str, is_right: impl Fn(&Process) -> bool) -> bool {
        self.execs()
            .any(|process| process.exe.as_bytes().ends_with(end.as_bytes()) && is_right(process))
    }

    fn path(&self, inner: &str) -> Vec<u8> {
        self.root.join(inner).as_os_str().as_bytes().to_vec()
    }

    /// The actor's event of this kind and path.
    fn of_path(&self, kind: Kind, inner: &str) -> Option<&Event> {
        let path = self.path(inner);
        self.own().find(|event| {
            event.kind == kind
                && event
                    .file()
                    .is_some_and(|file| file.path.as_bytes() == path)
        })
    }

    fn leads_to(&self, event: &Event, inner: &str) -> bool {
        event
            .file()
            .is_some_and(|file| file.new_path.as_bytes() == self.path(inner))
    }

    /// Whether anybody's file event speaks of a file of this name.
    fn anywhere(&self, name: &str) -> bool {
        let is_named =
            |text: &Text| Path::new(std::ffi::OsStr::from_bytes(text.as_bytes())).ends_with(name);
        let files = self.events.iter().filter_map(Event::file);
        files
            .into_iter()
            .any(|file| is_named(&file.path) || is_named(&file.new_path))
    }

    /// Whether the actor asked for this operation in a ring.
    fn asked(&self, opcode: &str) -> bool {
        self.own().any(
            |event| matches!(&event.detail, Some(Detail::IoUring(ring)) if ring.opcode == opcode),
        )
    }
}

fn is_by(event: &Event, process: &Process) -> bool {
    event
        .process
        .as_ref()
        .is_some_and(|actor| actor.uid == process.uid)
}
