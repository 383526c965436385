//! How an outcome is printed.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::judge::Outcome;
use super::metrics::Share;

/// As lines for people, or as one JSON object on a line.
pub fn print(outcome: &Outcome, as_json: bool) {
    let text = if as_json {
        format!("{}\n", json(outcome))
    } else {
        readable(outcome)
    };
    // Whoever closed the pipe has seen enough.
    drop(io::stdout().lock().write_all(text.as_bytes()));
}

fn readable(outcome: &Outcome) -> String {
    let [normals, attacks] = outcome.samples;
    let mut lines = vec![format!(
        "{}: learned from {} normal, {} others left out; tested on {normals} normal and {attacks} attacks",
        outcome.subject.name(),
        outcome.learned,
        outcome.left_out
    )];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<32}{value}"));
    line("AUROC", number(outcome.auroc));
    line("AUPR", number(outcome.aupr));
    for (name, share) in ["0.1 %", "1 %"].iter().zip(outcome.recall) {
        line(&format!("recall at {name} false positives"), shown(share));
    }
    for (class, [few, one]) in &outcome.classes {
        line(&format!("  {class} at 0.1 %"), shown(*few));
        line(&format!("  {class} at 1 %"), shown(*one));
    }
    for (name, share) in ["0.1 %", "1 %"].iter().zip(outcome.realised) {
        line(&format!("normals with p < {name}"), shown(share));
    }
    for (name, share) in ["0.1 %", "1 %"].iter().zip(outcome.caught) {
        line(&format!("attacks with p < {name}"), shown(share));
    }
    let event = outcome.subject.event();
    line(
        &format!("processor time for a {event}"),
        format!("{:.2} us", outcome.micros),
    );
    line("state", format!("{} bytes", outcome.state_bytes));
    lines.join("\n") + "\n"
}

fn json(outcome: &Outcome) -> Value {
    let classes = outcome.classes.iter();
    let classes = classes.map(|(class, [few, one])| {
        (
            class.clone(),
            json!({ "recall_0.1%": share(*few), "recall_1%": share(*one) }),
        )
    });
    json!({
        "subject": outcome.subject.name(),
        "learned": outcome.learned,
        "left_out": outcome.left_out,
        "normals": outcome.samples[0],
        "attacks": outcome.samples[1],
        "auroc": outcome.auroc,
        "aupr": outcome.aupr,
        "recall_0.1%": share(outcome.recall[0]),
        "recall_1%": share(outcome.recall[1]),
        "classes": classes.collect::<serde_json::Map<_, _>>(),
        "normals_with_p_below_0.1%": share(outcome.realised[0]),
        "normals_with_p_below_1%": share(outcome.realised[1]),
        "attacks_with_p_below_0.1%": share(outcome.caught[0]),
        "attacks_with_p_below_1%": share(outcome.caught[1]),
        "event": outcome.subject.event(),
        "micros_per_event": outcome.micros,
        "state_bytes": outcome.state_bytes,
    })
}

fn share(share: Share) -> Value {
    json!({ "found": share.found, "of": share.of, "value": share.value(), "wilson_95%": share.interval() })
}

fn shown(share: Share) -> String {
    let [low, high] = share.interval();
    format!(
        "{:.4}  ({} of {}, {low:.4} to {high:.4})",
        share.value(),
        share.found,
        share.of
    )
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "no attacks".to_owned(), |value| format!("{value:.4}"))
}
