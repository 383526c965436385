//! One measured figure, and how figures are printed.

use std::io::{self, Write};

use serde_json::json;

/// A figure with its goal and how it was taken.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) unit: &'static str,
    pub(super) goal: &'static str,
    pub(super) reached: bool,
    /// What others reach in the same load, or nothing.
    pub(super) anchor: &'static str,
    pub(super) conditions: String,
}

/// A table for people, or one JSON object per line.
pub(super) fn print(figures: &[Figure], json: bool) {
    let mut out = io::stdout().lock();
    for figure in figures {
        let line = if json {
            as_json(figure)
        } else {
            as_row(figure)
        };
        // Whoever closed the pipe has seen enough.
        drop(writeln!(out, "{line}"));
    }
}

fn as_row(figure: &Figure) -> String {
    let verdict = match (figure.goal, figure.reached) {
        ("-", _) => "",
        (_, true) => "reached",
        (_, false) => "MISSED",
    };
    let Figure {
        name,
        value,
        unit,
        goal,
        conditions,
        ..
    } = figure;
    format!("{name:<34} {value:>8} {unit:<8} goal {goal:<8} {verdict:<8} ({conditions})")
}

fn as_json(figure: &Figure) -> String {
    let value = figure
        .value
        .parse::<f64>()
        .map_or_else(|_text| json!(figure.value), |n| json!(n));
    let anchor = (!figure.anchor.is_empty()).then_some(figure.anchor);
    json!({
        "name": figure.name,
        "value": value,
        "unit": figure.unit,
        "goal": figure.goal,
        "anchor": anchor,
        "conditions": figure.conditions,
    })
    .to_string()
}
