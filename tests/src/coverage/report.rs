//! The report of a run: a row for each test, totals with intervals, what was told beside tests; as JSON and as tables for people.
//!
//! What stays true: every share is of executed tests, and says of how many; tests that only use their shell are apart.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::attack::Techniques;
use super::judge::{self, Level, Outside, Row, State};
use super::list::List;
use super::record::{Run, Step, Told, Variant};
use crate::eval::metrics::Share;
use crate::failure::Failure;

/// A report.
#[derive(Debug)]
pub struct Report {
    /// Tests as the list has them.
    pub plain: Vec<Row>,
    /// The same with renamed programs; empty if that was not asked for.
    pub renamed: Vec<Row>,
    /// What no test explains.
    pub outside: Outside,
    /// The conditions.
    pub conditions: Value,
    /// Lines of the agent that were no events.
    pub unread: usize,
    known: Techniques,
}

impl Report {
    /// Judges a run by its list.
    pub fn of(list: &Path, run: &Path, known: Techniques) -> Result<Self, Failure> {
        let list = List::read(list)?;
        let run = Run::read(run)?;
        let mut report = Self {
            plain: Vec::new(),
            renamed: Vec::new(),
            outside: Outside::new(),
            conditions: run.conditions.clone(),
            unread: 0,
            known,
        };
        for step in run
            .steps
            .iter()
            .filter(|step| step.variant == Variant::Idle)
        {
            let events = report.events(&run, step)?;
            report.take_outside(step, &events);
        }
        report.plain = report.rows(&list, &run, Variant::Plain)?;
        if run.conditions["renamed"].as_bool().unwrap_or(true) {
            report.renamed = report.rows(&list, &run, Variant::Renamed)?;
        }
        Ok(report)
    }

    fn rows(&mut self, list: &List, run: &Run, variant: Variant) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for place in (1..).zip(&list.tests) {
            let fits = |step: &&Step| {
                step.number == place.0 && step.variant == variant && step.guid == place.1.guid
            };
            let Some(step) = run.steps.iter().rfind(fits) else {
                rows.push(judge::test(place, variant, None, &self.known));
                continue;
            };
            let events = self.events(run, step)?;
            self.take_outside(step, &events);
            let mut row = judge::test(place, variant, Some((step, &events)), &self.known);
            if variant == Variant::Renamed
                && step.played.renamed.is_empty()
                && row.state == State::Executed
            {
                row.state = State::Failed("it names no program that could be renamed".to_owned());
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn events(&mut self, run: &Run, step: &Step) -> Result<Vec<Told>, Failure> {
        let (events, unread) = run.events(step)?;
        self.unread += unread.saturating_sub(1); // behind the last newline
        Ok(events)
    }

    fn take_outside(&mut self, step: &Step, events: &[Told]) {
        for (key, count) in judge::outside(step, events) {
            *self.outside.entry(key).or_default() += count;
        }
    }

    /// The report as one object.
    pub fn to_json(&self) -> Value {
        json!({
            "conditions": self.conditions,
            "totals": { "plain": self.totals(&self.plain), "renamed": self.totals(&self.renamed) },
            "twins": self.twins().to_json(),
            "delay_ms": delays(&self.plain),
            "outside": self.outside.iter().map(|((who, rule, severity), count)| json!({
                "who": who, "rule": rule, "severity": severity, "count": count,
            })).collect::<Vec<_>>(),
            "unread_lines": self.unread,
            "tests": self.plain,
            "renamed": self.renamed,
        })
    }

    fn totals(&self, rows: &[Row]) -> Value {
        let groups = self.groups(rows);
        let totals = groups
            .iter()
            .map(|(name, rows)| (name.clone(), Totals::of(rows).to_json()));
        Value::Object(totals.collect())
    }

    /// Rows by what they have in common. In all but the group of their own, tests that only use their shell are left out.
    pub(super) fn groups<'a>(&self, rows: &'a [Row]) -> Vec<(String, Vec<&'a Row>)> {
        let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
        let mut add = |name: String, row: &'a Row| groups.entry(name).or_default().push(row);
        for row in rows {
            if row.builtin_only {
                add("only the shell".to_owned(), row);
                continue;
            }
            add("all".to_owned(), row);
            add(format!("split {}", row.split), row);
            add(format!("technique split {}", row.technique_split), row);
            for tactic in self.known.tactics(&row.technique) {
                add(format!("tactic {tactic}"), row);
            }
        }
        groups.into_iter().collect()
    }

    /// Tests that were executed both ways.
    pub(super) fn twins(&self) -> Twins {
        let mut twins = Twins::default();
        for (plain, renamed) in self.plain.iter().zip(&self.renamed) {
            if plain.builtin_only
                || plain.state != State::Executed
                || renamed.state != State::Executed
            {
                continue;
            }
            twins.pairs += 1;
            let judged = |level: Level| usize::from(level >= Level::General);
            twins.judged += [judged(plain.level), judged(renamed.level)];
            twins.alerts += [judged(plain.alert_level), judged(renamed.alert_level)];
        }
        twins
    }
}

/// How much is left when programs have other names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Twins {
    /// Tests that were executed both ways.
    pub(super) pairs: usize,
    /// Judged: as they are, renamed.
    pub(super) judged: Pair,
    /// The same by alerts.
    pub(super) alerts: Pair,
}

/// A count both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair(pub(super) [usize; 2]);

impl std::ops::AddAssign<[usize; 2]> for Pair {
    fn add_assign(&mut self, [plain, renamed]: [usize; 2]) {
        let Self([a, b]) = self;
        *a += plain;
        *b += renamed;
    }
}

impl Twins {
    fn to_json(self) -> Value {
        let Pair([judged, judged_renamed]) = self.judged;
        let Pair([alerts, alerts_renamed]) = self.alerts;
        json!({
            "executed_both_ways": self.pairs,
            "judged": judged, "judged_renamed": judged_renamed,
            "alerts": alerts, "alerts_renamed": alerts_renamed,
        })
    }
}

/// Counts over some rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// All of them.
    pub(super) tests: usize,
    /// Executed.
    pub(super) executed: usize,
    /// Not executed, by why.
    pub(super) not_executed: BTreeMap<&'static str, usize>,
    /// Executed tests by their level.
    pub(super) levels: BTreeMap<Level, usize>,
    /// The same if only medium and worse counts.
    pub(super) alert_levels: BTreeMap<Level, usize>,
    /// Techniques of executed tests.
    pub(super) techniques: usize,
    /// Those of which one test at least was judged.
    pub(super) techniques_judged: usize,
    /// Executed tests that their limit ended: in a slow machine, perhaps before they had done their deed.
    pub(super) cut_short: usize,
    /// Tests whose best evidence came later than a second after the event.
    pub(super) delayed: usize,
}

impl Totals {
    /// Counts.
    pub(super) fn of(rows: &[&Row]) -> Self {
        let mut totals = Self {
            tests: rows.len(),
            ..Self::default()
        };
        let mut techniques: BTreeMap<&str, Level> = BTreeMap::new();
        for row in rows {
            if row.state != State::Executed {
                *totals.not_executed.entry(why(&row.state)).or_default() += 1;
                continue;
            }
            totals.executed += 1;
            totals.cut_short += usize::from(row.timed_out);
            *totals.levels.entry(row.level).or_default() += 1;
            *totals.alert_levels.entry(row.alert_level).or_default() += 1;
            let best = techniques.entry(&row.technique).or_default();
            *best = (*best).max(row.level);
            totals.delayed += usize::from(
                row.best
                    .as_ref()
                    .is_some_and(|best| best.delay_ms > DELAYED_MS),
            );
        }
        totals.techniques = techniques.len();
        totals.techniques_judged = techniques
            .values()
            .filter(|level| **level >= Level::General)
            .count();
        totals
    }

    /// Executed tests of at least this level.
    pub(super) fn share(&self, levels: &BTreeMap<Level, usize>, least: Level) -> Share {
        Share {
            found: levels.range(least..).map(|(_, count)| count).sum(),
            of: self.executed,
        }
    }

    fn to_json(&self) -> Value {
        let counts = |levels: &BTreeMap<Level, usize>| {
            let all = LEVELS.map(|level| {
                (
                    format!("{level:?}"),
                    Value::from(levels.get(&level).copied().unwrap_or(0)),
                )
            });
            Value::Object(all.into_iter().collect())
        };
        let share = |share: Share| json!({ "found": share.found, "of": share.of, "value": share.value(), "wilson_95%": share.interval() });
        json!({
            "tests": self.tests,
            "executed": self.executed,
            "not_executed": self.not_executed,
            "levels": counts(&self.levels),
            "alert_levels": counts(&self.alert_levels),
            "visibility": share(self.share(&self.levels, Level::Telemetry)),
            "analytic": share(self.share(&self.levels, Level::General)),
            "technique": share(self.share(&self.levels, Level::Technique)),
            "analytic_by_alerts": share(self.share(&self.alert_levels, Level::General)),
            "technique_by_alerts": share(self.share(&self.alert_levels, Level::Technique)),
            "techniques_analytic": share(Share { found: self.techniques_judged, of: self.techniques }),
            "ended_by_limit": self.cut_short,
            "delayed": self.delayed,
        })
    }
}

/// The delays of all judgements: how many, median, 95th of a hundred, the longest, in ms.
fn delays(rows: &[Row]) -> Value {
    let findings = rows.iter().flat_map(|row| &row.findings);
    let mut all: Vec<u64> = findings.map(|finding| finding.delay_ms).collect();
    all.sort_unstable();
    let at = |hundredths: usize| all.get(all.len() * hundredths / 100).or_else(|| all.last());
    json!({ "judgements": all.len(), "p50": at(50), "p95": at(95), "max": all.last() })
}

/// Why a test counts for nothing, in short.
pub(super) fn why(state: &State) -> &'static str {
    match state {
        State::Executed => "executed",
        State::ToolMissing(_) => "a tool is missing",
        State::DependencyMissing(_) => "a dependency is not met",
        State::Failed(_) => "the command failed",
        State::MachineLost(_) => "the machine was lost",
        State::UnknownExecutor(_) => "unknown executor",
        State::NotRun => "not run",
    }
}

/// The levels, the lowest first.
pub(super) const LEVELS: [Level; 5] = [
    Level::None,
    Level::Telemetry,
    Level::General,
    Level::Tactic,
    Level::Technique,
];
/// Later than this after the event is late, at the agent.
const DELAYED_MS: u64 = 1000;

#[cfg(test)]
mod tests;
