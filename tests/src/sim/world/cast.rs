//! Who acts in the invented events: programs, their arguments, their users and where they come from.

use std::sync::Arc;

use picket_event::{
    Ancestor, EnvVar, Fidelity, HashStatus, Namespaces, Process, ProcessUid, Text, User,
};
use picket_seal::Digest;

use super::{A_MOMENT, Dice, process};

/// The programs of a small server.
#[derive(Debug)]
pub(super) struct Cast {
    programs: Vec<Program>,
    lineages: Vec<Arc<[Ancestor]>>,
    users: Vec<User>,
}

#[derive(Debug)]
struct Program {
    exe: Text,
    comm: Text,
    argv: Vec<Text>,
    sha256: Digest,
}

impl Cast {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            programs: PROGRAMS.iter().map(|line| program(line)).collect(),
            lineages: (0..24).map(|_| lineage(dice)).collect(),
            users: USERS.iter().map(|(uid, name)| user(*uid, name)).collect(),
        }
    }

    /// A process that has just started a program: with its arguments and environment.
    pub(super) fn starting(&self, dice: &mut Dice) -> Process {
        let (mut process, program) = self.known(dice);
        process.argv.clone_from(&program.argv);
        process.argc = u32::try_from(program.argv.len()).unwrap_or(u32::MAX);
        process.argv_bytes = program
            .argv
            .iter()
            .map(|argument| argument.as_bytes().len() as u64 + 1)
            .sum();
        process.env = vec![EnvVar {
            name: Text::from("PATH"),
            value: Text::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        }];
        process
    }

    /// A process of which everything but its arguments is told again.
    pub(super) fn running(&self, dice: &mut Dice) -> Process {
        self.known(dice).0
    }

    pub(super) fn user(&self, dice: &mut Dice) -> User {
        dice.pick(&self.users).expect("there are users").clone()
    }

    fn known(&self, dice: &mut Dice) -> (Process, &Program) {
        let program = dice.pick(&self.programs).expect("there are programs");
        let ancestry = dice.pick(&self.lineages).expect("there are lineages");
        let user = self.user(dice);
        let parent = ancestry.first();
        let (uid, gid) = (user.uid, Some(user.uid));
        let process = Process {
            ppid: parent.map_or(1, |parent| parent.pid),
            parent_uid: parent.map(|parent| parent.uid),
            exe: program.exe.clone(),
            cwd: Text::from("/srv/app"),
            login_uid: Some(1_000),
            session: Some(dice.small(4_000)),
            tty: Text::from("pts/0"),
            start_time: Some(A_MOMENT),
            sha256: Some(program.sha256),
            hash_status: Some(HashStatus::Ok),
            cgroup: Text::from("/system.slice/app.service"),
            ns: Some(NAMESPACES),
            caps: Some(0),
            ancestry: Arc::clone(ancestry),
            fidelity: Some(Fidelity::Exact),
            comm: program.comm.clone(),
            effective_uid: Some(uid),
            gid,
            effective_gid: gid,
            user: Some(user),
            ..process(dice.bytes(), 1)
        };
        (process, program)
    }
}

fn program(line: &str) -> Program {
    let argv: Vec<Text> = line.split(' ').map(Text::from).collect();
    let exe = argv.first().cloned().unwrap_or_default();
    Program {
        comm: Text::from(exe.basename()),
        sha256: Digest::of(exe.as_bytes()),
        exe,
        argv,
    }
}

/// From the parent up to the first process.
fn lineage(dice: &mut Dice) -> Arc<[Ancestor]> {
    let depth = usize::try_from(3 + dice.below(4)).unwrap_or(3);
    let names = ANCESTORS.iter().rev().take(depth).rev();
    names
        .map(|exe| Ancestor {
            uid: ProcessUid::new(dice.bytes()),
            pid: 1 + dice.small(4_000_000),
            exe: Text::from(*exe),
        })
        .collect()
}

fn user(uid: u32, name: &str) -> User {
    User {
        uid,
        name: Text::from(name),
    }
}

const NAMESPACES: Namespaces = Namespaces {
    pid: 4_026_531_836,
    mnt: 4_026_531_841,
    net: 4_026_531_840,
    user: 4_026_531_837,
};

const USERS: &[(u32, &str)] = &[
    (0, "root"),
    (33, "www-data"),
    (113, "postgres"),
    (1_000, "deploy"),
    (1_001, "alice"),
];

/// The nearest first, the first process last.
const ANCESTORS: &[&str] = &[
    "/usr/bin/make",
    "/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/sudo",
    "/usr/sbin/sshd",
    "/usr/lib/systemd/systemd",
];

/// The last argument differs in each event.
const PROGRAMS: &[&str] = &[
    "/usr/bin/curl -fsS --max-time 10 -o /srv/app/cache.json URL",
    "/usr/bin/python3.11 -m app.worker --queue jobs --input FILE",
    "/bin/sh -c FILE",
    "/usr/bin/git -C /srv/app fetch --quiet origin FILE",
    "/usr/bin/grep -rn --include=*.py TODO FILE",
    "/usr/bin/sed -i s/debug/info/ FILE",
    "/usr/bin/tar --create --gzip --file /srv/backup/app.tar.gz FILE",
    "/usr/bin/find FILE",
    "/usr/bin/node /srv/app/node_modules/.bin/jest --ci FILE",
    "/usr/bin/gcc -O2 -Wall -Wextra -c -o /tmp/build/main.o FILE",
    "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -imultiarch x86_64-linux-gnu -O2 -Wall FILE",
    "/usr/bin/ls -la FILE",
    "/usr/bin/cat FILE",
    "/usr/bin/cp --archive --reflink=auto FILE",
    "/usr/bin/psql -h 127.0.0.1 -U app -d app -c FILE",
    "/usr/sbin/logrotate FILE",
];
