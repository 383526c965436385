//! The processes of the host and whose sessions they are in.
//!
//! What stays true: neither memory nor environment of a process is read. An executable is hashed as it runs, each content once, at
//! most [`MAX_HASHED`] bytes of one file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use picket_event::Text;
use picket_seal::Digest;

use super::look::{Line, Look};
use crate::respond::procfs::{self, Found};

/// Larger executables have no hash.
const MAX_HASHED: u64 = 64 << 20;
/// The most of a command line that is told.
const MAX_ARGV: u64 = 16 << 10;
/// The longest line of forefathers.
const MAX_ANCESTORS: usize = 64;
/// Of a process that nobody logged in for.
const NOBODY: u32 = u32::MAX;

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) found: Found,
    name: Text,
    exe: Text,
    sha256: Option<Digest>,
    argv: Vec<Text>,
    cwd: Text,
    cgroup: Text,
    user: Option<u32>,
    login_user: u32,
    session: u32,
}

/// Those that could be looked at in time, and what is missing.
pub(super) fn all(look: &Look) -> (Vec<Process>, &'static str) {
    let mut hashes = HashMap::new();
    let mut processes = Vec::new();
    for pid in look.pids() {
        if look.is_over() {
            return (processes, "the time was over before the last process");
        }
        processes.extend(process(look, pid, &mut hashes));
    }
    (processes, "")
}

/// One line for each.
pub(super) fn lines(processes: &[Process]) -> Vec<u8> {
    let parents = processes.iter().map(|one| (one.found.pid, one.found.ppid));
    let parents: HashMap<u32, u32> = parents.collect();
    processes
        .iter()
        .flat_map(|one| line(one, &parents))
        .collect()
}

/// Who is logged in, by the kernel's own session numbers, with the processes of each.
pub(super) fn sessions(processes: &[Process]) -> Vec<u8> {
    let mut sessions: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    let of_somebody = processes.iter().filter(|one| one.login_user != NOBODY);
    for one in of_somebody {
        let session = sessions.entry((one.session, one.login_user)).or_default();
        session.push(one.found.pid);
    }
    let lines = sessions.into_iter().flat_map(|((session, user), pids)| {
        let line = Line::default().with("session", session);
        line.with("login_user_id", user).with("pids", pids).end()
    });
    lines.collect()
}

fn process(look: &Look, pid: u32, hashes: &mut HashMap<Key, Option<Digest>>) -> Option<Process> {
    let place = look.below(&format!("/proc/{pid}"));
    let found = procfs::parse(&look.boot, pid, &fs::read(place.join("stat")).ok()?)?;
    let link = |name: &str| {
        let target = fs::read_link(place.join(name)).unwrap_or_default();
        Text::from(target.into_os_string().into_vec())
    };
    let number = |name: &str| {
        let text = fs::read_to_string(place.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(NOBODY)
    };
    let line = |name: &str| Text::from(fs::read(place.join(name)).unwrap_or_default().trim_ascii());
    let status = fs::read_to_string(place.join("status")).unwrap_or_default();
    let user = status.lines().find_map(|line| {
        let ids = line.strip_prefix("Uid:")?;
        ids.split_ascii_whitespace().nth(1)?.parse().ok()
    });
    Some(Process {
        name: line("comm"),
        exe: link("exe"),
        sha256: hash(&place.join("exe"), look, hashes),
        argv: argv(&place.join("cmdline")),
        cwd: link("cwd"),
        cgroup: line("cgroup"),
        user,
        login_user: number("loginuid"),
        session: number("sessionid"),
        found,
    })
}

/// By which a content is known again.
type Key = (u64, u64, i64, i64);

/// Of what runs, whatever its name points to by now.
fn hash(
    exe: &std::path::Path,
    look: &Look,
    hashes: &mut HashMap<Key, Option<Digest>>,
) -> Option<Digest> {
    if look.is_over() {
        return None;
    }
    let file = File::open(exe).ok()?;
    let found = file.metadata().ok()?;
    let key = (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
    let wanted = found.is_file() && found.len() <= MAX_HASHED;
    *hashes.entry(key).or_insert_with(|| {
        let hashed = wanted.then(|| Digest::of_reader(&mut file.take(MAX_HASHED)));
        Some(hashed?.ok()?.0)
    })
}

fn argv(path: &std::path::Path) -> Vec<Text> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_ARGV).read_to_end(&mut bytes));
    if read.is_err() || bytes.is_empty() {
        return Vec::new();
    }
    let whole = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    whole.split(|byte| *byte == 0).map(Text::from).collect()
}

fn line(one: &Process, parents: &HashMap<u32, u32>) -> Vec<u8> {
    let ancestors = std::iter::successors(parents.get(&one.found.pid), |pid| parents.get(pid));
    let ancestors = ancestors.take_while(|pid| **pid != 0);
    let ancestors: Vec<u32> = ancestors.take(MAX_ANCESTORS).copied().collect();
    let argv = one.argv.iter().map(|word| word.lossy().into_owned());
    let mut line = Line::default()
        .with("pid", one.found.pid)
        .with("uid", one.found.uid.to_string())
        .with("ancestors", ancestors)
        .with("state", char::from(one.found.state).to_string())
        .with("kernel", one.found.kernel)
        .text("name", &one.name)
        .text("exe", &one.exe)
        .with("argv", argv.collect::<Vec<_>>())
        .text("cwd", &one.cwd)
        .text("cgroup", &one.cgroup)
        .with("user_id", one.user);
    if let Some(digest) = one.sha256 {
        line = line.with("sha256", digest.to_string());
    }
    if one.login_user != NOBODY {
        line = line
            .with("login_user_id", one.login_user)
            .with("session", one.session);
    }
    line.end()
}
