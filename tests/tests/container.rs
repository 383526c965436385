//! The container images and the manifest of the `DaemonSet`, held against the units, the packages and the agent's sources. Nothing
//! is run: no engine is at hand where the tests are.
//!
//! What stays true: in a cluster the agent has no privilege that its systemd unit does not give it, sees no folder of the host that
//! it does not read, and nothing secret is in any file.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_norway::Value;

/// What each folder of the host, or file, is mounted for: where the sources read it, and a word that stands there.
const READ_BY: [(&str, &str, &str); 7] = [
    (
        "/var/lib/picket",
        "agent/src/config.rs",
        "\"/var/lib/picket\"",
    ),
    (
        "/run/picket",
        "agent/src/health/socket.rs",
        "\"/run/picket/",
    ),
    (
        "/etc/picket/agent.toml",
        "agent/src/config.rs",
        "\"/etc/picket/agent.toml\"",
    ),
    (
        "/etc/machine-id",
        "agent/sensor/src/login.rs",
        "\"/etc/machine-id\"",
    ),
    ("/var/log", "agent/sensor/src/login.rs", "\"/var/log/"),
    (
        "/run/log/journal",
        "agent/sensor/src/login.rs",
        "\"/run/log/journal\"",
    ),
    (
        "/sys/fs/cgroup",
        "agent/sensor/src/ebpf/cgroups.rs",
        "\"cgroup2\"",
    ),
];
/// Where the agent writes.
const WRITTEN: [&str; 2] = ["/var/lib/picket", "/run/picket"];

#[test]
fn the_agent_has_only_capabilities_that_its_unit_gives_it_too() {
    let agent = containers("containers").remove(0);
    let security = &agent["securityContext"];
    let added = words(&security["capabilities"]["add"]);
    let unit = unit("picket-agent.service");
    let given: BTreeSet<String> = unit["CapabilityBoundingSet"]
        .split(' ')
        .map(|name| name.trim_start_matches("CAP_").to_owned())
        .collect();
    assert!(added.is_subset(&given), "{added:?} is not within {given:?}");
    assert!(added.len() < given.len());
    assert_eq!(
        words(&security["capabilities"]["drop"]),
        BTreeSet::from(["ALL".to_owned()])
    );
    assert_eq!(security["privileged"], Value::Bool(false));
    assert_eq!(security["readOnlyRootFilesystem"], Value::Bool(true));
    assert_eq!(text(&security["seccompProfile"]["type"]), "RuntimeDefault");
}

#[test]
fn who_enrols_has_no_capability_and_alone_sees_the_token() {
    let enroll = containers("initContainers").remove(0);
    let security = &enroll["securityContext"];
    assert_eq!(unit("picket-enroll.service")["CapabilityBoundingSet"], "");
    assert!(security["capabilities"]["add"].is_null());
    assert_eq!(
        words(&security["capabilities"]["drop"]),
        BTreeSet::from(["ALL".to_owned()])
    );
    assert_eq!(security["allowPrivilegeEscalation"], Value::Bool(false));
    assert_eq!(security["readOnlyRootFilesystem"], Value::Bool(true));
    let volumes = volumes();
    let secrets = |container: &Value| {
        let mounts = mounts(container);
        let secret = |mount: &&Mount| !volumes[&mount.volume]["secret"].is_null();
        mounts.iter().filter(secret).count()
    };
    assert_eq!(secrets(&enroll), 1);
    assert_eq!(secrets(&containers("containers")[0]), 0);
    // The file that is used once is not followed through a link: a secret's own folder is full of them.
    let token = mounts(&enroll)
        .into_iter()
        .find(|mount| mount.volume == "enroll")
        .unwrap();
    assert_eq!(
        (token.at.as_str(), token.part.as_str(), token.read_only),
        ("/etc/picket/enroll.toml", "enroll.toml", true)
    );
}

#[test]
fn what_is_mounted_is_what_the_agent_reads_and_only_its_own_is_written() {
    let volumes = volumes();
    let agent = mounts(&containers("containers")[0]);
    let read: BTreeMap<&str, (&str, &str)> = READ_BY
        .into_iter()
        .map(|(at, file, word)| (at, (file, word)))
        .collect();
    for mount in &agent {
        let (file, word) = read[mount.at.as_str()];
        assert!(source(file).contains(word), "{file} does not read {word}");
        assert_eq!(
            mount.read_only,
            !WRITTEN.contains(&mount.at.as_str()),
            "{}",
            mount.at
        );
        // A path of the host has its own name inside, or events would name another.
        let host = &volumes[&mount.volume]["hostPath"];
        if !host.is_null() {
            assert_eq!(text(&host["path"]), mount.at);
        }
    }
    assert_eq!(agent.len(), read.len());
    let enroll = mounts(&containers("initContainers")[0]);
    let used: BTreeSet<String> = agent
        .into_iter()
        .chain(enroll)
        .map(|mount| mount.volume)
        .collect();
    assert_eq!(used, volumes.into_keys().collect());
}

#[test]
fn the_pod_sees_the_hosts_processes_and_network_and_asks_the_cluster_nothing() {
    let pod = pod();
    assert_eq!(pod["hostPID"], Value::Bool(true));
    assert_eq!(pod["hostNetwork"], Value::Bool(true));
    assert!(pod["hostIPC"].is_null());
    assert_eq!(pod["automountServiceAccountToken"], Value::Bool(false));
    assert!(pod["serviceAccountName"].is_null());
    let unit = unit("picket-agent.service");
    let limit = text(&containers("containers")[0]["resources"]["limits"]["memory"]);
    assert_eq!(limit.trim_end_matches('i'), unit["MemoryMax"]);
}

#[test]
fn programs_are_started_as_the_units_start_them() {
    let args = |container: &Value| {
        let args = container["args"].as_sequence().unwrap();
        args.iter().map(text).collect::<Vec<_>>().join(" ")
    };
    let agent = image("agent");
    let begin = |rest: String| format!("{} {rest}", agent.entry.join(" "));
    let started = |name: &str| unit(name)["ExecStart"].clone();
    assert_eq!(
        begin(args(&containers("containers")[0])),
        started("picket-agent.service")
    );
    assert_eq!(
        begin(args(&containers("initContainers")[0])),
        started("picket-enroll.service")
    );
    assert_eq!(
        begin(agent.command.join(" ")),
        started("picket-agent.service")
    );
    let collector = image("collector");
    let command = [collector.entry, collector.command].concat().join(" ");
    assert_eq!(command, started("picket-collector.service"));
}

#[test]
fn images_are_made_of_this_versions_packages_and_of_nothing_else() {
    let manifest = source("Cargo.toml");
    let version = manifest.lines().find_map(|line| {
        let quoted = line.strip_prefix("version = \"")?;
        quoted.strip_suffix('"')
    });
    let release = format!("{}-1", version.unwrap());
    for name in ["agent", "collector"] {
        let image = image(name);
        assert_eq!(image.arguments["RELEASE"], release);
        assert!(image.arguments["BASE"].starts_with("debian:bookworm"));
        let package = format!("/packages/picket-{name}_${{RELEASE}}_amd64.deb");
        assert!(image.text.contains(&package), "{name}");
        let held = source(&format!("packaging/contents/picket-{name}.list"));
        assert!(held.contains(&format!(" {}\n", image.entry[0])), "{name}");
        for word in ["COPY", "ADD", "curl", "wget", "http"] {
            assert!(!image.instructions.contains(word), "{name}: {word}");
        }
    }
    for container in [containers("initContainers"), containers("containers")].concat() {
        assert_eq!(text(&container["image"]), format!("picket-agent:{release}"));
    }
    let collector = image("collector");
    let user = collector.users.last().unwrap();
    assert!(user.chars().all(|c| c.is_ascii_digit() || c == ':') && !user.starts_with('0'));
}

#[test]
fn no_file_holds_a_secret() {
    for name in [
        "agent.Containerfile",
        "collector.Containerfile",
        "daemonset.yaml",
    ] {
        let text = source(&format!("packaging/container/{name}"));
        for word in [
            "pt1-",
            "PRIVATE KEY",
            "passphrase",
            "kind: Secret",
            "PICKET_TOKEN",
        ] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
    for container in [containers("initContainers"), containers("containers")].concat() {
        assert!(container["env"].is_null() && container["envFrom"].is_null());
    }
}

#[test]
fn the_settings_of_the_manifest_are_settings() {
    let settings = document("ConfigMap");
    let settings = text(&settings["data"]["agent.toml"]);
    let page = source("docs/settings.md");
    let keys = settings.lines().filter(|line| !line.starts_with('#'));
    let keys: Vec<&str> = keys
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
}

/// One place at which a volume is seen.
struct Mount {
    volume: String,
    at: String,
    part: String,
    read_only: bool,
}

/// What a Containerfile says.
struct Image {
    text: String,
    /// Without comments.
    instructions: String,
    arguments: BTreeMap<String, String>,
    users: Vec<String>,
    entry: Vec<String>,
    command: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn source(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The document of this kind.
fn document(kind: &str) -> Value {
    let manifest = source("packaging/container/daemonset.yaml");
    let documents = serde_norway::Deserializer::from_str(&manifest);
    let mut documents = documents.map(|document| Value::deserialize(document).unwrap());
    documents.find(|document| document["kind"] == kind).unwrap()
}

fn pod() -> Value {
    document("DaemonSet")["spec"]["template"]["spec"].clone()
}

/// `containers` or `initContainers`: one of each.
fn containers(which: &str) -> Vec<Value> {
    let found = pod()[which].as_sequence().unwrap().clone();
    assert_eq!(found.len(), 1);
    found
}

fn volumes() -> BTreeMap<String, Value> {
    let volumes = pod()["volumes"].as_sequence().unwrap().clone();
    let named = volumes
        .into_iter()
        .map(|volume| (text(&volume["name"]), volume));
    named.collect()
}

fn mounts(container: &Value) -> Vec<Mount> {
    let mounts = container["volumeMounts"].as_sequence().unwrap();
    let mount = |mount: &Value| Mount {
        volume: text(&mount["name"]),
        at: text(&mount["mountPath"]),
        part: mount["subPath"].as_str().unwrap_or_default().to_owned(),
        read_only: mount["readOnly"].as_bool().unwrap_or_default(),
    };
    mounts.iter().map(mount).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn words(list: &Value) -> BTreeSet<String> {
    list.as_sequence().unwrap().iter().map(text).collect()
}

/// The last value of each key of a unit.
fn unit(name: &str) -> BTreeMap<String, String> {
    let unit = source(&format!("packaging/systemd/{name}"));
    let keys = unit.lines().filter_map(|line| line.split_once('='));
    keys.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn image(name: &str) -> Image {
    let text = source(&format!("packaging/container/{name}.Containerfile"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let instructions = lines.collect::<Vec<_>>().join("\n");
    let of = |word: &str| {
        let lines = instructions.lines();
        let found = lines.filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        found.map(str::to_owned).collect::<Vec<String>>()
    };
    let list = |word: &str| serde_norway::from_str(&of(word)[0]).unwrap();
    let arguments = of("ARG").into_iter().filter_map(|argument| {
        let (name, value) = argument.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Image {
        arguments: arguments.collect(),
        users: of("USER"),
        entry: list("ENTRYPOINT"),
        command: list("CMD"),
        instructions,
        text,
    }
}
