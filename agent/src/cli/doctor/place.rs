//! Where the agent runs: on a host, or in a container, and then what of the host it does not reach.
//!
//! # Invariants
//!
//! - A place is a container only by evidence, and the evidence is told. A service with mounts of its own is none.
//! - Each lack is told with what is lost by it and what to ask of who starts the container; what is there is told too.
//! - Nothing is tried: only files below the given root are read.

use std::fs;
use std::path::{Path, PathBuf};

use picket_event::{Hook, HookState};
use serde_json::{Value, json};

use crate::config::DEFAULT_STATE;
use crate::enrich::container;
use crate::health::hook_json;

#[cfg(test)]
mod tests;

/// Where the agent runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// How it is known to be a container; none: it is a host.
    pub(super) evidence: Vec<String>,
    /// What a container needs to reach the host. Empty on a host.
    pub(super) needs: Vec<Need>,
}

/// One thing without which something of the host is not reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Need {
    /// What.
    pub(super) name: String,
    /// What is lost without it; `None`: it is there.
    pub(super) lost: Option<&'static str>,
    /// What to ask for.
    pub(super) remedy: String,
}

impl Place {
    /// Looks below `root`, which is `/` but for tests.
    pub(super) fn look(root: &Path) -> Self {
        let seen = Seen { root };
        let evidence = seen.evidence();
        let needs = if evidence.is_empty() {
            Vec::new()
        } else {
            seen.needs()
        };
        Self { evidence, needs }
    }

    /// One line for the place, one for each need.
    pub(super) fn lines(&self, as_json: bool) -> Vec<String> {
        let first = if as_json {
            self.to_json().to_string()
        } else {
            self.readable()
        };
        let needs = self.needs.iter().map(|need| {
            if as_json {
                need.to_json().to_string()
            } else {
                need.readable()
            }
        });
        std::iter::once(first).chain(needs).collect()
    }

    const fn name(&self) -> &'static str {
        if self.evidence.is_empty() {
            "host"
        } else {
            "container"
        }
    }

    fn to_json(&self) -> Value {
        let hook = Hook {
            name: self.name().to_owned(),
            state: HookState::Attached,
            detail: self.evidence.join(", "),
            instead: String::new(),
        };
        let mut value = hook_json(&hook);
        value["backend"] = json!(BACKEND);
        value["evidence"] = json!(self.evidence);
        value
    }

    fn readable(&self) -> String {
        let line = format!("{BACKEND:<9} {:<28}", self.name());
        if self.evidence.is_empty() {
            return line.trim_end().to_owned();
        }
        let known = safe(&self.evidence.join(", "));
        format!("{line} {:<12} known by {known}", "")
    }
}

impl Need {
    const fn state(&self) -> HookState {
        match self.lost {
            None => HookState::Attached,
            Some(_) => HookState::Unavailable,
        }
    }

    fn to_json(&self) -> Value {
        let hook = Hook {
            name: self.name.clone(),
            state: self.state(),
            detail: self.lost.unwrap_or_default().to_owned(),
            instead: String::new(),
        };
        let mut value = hook_json(&hook);
        value["backend"] = json!(BACKEND);
        let remedy = self.lost.map(|_| self.remedy.as_str());
        value["remedy"] = json!(remedy.unwrap_or_default());
        value
    }

    fn readable(&self) -> String {
        let line = format!("{BACKEND:<9} {:<28} {:<12}", self.name, self.state().name());
        match self.lost {
            None => line.trim_end().to_owned(),
            Some(lost) => format!("{line}{lost}; remedy: {}", self.remedy),
        }
    }
}

/// What can be read below a root.
struct Seen<'a> {
    root: &'a Path,
}

impl Seen<'_> {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// The number of a namespace, as `/proc` names it.
    fn namespace(&self, process: &str, kind: &str) -> Option<u64> {
        let link = fs::read_link(self.at(&format!("/proc/{process}/ns/{kind}"))).ok()?;
        let name = link.to_str()?.strip_prefix(kind)?;
        let digits = name.strip_prefix(":[")?.strip_suffix(']')?;
        digits.parse().ok()
    }

    /// Whether this process is in the kernel's first namespace of a kind. One that cannot be read counts as the first.
    fn is_first(&self, kind: &str, first: u64) -> bool {
        let own = self.namespace("self", kind);
        own.is_none_or(|own| own == first)
    }

    fn evidence(&self) -> Vec<String> {
        let mut evidence = Vec::new();
        for mark in MARKS {
            if self.exists(mark) {
                evidence.push(mark.to_owned());
            }
        }
        let manager = self.read("/run/systemd/container");
        if !manager.trim().is_empty() {
            evidence.push(format!("/run/systemd/container: {}", manager.trim()));
        }
        let groups = self.read("/proc/self/cgroup");
        let mut paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        if let Some(id) = paths.find_map(|path| container::of_cgroup(path.as_bytes())) {
            evidence.push(format!("control group of container {id}"));
        }
        for (kind, first, name) in FIRST {
            if let Some(own) = self.namespace("self", kind).filter(|own| *own != first) {
                evidence.push(format!("{name} namespace of its own ({own})"));
            }
        }
        evidence
    }

    fn needs(&self) -> Vec<Need> {
        let need = |name: &str, there: bool, lost: &'static str, remedy: &str| Need {
            name: name.to_owned(),
            lost: (!there).then_some(lost),
            remedy: remedy.to_owned(),
        };
        let mut needs = vec![
            need(
                "processes",
                self.is_first("pid", FIRST_PID),
                "the host's processes are not seen by their numbers, and cannot be contained",
                "hostPID: true (docker, podman: --pid host)",
            ),
            self.network(),
            need(
                "users",
                self.is_first("user", FIRST_USER),
                "capabilities do not count on the host: no kernel sensor",
                "hostUsers: true, a runtime that runs as root (podman: without --userns)",
            ),
            need(
                "control groups",
                self.is_first("cgroup", FIRST_CGROUP),
                "suspend stops processes by signals; isolation knows the agent by its user alone",
                "docker, podman: --cgroupns host; Kubernetes has none without privileged",
            ),
            need(
                "type information",
                self.exists("/sys/kernel/btf/vmlinux"),
                "no kernel sensor",
                "mount /sys/kernel/btf read-only, if the host has it (CONFIG_DEBUG_INFO_BTF)",
            ),
            need(
                "login records",
                LOGINS.iter().any(|path| self.exists(path)),
                "logins are not followed",
                "mount /var/log and /run/log/journal of the host read-only at the same places",
            ),
            need(
                "machine id",
                !self.read("/etc/machine-id").trim().is_empty(),
                "the journal is not followed",
                "mount /etc/machine-id of the host read-only",
            ),
            need(
                "state",
                self.state_stays(),
                "identity and spool are lost with the container",
                "a volume at /var/lib/picket (hostPath; docker, podman: --volume)",
            ),
            need(
                "files of the host",
                false,
                "collect, quarantine, lock-user and the baseline see the image's files, not the host's",
                "install the package on the host where these are wanted",
            ),
        ];
        needs.extend(self.capabilities());
        needs
    }

    /// Whether the network is that of the host's first process, as far as that one can be asked.
    fn network(&self) -> Need {
        let first = self.namespace("1", "net");
        let first = first.filter(|_| self.is_first("pid", FIRST_PID));
        let lost = match first {
            None => Some(
                "it cannot be read whether the network is the host's, without which no isolation",
            ),
            Some(first) if self.namespace("self", "net") == Some(first) => None,
            Some(_) => {
                Some("the host cannot be isolated; devices and the process connector are not heard")
            }
        };
        Need {
            name: "network".to_owned(),
            lost,
            remedy: "hostNetwork: true, with hostPID: true (docker, podman: --network host)"
                .to_owned(),
        }
    }

    /// Whether the state is on a mount of its own that is not in memory.
    fn state_stays(&self) -> bool {
        let mounts = self.read("/proc/self/mountinfo");
        let holds = mounts.lines().filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let at = before.split(' ').nth(4)?;
            let holds = Path::new(DEFAULT_STATE).starts_with(at);
            holds.then(|| (at.len(), after.split(' ').next().unwrap_or_default()))
        });
        // Of several at one place the last one is seen.
        let nearest = holds.max_by_key(|(length, _)| *length);
        nearest.is_some_and(|(length, kind)| length > "/".len() && kind != "tmpfs")
    }

    fn capabilities(&self) -> impl Iterator<Item = Need> {
        let status = self.read("/proc/self/status");
        let effective = status.lines().find_map(|line| {
            let digits = line.strip_prefix("CapEff:")?;
            u64::from_str_radix(digits.trim(), 16).ok()
        });
        let effective = effective.unwrap_or_default();
        let has = move |bit: u32| effective & (1 << bit) != 0;
        CAPABILITIES.into_iter().map(move |(bit, name, lost)| Need {
            name: format!("CAP_{name}"),
            // The kernel takes the old one for both of those that were taken out of it.
            lost: (!(has(bit) || matches!(bit, BPF | PERFMON) && has(SYS_ADMIN))).then_some(lost),
            remedy: format!("capabilities.add: [{name}] (docker, podman: --cap-add {name})"),
        })
    }
}

fn safe(text: &str) -> String {
    picket_event::Text::from(text).for_terminal()
}

/// As which backend the lines stand.
const BACKEND: &str = "place";
/// What engines leave in the roots that they make.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// The numbers of the namespaces in which the kernel starts; they are part of its interface.
const FIRST_PID: u64 = 0xEFFF_FFFC;
const FIRST_USER: u64 = 0xEFFF_FFFD;
const FIRST_CGROUP: u64 = 0xEFFF_FFFB;
/// Those that a service of the host has, and a container mostly has not.
const FIRST: [(&str, u64, &str); 3] = [
    ("pid", FIRST_PID, "process"),
    ("user", FIRST_USER, "user"),
    ("cgroup", FIRST_CGROUP, "control group"),
];
/// Any of these tells of logins.
const LOGINS: [&str; 5] = [
    "/var/log/auth.log",
    "/var/log/secure",
    "/var/log/wtmp",
    "/var/log/journal",
    "/run/log/journal",
];
const BPF: u32 = 39;
const PERFMON: u32 = 38;
const SYS_ADMIN: u32 = 21;
/// Number, name, and what is lost without it.
const CAPABILITIES: [(u32, &str, &str); 10] = [
    (BPF, "BPF", "no kernel sensor"),
    (PERFMON, "PERFMON", "no kernel sensor"),
    (
        SYS_ADMIN,
        "SYS_ADMIN",
        "no tracefs (each system call costs twice as much), no io_uring names, no fanotify",
    ),
    (12, "NET_ADMIN", "no process connector, no isolation"),
    (
        19,
        "SYS_PTRACE",
        "executables and descriptors of others cannot be read",
    ),
    (
        2,
        "DAC_READ_SEARCH",
        "files of other users are not hashed or collected",
    ),
    (37, "AUDIT_READ", "audit records are not heard"),
    (5, "KILL", "processes of other users are not contained"),
    (7, "SETUID", "hooks of credentials are not proved"),
    (6, "SETGID", "hooks of credentials are not proved"),
];
