//! Who listens: an operator to whom the collector hands on what an agent with all its sources told, and a follower with each source alone.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use picket_event::{BootId, Clock, Detail, Event, Kind, Origin, SystemClock, UnixNanos, json};
use picket_sensor::Sensor;
use picket_sensor::login::{LoginFollower, LoginSettings};
use serde_json::Value;

use super::plan::Records;
use crate::failure::Failure;
use crate::rig::{Rig, write_file};
use crate::service::Service;
use crate::wait;

/// Something that was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The event as JSON.
    pub(super) event: Value,
    /// From what happened to the event in hand: the operator's for `all`, the follower's for each source.
    pub(super) delay: Duration,
}

/// What was told, by source; `all` is the agent's, as it came to the operator.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) by_source: Vec<(&'static str, Vec<Told>)>,
    /// The agent's events of programs with a session's mark.
    pub(super) execs: Vec<Value>,
    /// The same as the collector finds them by the user of their session.
    pub(super) found: Vec<Value>,
}

/// What listens.
#[derive(Debug)]
pub(super) struct Ears {
    rig: Rig,
    agent: Service,
    operator: Child,
    reader: JoinHandle<(Vec<Told>, Vec<Value>)>,
    followers: Vec<(&'static str, JoinHandle<Vec<Told>>)>,
    over: Arc<AtomicBool>,
}

impl Ears {
    /// Starts all of them, audit's follower too if it is on, and waits until they listen.
    pub(super) fn open(audit: bool) -> Result<Self, Failure> {
        let rig = Rig::start()?;
        let state = rig.enroll("host")?;
        let config = rig.path().join("agent.toml");
        write_file(&config, SETTINGS)?;
        let (mut operator, stdout) = tail(&rig)?;
        let agent = rig.agent(&state, Some(&config));
        let agent = agent.inspect_err(|_| end(&mut operator))?;
        let started = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&started);
        let reader = std::thread::spawn(move || read(stdout, &seen));
        let over = Arc::new(AtomicBool::new(false));
        let boot = picket_sensor::identity::boot_id().map_err(|error| Failure::Unexpected {
            what: "the boot's identity".to_owned(),
            text: error.to_string(),
        })?;
        let followers = settings(boot, audit).into_iter().map(|(source, settings)| {
            let over = Arc::clone(&over);
            (source, std::thread::spawn(move || follow(&settings, &over)))
        });
        let followers = followers.collect();
        wait::until("the agent's first event", PATIENCE, || {
            drop(Command::new("/bin/true").arg("picket-mark-").status());
            Ok(started.load(Ordering::Relaxed).then_some(()))
        })?;
        // The logins' probes are attached by a thread of their own.
        wait::pause(Duration::from_secs(3));
        Ok(Self {
            rig,
            agent,
            operator,
            reader,
            followers,
            over,
        })
    }

    /// Stops them and gives what they told.
    pub(super) fn close(mut self) -> Result<Heard, Failure> {
        self.over.store(true, Ordering::Relaxed);
        self.agent.stop(PATIENCE)?;
        // What it sent last is on its way to the operator.
        wait::pause(Duration::from_secs(2));
        end(&mut self.operator);
        let died = |_| Failure::Unexpected {
            what: "a listener".to_owned(),
            text: "it panicked".to_owned(),
        };
        let (told, execs) = self.reader.join().map_err(died)?;
        let found = self.rig.ctl_json(&[
            "events",
            "--kind",
            "exec",
            "--where",
            "login.user ^= 'p' and process.argv ^= 'picket-mark-'",
            "--limit",
            "100000",
        ])?;
        let mut by_source = vec![("all", told)];
        for (source, follower) in self.followers {
            by_source.push((source, follower.join().map_err(died)?));
        }
        Ok(Heard {
            by_source,
            execs,
            found,
        })
    }
}

/// An operator who follows the collector.
fn tail(rig: &Rig) -> Result<(Child, ChildStdout), Failure> {
    let run = |source| Failure::Run {
        what: "picketctl tail".to_owned(),
        source,
    };
    let mut command = Command::new(rig.programs.path("picketctl")?);
    command.arg("--operator").arg(rig.operator());
    command.args(["tail", "--json", "--kind"]);
    let kinds = LOGIN_KINDS.iter().map(|kind| kind.name());
    command.arg(kinds.chain(["exec"]).collect::<Vec<_>>().join(","));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut operator = command.spawn().map_err(run)?;
    match operator.stdout.take() {
        Some(stdout) => Ok((operator, stdout)),
        None => Err(Failure::TooLate("the operator's output".to_owned())),
    }
}

/// It follows until it is ended.
fn end(operator: &mut Child) {
    let _gone = operator.kill();
    let _ended = operator.wait();
}

/// The agent's lines: logins, and programs with a mark.
fn read(stdout: ChildStdout, started: &AtomicBool) -> (Vec<Told>, Vec<Value>) {
    let (mut logins, mut execs) = (Vec::new(), Vec::new());
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        started.store(true, Ordering::Relaxed);
        let is_exec =
            line.starts_with("{\"kind\":\"exec\"") && line.contains("\"/bin/true\",\"picket-mark-");
        let is_login = LOGIN_KINDS
            .iter()
            .any(|kind| line.starts_with(&format!("{{\"kind\":\"{}\"", kind.name())));
        if !is_exec && !is_login {
            continue;
        }
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if is_exec {
            execs.push(event);
        } else {
            logins.push(told(event));
        }
    }
    (logins, execs)
}

fn follow(settings: &LoginSettings, over: &AtomicBool) -> Vec<Told> {
    let origin = Origin {
        host: None,
        boot: settings.boot,
    };
    let mut follower = LoginFollower::open(settings);
    let mut heard = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        if follower
            .poll(Duration::from_millis(100), &mut events)
            .is_err()
        {
            break;
        }
        let logins = events
            .drain(..)
            .filter(|event| matches!(event.detail, Some(Detail::Login(_))));
        heard.extend(
            logins
                .filter_map(|event| serde_json::from_str(&json::to_string(&event, &origin)).ok())
                .map(told),
        );
    }
    heard
}

fn told(event: Value) -> Told {
    let time = event["time"].as_str().and_then(UnixNanos::parse);
    Told {
        delay: time.map_or(Duration::MAX, |time| SystemClock.now().since(time)),
        event,
    }
}

/// Each source alone, as far as this Debian has it.
fn settings(boot: BootId, audit: bool) -> Vec<(&'static str, LoginSettings)> {
    let mut all = files_and_kernel(boot);
    let nowhere = || PathBuf::from("/nonexistent");
    let none = || LoginSettings::files(boot, nowhere(), nowhere(), Vec::new());
    if audit {
        all.push(("audit", LoginSettings { audit, ..none() }));
    }
    if Records::here() == Records::Databases {
        let (wtmpdb, lastlog2) = (none(), none());
        let known = LoginSettings::new(boot);
        all.push((
            "wtmpdb",
            LoginSettings {
                wtmpdb: known.wtmpdb,
                ..wtmpdb
            },
        ));
        all.push((
            "lastlog2",
            LoginSettings {
                lastlog2: known.lastlog2,
                ..lastlog2
            },
        ));
    }
    all
}

fn files_and_kernel(boot: BootId) -> Vec<(&'static str, LoginSettings)> {
    let nowhere = || PathBuf::from("/nonexistent");
    let none = || LoginSettings::files(boot, nowhere(), nowhere(), Vec::new());
    vec![
        (
            "auth_log",
            LoginSettings {
                auth_log: vec!["/var/log/auth.log".into()],
                ..none()
            },
        ),
        (
            "journal",
            LoginSettings {
                journal: LoginSettings::new(boot).journal,
                ..none()
            },
        ),
        (
            "wtmp",
            LoginSettings {
                wtmp: "/var/log/wtmp".into(),
                ..none()
            },
        ),
        (
            "btmp",
            LoginSettings {
                btmp: "/var/log/btmp".into(),
                ..none()
            },
        ),
        (
            "lastlog",
            LoginSettings {
                lastlog: Some("/var/log/lastlog".into()),
                ..none()
            },
        ),
        (
            "pam",
            LoginSettings {
                pam: LoginSettings::new(boot).pam,
                session: false,
                ..none()
            },
        ),
        (
            "kernel",
            LoginSettings {
                session: true,
                ..none()
            },
        ),
    ]
}

const LOGIN_KINDS: [Kind; 5] = [
    Kind::Login,
    Kind::LoginFailed,
    Kind::Logoff,
    Kind::AccountSwitch,
    Kind::Session,
];
const SETTINGS: &str = "source = \"ebpf\"\n";
const PATIENCE: Duration = Duration::from_secs(30);
