//! Who reaches the collector: this program by its user, and by its control group where it has one.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use picket_isolation::{Own, Table, Wanted};

use super::ground::{Ground, PEER, PEER_6, Space, only, speaks_soon};

/// Whether another program connects, run by a shell that `before` prepares.
fn another(space: &Space, before: &str, user: &str, to: SocketAddr) -> bool {
    let connect = format!("{before} exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    let args = [
        "2",
        "setpriv",
        "--reuid",
        user,
        "--clear-groups",
        "bash",
        "-c",
        &connect,
    ];
    let mut command = space.command("timeout", &args);
    command
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn another_user_does_not_reach_the_collector() {
    let ground = Ground::new();
    for collector in [ground.peer.echo(PEER, 7443), ground.peer.echo(PEER_6, 7443)] {
        assert!(another(&ground.host, "", "65534", collector), "before");
        ground.host.inside(|| {
            let mut table = Table::open().unwrap();
            let form = table.apply(&only(collector)).unwrap();
            assert!(!form.cgroup);
        });
        assert!(!another(&ground.host, "", "65534", collector));
        assert!(
            another(&ground.host, "", "0", collector),
            "by the user alone"
        );
        assert!(speaks_soon(&ground.host.connect(collector).unwrap()));
        ground
            .host
            .inside(|| Table::open().unwrap().remove().unwrap());
    }
}

#[test]
fn another_control_group_of_the_same_user_does_not_reach_the_collector() {
    let Some(group) = Group::enter() else {
        return eprintln!("SKIPPED: no control groups of version 2 can be made here");
    };
    let ground = Ground::new();
    let collector = ground.peer.echo(PEER, 7443);
    let session = ground.host.connect(collector).unwrap();
    let wanted = Wanted {
        collectors: vec![collector],
        own: Some(Own::find()),
        ..Wanted::default()
    };
    assert!(wanted.own.unwrap().cgroup.is_some());
    let leave = format!("echo $$ > {}/cgroup.procs;", group.parent().display());
    assert!(another(&ground.host, &leave, "0", collector), "before");
    let form = ground.host.inside(|| {
        let mut table = Table::open().unwrap();
        let form = table.apply(&wanted).unwrap();
        assert_eq!(table.difference(&wanted, form).unwrap(), None);
        form
    });
    if !form.cgroup {
        return eprintln!("SKIPPED: this kernel's rules know no control groups");
    }
    assert!(speaks_soon(&session), "the session lives");
    assert!(
        speaks_soon(&ground.host.connect(collector).unwrap()),
        "and can be made anew"
    );
    assert!(!another(&ground.host, &leave, "0", collector));
    assert!(
        another(&ground.host, "", "0", collector),
        "its children are of its group"
    );
}

/// A control group of the test's own, with the test in it.
struct Group(PathBuf);

impl Group {
    fn enter() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let root = PathBuf::from(line.split(' ').nth(4)?);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let path = root
            .join(own)
            .join(format!("picket-isolation-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        fs::write(group.0.join("cgroup.procs"), "0").ok()?;
        Some(group)
    }

    fn parent(&self) -> PathBuf {
        self.0.parent().unwrap().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::write(self.parent().join("cgroup.procs"), "0"));
        drop(fs::remove_dir(&self.0));
    }
}
