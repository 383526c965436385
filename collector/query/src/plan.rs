//! Which conditions of a statement the store answers, and in which order its rows come.
//!
//! # Invariants
//!
//! - Every condition is checked by SQLite again; what is taken here only spares reading.
//! - The order of time is promised only where the scan has it.

use picket_store::{RowForm, RowOrder};
use rusqlite::vtab::{IndexConstraintOp, IndexInfo};

use crate::columns::{EventColumn, From};
use crate::moment::COLLATION;

/// What `xBestIndex` decided, for `xFilter`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) order: RowOrder,
    /// SQLite's mask of the columns that are needed.
    pub(crate) used: u64,
    /// The conditions whose values follow, in their order.
    pub(crate) pushed: Vec<Pushed>,
}

/// A condition on a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// The column's number.
    pub(crate) column: usize,
    pub(crate) op: Op,
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Equal,
    In,
    AtLeast,
    AtMost,
    Glob,
}

/// Decides, and tells SQLite.
pub(crate) fn choose(
    info: &mut IndexInfo,
    columns: &[EventColumn],
    may_sort: bool,
) -> rusqlite::Result<()> {
    let mut plan = Plan {
        used: info.col_used(),
        ..Plan::default()
    };
    let mut rows = EVERYTHING;
    for (at, column, op) in usable(info) {
        let Some((pushed, share)) = pushed(info, columns, (at, column, op))? else {
            continue;
        };
        plan.pushed.push(pushed);
        let place = i32::try_from(plan.pushed.len()).unwrap_or(i32::MAX);
        info.constraint_usage(at).set_argv_index(place);
        rows *= share;
    }
    if may_sort && let Some(order) = time_order(info, columns) {
        plan.order = order;
        info.set_order_by_consumed(true);
    }
    info.set_estimated_cost(OPENING + rows);
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and ten million")]
    info.set_estimated_rows(rows.max(1.0) as i64);
    info.set_idx_str(&plan.encode());
    Ok(())
}

fn usable(info: &IndexInfo) -> Vec<(usize, usize, IndexConstraintOp)> {
    let all = info.constraints().enumerate();
    let usable = all.filter(|(_, constraint)| constraint.is_usable());
    usable
        .filter_map(|(at, constraint)| {
            let column = usize::try_from(constraint.column()).ok()?;
            Some((at, column, constraint.operator()))
        })
        .collect()
}

/// The condition as the store understands it, and which part of all rows it leaves, roughly.
fn pushed(
    info: &mut IndexInfo,
    columns: &[EventColumn],
    (at, number, op): (usize, usize, IndexConstraintOp),
) -> rusqlite::Result<Option<(Pushed, f64)>> {
    use IndexConstraintOp as C;

    let Some(column) = columns.get(number) else {
        return Ok(None);
    };
    let in_order = info.collation(at)?;
    let is_time = column.from == From::Stored(RowForm::Time);
    let wanted = if is_time { COLLATION } else { "BINARY" };
    if !in_order.eq_ignore_ascii_case(wanted) {
        return Ok(None);
    }
    let share = share_of(column);
    let push = |op, share| Ok(Some((Pushed { column: number, op }, share)));
    match (op, share) {
        (C::SQLITE_INDEX_CONSTRAINT_EQ, Some(share)) => {
            if !is_time && info.set_in_constraint(at, true)? {
                return push(Op::In, (share * 3.0).min(1.0));
            }
            push(Op::Equal, share)
        }
        (C::SQLITE_INDEX_CONSTRAINT_GE | C::SQLITE_INDEX_CONSTRAINT_GT, _)
            if has_ranges(column) =>
        {
            push(Op::AtLeast, 0.25)
        }
        (C::SQLITE_INDEX_CONSTRAINT_LE | C::SQLITE_INDEX_CONSTRAINT_LT, _) if is_time => {
            push(Op::AtMost, 0.25)
        }
        (C::SQLITE_INDEX_CONSTRAINT_GLOB, _) if column.from == From::Stored(RowForm::Text) => {
            push(Op::Glob, 0.1)
        }
        _ => Ok(None),
    }
}

fn has_ranges(column: &EventColumn) -> bool {
    column.from == From::Stored(RowForm::Time) || column.name == "severity_id"
}

/// Which part of all rows has one value of the column; none if the store cannot look for it.
fn share_of(column: &EventColumn) -> Option<f64> {
    match column.from {
        From::Json(_)
        | From::Class
        | From::Doubtful
        | From::Stored(RowForm::Real | RowForm::Flag | RowForm::Texts | RowForm::Bytes) => None,
        From::Stored(RowForm::Time) => Some(1e-6),
        From::HostName => Some(0.02),
        From::Stored(RowForm::Text | RowForm::Number) => Some(match column.name.as_str() {
            "process_uid" | "fork_child_uid" | "process_parent_uid" => 1e-6,
            "process_sha256" | "file_sha256_after" | "network_remote_ip" | "login_source_ip" => {
                1e-4
            }
            "host_id" => 0.02,
            _ => 0.05,
        }),
    }
}

fn time_order(info: &IndexInfo, columns: &[EventColumn]) -> Option<RowOrder> {
    if info.num_of_order_by() != 1 {
        return None;
    }
    let by = info.order_bys().next()?;
    let column = columns.get(usize::try_from(by.column()).ok()?)?;
    (column.name == "time").then(|| {
        if by.is_order_by_desc() {
            RowOrder::NewestFirst
        } else {
            RowOrder::OldestFirst
        }
    })
}

impl Plan {
    /// As the text that SQLite carries from the one call to the other.
    pub(crate) fn encode(&self) -> String {
        let order = match self.order {
            RowOrder::AsStored => 'a',
            RowOrder::OldestFirst => 'o',
            RowOrder::NewestFirst => 'n',
        };
        let pushed = self.pushed.iter().map(|one| {
            let op = match one.op {
                Op::Equal => '=',
                Op::In => '@',
                Op::AtLeast => '>',
                Op::AtMost => '<',
                Op::Glob => '~',
            };
            format!(" {op}{}", one.column)
        });
        let pushed: String = pushed.collect();
        format!("{order} {:x}{pushed}", self.used)
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let order = match words.next()? {
            "a" => RowOrder::AsStored,
            "o" => RowOrder::OldestFirst,
            "n" => RowOrder::NewestFirst,
            _ => return None,
        };
        let used = u64::from_str_radix(words.next()?, 16).ok()?;
        let pushed = words.map(|word| {
            let op = match word.chars().next()? {
                '=' => Op::Equal,
                '@' => Op::In,
                '>' => Op::AtLeast,
                '<' => Op::AtMost,
                '~' => Op::Glob,
                _ => return None,
            };
            let column = word.get(1..)?.parse().ok()?;
            Some(Pushed { column, op })
        });
        Some(Self {
            order,
            used,
            pushed: pushed.collect::<Option<_>>()?,
        })
    }

    /// Whether the statement needs the column.
    pub(crate) const fn needs(&self, column: usize) -> bool {
        let bit = if column < 63 { column } else { 63 };
        self.used & (1 << bit) != 0
    }
}

/// Events that a store may have, for SQLite's comparison of plans.
const EVERYTHING: f64 = 1e7;

/// What it costs to begin a scan, in rows.
const OPENING: f64 = 2_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let plan = Plan {
            order: RowOrder::NewestFirst,
            used: 0x8000_0000_0000_0011,
            pushed: vec![
                Pushed {
                    column: 0,
                    op: Op::AtLeast,
                },
                Pushed {
                    column: 70,
                    op: Op::In,
                },
            ],
        };
        assert_eq!(Plan::decode(&plan.encode()), Some(plan.clone()));
        assert!(plan.needs(0) && plan.needs(4) && !plan.needs(5) && plan.needs(99));
        assert_eq!(Plan::decode(""), None);
        assert_eq!(Plan::decode("a zz"), None);
    }
}
