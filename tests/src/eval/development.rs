//! The models on the development data, beside their goals and the best baseline measured before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{EvalError, Outcome, Subject, run};

/// A data set with what was aimed at and what simple methods reach.
#[derive(Debug)]
pub struct Set {
    /// What it judges.
    pub subject: Subject,
    /// Its name.
    pub name: &'static str,
    train: &'static str,
    test: &'static str,
    /// Goals: AUROC, recall at 0.1 % and at 1 % false positives, where there is one.
    pub goals: [Option<f64>; 3],
    /// The best single method measured before in each, on the same or a like split.
    pub baselines: [f64; 3],
}

/// The sets.
pub const SETS: [Set; 3] = [
    Set {
        subject: Subject::Sequence,
        name: "ADFA-LD",
        train: "adfa-ld/train.tsv.gz",
        test: "adfa-ld/dev.tsv.gz",
        goals: [Some(0.93), None, Some(0.50)],
        baselines: [0.845, 0.000, 0.152],
    },
    Set {
        subject: Subject::Login,
        name: "LANL, injected",
        train: "lanl-auth/train.csv.gz",
        test: "lanl-auth/dev.csv.gz",
        goals: [None, Some(0.40), Some(0.65)],
        baselines: [0.946, 0.233, 0.463],
    },
    Set {
        subject: Subject::Command,
        name: "command text",
        train: "commands/train.tsv.gz",
        test: "commands/dev.tsv.gz",
        goals: [None, Some(0.30), Some(0.60)],
        baselines: [0.922, 0.064, 0.283],
    },
];

/// The folder of development data beside the project's root, if there is one.
pub fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    root.is_dir().then_some(root)
}

/// The outcome of a set in `folder`.
pub fn judge(set: &Set, folder: &Path) -> Result<Outcome, EvalError> {
    run(
        set.subject,
        &folder.join(set.train),
        &folder.join(set.test),
        false,
    )
}

/// Judges all sets and prints a table.
pub fn table(folder: &Path) -> Result<(), EvalError> {
    let mut rows_of_table = vec![format!(
        "{:<16}{:<24}{:>10}{:>10}{:>10}  {}",
        "set", "figure", "reached", "goal", "baseline", "95 %"
    )];
    for set in &SETS {
        rows(set, &judge(set, folder)?, &mut rows_of_table);
    }
    // Whoever closed the pipe has seen enough.
    drop(writeln!(
        io::stdout().lock(),
        "{}",
        rows_of_table.join("\n")
    ));
    Ok(())
}

fn rows(set: &Set, outcome: &Outcome, rows: &mut Vec<String>) {
    let [few, one] = outcome.recall;
    let reached = [outcome.auroc.unwrap_or_default(), few.value(), one.value()];
    let spread = [None, Some(few), Some(one)];
    for (place, figure) in FIGURES.iter().enumerate() {
        let goal = set.goals[place];
        let missed = goal.is_some_and(|goal| reached[place] < goal);
        rows.push(format!(
            "{:<16}{figure:<24}{:>10.3}{:>10}{:>10.3}  {}{}",
            set.name,
            reached[place],
            goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}")),
            set.baselines[place],
            spread[place].map_or_else(String::new, |share| {
                let [low, high] = share.interval();
                format!("{low:.3} to {high:.3}")
            }),
            if missed { "  not reached" } else { "" }
        ));
    }
    rows.push(format!(
        "{:<16}{:.1} us for a {}, {:.1} MB, normals with p < 1 %: {:.2} %",
        "",
        outcome.micros,
        outcome.subject.event(),
        megabytes(outcome.state_bytes),
        outcome.realised[1].value() * 100.0
    ));
}

fn megabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e6
}

const FIGURES: [&str; 3] = ["AUROC", "recall at 0.1 %", "recall at 1 %"];

#[cfg(test)]
mod tests {
    use super::*;

    /// What was reached on the development data stays reached; what was not has its floor.
    #[test]
    fn figures_on_the_development_data_stay_what_they_were() {
        let Some(folder) = folder() else {
            return eprintln!("SKIPPED: no development data beside the project (../shared/data)");
        };
        let floors = [[0.87, 0.0, 0.15], [0.97, 0.40, 0.65], [0.94, 0.30, 0.60]];
        for (set, floor) in SETS.iter().zip(floors) {
            let outcome = judge(set, &folder).unwrap();
            let auroc = outcome.auroc.unwrap();
            let [few, one] = outcome.recall.map(super::super::metrics::Share::value);
            let reached = [auroc, few, one];
            let enough = reached
                .iter()
                .zip(floor)
                .all(|(reached, floor)| *reached >= floor);
            assert!(enough, "{}: {reached:?} is below {floor:?}", set.name);
            assert!(
                outcome.state_bytes < 10_000_000,
                "{}: {} bytes",
                set.name,
                outcome.state_bytes
            );
        }
    }
}
