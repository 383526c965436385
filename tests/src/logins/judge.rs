//! What was told against what was played.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use picket_event::Kind;
use serde_json::Value;

use super::ears::{Heard, Told};
use super::nameless;
use super::plan::{Records, Session};
use crate::failure::Failure;

/// How one source did.
#[derive(Debug, Default)]
struct Score {
    known: usize,
    told: usize,
    missed: Vec<String>,
    doubled: Vec<String>,
    wrong: Vec<String>,
    invented: Vec<String>,
    delays: Vec<Duration>,
    refused_delays: Vec<Duration>,
}

/// Prints a line per source and what was amiss. An error if anything was.
pub(super) fn report(sessions: &[Session], heard: &Heard) -> Result<(), Failure> {
    let mut lines = vec![format!(
        "{:<10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>12}",
        "source",
        "events",
        "told",
        "missed",
        "doubled",
        "wrong",
        "invented",
        "p50 ms",
        "p99 ms",
        "refused p99"
    )];
    let mut amiss = Vec::new();
    for (source, told) in &heard.by_source {
        let mut score = score(sessions, source, told);
        lines.push(score.line(source));
        for (what, cases) in [
            ("missed", &score.missed),
            ("doubled", &score.doubled),
            ("wrong", &score.wrong),
            ("invented", &score.invented),
        ] {
            amiss.extend(cases.iter().map(|case| format!("{source}: {what}: {case}")));
        }
    }
    let (joined, apart) = joined(sessions, heard);
    lines.push(format!(
        "{joined} events joined to their processes, {} not",
        apart.len()
    ));
    amiss.extend(apart);
    let (found, lost) = found(sessions, heard);
    lines.push(format!(
        "{found} programs found by the user of their session, {} not",
        lost.len()
    ));
    amiss.extend(lost);
    lines.push(format!("{} sessions", sessions.len()));
    lines.extend(amiss.iter().take(MOST_SHOWN).cloned());
    let mut out = io::stdout().lock();
    let printed = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    printed.map_err(Failure::file("standard output"))?;
    if amiss.is_empty() {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: "the logins".to_owned(),
        text: format!("{} things amiss", amiss.len()),
    })
}

fn score(sessions: &[Session], source: &str, told: &[Told]) -> Score {
    let mut score = Score::default();
    let by_user: HashMap<&str, &Session> = sessions
        .iter()
        .map(|session| (session.user.as_str(), session))
        .collect();
    let mut found: HashMap<(&str, Kind), usize> = HashMap::new();
    let records = Records::here();
    let mut nameless = nameless::of(sessions, source);
    for one in told {
        let Some(session) = whose(&one.event)
            .into_iter()
            .find_map(|user| by_user.get(user))
        else {
            if !nameless.take(&one.event) {
                score.invented.push(one.event.to_string());
            }
            continue;
        };
        let kind = kind_of(&one.event);
        let outcome = one.event["login"]["outcome"].as_str().unwrap_or_default();
        let is_played = session
            .way
            .events()
            .iter()
            .any(|played| Some(played.0) == kind && played.1 == outcome);
        match kind.filter(|_| is_played) {
            Some(kind) => {
                *found.entry((&session.user, kind)).or_default() += 1;
                let delays = match outcome {
                    "success" => &mut score.delays,
                    _ => &mut score.refused_delays,
                };
                delays.push(one.delay);
            }
            None => score.wrong.push(format!("{:?} {}", session.way, one.event)),
        }
    }
    for session in sessions {
        for (kind, _) in session.way.events() {
            if !session.way.is_told_by(source, *kind, records) {
                continue;
            }
            score.known += 1;
            let times = found
                .get(&(session.user.as_str(), *kind))
                .copied()
                .unwrap_or(0);
            score.told += usize::from(times > 0);
            let case = format!("{} {:?} {kind:?}", session.user, session.way);
            match times {
                0 if nameless.stands_for(session.way, *kind) => score.told += 1,
                0 => score.missed.push(case),
                1 => {}
                _ => score.doubled.push(format!("{case} {times} times")),
            }
        }
    }
    score
}

/// The users of an event: who becomes somebody, and whom.
fn whose(event: &Value) -> [&str; 2] {
    ["user", "target_user"].map(|name| event["login"][name].as_str().unwrap_or_default())
}

fn kind_of(event: &Value) -> Option<Kind> {
    Kind::from_name(event["kind"].as_str()?)
}

/// How many events of the agent have the process that let somebody in, and those of which that process is not among
/// the ancestors of what then ran, or has another audit session.
fn joined(sessions: &[Session], heard: &Heard) -> (usize, Vec<String>) {
    let told = heard.by_source.iter().find(|(source, _)| *source == "all");
    let told = told.map_or(&[][..], |(_, told)| told);
    let mut apart = Vec::new();
    let mut joined = 0;
    for one in told {
        let event = &one.event;
        let Some(session) = sessions
            .iter()
            .find(|session| whose(event).contains(&session.user.as_str()))
        else {
            continue;
        };
        let why = not_joined(session, event, &heard.execs);
        match why {
            None => joined += 1,
            Some(why) => apart.push(format!("not joined: {why}: {:?} {event}", session.way)),
        }
    }
    (joined, apart)
}

/// How many sessions' programs the collector finds by who began the session, and those it does not or gives to somebody else.
fn found(sessions: &[Session], heard: &Heard) -> (usize, Vec<String>) {
    let mut by_mark: HashMap<String, Vec<&Value>> = HashMap::new();
    for exec in &heard.found {
        let argv = exec["process"]["argv"].as_array().into_iter().flatten();
        let marks = argv.filter_map(Value::as_str);
        for mark in marks.filter(|word| word.starts_with("picket-mark-")) {
            by_mark.entry(mark.to_owned()).or_default().push(exec);
        }
    }
    let mut lost = Vec::new();
    let mut right = 0;
    let own = |session: &&Session| session.way.has_its_own_session();
    for session in sessions.iter().filter(own) {
        let execs = by_mark.get(&session.mark()).map_or(&[][..], Vec::as_slice);
        let is_its = |exec: &&Value| exec["session"]["user"] == *session.user;
        if !execs.is_empty() && execs.iter().all(is_its) {
            right += 1;
        } else {
            lost.push(format!(
                "not found by its user: {:?} {} {execs:?}",
                session.way, session.user
            ));
        }
    }
    (right, lost)
}

fn not_joined(session: &Session, event: &Value, execs: &[Value]) -> Option<String> {
    let Some(uid) = event["process"]["uid"].as_str() else {
        return Some("no process".to_owned());
    };
    if !session.way.runs_a_program() {
        return None;
    }
    let mark = session.mark();
    let of_session = |exec: &&Value| {
        exec["process"]["argv"]
            .to_string()
            .contains(&format!("{mark}\""))
    };
    let Some(exec) = execs.iter().find(of_session) else {
        return Some("its program was not told".to_owned());
    };
    let ancestors = exec["process"]["ancestry"].as_array().into_iter().flatten();
    let line: HashSet<&str> = ancestors
        .filter_map(|ancestor| ancestor["uid"].as_str())
        .chain(exec["process"]["uid"].as_str())
        .collect();
    if !line.contains(uid) {
        return Some(format!("its program descends from {line:?}"));
    }
    let number = &event["login"]["session"];
    let begins = session.way.has_its_own_session();
    (begins && (number.is_null() || *number != exec["process"]["session"]))
        .then(|| format!("its program has session {}", exec["process"]["session"]))
}

impl Score {
    fn line(&mut self, source: &str) -> String {
        self.delays.sort_unstable();
        self.refused_delays.sort_unstable();
        format!(
            "{source:<10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>12}",
            self.known,
            self.told,
            self.missed.len(),
            self.doubled.len(),
            self.wrong.len(),
            self.invented.len(),
            percentile(&self.delays, 50).as_millis(),
            percentile(&self.delays, 99).as_millis(),
            percentile(&self.refused_delays, 99).as_millis(),
        )
    }
}

/// Of durations in order.
fn percentile(delays: &[Duration], hundredths: usize) -> Duration {
    let last = delays.len().saturating_sub(1);
    delays
        .get(last * hundredths / 100)
        .copied()
        .unwrap_or_default()
}

const MOST_SHOWN: usize = 40;
