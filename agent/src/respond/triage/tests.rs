//! A made-up host: what is gathered of it, and what is not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use picket_event::command::{Action, Command};
use picket_seal::Digest;
use serde_json::json;

use super::*;
use crate::outbox::{Outbox, ParcelEnd};
use crate::respond::tests::{Ask, Bench, NOW, command};

/// What no archive may hold.
const SECRET: &str = "not-for-anybody";

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        host.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\neve:x:1001:1001::/home/eve:/bin/sh\n");
        host.file("/etc/shadow", &format!("root:{SECRET}:1::::::\n"));
        host.file("/home/ada/.ssh/id_ed25519", SECRET);
        host.file(
            "/home/ada/.ssh/authorized_keys",
            "from=\"10.0.0.1\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== ada@desk\n",
        );
        // Whoever owns a home may point anywhere.
        host.file("/hidden/authorized_keys", SECRET);
        host.link("/hidden", "/home/eve/.ssh");
        host.file(
            "/etc/cron.d/backup",
            "0 * * * * root /usr/local/bin/backup\n",
        );
        host.link("/etc/shadow", "/etc/cron.d/shadow");
        host.file("/etc/systemd/system/x.service", "[Service]\n");
        host.link(
            "/etc/systemd/system/x.service",
            "/etc/systemd/system/multi-user.target.wants/x.service",
        );
        host.file("/var/log/auth.log", "sshd: Accepted publickey for ada\n");
        host.file("/proc/modules", "ext4 1 1 - Live 0x0\n");
        host.file("/proc/1/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n");
        host.file(
            "/proc/self/net/tcp",
            "sl local rem\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 1000 0 4242 1\n",
        );
        host.process(1, 0, "systemd", u32::MAX);
        host.process(40, 1, "sshd", 1000);
        host.process(41, 40, "bash", 1000);
        host.link("socket:[4242]", "/proc/41/fd/3");
        host.file("/proc/41/environ", SECRET);
        host
    }

    fn process(&self, pid: u32, ppid: u32, name: &str, login: u32) {
        let at = |file: &str| format!("/proc/{pid}/{file}");
        let stat =
            format!("{pid} ({name}) S {ppid} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid}00 0 0");
        self.file(&at("stat"), &stat);
        self.file(&at("comm"), &format!("{name}\n"));
        self.file(&at("cmdline"), &format!("{name}\0-x\0"));
        self.file(&at("status"), "Uid:\t0\t1000\t0\t0\n");
        self.file(&at("loginuid"), &login.to_string());
        self.file(
            &at("sessionid"),
            if login == u32::MAX { "4294967295" } else { "7" },
        );
        self.file("/usr/bin/program", "a program");
        let exe = self.dir.path().join("usr/bin/program");
        self.link(exe.to_str().unwrap(), &at("exe"));
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, content: &str) {
        fs::write(self.at(path), content).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    fn gather(&self, most: u64) -> Vec<u8> {
        gather(&Wish {
            root: self.dir.path().to_owned(),
            boot: BootId::new([1; 16]),
            now: NOW,
            most,
            host: "h".to_owned(),
            command: "c".to_owned(),
            status: json!({"version": "x"}),
        })
    }
}

/// The files of an archive, by name.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut at = 0;
    while archive[at] != 0 {
        let field = |from: usize, to: usize| {
            let text = String::from_utf8(archive[at + from..at + to].to_vec()).unwrap();
            text.trim_end_matches('\0').to_owned()
        };
        let size = usize::from_str_radix(&field(124, 135), 8).unwrap();
        let from = at + 512;
        files.insert(field(0, 100), archive[from..from + size].to_vec());
        at = from + size.next_multiple_of(512);
    }
    files
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_an_operator_asks_first_is_in_the_archive() {
    let files = files(&Host::new().gather(1 << 20));
    let processes = lines(&files["processes.jsonl"]);
    let bash = processes.iter().find(|one| one["pid"] == 41).unwrap();
    assert_eq!(bash["ancestors"], json!([40, 1]));
    assert_eq!(bash["argv"], json!(["bash", "-x"]));
    assert_eq!(bash["sha256"], Digest::of(b"a program").to_string());
    assert_eq!(
        (&bash["user_id"], &bash["session"]),
        (&json!(1000), &json!(7))
    );
    let sockets = lines(&files["sockets.jsonl"]);
    assert_eq!(
        (
            &sockets[0]["local"],
            &sockets[0]["state"],
            &sockets[0]["pids"]
        ),
        (&json!("127.0.0.1:8080"), &json!("listen"), &json!([41]))
    );
    let sessions = lines(&files["sessions.jsonl"]);
    assert_eq!(
        sessions,
        [json!({"session": 7, "login_user_id": 1000, "pids": [40, 41]})]
    );
    let keys = lines(&files["authorized_keys.jsonl"]);
    let fingerprint = keys[0]["keys"][0]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("SHA256:"), "{fingerprint}");
    assert_eq!(keys[0]["user"], "ada");
    let scheduled = lines(&files["scheduled.jsonl"]);
    let backup = &scheduled[0];
    assert_eq!(
        (&backup["path"], &backup["kind"]),
        (&json!("/etc/cron.d/backup"), &json!("file"))
    );
    assert!(backup["sha256"].is_string());
    assert!(files["auth.log"].starts_with(b"sshd: Accepted"));
    assert!(files["modules"].starts_with(b"ext4") && files["mounts"].starts_with(b"1 0"));
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let utmp = index["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["name"] == "utmp");
    assert_eq!(utmp.unwrap()["note"], "there is no such file");
}

#[test]
fn no_link_is_followed_and_no_secret_is_read() {
    let archive = Host::new().gather(1 << 20);
    let text = String::from_utf8_lossy(&archive);
    assert!(!text.contains(SECRET));
    let files = files(&archive);
    let keys = lines(&files["authorized_keys.jsonl"]);
    let eve = keys.iter().find(|one| one["user"] == "eve").unwrap();
    assert_eq!(eve["note"], "it is behind a link, which is not followed");
    let scheduled = lines(&files["scheduled.jsonl"]);
    let link = scheduled
        .iter()
        .find(|one| one["path"] == "/etc/cron.d/shadow")
        .unwrap();
    assert_eq!(
        (&link["kind"], &link["target"]),
        (&json!("link"), &json!("/etc/shadow"))
    );
    assert!(link["sha256"].is_null());
}

#[test]
fn the_bound_holds_and_what_was_cut_is_said() {
    let host = Host::new();
    for number in 100..400 {
        host.process(number, 1, "many", u32::MAX);
    }
    let archive = host.gather(64 << 10);
    assert!(archive.len() <= 64 << 10, "{}", archive.len());
    let index: Value = serde_json::from_slice(&files(&archive)["index.json"]).unwrap();
    let listed = index["files"].as_array().unwrap();
    let processes = listed
        .iter()
        .find(|file| file["name"] == "processes.jsonl")
        .unwrap();
    assert!(processes["left_out_bytes"].as_u64().unwrap() > 0, "{index}");
}

#[test]
fn when_the_time_is_over_that_is_said() {
    let host = Host::new();
    let look = Look::new(
        host.dir.path().to_owned(),
        BootId::new([1; 16]),
        Instant::now(),
    );
    assert!(processes::all(&look).1.contains("time was over"));
    assert!(files::scheduled(&look).1.contains("time was over"));
    assert!(files::authorized_keys(&look).1.contains("time was over"));
}

#[test]
fn a_triage_is_sent_as_a_collected_file_is() {
    let bench = Bench::new();
    fs::create_dir_all(bench.accounts().join("etc")).unwrap();
    let mut responder = bench.responder();
    let signed = bench.sign(&command(1, Action::Triage(1 << 20)));
    let copied = responder.ask(&signed).unwrap();
    assert_eq!(
        (copied.state, copied.action.as_str(), copied.reason.as_str()),
        (ReceiptState::Accepted, "triage", "sending"),
        "{}",
        copied.effect
    );
    assert_eq!(copied.affected[0].object, Text::from(NAME));
    let outbox = Outbox::open(&responder.state).unwrap();
    let mut parcel = outbox.all().remove(0);
    let archive = fs::read(outbox.file(&parcel.command)).unwrap();
    let status: Value = serde_json::from_slice(&files(&archive)["agent.json"]).unwrap();
    assert!(status["ledger"].is_object());
    parcel.end = Some(ParcelEnd::Sent);
    outbox.put(&parcel).unwrap();
    let told = responder.tick();
    assert_eq!(
        (told[0].state, told[0].action.as_str(), told[0].verified),
        (ReceiptState::Executed, "triage", true)
    );
    let dry = Command {
        mode: Mode::DryRun,
        ..command(2, Action::Triage(1 << 20))
    };
    let said = responder.ask(&bench.sign(&dry)).unwrap();
    assert_eq!(said.reason, Containment::DRY_RUN);
    assert!(outbox.all().is_empty());
}
