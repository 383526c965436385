//! The closing ledger as a table: for each kind, how many there were and what became of them.
//!
//! ```text
//! kind  generated  filtered  aggregated  submitted  lost
//! exec        120         3           0        115  2 (ring 2)
//! exit        118         0           0        118  0
//! all         238         3           0        233  2 (ring 2)
//! 2 lost, each of them counted
//! ```

use picket_event::{Kind, KindCounts, Loss};

use crate::cli::output::Paint;

/// The table and a sentence about it.
pub(super) fn lines(loss: &Loss, paint: Paint) -> Vec<String> {
    let mut all = KindCounts::zero(Kind::Loss);
    loss.kinds.iter().for_each(|line| all.add(line));
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(loss.kinds.iter().map(|line| row(line.kind.name(), line)));
    rows.push(row("all", &all));
    let mut lines = vec![String::new()];
    lines.extend(aligned(&rows));
    lines.push(conclusion(loss, &all, paint));
    lines
}

const COLUMNS: usize = 6;
const HEAD: [&str; COLUMNS] = [
    "kind",
    "generated",
    "filtered",
    "aggregated",
    "submitted",
    "lost",
];

fn row(name: &str, line: &KindCounts) -> [String; COLUMNS] {
    [
        name.to_owned(),
        line.generated.to_string(),
        line.filtered.to_string(),
        line.aggregated.to_string(),
        line.submitted.to_string(),
        line.lost_words(),
    ]
}

/// The kind and the losses, which may have words, stand left, the numbers between them right.
fn aligned(rows: &[[String; COLUMNS]]) -> impl Iterator<Item = String> {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let [first, generated, filtered, aggregated, submitted, _] = widths;
    rows.iter().map(move |[kind, g, f, a, s, lost]| {
        format!(
            "{kind:<first$}  {g:>generated$}  {f:>filtered$}  {a:>aggregated$}  {s:>submitted$}  {lost}"
        )
    })
}

fn conclusion(loss: &Loss, all: &KindCounts, paint: Paint) -> String {
    let open = loss.kinds.iter().find(|line| !line.balances());
    match (open, all.lost) {
        (Some(line), _) => paint.bad(&format!("the ledger of {} does not balance", line.kind)),
        (None, 0) => paint.good("nothing was lost"),
        (None, lost) => paint.bad(&format!("{lost} lost, each of them counted")),
    }
}

#[cfg(test)]
mod tests {
    use picket_event::LossCause;

    use super::*;

    fn line(kind: Kind, filtered: u64, submitted: u64) -> KindCounts {
        KindCounts {
            generated: filtered + submitted,
            filtered,
            submitted,
            ..KindCounts::zero(kind)
        }
    }

    fn said(kinds: Vec<KindCounts>) -> String {
        lines(&Loss { kinds, last: true }, Paint::PLAIN).join("\n")
    }

    #[test]
    fn the_table_has_a_line_per_kind_and_their_sum() {
        let mut exec = line(Kind::Exec, 3, 115);
        exec.generated += 2;
        exec.lose(LossCause::Ring, 2);
        let text = said(vec![exec, line(Kind::Exit, 0, 118)]);
        let expected = "
kind  generated  filtered  aggregated  submitted  lost
exec        120         3           0        115  2 (ring 2)
exit        118         0           0        118  0
all         238         3           0        233  2 (ring 2)
2 lost, each of them counted";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_ledger_without_losses_says_so() {
        assert!(said(vec![line(Kind::Exec, 0, 1)]).ends_with("nothing was lost"));
        assert!(said(Vec::new()).ends_with("nothing was lost"));
    }

    #[test]
    fn a_line_that_does_not_balance_is_named() {
        let mut exit = line(Kind::Exit, 0, 1);
        exit.generated = 5;
        let text = said(vec![line(Kind::Exec, 0, 1), exit]);
        assert!(
            text.ends_with("the ledger of exit does not balance"),
            "{text}"
        );
    }
}
