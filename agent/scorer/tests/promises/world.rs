//! A host that lives: the same events for the same seed.

use std::sync::Arc;

use picket_event::{
    Ancestor, Detail, Event, File, Kind, Login, Network, Process, ProcessUid, Source, UnixNanos,
    User,
};
use picket_scorer::{Scorer, Settings};

/// A secret for tests.
pub(crate) const SECRET: [u8; 16] = *b"not a secret key";
/// 2026-01-05T00:00:00Z.
pub(crate) const START: UnixNanos = UnixNanos(1_767_571_200_000_000_000);
const DAY_NANOS: i64 = 86_400_000_000_000;

/// A scorer that knows nothing, with a table of the usual size.
pub(crate) fn fresh() -> Scorer {
    Scorer::new(Settings::new(SECRET))
}

/// The instant after `days` days and `seconds` seconds.
pub(crate) fn at(days: i64, seconds: i64) -> UnixNanos {
    UnixNanos(START.0 + days * DAY_NANOS + seconds * 1_000_000_000)
}

/// `per_day` events a day.
pub(crate) fn life(seed: u64, days: u32, per_day: u32) -> Vec<Event> {
    let mut dice = Dice(seed);
    let mut events = Vec::new();
    for day in 0..days {
        for number in 0..per_day {
            let nanos = DAY_NANOS / i64::from(per_day) * i64::from(number);
            let now = UnixNanos(START.0 + i64::from(day) * DAY_NANOS + nanos);
            events.push(moment(&mut dice, now));
        }
    }
    events
}

/// One program starting another.
pub(crate) fn exec(now: UnixNanos, parent: &str, line: &str) -> Event {
    let argv: Vec<_> = line.split(' ').map(Into::into).collect();
    let mut process = process(line.split(' ').next().unwrap_or_default());
    process.argv = argv;
    process.ancestry = Arc::new([Ancestor {
        uid: ProcessUid::new([2; 16]),
        pid: 1,
        exe: parent.into(),
    }]);
    Event::new(Kind::Exec, now, Source::Replay).by(process)
}

/// A login that worked.
pub(crate) fn login(now: UnixNanos, user: &str, source_ip: &str, method: &str) -> Event {
    Event::new(Kind::Login, now, Source::Replay).with(Detail::Login(Login {
        user: user.into(),
        outcome: "success".to_owned(),
        service: "sshd".to_owned(),
        method: method.to_owned(),
        source_ip: source_ip.to_owned(),
        ..Login::default()
    }))
}

/// A file that a program touched.
pub(crate) fn file(now: UnixNanos, kind: Kind, exe: &str, path: &str) -> Event {
    let file = File {
        path: path.into(),
        ..File::default()
    };
    Event::new(kind, now, Source::Replay)
        .by(process(exe))
        .with(Detail::File(file))
}

/// A connection that a program began or took.
pub(crate) fn connection(now: UnixNanos, kind: Kind, exe: &str, remote: &str, port: u32) -> Event {
    let network = Network {
        proto: "tcp".to_owned(),
        direction: "outbound".to_owned(),
        local_ip: None,
        local_port: port,
        remote_ip: remote.parse().ok(),
        remote_port: port,
        bytes_in: None,
        bytes_out: None,
        result: None,
    };
    Event::new(kind, now, Source::Replay)
        .by(process(exe))
        .with(Detail::Network(network))
}

fn process(exe: &str) -> Process {
    let mut process = Process::new(ProcessUid::new([1; 16]), 2);
    process.exe = exe.into();
    process.cwd = "/".into();
    process.user = Some(User {
        uid: 33,
        name: "www-data".into(),
    });
    process
}

fn moment(dice: &mut Dice, now: UnixNanos) -> Event {
    match dice.below(100) {
        0..20 => exec(now, "/usr/sbin/nginx", "/usr/sbin/php-fpm -F"),
        20..40 => exec(now, "/bin/bash", dice.pick(&LINES)),
        40..50 => exec(now, "/usr/sbin/cron", "/bin/sh -c run-parts"),
        50..60 => {
            let path = format!("/var/log/nginx/access.{}", dice.below(9));
            file(now, Kind::FileModify, "/usr/sbin/nginx", &path)
        }
        60..65 => file(now, Kind::FileOpen, "/usr/sbin/sshd", "/etc/shadow"),
        65..85 => {
            let remote = format!("198.51.{}.{}", dice.below(200), dice.below(250));
            connection(now, Kind::NetAccept, "/usr/sbin/nginx", &remote, 443)
        }
        85..93 => connection(now, Kind::NetConnect, "/usr/sbin/php-fpm", "10.0.0.5", 5432),
        93..98 => {
            let from = format!("203.0.113.{}", dice.below(4));
            login(now, dice.pick(&["ann", "bob"]), &from, "publickey")
        }
        98 => Event::new(Kind::Exit, now, Source::Replay),
        _ => strange(dice, now),
    }
}

fn strange(dice: &mut Dice, now: UnixNanos) -> Event {
    let name = dice.below(1 << 20);
    match dice.below(4) {
        0 => exec(now, "/bin/bash", &format!("/home/ann/p{name} -x")),
        1 => file(
            now,
            Kind::FileCreate,
            "/usr/bin/python3",
            &format!("/etc/d{name}/x"),
        ),
        2 => connection(now, Kind::NetConnect, "/bin/sh", "192.0.2.9", name % 65_536),
        _ => login(now, &format!("user{name}"), "192.0.2.77", "password"),
    }
}

const LINES: [&str; 8] = [
    "/bin/ls -l",
    "/bin/cat x",
    "/usr/bin/vim x",
    "/bin/ls -la",
    "/usr/bin/git status",
    "/usr/bin/git commit -m x",
    "/usr/bin/make -j2",
    "/usr/bin/ssh -p22 x",
];

/// Splitmix: the same throws for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.throw() % u64::from(bound)).unwrap_or_default()
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[usize::try_from(self.throw() % of.len() as u64).unwrap_or_default()]
    }
}
