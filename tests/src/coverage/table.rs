//! The report as tables for people.

use super::judge::{Level, Row, State};
use super::report::{LEVELS, Pair, Report, Totals, why};
use crate::eval::metrics::Share;

impl Report {
    /// All of it, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.tests();
        for (title, rows) in [
            ("as in the list", &self.plain),
            ("renamed programs", &self.renamed),
        ] {
            if !rows.is_empty() {
                lines.extend(self.totals_of(title, rows));
            }
        }
        lines.extend(self.fall());
        lines.extend(self.beside());
        lines
    }

    fn tests(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:>3} {:<10} {:<10} {:<10} {:<10} evidence",
            "", "technique", "best", "alerts", "renamed"
        )];
        for (place, row) in self.plain.iter().enumerate() {
            let renamed = self.renamed.get(place).map_or(String::new(), short);
            let alerts = if row.state == State::Executed {
                format!("{:?}", row.alert_level)
            } else {
                "-".to_owned()
            };
            let (number, technique) = (row.number, &row.technique);
            let mut line = format!(
                "{number:>3} {technique:<10} {:<10} {alerts:<10} {renamed:<10} {}",
                short(row),
                evidence(row)
            );
            for remark in &row.remarks {
                line = format!("{line} [{remark}]");
            }
            if row.builtin_only {
                line.push_str(" [only the shell]");
            }
            lines.push(line);
        }
        lines
    }

    fn totals_of(&self, title: &str, rows: &[Row]) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{title:<32} {:>5} {:>8}  {} {:>21} {:>21} {:>21}",
                "tests",
                "executed",
                LEVELS
                    .map(|level| format!("{:>9}", format!("{level:?}")))
                    .join(" "),
                "visibility",
                "analytic",
                "analytic by alerts"
            ),
        ];
        for (name, rows) in self.groups(rows) {
            let totals = Totals::of(&rows);
            let levels = LEVELS
                .map(|level| format!("{:>9}", totals.levels.get(&level).copied().unwrap_or(0)));
            let share = |levels, least| percent(totals.share(levels, least));
            lines.push(format!(
                "{name:<32} {:>5} {:>8}  {} {:>21} {:>21} {:>21}",
                totals.tests,
                totals.executed,
                levels.join(" "),
                share(&totals.levels, Level::Telemetry),
                share(&totals.levels, Level::General),
                share(&totals.alert_levels, Level::General),
            ));
            if name == "all" {
                lines.push(format!(
                    "  of the executed: {:>2}  ended by their limit",
                    totals.cut_short
                ));
                lines.extend(
                    totals
                        .not_executed
                        .iter()
                        .map(|(why, count)| format!("  not executed: {count:>4}  {why}")),
                );
            }
        }
        lines
    }

    fn fall(&self) -> Vec<String> {
        let twins = self.twins();
        if twins.pairs == 0 {
            return Vec::new();
        }
        let line = |what: &str, pair: Pair| {
            let Pair([plain, renamed]) = pair;
            format!("  {what}: {plain} as in the list, {renamed} renamed")
        };
        vec![
            String::new(),
            format!("executed both ways: {} tests", twins.pairs),
            line("judged", twins.judged),
            line("judged medium or worse", twins.alerts),
        ]
    }

    fn beside(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{:>6}  {:<14} {:<20} judged outside of any test",
                "times", "severity", "who"
            ),
        ];
        for ((who, rule, severity), count) in &self.outside {
            lines.push(format!("{count:>6}  {severity:<14} {who:<20} {rule}"));
        }
        lines
    }
}

/// The level of what was executed, or a dash.
fn short(row: &Row) -> String {
    match row.state {
        State::Executed => format!("{:?}", row.level),
        State::NotRun => "not run".to_owned(),
        _ => "-".to_owned(),
    }
}

fn evidence(row: &Row) -> String {
    match (&row.state, &row.best) {
        (State::Executed, Some(best)) => {
            let delay = if best.delay_ms > 1000 {
                format!(", late: {} ms", best.delay_ms)
            } else {
                String::new()
            };
            format!("{} ({}{delay})", best.rule, best.severity.name())
        }
        (State::Executed, None) => row.telemetry.join("; "),
        (State::NotRun, _) => String::new(),
        (state, _) => format!("{}: {}", why(state), reason(state)),
    }
}

fn reason(state: &State) -> &str {
    match state {
        State::ToolMissing(reason)
        | State::DependencyMissing(reason)
        | State::Failed(reason)
        | State::MachineLost(reason)
        | State::UnknownExecutor(reason) => reason,
        State::Executed | State::NotRun => "",
    }
}

fn percent(share: Share) -> String {
    let [low, high] = share.interval();
    let share = 100.0 * share.value();
    format!("{share:.0} % ({:.0} to {:.0})", 100.0 * low, 100.0 * high)
}
