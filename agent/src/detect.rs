//! Judges each event: by the rules, then by how unusual it is on this host.
//!
//! What stays true: an event that the agent made about itself is not judged, and a judgement never
//! removes or changes anything but the list of verdicts.

use std::path::Path;

use picket_event::content::ContentFile;
use picket_event::fleet::{FleetSecret, Prior, Sketch};
use picket_event::{Event, ScorerVerdict, Source, UnixNanos, Verdict};
use picket_rules::{Correlations, Forgotten, Loaded, Refusal, RuleInfo, RuleSet, Scratch, Written};
use picket_scorer::{
    Alerts, Changes, Decision, Drift, FleetKnowledge, Maturity, Scorer, Settings, incident_of,
};

use picket_sensor::login::LineWish;
use picket_sensor::recorded::AuditRecord;

pub(crate) mod pack;

use pack::PackError;

/// The stage.
pub(crate) struct Detector {
    rules: RuleSet,
    correlations: Correlations,
    scratch: Scratch,
    scorer: Scorer,
    alerts: Alerts,
    told: u64,
    lines: Option<LineWish>,
    /// What was forgotten when it was last said.
    said: Forgotten,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector")
            .field("rules", &self.rules.rules().len())
            .finish_non_exhaustive()
    }
}

/// Rules over one event, and those over several.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    set: RuleSet,
    correlations: Correlations,
}

impl Rules {
    /// The titles of those over one event.
    #[cfg(test)]
    pub(crate) fn titles(&self) -> impl Iterator<Item = &str> {
        self.set.rules().iter().map(|rule| rule.title.as_str())
    }

    /// How many there are, correlations included.
    pub(crate) fn len(&self) -> usize {
        self.set.rules().len() + self.correlations.len()
    }
}

/// How rules over several events are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OverSeveral {
    /// Rules about new values that tell nothing yet.
    pub(crate) learning: usize,
    /// Sequences that have begun and are not complete.
    pub(crate) open: usize,
    /// What was forgotten before its time for want of room, since the start.
    pub(crate) forgotten: Forgotten,
}

/// Where rules come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RulesFrom<'a> {
    /// The built-in pack, with the files of this directory beside it or, of the same name, in its place.
    Pack(&'a Path),
    /// This directory alone.
    Only(&'a Path),
}

impl Detector {
    /// With these rules and this scorer.
    pub(crate) fn new(rules: Rules, scorer: Scorer) -> Self {
        Self {
            rules: rules.set,
            correlations: rules.correlations,
            scratch: Scratch::default(),
            scorer,
            alerts: Alerts::new(ALERTS_A_DAY),
            told: 0,
            lines: None,
            said: Forgotten::default(),
        }
    }

    /// Asks for lines of logs whenever there are rules that read them.
    pub(crate) fn ask_for_lines(&mut self, lines: LineWish) {
        lines.set(self.rules.reads_lines());
        self.lines = Some(lines);
    }

    /// Goes on with the budget of an earlier run, and whether those bytes could be read.
    pub(crate) fn with_alerts(mut self, kept: &[u8]) -> (Self, bool) {
        let restored = Alerts::restore(ALERTS_A_DAY, kept);
        let usable = restored.is_some();
        self.alerts = restored.unwrap_or(self.alerts);
        (self, usable)
    }

    /// What is kept of the budget.
    pub(crate) fn alerts(&self) -> Vec<u8> {
        self.alerts.snapshot()
    }

    /// Goes on with what rules about new values saw in an earlier run, and whether those bytes could be read.
    pub(crate) fn with_seen(mut self, kept: &[u8]) -> (Self, bool) {
        let usable = self.correlations.restore(kept);
        (self, usable)
    }

    /// What rules about new values have seen, to be kept.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.correlations.snapshot()
    }

    /// How rules over several events are doing.
    pub(crate) fn over_several(&self) -> OverSeveral {
        OverSeveral {
            learning: self.correlations.learning(),
            open: self.correlations.open_sequences(),
            forgotten: self.correlations.forgotten(),
        }
    }

    /// How often the scorer told somebody, since the start.
    pub(crate) const fn told(&self) -> u64 {
        self.told
    }

    /// Judges an event.
    pub(crate) fn judge(&mut self, now: UnixNanos, event: &mut Event) {
        self.judge_written(now, event, &[]);
    }

    /// Judges an event that was read from these records of audit, if there are any: rules for auditd
    /// see them as they were written.
    pub(crate) fn judge_written(
        &mut self,
        now: UnixNanos,
        event: &mut Event,
        records: &[AuditRecord],
    ) {
        if is_of_the_agent_itself(event) {
            return;
        }
        let by_rules = self.by_rules(event, records);
        let derived = event.source == Source::Agent;
        let by_scorer = (!derived).then(|| self.score(now, event)).flatten();
        event.verdicts.extend(by_rules);
        event.verdicts.extend(by_scorer.map(Verdict::Scorer));
    }

    fn by_rules(&mut self, event: &Event, records: &[AuditRecord]) -> Vec<Verdict> {
        let mut hits = Vec::new();
        if records.is_empty() {
            self.rules.evaluate(event, &mut self.scratch, &mut hits);
        } else {
            let calls: Vec<Option<String>> = records.iter().map(AuditRecord::syscall).collect();
            let written = records.iter().zip(&calls).map(|(record, call)| Written {
                kind: &record.kind,
                syscall: call.as_deref(),
                fields: &record.fields,
                line: record.line.as_bytes(),
            });
            self.rules
                .evaluate_written(event, written, &mut self.scratch, &mut hits);
        }
        let rules = hits.iter().filter_map(|hit| self.rules.rule(hit.rule));
        let mut verdicts: Vec<Verdict> = rules.map(RuleInfo::verdict).collect();
        verdicts.extend(self.correlations.step(event, &hits));
        if !hits.is_empty() {
            self.say_forgotten();
        }
        verdicts
    }

    /// Says what was forgotten for want of room: at once, and again whenever it has doubled.
    fn say_forgotten(&mut self) {
        let now = self.correlations.forgotten();
        let doubled = |now: u64, said: u64| now > 0 && now >= said.saturating_mul(2);
        if doubled(now.sequences, self.said.sequences) || doubled(now.values, self.said.values) {
            let Forgotten { sequences, values } = now;
            tracing::warn!(
                sequences,
                values,
                "rules over several events forgot for want of room"
            );
            self.said = now;
        }
    }

    /// The scorer's verdict; its alert stands only where somebody is to be told.
    fn score(&mut self, now: UnixNanos, event: &Event) -> Option<ScorerVerdict> {
        let mut verdict = self.scorer.step(now, event)?;
        let decision = self.alerts.judge(now, incident_of(event), &mut verdict);
        self.told += u64::from(verdict.alert);
        if decision == Decision::Flood {
            let withheld = self.alerts.withheld_so_far();
            tracing::warn!(
                withheld,
                "alerts of the scorer are withheld, its budget is used up"
            );
        }
        Some(verdict)
    }

    /// How much on the host is new of late, and how much usually is.
    pub(crate) const fn drift(&self) -> Drift {
        self.scorer.drift()
    }

    /// What change windows of package managers have done to the scorer's alerts.
    pub(crate) const fn changes(&self) -> Changes {
        self.scorer.changes()
    }

    /// Counts what is told to the fleet of this secret.
    pub(crate) fn join_fleet(&mut self, secret: FleetSecret) {
        self.scorer.join_fleet(secret);
    }

    /// Asks what the fleet knows.
    pub(crate) fn take_prior(&mut self, prior: &Prior) {
        self.scorer.take_prior(prior);
    }

    /// What the fleet may know of this host.
    pub(crate) fn sketch(&self) -> Option<Sketch> {
        self.scorer.sketch()
    }

    /// What the fleet knows, and how much it is told.
    pub(crate) fn fleet(&self) -> FleetKnowledge {
        self.scorer.fleet()
    }

    /// Incidents that the scorer found and nobody was told about, since the start.
    pub(crate) const fn withheld(&self) -> u64 {
        self.alerts.withheld_so_far()
    }

    /// Puts new rules in the place of the old. What correlations and sequences waited for is forgotten; values that were seen
    /// are not.
    pub(crate) fn replace_rules(&mut self, rules: Rules) {
        self.rules = rules.set;
        let before = std::mem::replace(&mut self.correlations, rules.correlations);
        self.correlations.go_on(before);
        if let Some(lines) = &self.lines {
            lines.set(self.rules.reads_lines());
        }
    }

    /// How many rules are loaded, those over several events included.
    pub(crate) fn rules(&self) -> usize {
        self.rules.rules().len() + self.correlations.len()
    }

    /// How much the scorer has learned. Takes milliseconds.
    pub(crate) fn maturity(&self) -> Maturity {
        self.scorer.maturity()
    }

    /// What the scorer has learned, to be kept.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        self.scorer.snapshot()
    }
}

/// What the agent says of itself is judged by nobody; what it found out about the host is, by rules.
fn is_of_the_agent_itself(event: &Event) -> bool {
    event.source == Source::Agent && !crate::enrich::is_found(event)
}

/// Reads and compiles rules. A rule that is refused is logged and left out; the others are used.
pub(crate) fn load_rules(from: RulesFrom<'_>, signed: &[ContentFile]) -> Result<Rules, PackError> {
    let (rules, refused) = compile(from, signed)?;
    for refusal in refused {
        tracing::warn!(file = refusal.file, reason = %refusal.reason, "rule refused");
    }
    Ok(rules)
}

/// Reads and compiles rules, `signed` ones by operators among them, and says which are refused.
pub(crate) fn compile(
    from: RulesFrom<'_>,
    signed: &[ContentFile],
) -> Result<(Rules, Vec<Refusal>), PackError> {
    let Loaded {
        rules: set,
        correlations,
        refused,
        notes,
    } = RuleSet::compile(&pack::sources(from, signed)?);
    for note in notes {
        tracing::debug!(file = note.file, rule = note.id, remark = %note.remark, "rule looks wrong");
    }
    Ok((Rules { set, correlations }, refused))
}

/// A scorer's settings under this secret and, if given, this threshold.
pub(crate) fn scorer_settings(secret: [u8; 16], alert_p: Option<f64>) -> Settings {
    let mut settings = Settings::new(secret);
    settings.alert_p = alert_p.unwrap_or(settings.alert_p);
    settings
}

/// Alerts of the scorer in any 24 hours, at most; rules are not limited.
const ALERTS_A_DAY: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_cannot_be_read_begins_anew_and_one_that_can_goes_on() {
        let detector = || {
            let scorer = Scorer::new(Settings::new([1; 16]));
            Detector::new(Rules::default(), scorer)
        };
        let kept = detector().alerts();
        let (gone_on, usable) = detector().with_alerts(&kept);
        assert!(usable && gone_on.alerts() == kept);
        let (anew, usable) = detector().with_alerts(&kept[1..]);
        assert!(!usable && anew.alerts() == kept);
    }

    const RULES: &str = "
title: steps
id: steps
logsource: {product: linux, category: process_creation}
detection: {a: {Image: /a}, b: {Image: /b}, condition: b}
x-sequence: {steps: [a, b], by: process, maxspan: 5m}
---
title: new
id: new
logsource: {product: linux, category: process_creation}
detection: {s: {Image|startswith: /}, condition: s}
x-first-seen: {fields: Image, within: 30d, learning: 1h}
";

    fn rules() -> Rules {
        let source = picket_rules::Source {
            name: "rules".into(),
            text: RULES.into(),
        };
        let loaded = RuleSet::compile(&[source]);
        assert_eq!(loaded.refused, []);
        Rules {
            set: loaded.rules,
            correlations: loaded.correlations,
        }
    }

    fn fresh() -> Detector {
        Detector::new(rules(), Scorer::new(Settings::new([1; 16])))
    }

    /// The rules that speak of a program that is run at this minute.
    fn run(detector: &mut Detector, minute: i64, exe: &str) -> Vec<(String, usize)> {
        let uid = picket_event::ProcessUid::new([1; 16]);
        let mut process = picket_event::Process::new(uid, 7);
        process.exe = exe.into();
        let time = UnixNanos(minute * 60_000_000_000);
        let mut event = Event::new(picket_event::Kind::Exec, time, Source::Ebpf).by(process);
        detector.judge(time, &mut event);
        let rules = event
            .verdicts
            .into_iter()
            .filter_map(|verdict| match verdict {
                Verdict::Rule(rule) => Some((rule.id, rule.rests_on.len())),
                Verdict::Scorer(_) => None,
            });
        rules.collect()
    }

    #[test]
    fn steps_and_new_values_are_judged_live_and_what_was_seen_outlives_a_restart_and_a_reload() {
        let mut detector = fresh();
        assert_eq!(run(&mut detector, 0, "/a"), []);
        assert_eq!(run(&mut detector, 1, "/b"), [("steps".into(), 2)]);
        assert_eq!(detector.over_several().learning, 1);
        let (mut later, usable) = fresh().with_seen(&detector.seen());
        assert!(usable);
        assert_eq!(run(&mut later, 70, "/a"), []);
        assert_eq!(run(&mut later, 130, "/c"), [("new".into(), 0)]);
        later.replace_rules(rules());
        assert_eq!(run(&mut later, 131, "/c"), [], "seen before the reload");
        assert_eq!(run(&mut later, 132, "/d"), [("new".into(), 0)]);
        let (anew, usable) = fresh().with_seen(b"damaged");
        assert!(!usable);
        assert_eq!(anew.over_several().learning, 1);
    }
}
