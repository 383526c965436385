//! What became of each test: whether it was executed at all, the best evidence of it, when that came, and what was told beside tests.
//!
//! # Invariants
//!
//! - Pure: the same list, log and events give the same report.
//! - A judgement counts for a test only if a process of the test's own tree did what was judged; of several events, all of them.
//! - Telemetry is an event of the tree that shows something the command names: a program that started, a path, a peer; or a deed of which
//!   the kind says enough.
//! - What was not executed has a reason and is in no share.

mod telemetry;

use std::collections::{BTreeMap, BTreeSet};

use picket_event::{Event, ProcessUid, Severity, Verdict};
use serde::Serialize;

use super::attack::{Techniques, is_right, is_right_tactic};
use super::list::Test;
use super::record::{Guest, Step, Told, Variant};
use super::tree::Tree;
use telemetry::Named;

/// The best evidence of a test, as MITRE's evaluations name it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// The decisive event was recorded.
    Telemetry,
    /// It was judged, by whatever name.
    General,
    /// It was judged by a name of its tactic.
    Tactic,
    /// It was judged by its technique, the parent or a sub-technique of it.
    Technique,
}

/// Whether a test was executed, and if not, why.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum State {
    /// The command ended well, or was ended by its limit while it did what it does.
    Executed,
    /// A command in it was not there.
    ToolMissing(String),
    /// What it needs was not there.
    DependencyMissing(String),
    /// The command said that it failed.
    Failed(String),
    /// The machine did not outlive it.
    MachineLost(String),
    /// The runner knows no such shell.
    UnknownExecutor(String),
    /// It was left out of the run.
    NotRun,
}

/// One test, played one way.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its place in the list.
    pub number: usize,
    /// Its guid.
    pub guid: String,
    /// Its name.
    pub name: String,
    /// Its technique.
    pub technique: String,
    /// Its part of the tests.
    pub split: String,
    /// The same, split by technique.
    pub technique_split: String,
    /// Whether no program starts in it.
    pub builtin_only: bool,
    /// How it was played.
    pub variant: Variant,
    /// Whether it was executed.
    #[serde(flatten)]
    pub state: State,
    /// The best evidence, by whatever was judged, remarks included.
    pub level: Level,
    /// The best evidence if only what is medium or worse counts as judged.
    pub alert_level: Level,
    /// What gave the level.
    pub best: Option<Finding>,
    /// All that was judged in its tree, each rule once.
    pub findings: Vec<Finding>,
    /// What shows the decisive event, at most five.
    pub telemetry: Vec<String>,
    /// Events of its tree.
    pub events: usize,
    /// Whether its limit ended it.
    pub timed_out: bool,
    /// What a reader should know beside: ended by its limit, the agent ended.
    pub remarks: Vec<String>,
}

/// One judgement.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule, or `scorer`.
    pub rule: String,
    /// Its id.
    pub id: String,
    /// How bad.
    #[serde(serialize_with = "by_name")]
    pub severity: Severity,
    /// Its techniques.
    pub attack: Vec<String>,
    /// What it makes of the test.
    pub level: Level,
    /// The kind of the event.
    pub kind: &'static str,
    /// Who did it.
    pub exe: String,
    /// From the event to the reader of the agent's output, in ms.
    pub delay_ms: u64,
}

/// Judgements that no test explains: how often each came, by who acted.
pub type Outside = BTreeMap<(String, String, &'static str), usize>;

/// Judges one test. No step: it was not run.
pub fn test(
    place: (usize, &Test),
    variant: Variant,
    played: Option<(&Step, &[Told])>,
    known: &Techniques,
) -> Row {
    let (number, test) = place;
    let mut row = Row {
        number,
        guid: test.guid.clone(),
        name: test.name.clone(),
        technique: test.technique.clone(),
        split: test.split.clone(),
        technique_split: test.technique_split.clone(),
        builtin_only: test.builtin_only,
        variant,
        state: State::NotRun,
        level: Level::None,
        alert_level: Level::None,
        best: None,
        findings: Vec::new(),
        telemetry: Vec::new(),
        events: 0,
        timed_out: false,
        remarks: Vec::new(),
    };
    if let Some((step, events)) = played {
        row.state = state(test, step);
        row.timed_out = step.played.outcome.timed_out;
        row.remarks = remarks(step);
        if let Some(root) = root(step) {
            weigh(
                &mut row,
                test,
                (step, events),
                &Tree::below(root, events),
                known,
            );
        }
    }
    row
}

/// What was judged in this step and is not the test's.
pub fn outside(step: &Step, events: &[Told]) -> Outside {
    let own = root(step).map(|root| Tree::below(root, events));
    let others: Vec<_> = step
        .played
        .others
        .iter()
        .filter_map(|(uid, why)| Some((Tree::below(ProcessUid::parse(uid).ok()?, events), why)))
        .collect();
    let mut found = Outside::new();
    for told in events {
        if own.as_ref().is_some_and(|tree| tree.owns(&told.event)) {
            continue;
        }
        let other = others.iter().find(|(tree, _)| tree.owns(&told.event));
        let who = match other {
            Some((_, why)) => (*why).clone(),
            None if is_runner(&told.event) => "runner".to_owned(),
            None if step.variant == Variant::Idle => "idle machine".to_owned(),
            None => "rest of the machine".to_owned(),
        };
        for verdict in told
            .event
            .verdicts
            .iter()
            .filter(|verdict| is_judged(verdict))
        {
            let key = (
                who.clone(),
                title(verdict).to_owned(),
                verdict.severity().name(),
            );
            *found.entry(key).or_default() += 1;
        }
    }
    found
}

fn weigh(row: &mut Row, test: &Test, played: (&Step, &[Told]), tree: &Tree, known: &Techniques) {
    let (step, events) = played;
    let named = Named::of(test, &step.played);
    let mut seen = BTreeSet::new();
    let mut findings: BTreeMap<(String, Severity), Finding> = BTreeMap::new();
    for told in events.iter().filter(|told| tree.owns(&told.event)) {
        row.events += 1;
        seen.extend(named.shown_by(&told.event));
        for verdict in &told.event.verdicts {
            if let Verdict::Rule(rule) = verdict
                && !tree.explains(rule)
            {
                continue;
            }
            if let Some(finding) = finding(verdict, told, test, known) {
                findings
                    .entry((finding.id.clone(), finding.severity))
                    .or_insert(finding);
            }
        }
    }
    row.telemetry = seen.into_iter().take(5).collect();
    row.findings = findings.into_values().collect();
    row.findings
        .sort_by_key(|finding| std::cmp::Reverse((finding.level, finding.severity)));
    let telemetry = if row.telemetry.is_empty() {
        Level::None
    } else {
        Level::Telemetry
    };
    let best = |least: Severity| {
        let levels = row
            .findings
            .iter()
            .filter(|one| one.severity >= least)
            .map(|one| one.level);
        levels.max().unwrap_or(telemetry)
    };
    row.level = best(Severity::Informational);
    row.alert_level = best(Severity::Medium);
    row.best = row.findings.first().cloned();
}

fn finding(verdict: &Verdict, told: &Told, test: &Test, known: &Techniques) -> Option<Finding> {
    if !is_judged(verdict) {
        return None;
    }
    let attack = match verdict {
        Verdict::Rule(rule) => rule.attack.clone(),
        Verdict::Scorer(_) => Vec::new(),
    };
    let tactics = known.tactics(&test.technique);
    let level = if attack.iter().any(|one| is_right(one, &test.technique)) {
        Level::Technique
    } else if attack.iter().any(|one| is_right_tactic(one, tactics)) {
        Level::Tactic
    } else {
        Level::General
    };
    let exe = told
        .event
        .process
        .as_ref()
        .map(|process| process.exe.lossy().into_owned());
    let delay = told.arrived.since(told.event.time);
    Some(Finding {
        rule: title(verdict).to_owned(),
        id: match verdict {
            Verdict::Rule(rule) => rule.id.clone(),
            Verdict::Scorer(_) => "scorer".to_owned(),
        },
        severity: verdict.severity(),
        attack,
        level,
        kind: told.event.kind.name(),
        exe: exe.unwrap_or_default(),
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
    })
}

/// A rule that matched, or a score beyond its threshold. Any other score is no judgement.
fn is_judged(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Rule(_) => true,
        Verdict::Scorer(score) => score.alert,
    }
}

fn title(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Rule(rule) => &rule.title,
        Verdict::Scorer(_) => "scorer",
    }
}

fn root(step: &Step) -> Option<ProcessUid> {
    step.played
        .root
        .as_ref()
        .and_then(|uid| ProcessUid::parse(uid).ok())
}

/// Whether the guest's runner did it, or what it started.
pub(crate) fn is_runner(event: &Event) -> bool {
    let runs = |exe: &[u8]| exe.ends_with(b"/picket-coverage");
    event.process.as_ref().is_some_and(|process| {
        let parent = process.ancestry.first();
        runs(process.exe.as_bytes()) || parent.is_some_and(|parent| runs(parent.exe.as_bytes()))
    })
}

fn state(test: &Test, step: &Step) -> State {
    let played = &step.played;
    let outcome = &played.outcome;
    let missing = played.dependencies.iter().find(|met| !met.met);
    if step.guest == Guest::Ended {
        return State::MachineLost("it ended or started anew".to_owned());
    }
    if step.guest == Guest::Silent {
        return State::MachineLost("it fell silent".to_owned());
    }
    if let Some(missing) = missing {
        return State::DependencyMissing(missing.description.clone());
    }
    if played.began == 0 {
        return State::UnknownExecutor(test.executor.clone());
    }
    if !outcome.missing.is_empty() {
        return State::ToolMissing(outcome.missing.join(", "));
    }
    match (outcome.timed_out, outcome.exit, outcome.signal) {
        (true, ..) | (false, Some(0), _) => State::Executed,
        (false, Some(code), _) => State::Failed(format!("exit {code}")),
        (false, None, signal) => State::Failed(format!("signal {}", signal.unwrap_or_default())),
    }
}

fn remarks(step: &Step) -> Vec<String> {
    let played = &step.played;
    let mut told = Vec::new();
    if played.outcome.timed_out {
        told.push("ended by its limit".to_owned());
    }
    if let Some(how) = &played.agent_ended {
        told.push(format!("the agent ended: {how}"));
    }
    if played.ended != 0 && !played.settled {
        told.push("the agent had not told all when the time for it was over".to_owned());
    }
    if played.dropped > 0 {
        told.push(format!(
            "{} events without a judgement were not kept",
            played.dropped
        ));
    }
    told
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn by_name<S: serde::Serializer>(severity: &Severity, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(severity.name())
}

#[cfg(test)]
mod tests;
