//! Which processes change the packages of the host.

use picket_event::{Process, Text};

/// Whether the process is a package manager that was told to change packages: by its executable, or by its
/// script where that is interpreted; in a directory of the system, run by root, in no container.
pub(super) fn changes_packages(process: &Process) -> bool {
    let uid = process.user.as_ref().map(|user| user.uid);
    let root = process.effective_uid.or(uid) == Some(0);
    if !root || process.memfd || process.container.is_some() {
        return false;
    }
    let exe = process.exe.as_bytes();
    let script = process.script.as_bytes();
    let path = if script.is_empty() { exe } else { script };
    if !is_of_the_system(exe) {
        return false;
    }
    let mut arguments = process.argv.iter().map(Text::as_bytes);
    match name_in_the_system(path) {
        Some(b"dpkg") => arguments.any(|argument| DPKG.contains(&argument)),
        Some(b"rpm") => arguments.skip(1).any(of_rpm),
        Some(b"pacman") => arguments.skip(1).any(of_pacman),
        Some(b"unattended-upgrade" | b"unattended-upgrades") => true,
        Some(name) if BY_VERB.contains(&name) => {
            let mut verbs = arguments.skip(1).take(MOST_ARGUMENTS);
            verbs.any(|argument| VERBS.contains(&argument))
        }
        _ => false,
    }
}

fn is_of_the_system(path: &[u8]) -> bool {
    !path.windows(3).any(|part| part == b"/..")
        && DIRECTORIES
            .iter()
            .any(|directory| path.starts_with(directory))
}

/// The file's name if it lies directly in a directory for programs of the system.
fn name_in_the_system(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (directory, name) = path.split_at(slash + 1);
    DIRECTORIES.contains(&directory).then_some(name)
}

/// `-i`, `-U`, `-F` and `-e` with what follows them in one word; `-q` and `-V` ask.
fn of_rpm(argument: &[u8]) -> bool {
    let flag = matches!(argument, [b'-', b'i' | b'U' | b'F' | b'e', ..]);
    flag || OF_RPM.contains(&argument)
}

/// `-S`, `-U` and `-R`; with `s`, `i`, `l`, `g` or `p` behind them they ask.
fn of_pacman(argument: &[u8]) -> bool {
    match argument {
        b"--sync" | b"--upgrade" | b"--remove" => true,
        [b'-', b'S' | b'U' | b'R', rest @ ..] => !rest
            .iter()
            .any(|byte| matches!(byte, b's' | b'i' | b'l' | b'g' | b'p')),
        _ => false,
    }
}

/// Where programs of the system lie.
const DIRECTORIES: [&[u8]; 5] = [
    b"/usr/bin/",
    b"/usr/sbin/",
    b"/bin/",
    b"/sbin/",
    b"/usr/libexec/",
];
/// Package managers whose first words say what to do.
const BY_VERB: [&[u8]; 12] = [
    b"apt",
    b"apt-get",
    b"aptitude",
    b"dnf",
    b"dnf-3",
    b"dnf5",
    b"yum",
    b"microdnf",
    b"tdnf",
    b"zypper",
    b"apk",
    b"eopkg",
];
const VERBS: [&[u8]; 21] = [
    b"install",
    b"reinstall",
    b"upgrade",
    b"update-minimal",
    b"upgrade-minimal",
    b"dist-upgrade",
    b"full-upgrade",
    b"safe-upgrade",
    b"distro-sync",
    b"downgrade",
    b"remove",
    b"purge",
    b"erase",
    b"autoremove",
    b"swap",
    b"patch",
    b"dup",
    b"add",
    b"del",
    b"fix",
    b"in",
];
/// What makes `rpm` change packages, in long.
const OF_RPM: [&[u8]; 5] = [
    b"--install",
    b"--upgrade",
    b"--freshen",
    b"--erase",
    b"--reinstall",
];
/// Arguments among which the verb must be.
const MOST_ARGUMENTS: usize = 8;
/// What makes `dpkg` change packages.
const DPKG: [&[u8]; 10] = [
    b"-i",
    b"--install",
    b"--unpack",
    b"-A",
    b"--configure",
    b"--triggers-only",
    b"-r",
    b"--remove",
    b"-P",
    b"--purge",
];

#[cfg(test)]
mod tests {
    use picket_event::{ProcessUid, User};

    use super::*;

    fn process(line: &str, uid: u32) -> Process {
        let mut process = Process::new(ProcessUid::new([1; 16]), 7);
        process.exe = line.split(' ').next().unwrap_or_default().into();
        process.argv = line.split(' ').map(Into::into).collect();
        process.user = Some(User {
            uid,
            name: "x".into(),
        });
        process
    }

    #[test]
    fn root_changing_packages_does_and_asking_does_not() {
        for line in [
            "/usr/bin/dpkg --status-fd 21 --unpack a.deb",
            "/usr/bin/apt-get -y install nginx",
            "/usr/bin/apt full-upgrade",
            "/usr/bin/rpm -Uvh x.rpm",
            "/usr/bin/dnf5 upgrade",
            "/sbin/apk add curl",
            "/usr/bin/pacman -Syu",
        ] {
            assert!(changes_packages(&process(line, 0)), "{line}");
            assert!(!changes_packages(&process(line, 1000)), "{line}");
        }
        for line in [
            "/usr/bin/dpkg -l",
            "/usr/bin/apt-get update -o APT::Update::Pre-Invoke::=/bin/sh",
            "/usr/bin/rpm -qi bash",
            "/usr/bin/pacman -Ss shell",
            "/tmp/dpkg -i x.deb",
            "/usr/bin/../../tmp/dpkg -i x.deb",
            "/usr/bin/x/dpkg -i x.deb",
            "/bin/sh install",
        ] {
            assert!(!changes_packages(&process(line, 0)), "{line}");
        }
    }

    #[test]
    fn a_script_counts_by_its_own_path_and_a_container_not_at_all() {
        let mut yum = process("/usr/bin/python3.11 /usr/bin/yum install x", 0);
        assert!(!changes_packages(&yum));
        yum.script = "/usr/bin/yum".into();
        assert!(changes_packages(&yum));
        yum.container = Some("c".repeat(64));
        assert!(!changes_packages(&yum));
        let mut stray = process("/usr/bin/python3.11 /home/x/yum install", 0);
        stray.script = "/home/x/yum".into();
        assert!(!changes_packages(&stray));
    }
}
