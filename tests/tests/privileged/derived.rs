//! What follows from events: scripts from execs, scheduled jobs from files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use picket_tests::rig::PATIENCE;
use picket_tests::service::Service;
use picket_tests::{wait, watch};
use serde_json::Value;

const SCRIPT: &str = "#!/bin/sh\nexit 0\n";
/// Its SHA-256, as any other program gives it.
const OF_SCRIPT: &str = "306c6ca7407560340797866e077e053627ad409277d1b9da58106fce4cf717cb";

#[test]
fn a_script_is_told_with_its_hash_however_it_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let script = root.join("job.sh");
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    // A file that changed within the tick before it is run cannot be told from one that changes afterwards.
    wait::pause(Duration::from_millis(50));
    let Some(watch) = watched(&root) else {
        return;
    };
    let starts = [
        "./job.sh",
        "exec sh -e job.sh",
        "/bin/sh -o errexit ./job.sh word",
        "sh -c 'exit 0' job.sh; ./job.sh",
    ];
    for (number, start) in starts.into_iter().enumerate() {
        act(&root, start);
        let event = nth(&watch, &root, "script", number);
        let told = &event["script"];
        assert_eq!(told["path"], script.display().to_string(), "{start}");
        assert_eq!(told["sha256"], OF_SCRIPT, "{start}: {event}");
        assert_eq!(told["hash_status"], "ok");
        assert_eq!(told["size"], SCRIPT.len());
        assert_eq!(told["interpreter"], shell(), "{start}");
        assert_eq!(event["source"], "agent");
        assert!(event["process"]["pid"].is_u64(), "who ran it: {event}");
    }
    watch.stop(PATIENCE).unwrap();
}

#[test]
fn a_unit_that_is_written_changed_and_removed_is_a_scheduled_job_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    // Nobody's home: no service manager reads it.
    let units = root.join(".config/systemd/user");
    std::fs::create_dir_all(&units).unwrap();
    let Some(watch) = watched(&root) else {
        return;
    };
    let unit = units.join("picket-test.timer");
    let write = |text: &str| {
        act(&units, &format!("printf '{text}' > picket-test.timer"));
        wait::pause(Duration::from_millis(200));
    };
    write("[Timer]\\nOnCalendar=daily\\n");
    let created = nth(&watch, &root, "scheduled_job", 0);
    write("[Timer]\\nOnCalendar=daily\\n"); // the same again is no job
    write("[Timer]\\nOnCalendar=hourly\\n");
    let changed = nth(&watch, &root, "scheduled_job", 1);
    act(&units, "rm picket-test.timer");
    let removed = nth(&watch, &root, "scheduled_job", 2);
    for (event, action, when) in [
        (&created, "created", "OnCalendar=daily"),
        (&changed, "changed", "OnCalendar=hourly"),
        (&removed, "removed", "OnCalendar=hourly"),
    ] {
        let job = &event["scheduled_job"];
        assert_eq!(job["action"], action, "{event}");
        assert_eq!(job["scheduler"], "systemd");
        assert_eq!(job["path"], unit.display().to_string());
        assert_eq!(job["schedule"], when, "{action}");
        assert_eq!(job["command"], "picket-test.service", "{action}");
        assert!(event["process"]["pid"].is_u64(), "who did it: {event}");
    }
    watch.stop(PATIENCE).unwrap();
}

/// Real names in a mount namespace of the test's own: neither this host's folders nor its cron see them.
#[test]
fn a_line_of_cron_and_a_job_of_at_are_scheduled_jobs_under_their_real_names() {
    let home = tempfile::tempdir().unwrap();
    let watched = [Path::new("/etc"), Path::new("/var/spool")];
    let started = watch::folders(home.path(), &watched, "").unwrap();
    let Some(watch) = or_skip(started) else {
        return;
    };
    let script = "set -e
        mount -t tmpfs none /etc; mount -t tmpfs none /var/spool
        mkdir -p /etc/cron.d /var/spool/cron/crontabs /var/spool/cron/atjobs
        echo '*/5 * * * * root /bin/true of the system' > /etc/cron.d/picket-test
        printf '@daily /bin/true of ada\\n' > /var/spool/cron/crontabs/ada
        printf '#!/bin/sh\\n# atrun uid=64321 gid=64321\\nexit 1\\n}\\n/bin/true at\\n' > /var/spool/cron/atjobs/a0000f01c2b3d4
        sleep 1; rm /etc/cron.d/picket-test; sleep 1";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    let done = picket_tests::programs::finish("unshare", command).unwrap();
    done.success(script).unwrap();
    for (path, number, action, scheduler, told) in [
        (
            "/etc/cron.d/picket-test",
            0,
            "created",
            "cron",
            ["*/5 * * * *", "root", "/bin/true of the system"],
        ),
        (
            "/etc/cron.d/picket-test",
            1,
            "removed",
            "cron",
            ["*/5 * * * *", "root", "/bin/true of the system"],
        ),
        (
            "/var/spool/cron/crontabs/ada",
            0,
            "created",
            "cron",
            ["@daily", "ada", "/bin/true of ada"],
        ),
        (
            "/var/spool/cron/atjobs/a0000f01c2b3d4",
            0,
            "created",
            "at",
            ["2026-02-27T23:16:00Z", "64321", "/bin/true at"],
        ),
    ] {
        let event = nth(&watch, Path::new(path), "scheduled_job", number);
        let job = &event["scheduled_job"];
        assert_eq!(job["action"], action, "{event}");
        assert_eq!(job["scheduler"], scheduler, "{event}");
        let said =
            ["schedule", "user", "command"].map(|name| job[name].as_str().unwrap_or_default());
        assert_eq!(said, told, "{event}");
        assert!(event["process"]["pid"].is_u64(), "who did it: {event}");
    }
    watch.stop(PATIENCE).unwrap();
}

/// Real tools on a copy of `/etc` that only the test's mount namespace has: this host's accounts stay as they are.
#[test]
fn what_useradd_and_its_like_change_is_told_by_account_and_without_a_hash() {
    let home = tempfile::tempdir().unwrap();
    let watched = [Path::new("/etc"), home.path()];
    let folder = home.path().display();
    let prepare = format!(
        "mkdir {folder}/etc {folder}/ada; cp -a /etc/. {folder}/etc; mount --bind {folder}/etc /etc"
    );
    let started = watch::folders_of_its_own(home.path(), &watched, &prepare).unwrap();
    let Some(watch) = or_skip(started) else {
        return;
    };
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8m0C2mWQ4gGGmLJBZzsVnH4eCkMkwzZ7ZzrS4TnGmq ada@work";
    let script = format!(
        "set -e
        useradd --no-create-home --home-dir {folder}/ada --uid 64321 picket-ada; sleep 1
        usermod --password '$y$j9T$picket$secret' picket-ada; sleep 1
        usermod --lock picket-ada; usermod --append --groups users picket-ada; sleep 1
        mkdir -p /etc/sudoers.d; echo 'picket-ada ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/picket
        mkdir {folder}/ada/.ssh; echo '{key}' > {folder}/ada/.ssh/authorized_keys; sleep 1
        userdel picket-ada; sleep 1"
    );
    let mut command = std::process::Command::new("nsenter");
    let namespace = format!("--mount=/proc/{}/ns/mnt", watch.pid());
    command.args([&namespace, "sh", "-c", &script]);
    let done = picket_tests::programs::finish("nsenter", command).unwrap();
    done.success("the changes").unwrap();
    for (object, action, before, after) in [
        ("user", "created", "", "uid=64321"),
        (
            "password",
            "changed",
            "",
            "password=yescrypt password=another",
        ),
        (
            "password",
            "changed",
            "password=yescrypt",
            "password=locked,yescrypt",
        ),
        ("group", "changed", "", "members="),
        (
            "sudo_rule",
            "created",
            "",
            "rule=picket-ada ALL=(ALL) NOPASSWD: ALL",
        ),
        ("ssh_key", "created", "", "fingerprint=SHA256:"),
        ("user", "removed", "uid=64321", ""),
    ] {
        let what = format!("{object} {action} {after}");
        let event = wait::until(&what, PATIENCE, || {
            Ok(account_changes(&watch).into_iter().find(|event| {
                let told = &event["account_change"];
                let says =
                    |name: &str, part: &str| told[name].as_str().unwrap_or_default().contains(part);
                told["object"] == object
                    && told["action"] == action
                    && says("before", before)
                    && says("after", after)
            }))
        });
        let event = event.unwrap_or_else(|error| panic!("{error}: {:#?}", changes(&watch)));
        let account = if object == "group" {
            "users"
        } else {
            "picket-ada"
        };
        assert_eq!(event["account_change"]["account"], account, "{event}");
        assert!(event["process"]["pid"].is_u64(), "who did it: {event}");
    }
    assert!(
        !changes(&watch).concat().contains("secret"),
        "a hash was told"
    );
    watch.stop(PATIENCE).unwrap();
}

/// What was told of accounts so far.
fn account_changes(watch: &Service) -> Vec<Value> {
    let lines = watch.lines();
    let events = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["kind"] == "account_change")
        .collect()
}

/// The same, shorter.
fn changes(watch: &Service) -> Vec<String> {
    let changes = account_changes(watch).into_iter();
    changes
        .map(|event| event["account_change"].to_string())
        .collect()
}

/// The agent, watching one folder with the kernel sensor.
fn watched(folder: &Path) -> Option<Service> {
    or_skip(watch::folder(folder, "").unwrap())
}

fn or_skip(started: Result<Service, String>) -> Option<Service> {
    started
        .inspect_err(|said| eprintln!("SKIPPED: no kernel sensor here: {said}"))
        .ok()
}

fn act(folder: &Path, script: &str) {
    watch::shell(folder, script).unwrap();
}

/// The event of this kind about a file of the test that comes after so many others.
fn nth(watch: &Service, folder: &Path, kind: &str, number: usize) -> Value {
    let found = wait::until(&format!("{kind} number {number}"), PATIENCE, || {
        let lines = watch.lines();
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut events = events.filter(|event: &Value| {
            let path = event[kind]["path"].as_str().unwrap_or_default();
            event["kind"] == kind && Path::new(path).starts_with(folder)
        });
        Ok(events.nth(number))
    });
    found.unwrap()
}

/// What the shell of this host is called once links are resolved.
fn shell() -> String {
    let path = Path::new("/bin/sh").canonicalize().unwrap();
    path.display().to_string()
}
