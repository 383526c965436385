//! The same labelled files as the agent sees them: as events, by the whole scorer and not by one model.
//!
//! # Invariants
//!
//! - A command with nothing in it that only a shell understands is the start of its program with its
//!   arguments; every other is `sh -c` with the command. All are started by a shell of one user.
//! - The training file is dealt to [`DAYS`] days like cards, so that contexts can become mature and no day
//!   holds one part of it. A command of the test is tried on a copy: the next one finds nothing of it.
//! - Logins come at their own times, the destination as the service; the scorer learns from all of them.

use std::path::Path;

use picket_event::{
    Ancestor, Detail, Event, Kind, Login, Process, ProcessUid, ScorerVerdict, Source, Text,
    UnixNanos, User,
};
use picket_scorer::{Scorer, Settings};

use super::EvalError;
use super::judge::{Judged, Samples};
use super::models::{self, SECRET, processor_time};

/// Command lines as events of the agent.
pub(super) fn command(train: &Path, test: &Path) -> Result<Samples, EvalError> {
    let (normal, left_out) = models::commands(train)?
        .into_iter()
        .partition::<Vec<_>, _>(|command| command.0.is_none());
    models::some(train, "normal command", normal.len())?;
    let mut scorer = Scorer::new(Settings::new(SECRET));
    for day in 0..DAYS {
        let from = usize::try_from(day).unwrap_or_default();
        let of_the_day = normal.iter().skip(from).step_by(DAYS_APART);
        for (minute, (_, command)) in (0_i64..).zip(of_the_day) {
            let second = minute * MINUTE % DAY;
            let event = started(UnixNanos(day * DAY + second), command);
            scorer.step(event.time, &event);
        }
    }
    let tested = models::commands(test)?;
    let mut samples = Samples::new(normal.len(), left_out.len(), scorer.state_bytes());
    let events = tested.len();
    let mut took = std::time::Duration::ZERO;
    for (class, command) in tested {
        let event = started(UnixNanos(DAYS * DAY), &command);
        let mut copy = scorer.clone();
        let began = processor_time();
        let verdict = copy.step(event.time, &event);
        took += processor_time().saturating_sub(began);
        samples.judged.push(judged(class, verdict.as_ref()));
    }
    samples.took(took, events);
    Ok(samples)
}

/// Logins as events of the agent.
pub(super) fn login(train: &Path, test: &Path) -> Result<Samples, EvalError> {
    let mut scorer = Scorer::new(Settings::new(SECRET));
    let (mut learned, mut left_out) = (0, 0);
    models::logins(train, |_, login| {
        if login.class.is_some() {
            left_out += 1;
        } else {
            let event = logged_in(&login);
            scorer.step(event.time, &event);
            learned += 1;
        }
    })?;
    models::some(train, "normal login", learned)?;
    let mut tested = Vec::new();
    models::logins(test, |_, login| tested.push(login))?;
    let mut samples = Samples::new(learned, left_out, scorer.state_bytes());
    let events = tested.len();
    let began = processor_time();
    for login in tested {
        let event = logged_in(&login);
        let verdict = scorer.step(event.time, &event);
        samples.judged.push(judged(login.class, verdict.as_ref()));
    }
    samples.took(processor_time().saturating_sub(began), events);
    Ok(samples)
}

/// Ranked by p, and where p is equal by the bits.
fn judged(class: Option<String>, verdict: Option<&ScorerVerdict>) -> Judged {
    let rarity = verdict.map_or(0.0, |verdict| -verdict.p.log2());
    let bits = verdict.map_or(0.0, |verdict| verdict.bits);
    Judged {
        class,
        score: rarity + bits * 1e-6,
        rarity,
    }
}

fn started(now: UnixNanos, command: &[u8]) -> Event {
    let shell = command.iter().any(|byte| OF_A_SHELL.contains(byte));
    let mut words = command
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let (exe, argv) = match words.clone().next() {
        Some(first) if !shell => {
            let exe = if first.contains(&b'/') {
                first.to_vec()
            } else {
                [b"/usr/bin/", first].concat()
            };
            (exe, words.by_ref().map(Text::from).collect())
        }
        _ => (
            b"/bin/sh".to_vec(),
            vec!["sh".into(), "-c".into(), command.into()],
        ),
    };
    let mut process = Process::new(ProcessUid::new([1; 16]), 2);
    process.exe = exe.as_slice().into();
    process.argv = argv;
    process.cwd = "/home/ann".into();
    process.user = Some(User {
        uid: 1000,
        name: "ann".into(),
    });
    process.ancestry = [Ancestor {
        uid: ProcessUid::new([2; 16]),
        pid: 1,
        exe: "/bin/bash".into(),
    }]
    .into();
    Event::new(Kind::Exec, now, Source::Replay).by(process)
}

fn logged_in(login: &models::Login) -> Event {
    let detail = Login {
        user: login.user.as_str().into(),
        target_user: login.account.as_str().into(),
        outcome: "success".to_owned(),
        service: login.destination.clone(),
        method: login.kind.clone(),
        source_host: login.source.as_str().into(),
        ..Login::default()
    };
    Event::new(Kind::Login, UnixNanos(login.at), Source::Replay).with(Detail::Login(detail))
}

const DAY: i64 = 86_400_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const DAYS: i64 = 20;
/// The same as a step.
const DAYS_APART: usize = 20;
/// Bytes that only a shell understands.
const OF_A_SHELL: &[u8] = b"|;&<>$`(){}*?\"'\\\n";
