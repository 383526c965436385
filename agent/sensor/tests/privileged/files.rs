//! Files: made, written, renamed, removed; and secrets opened.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use picket_event::{Event, Kind};
use picket_sensor::{Secret, Sensor, Settings};

use super::rig::{assert_balanced, collect, has_exit, run};

#[test]
fn a_file_is_seen_being_made_written_renamed_and_removed() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let pid = run(
        "echo text > a; mv a b; echo more >> b; chmod 600 b; rm b",
        &root,
    );
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let of_folder: Vec<_> = events
        .iter()
        .filter(|event| {
            event.file().is_some_and(|file| {
                file.path
                    .as_bytes()
                    .starts_with(root.as_os_str().as_bytes())
            })
        })
        .collect();
    let kinds: Vec<Kind> = of_folder.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::FileCreate,
            Kind::FileModify,
            Kind::FileRename,
            Kind::FileModify,
            Kind::FileAttr,
            Kind::FileDelete
        ]
    );
    let own = file_events(&events, &root, pid);
    assert_eq!(own[0], entry(Kind::FileCreate, "a", ""));
    let written = of_folder[1].file().unwrap();
    assert_eq!(
        (written.size, written.mode.map(|mode| mode & 0o170_000)),
        (Some(5), Some(0o100_000))
    );
    assert!(written.inode.is_some() && written.dev.is_some());
    let renamed = of_folder[2].file().unwrap();
    assert!(renamed.new_path.as_bytes().ends_with(b"/b"));
    assert!(
        of_folder[5]
            .file()
            .unwrap()
            .path
            .as_bytes()
            .ends_with(b"/b")
    );
    assert_balanced(&sensor.ledger());
}

#[test]
fn what_a_process_leaves_open_counts_as_written_when_it_ends() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let pid = run("exec /bin/echo from the end > left", &root);
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let own = file_events(&events, &root, pid);
    assert_eq!(
        own,
        [
            entry(Kind::FileCreate, "left", ""),
            entry(Kind::FileModify, "left", "")
        ]
    );
}

#[test]
fn an_empty_file_and_a_file_that_is_only_read_are_not_modified() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::write(root.join("old"), "old").unwrap();
    // A file that changed a moment ago would count as modified without proof.
    let script = "sleep 0.1; : > new; read line < old; : >> old";
    let pid = run(script, &root);
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    assert_eq!(
        file_events(&events, &root, pid),
        [entry(Kind::FileCreate, "new", "")]
    );
}

#[test]
fn a_write_of_the_same_length_at_once_is_seen() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let pid = run("echo aaaa > f; echo bbbb 1<> f", &root);
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let modified = file_events(&events, &root, pid);
    let modified = modified
        .iter()
        .filter(|(kind, _, _)| *kind == Kind::FileModify);
    assert_eq!(modified.count(), 2);
}

#[test]
fn roundabout_names_are_straightened_and_what_is_elsewhere_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (inside, outside) = (root.join("in"), root.join("out"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    let watched = inside.clone();
    let mut sensor = sensor_or_skip!(move |settings: &mut Settings| settings.watch = vec![watched]);
    let script = "cd out; : > x; : > ../in/y; rm x; mv ..//./in/y ../in/z; rm ../out/../in/z";
    let pid = run(script, &root);
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let paths: Vec<(Kind, String)> = events
        .iter()
        .filter_map(|event| {
            let file = event.file()?;
            let inner = file
                .path
                .as_bytes()
                .strip_prefix(root.as_os_str().as_bytes())?;
            Some((event.kind, String::from_utf8_lossy(inner).into_owned()))
        })
        .collect();
    assert_eq!(
        paths,
        [
            (Kind::FileCreate, "/in/y".to_owned()),
            (Kind::FileRename, "/in/y".to_owned()),
            (Kind::FileDelete, "/in/z".to_owned()),
        ]
    );
    let ledger = sensor.ledger();
    let created = ledger
        .iter()
        .find(|line| line.kind == Kind::FileCreate)
        .unwrap();
    assert!(created.filtered > 0);
    assert_balanced(&ledger);
}

#[test]
fn opening_a_secret_is_seen_whoever_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let key = root.join(".ssh");
    fs::create_dir(&key).unwrap();
    for name in ["token.txt", ".ssh/id_rsa", ".ssh/id_rsa.pub", "other"] {
        fs::write(root.join(name), "x").unwrap();
    }
    let secret = Secret::File(root.join("token.txt"));
    let mut sensor = sensor_or_skip!(move |settings: &mut Settings| settings.secrets.push(secret));
    let pid = run(
        "read a < token.txt; read a < .ssh/id_rsa; read a < .ssh/id_rsa.pub; read a < other; :",
        &root,
    );
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let opened = file_events(&events, &root, pid);
    assert_eq!(
        opened,
        [
            entry(Kind::FileOpen, "token.txt", ""),
            entry(Kind::FileOpen, ".ssh/id_rsa", "")
        ]
    );
    let event = events
        .iter()
        .find(|event| event.kind == Kind::FileOpen)
        .unwrap();
    assert!(event.file().unwrap().sensitive);
}

/// The file events of one process, as (kind, path below the folder, new path below the folder).
fn file_events(events: &[Event], folder: &Path, pid: u32) -> Vec<(Kind, String, String)> {
    let below = |path: &[u8]| -> String {
        let path = Path::new(OsStr::from_bytes(path));
        let inner = path.strip_prefix(folder).unwrap_or(path);
        inner.to_string_lossy().into_owned()
    };
    let of_pid = events.iter().filter(|event| {
        event
            .process
            .as_ref()
            .is_some_and(|process| process.pid == pid)
    });
    of_pid
        .filter_map(|event| {
            let file = event.file()?;
            Some((
                event.kind,
                below(file.path.as_bytes()),
                below(file.new_path.as_bytes()),
            ))
        })
        .collect()
}

fn entry(kind: Kind, path: &str, new_path: &str) -> (Kind, String, String) {
    (kind, path.to_owned(), new_path.to_owned())
}

#[test]
fn a_path_goes_through_mounts_to_the_root_of_the_namespace() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let script = "mkdir -p a/b && mount -t tmpfs none a && mkdir a/b && : > a/b/f && \
                  mount --bind a/b a/b && : > a/b/g && cd a/b && : > h";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "/bin/sh", "-c", script]);
    let mut child = match unshare.current_dir(&root).spawn() {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: no unshare: {error}"),
    };
    assert!(child.wait().unwrap().success());
    let pid = child.id();
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let made = file_events(&events, &root, pid);
    let expected = ["a/b/f", "a/b/g", "a/b/h"].map(|path| entry(Kind::FileCreate, path, ""));
    assert_eq!(made, expected);
}

#[test]
fn links_folders_and_attributes_are_seen_with_who_and_what() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let script = "mkdir d; echo x > a; ln a hard; ln -s ../elsewhere soft; chmod 4755 a; chown 65534:65533 a; \
                  touch -d 2001-01-01 a; truncate -s 9 a; mkfifo p; rmdir d";
    let pid = run(script, &root);
    let events = collect(&mut sensor, |events| has_exit(events, pid));
    let below = root.as_os_str().as_bytes();
    let told: Vec<(Kind, String, String, String)> = events
        .iter()
        .filter_map(|event| {
            let file = event.file()?;
            let is_here = |text: &[u8]| text.starts_with(below);
            if !is_here(file.path.as_bytes()) && !is_here(file.new_path.as_bytes()) {
                return None;
            }
            let short = |text: &picket_event::Text| {
                let bytes = text.as_bytes();
                let inner = bytes.strip_prefix(below).unwrap_or(bytes);
                String::from_utf8_lossy(inner).into_owned()
            };
            Some((
                event.kind,
                short(&file.path),
                short(&file.new_path),
                file.change.clone(),
            ))
        })
        .collect();
    let has = |kind: Kind, path: &str, new_path: &str, change: &str| {
        let wanted = (
            kind,
            path.to_owned(),
            new_path.to_owned(),
            change.to_owned(),
        );
        assert!(told.contains(&wanted), "{wanted:?} in {told:#?}");
    };
    has(Kind::FileCreate, "/d", "", "");
    has(Kind::FileLink, "/a", "/hard", "hard");
    has(Kind::FileLink, "../elsewhere", "/soft", "symbolic");
    has(Kind::FileAttr, "/a", "", "mode");
    has(Kind::FileAttr, "/a", "", "owner");
    has(Kind::FileAttr, "/a", "", "times");
    has(Kind::FileCreate, "/p", "", "");
    has(Kind::FileDelete, "/d", "", "");
    let change = |name: &str| {
        let files = events.iter().filter_map(Event::file);
        let mut of_name =
            files.filter(|file| file.change == name && file.path.as_bytes().starts_with(below));
        of_name.next().unwrap().clone()
    };
    assert_eq!(change("mode").mode.map(|mode| mode & 0o7777), Some(0o4755));
    let owner = change("owner");
    assert_eq!(
        (owner.owner_uid, owner.owner_gid),
        (Some(65_534), Some(65_533))
    );
    assert_balanced(&sensor.ledger());
}
