//! Made-up roots: a host, and containers of several kinds.

use std::os::unix::fs::symlink;

use super::*;

const ALL: &str = "000001ffffffffff";
/// A container id.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    /// What is the same everywhere: namespaces of the kernel, every capability, the state on the only file system.
    fn host() -> Self {
        let root = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for process in ["self", "1"] {
            for (kind, number) in [
                ("pid", FIRST_PID),
                ("user", FIRST_USER),
                ("cgroup", FIRST_CGROUP),
                ("net", 4_026_531_840),
            ] {
                root.namespace(process, kind, number);
            }
        }
        root.file(
            "/proc/self/cgroup",
            "0::/system.slice/picket-agent.service\n",
        );
        root.file("/proc/self/status", &format!("Name:\tx\nCapEff:\t{ALL}\n"));
        root.mounts("25 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
        root.file("/sys/kernel/btf/vmlinux", "x");
        root.file("/var/log/wtmp", "");
        root.file("/etc/machine-id", "0123\n");
        root
    }

    /// As a manifest of ours asks for.
    fn pod() -> Self {
        let root = Self::host();
        root.namespace("self", "cgroup", 4_026_532_900);
        root.file("/proc/self/cgroup", "0::/\n");
        root.mounts(
            "600 500 0:55 / / ro - overlay overlay rw\n\
             601 600 8:1 /var/lib/picket /var/lib/picket rw - ext4 /dev/sda1 rw\n",
        );
        root
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn mounts(&self, text: &str) {
        self.file("/proc/self/mountinfo", text);
    }

    fn namespace(&self, process: &str, kind: &str, number: u64) {
        let folder = self.dir.path().join(format!("proc/{process}/ns"));
        fs::create_dir_all(&folder).unwrap();
        let link = folder.join(kind);
        drop(fs::remove_file(&link));
        symlink(format!("{kind}:[{number}]"), link).unwrap();
    }

    fn look(&self) -> Place {
        Place::look(self.dir.path())
    }

    /// What is missing, by name.
    fn missing(&self) -> Vec<String> {
        let needs = self.look().needs.into_iter();
        let missing = needs.filter(|need| need.lost.is_some());
        missing.map(|need| need.name).collect()
    }
}

#[test]
fn a_service_of_a_host_is_no_container() {
    let root = Root::host();
    // A unit with ProtectSystem has mounts of its own.
    root.namespace("self", "mnt", 4_026_532_800);
    root.namespace("1", "mnt", 4_026_531_841);
    let place = root.look();
    assert!(place.evidence.is_empty() && place.needs.is_empty());
    assert_eq!(place.lines(false), ["place     host"]);
    let json: Value = serde_json::from_str(&place.lines(true)[0]).unwrap();
    assert_eq!(
        (&json["name"], &json["backend"]),
        (&json!("host"), &json!("place"))
    );
}

#[test]
fn each_engine_gives_itself_away() {
    let marks: [(&str, &str); 3] = [
        ("/.dockerenv", "/.dockerenv"),
        ("/run/.containerenv", "/run/.containerenv"),
        (
            "/run/systemd/container",
            "/run/systemd/container: systemd-nspawn",
        ),
    ];
    for (file, told) in marks {
        let root = Root::host();
        root.file(file, "systemd-nspawn\n");
        assert_eq!(root.look().evidence, [told]);
    }
    let root = Root::host();
    let path = format!("12:pids:/x\n0::/kubepods.slice/cri-containerd-{ID}.scope\n");
    root.file("/proc/self/cgroup", &path);
    assert_eq!(
        root.look().evidence,
        [format!("control group of container {ID}")]
    );
    let root = Root::host();
    root.namespace("self", "pid", 4_026_532_711);
    assert_eq!(
        root.look().evidence,
        ["process namespace of its own (4026532711)"]
    );
}

#[test]
fn a_pod_as_our_manifest_asks_for_lacks_only_what_none_can_have() {
    let root = Root::pod();
    assert_eq!(
        root.look().evidence,
        ["control group namespace of its own (4026532900)"]
    );
    assert_eq!(root.missing(), ["control groups", "files of the host"]);
}

#[test]
fn what_is_missing_is_told_with_its_remedy() {
    let root = Root::pod();
    root.namespace("self", "pid", 4_026_532_711);
    let lines = root.look().lines(false);
    let processes = lines
        .iter()
        .find(|line| line.contains(" processes "))
        .unwrap();
    assert!(
        processes.contains("unavailable") && processes.contains("remedy: hostPID: true"),
        "{processes}"
    );
    // Without the host's processes nobody can say whose network it is.
    assert!(root.missing().contains(&"network".to_owned()));
    let json: Vec<Value> = root
        .look()
        .lines(true)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let state = json.iter().find(|line| line["name"] == "state").unwrap();
    assert_eq!(
        (&state["state"], &state["remedy"]),
        (&json!("attached"), &json!(""))
    );
}

#[test]
fn a_network_of_its_own_and_missing_files_are_told() {
    let root = Root::pod();
    root.namespace("self", "net", 4_026_532_555);
    for file in ["sys/kernel/btf/vmlinux", "var/log/wtmp", "etc/machine-id"] {
        fs::remove_file(root.dir.path().join(file)).unwrap();
    }
    let missing = root.missing();
    for name in ["network", "type information", "login records", "machine id"] {
        assert!(missing.contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn a_state_in_the_containers_own_layer_or_in_memory_is_told() {
    let root = Root::pod();
    let layer = "600 500 0:55 / / ro - overlay overlay rw\n";
    root.mounts(layer);
    assert!(root.missing().contains(&"state".to_owned()));
    root.mounts(&format!(
        "{layer}601 600 0:60 / /var/lib/picket rw - tmpfs tmpfs rw\n"
    ));
    assert!(root.missing().contains(&"state".to_owned()));
    root.mounts(&format!(
        "{layer}601 600 8:1 /x /var/lib/picket-collector rw - ext4 /dev/sda1 rw\n"
    ));
    assert!(root.missing().contains(&"state".to_owned()));
    root.mounts(&format!(
        "{layer}601 600 8:1 /x /var/lib rw - ext4 /dev/sda1 rw\n"
    ));
    assert!(!root.missing().contains(&"state".to_owned()));
}

#[test]
fn each_capability_that_is_missing_is_told_by_name() {
    let root = Root::pod();
    let missing_of = |effective: u64| {
        root.file("/proc/self/status", &format!("CapEff:\t{effective:016x}\n"));
        let mut missing = root.missing();
        missing.retain(|name| name.starts_with("CAP_"));
        missing
    };
    let all = 0x1ff_ffff_ffff_u64;
    assert_eq!(missing_of(all & !(1 << 5)), ["CAP_KILL"]);
    // The one that both were taken out of stands for them.
    assert!(missing_of(all & !(1 << BPF)).is_empty());
    let without = all & !(1 << BPF) & !(1 << SYS_ADMIN);
    assert_eq!(missing_of(without), ["CAP_BPF", "CAP_SYS_ADMIN"]);
}
