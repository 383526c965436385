//! What `/proc` tells of a process right after the connector spoke of it.
//!
//! # Invariants
//!
//! - All of it was read while the process was the same and alive; otherwise there are no facts.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use picket_event::{Credentials, Process};

use super::connector::{Message, What};
use crate::ebpf::cgroups::container_in;
use crate::ebpf::snapshot::namespaces;
use crate::ebpf::translate::{ended_by_nul, variable};
use crate::portable::{Census, Stat, executable, stat};
use crate::{Environment, FileKey};

/// One process.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) process: Process,
    pub(super) stat: Stat,
    pub(super) credentials: Option<Credentials>,
    /// The state of its executable.
    pub(super) key: Option<FileKey>,
}

/// Reads the process that has this number now.
pub(super) fn read(census: &Census, environment: Environment, pid: u32) -> Option<Facts> {
    let stat = stat(pid).filter(|stat| !stat.is_zombie)?;
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let variables = bounded(&folder.join("environ"));
    let ns = namespaces(&folder);
    let key = executable(pid);
    let credentials = credentials(pid, pid);
    let mut process = census.describe(pid, &stat)?;
    // An ended process shows its number and start, but has no program any more.
    if process.exe.is_empty() && !stat.is_kernel_thread {
        return None;
    }
    let variables = ended_by_nul(&variables).filter_map(|entry| variable(entry, environment));
    process.env = variables.collect();
    process.effective_gid = credentials.map(|ids| ids.effective_gid);
    process.container = container_in(process.cgroup.as_bytes());
    process.ns = Some(ns);
    Some(Facts {
        process,
        stat,
        credentials,
        key,
    })
}

/// The ids and capabilities of a thread.
pub(super) fn credentials(pid: u32, tid: u32) -> Option<Credentials> {
    let status = bounded(Path::new(&format!("/proc/{pid}/task/{tid}/status")));
    credentials_in(&String::from_utf8_lossy(&status))
}

fn credentials_in(status: &str) -> Option<Credentials> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let ids = |name: &str| -> Option<[u32; 3]> {
        let mut ids = field(name)?.split('\t').map(str::parse);
        let mut next = || ids.next()?.ok();
        Some([next()?, next()?, next()?])
    };
    let caps = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
    let [uid, effective_uid, saved_uid] = ids("Uid:\t")?;
    let [gid, effective_gid, saved_gid] = ids("Gid:\t")?;
    Some(Credentials {
        uid,
        gid,
        effective_uid,
        effective_gid,
        saved_uid,
        saved_gid,
        caps_effective: caps("CapEff:\t")?,
        caps_permitted: caps("CapPrm:\t")?,
        caps_inheritable: caps("CapInh:\t")?,
        login_uid: None,
        session: None,
    })
}

/// The execs of a batch whose process can still be read: those that nothing follows by which the
/// process became another or none.
pub(super) fn readable_execs(messages: &[Message]) -> HashMap<u32, usize> {
    let mut execs = HashMap::new();
    for (at, message) in messages.iter().enumerate() {
        match &message.what {
            What::Exec(task) => drop(execs.insert(task.pid, at)),
            What::Exit { task, .. } if task.is_leader() => drop(execs.remove(&task.pid)),
            What::Fork { child, .. } if child.is_leader() => drop(execs.remove(&child.pid)),
            _ => {}
        }
    }
    execs
}

/// At most [`MOST_BYTES`] of a file; empty if it cannot be read.
fn bounded(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

const MOST_BYTES: u64 = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::super::connector::Task;
    use super::*;
    use crate::identity;

    fn message(what: What) -> Message {
        Message {
            cpu: 0,
            sequence: 0,
            monotonic_ns: 0,
            what,
        }
    }

    #[test]
    fn this_test_reads_itself_whole() {
        let census = Census::new(identity::boot_id().unwrap());
        let own = std::process::id();
        let facts = read(&census, Environment::Listed, own).unwrap();
        assert_eq!(facts.process.argc as usize, std::env::args_os().count());
        assert!(
            facts
                .process
                .env
                .iter()
                .any(|variable| variable.name.as_bytes() == b"PATH")
        );
        let ids = facts.credentials.unwrap();
        assert_eq!(facts.process.effective_uid, Some(ids.effective_uid));
        assert_ne!(facts.process.ns.unwrap().mnt, 0);
        assert!(facts.key.is_some());
    }

    #[test]
    fn a_status_without_all_ids_is_no_credentials() {
        let status = "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapInh:\t0\nCapPrm:\t1f\nCapEff:\t2\n";
        let ids = credentials_in(status).unwrap();
        assert_eq!(
            (ids.effective_uid, ids.saved_gid, ids.caps_permitted),
            (2, 7, 31)
        );
        assert_eq!(credentials_in("Uid:\t1\t2\n"), None);
        assert_eq!(credentials_in(""), None);
    }

    #[test]
    fn an_exec_that_another_or_the_end_follows_is_not_read() {
        let task = |pid: u32| Task { tid: pid, pid };
        let end = |pid: u32| What::Exit {
            task: task(pid),
            status: 0,
        };
        let batch = [
            What::Exec(task(1)),
            What::Exec(task(1)),
            What::Exec(task(2)),
            end(2),
        ];
        let execs = readable_execs(&batch.map(message));
        assert_eq!(execs, HashMap::from([(1, 1)]));
    }
}
