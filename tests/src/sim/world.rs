//! The events of simulated hosts: invented, but of the kinds, fields and sizes of a real agent's.
//!
//! At the start a few hundred moulds are made from a seed: programs with arguments, ancestors, users, files,
//! connections and logins, each judged by the real scorer after it has seen them all. An event is a copy of a
//! mould with a time, process, number or path of its own.

mod cast;

use std::net::{IpAddr, Ipv4Addr};

use picket_event::{
    Class, CredChange, Credentials, Detail, Event, Exit, File, Fork, HashStatus, Kind, Login,
    Network, Process, ProcessUid, RuleVerdict, Severity, Source, Text, UnixNanos, Verdict,
};
use picket_scorer::{Scorer, Settings};
use picket_seal::Digest;

use super::dice::Dice;
use cast::Cast;

/// Moulds of events, by class.
#[derive(Debug)]
pub(super) struct World {
    alert: Vec<Event>,
    security: Vec<Event>,
    bulk: Vec<Event>,
}

/// When an event is said to have happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the wall clock.
    pub(super) wall: UnixNanos,
    /// In nanoseconds since boot.
    pub(super) boot_ns: u64,
}

impl World {
    /// The same moulds for the same seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let cast = Cast::new(&mut dice);
        let mut of = |count: usize, make: fn(&Cast, &mut Dice) -> Event| -> Vec<Event> {
            (0..count).map(|_| make(&cast, &mut dice)).collect()
        };
        let mut security = of(120, exec);
        security.extend(of(100, exit));
        security.extend(of(12, cred_change));
        security.extend(of(16, login));
        security.extend(of(8, account_switch));
        let mut bulk = of(80, fork);
        bulk.extend(of(112, file));
        bulk.extend(of(64, network));
        let mut alert = of(16, exec);
        judge(&mut security, &mut bulk, &mut alert);
        for event in &mut alert {
            event.verdicts.push(Verdict::Rule(rule()));
        }
        Self {
            alert,
            security,
            bulk,
        }
    }

    /// An event of this class that happened now.
    pub(super) fn event(&self, class: Class, now: Moment, dice: &mut Dice) -> Event {
        let moulds = match class {
            Class::Alert => &self.alert,
            Class::Security => &self.security,
            Class::Bulk => &self.bulk,
        };
        let mould = dice.pick(moulds).expect("each class has moulds");
        let mut event = mould.clone();
        event.time = now.wall;
        event.boot_ns = now.boot_ns;
        let number = dice.next();
        if let Some(process) = &mut event.process {
            process.uid = ProcessUid::new(dice.bytes());
            process.pid = 1_000 + dice.small(4_000_000);
            process.start_time = Some(now.wall);
            if let Some(last) = process.argv.last_mut() {
                *last = Text::from(format!("/srv/jobs/{number:016x}/input.json"));
            }
        }
        individual(&mut event, number, dice);
        event
    }
}

/// What differs between two events of one mould, beyond their process.
fn individual(event: &mut Event, number: u64, dice: &mut Dice) {
    match &mut event.detail {
        Some(Detail::File(file)) => {
            file.path = Text::from(format!(
                "/srv/data/{:03x}/part-{number:016x}.tmp",
                number & 0xfff
            ));
            file.inode = Some(number & 0xff_ffff);
        }
        Some(Detail::Network(network)) => {
            network.local_port = 32_768 + dice.small(28_000);
        }
        Some(Detail::Fork(fork)) => {
            fork.child_uid = ProcessUid::new(dice.bytes());
            fork.child_pid = 1_000 + dice.small(4_000_000);
        }
        Some(Detail::Exit(exit)) => exit.duration_ns = Some(number & 0xfff_ffff),
        Some(Detail::Login(login)) => login.source_port = Some(32_768 + dice.small(28_000)),
        _ => {}
    }
}

/// The scorer sees everything some times, then says what it thinks of each mould.
fn judge(security: &mut [Event], bulk: &mut [Event], alert: &mut [Event]) {
    const TIMES: i64 = 12;
    const DAY_NS: i64 = 86_400_000_000_000;
    let mut scorer = Scorer::new(Settings::new([7; 16]));
    for day in 0..=TIMES {
        let now = UnixNanos(A_MOMENT.0.saturating_add(day.saturating_mul(DAY_NS)));
        let moulds = security.iter_mut().chain(&mut *bulk).chain(&mut *alert);
        for event in moulds {
            let verdict = scorer.step(now, event);
            if day == TIMES {
                event.verdicts.extend(verdict.map(|mut verdict| {
                    // The class is decided by the list that the mould stands in.
                    verdict.alert = false;
                    Verdict::Scorer(verdict)
                }));
            }
        }
    }
}

fn exec(cast: &Cast, dice: &mut Dice) -> Event {
    event(Kind::Exec).by(cast.starting(dice))
}

fn exit(cast: &Cast, dice: &mut Dice) -> Event {
    event(Kind::Exit)
        .by(cast.running(dice))
        .with(Detail::Exit(Exit {
            code: Some(i32::from(dice.below(20) == 0)),
            signal: None,
            duration_ns: Some(0),
        }))
}

fn fork(cast: &Cast, dice: &mut Dice) -> Event {
    let child = Fork {
        child_uid: ProcessUid::new([0; 16]),
        child_pid: 0,
    };
    event(Kind::Fork)
        .by(cast.running(dice))
        .with(Detail::Fork(child))
}

fn file(cast: &Cast, dice: &mut Dice) -> Event {
    let kinds = [
        Kind::FileCreate,
        Kind::FileModify,
        Kind::FileRename,
        Kind::FileDelete,
    ];
    let kind = dice.pick(&kinds).copied().unwrap_or(Kind::FileModify);
    let mut file = File {
        dev: Some(254 << 20 | 1),
        mode: Some(0o100_644),
        size: Some(dice.below(1 << 20)),
        ..File::default()
    };
    if kind == Kind::FileRename {
        file.new_path = Text::from("/srv/data/current.db");
    }
    if kind == Kind::FileModify {
        file.sha256_after = Some(Digest::of(&dice.bytes::<8>()));
        file.hash_status = Some(HashStatus::Ok);
    }
    event(kind).by(cast.running(dice)).with(Detail::File(file))
}

fn network(cast: &Cast, dice: &mut Dice) -> Event {
    let kinds = [Kind::NetConnect, Kind::NetAccept, Kind::NetClose];
    let kind = dice.pick(&kinds).copied().unwrap_or(Kind::NetConnect);
    let inbound = kind == Kind::NetAccept;
    let closed = kind == Kind::NetClose;
    let network = Network {
        proto: "tcp".to_owned(),
        direction: if inbound { "inbound" } else { "outbound" }.to_owned(),
        local_ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 3, 17))),
        local_port: 0,
        remote_ip: Some(address(dice)),
        remote_port: dice.pick(&[443, 5432, 6379, 53]).copied().unwrap_or(443),
        bytes_in: closed.then(|| dice.below(1 << 16)),
        bytes_out: closed.then(|| dice.below(1 << 16)),
        result: (!closed).then_some(0),
    };
    event(kind)
        .by(cast.running(dice))
        .with(Detail::Network(network))
}

fn login(cast: &Cast, dice: &mut Dice) -> Event {
    let refused = dice.below(3) == 0;
    let user = cast.user(dice);
    let login = Login {
        user: user.name,
        outcome: if refused { "failure" } else { "success" }.to_owned(),
        service: "sshd".to_owned(),
        method: if refused { "password" } else { "publickey" }.to_owned(),
        source_ip: address(dice).to_string(),
        tty: Text::from("ssh"),
        key_fingerprint: if refused {
            String::new()
        } else {
            "SHA256:uNiVztksCsDhcc0u9e8BrHYgZlIqxUKb2pbLPWBlTnY".to_owned()
        },
        session: (!refused).then(|| dice.small(4_000)),
        seen_by: vec!["audit".to_owned(), "auth_log".to_owned()],
        ..Login::default()
    };
    let kind = if refused {
        Kind::LoginFailed
    } else {
        Kind::Login
    };
    let mut event = event(kind)
        .by(cast.running(dice))
        .with(Detail::Login(login));
    event.source = Source::AuthLog;
    event
}

fn account_switch(cast: &Cast, dice: &mut Dice) -> Event {
    let login = Login {
        user: cast.user(dice).name,
        outcome: "success".to_owned(),
        service: "sudo".to_owned(),
        tty: Text::from("pts/0"),
        session: Some(dice.small(4_000)),
        seen_by: vec!["auth_log".to_owned()],
        target_user: Text::from("root"),
        command: Text::from("/usr/bin/systemctl restart app.service"),
        ..Login::default()
    };
    let mut event = event(Kind::AccountSwitch)
        .by(cast.running(dice))
        .with(Detail::Login(login));
    event.source = Source::AuthLog;
    event
}

fn cred_change(cast: &Cast, dice: &mut Dice) -> Event {
    let old = Credentials {
        uid: 1_000,
        gid: 1_000,
        effective_uid: 1_000,
        effective_gid: 1_000,
        login_uid: Some(1_000),
        session: Some(dice.small(4_000)),
        ..Credentials::default()
    };
    let new = Credentials {
        effective_uid: 0,
        caps_effective: ALL_CAPS,
        caps_permitted: ALL_CAPS,
        ..old
    };
    event(Kind::CredChange)
        .by(cast.running(dice))
        .with(Detail::Cred(CredChange { old, new }))
}

fn rule() -> RuleVerdict {
    RuleVerdict {
        id: "6f2a3f0e-0c5b-4f5e-9b52-9d1c3f6f6b10".to_owned(),
        title: "Simulated: program started from a folder for jobs".to_owned(),
        severity: Severity::High,
        attack: vec!["T1059.004".to_owned()],
        author: "Picket".to_owned(),
        license: "Apache-2.0".to_owned(),
        rests_on: Vec::new(),
    }
}

fn address(dice: &mut Dice) -> IpAddr {
    let [a, b] = dice.bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, a & 15, b))
}

fn event(kind: Kind) -> Event {
    Event::new(kind, A_MOMENT, Source::Ebpf)
}

/// When moulds are said to have happened.
const A_MOMENT: UnixNanos = UnixNanos(1_767_600_000_000_000_000);

/// Every capability that kernels know.
const ALL_CAPS: u64 = 0x1ff_ffff_ffff;

/// What a process is known by in this world.
fn process(uid: [u8; 16], pid: u32) -> Process {
    Process::new(ProcessUid::new(uid), pid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn now() -> Moment {
        Moment {
            wall: A_MOMENT,
            boot_ns: 1,
        }
    }

    #[test]
    fn an_event_travels_in_the_class_that_was_asked_for() {
        let (world, mut dice) = (World::new(1), Dice::new(2));
        for class in [Class::Alert, Class::Security, Class::Bulk] {
            for _ in 0..500 {
                assert_eq!(world.event(class, now(), &mut dice).class(), class);
            }
        }
    }

    #[test]
    fn there_are_execs_with_arguments_and_ancestors_and_files_and_logins_and_connections() {
        let (world, mut dice) = (World::new(1), Dice::new(2));
        let mut events: Vec<Event> = Vec::new();
        for class in [Class::Security, Class::Bulk] {
            events.extend((0..2_000).map(|_| world.event(class, now(), &mut dice)));
        }
        let kinds: BTreeSet<Kind> = events.iter().map(|event| event.kind).collect();
        for kind in [
            Kind::Exec,
            Kind::Exit,
            Kind::Fork,
            Kind::FileRename,
            Kind::Login,
            Kind::NetConnect,
        ] {
            assert!(kinds.contains(&kind), "{kind}");
        }
        for exec in events.iter().filter(|event| event.kind == Kind::Exec) {
            let process = exec.process.as_ref().unwrap();
            assert!(process.argv.len() >= 2 && process.ancestry.len() >= 3);
            assert!(!exec.verdicts.is_empty(), "a real agent scores each exec");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_events() {
        let one = || World::new(5).event(Class::Security, now(), &mut Dice::new(9));
        assert_eq!(one(), one());
    }
}
