//! How many alerts rules and scorer raise in a day of a host, from events that `picket-agent replay --json` judged.
//!
//! What stays true: a day counts if the host has any event in it; an alert is a verdict of medium or worse, each for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

use picket_event::{Severity, Verdict, json};

use super::EvalError;

/// The counts.
#[derive(Debug, Default)]
pub struct Noise {
    /// Events read.
    pub events: u64,
    /// Days of hosts with an event.
    pub host_days: BTreeSet<(String, String)>,
    /// Alerts by rule: how many, and how many of them high or critical.
    pub alerts: BTreeMap<String, (u32, u32)>,
}

/// Counts the events of `lines`, one as JSON in each.
pub fn count(lines: impl BufRead) -> Result<Noise, EvalError> {
    let mut noise = Noise::default();
    for (number, line) in (1..).zip(lines.lines()) {
        let path = || Path::new("-").to_owned();
        let line = line.map_err(|source| EvalError::Read {
            path: path(),
            source,
        })?;
        let told = json::from_str(&line).map_err(|error| EvalError::Line {
            path: path(),
            line: number,
            reason: error.to_string(),
        })?;
        let host = told.host.map_or_else(String::new, |host| host.to_string());
        let time = told.event.time.to_string();
        let day = time.get(..10).unwrap_or(&time).to_owned();
        noise.events += 1;
        noise.host_days.insert((host, day));
        for verdict in &told.event.verdicts {
            noise.take(verdict);
        }
    }
    Ok(noise)
}

impl Noise {
    fn take(&mut self, verdict: &Verdict) {
        let severity = verdict.severity();
        if severity < Severity::Medium {
            return;
        }
        let name = match verdict {
            Verdict::Rule(rule) => rule.title.clone(),
            Verdict::Scorer(_) => "scorer".to_owned(),
        };
        let (all, bad) = self.alerts.entry(name).or_default();
        *all += 1;
        *bad += u32::from(severity >= Severity::High);
    }

    /// A table: the sums, then the rules, the loudest first.
    pub fn lines(&self) -> Vec<String> {
        let days = u32::try_from(self.host_days.len()).unwrap_or(u32::MAX);
        let per_day = |count: u32| f64::from(count) / f64::from(days.max(1));
        let sum = |part: fn(&(u32, u32)) -> u32| self.alerts.values().map(part).sum::<u32>();
        let (all, bad) = (sum(|counts| counts.0), sum(|counts| counts.1));
        let mut lines = vec![format!(
            "{} events, {days} host-days: {:.2} alerts a host-day (goal <= 1), {:.2} of them high or critical (goal <= 0.1)",
            self.events,
            per_day(all),
            per_day(bad)
        )];
        let mut rules: Vec<_> = self.alerts.iter().collect();
        rules.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
        for (name, (count, _)) in rules {
            let share = 100.0 * f64::from(*count) / f64::from(all.max(1));
            lines.push(format!(
                "{count:>8}  {:>8.2}  {share:>5.1} %  {name}",
                per_day(*count)
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_alerts_are_counted_by_host_and_rule() {
        let event = |time: &str, severity: &str| {
            format!(
                "{{\"kind\":\"login\",\"time\":\"{time}\",\"source\":\"auth_log\",\"verdicts\":[{{\"by\":\"rule\",\"id\":\"x\",\
                 \"title\":\"X\",\"severity\":\"{severity}\",\"attack\":[]}}]}}\n"
            )
        };
        let text = event("2026-01-04T10:00:00Z", "high")
            + &event("2026-01-04T11:00:00Z", "medium")
            + &event("2026-01-05T10:00:00Z", "low");
        let noise = count(text.as_bytes()).expect("all are events");
        assert_eq!((noise.events, noise.host_days.len()), (3, 2));
        assert_eq!(noise.alerts["X"], (2, 1));
        assert!(
            noise.lines()[0].contains("1.00 alerts a host-day"),
            "{:?}",
            noise.lines()
        );
    }
}
