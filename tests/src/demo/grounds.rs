//! The grounds of an alert, read out of the event that carries them.

use picket_event::{ScorerVerdict, Verdict, json};
use picket_scorer::{recompute, sentence};

use crate::failure::Failure;

/// For each verdict of the event in `line`, what it says, for people.
pub(super) fn lines(line: &str) -> Result<Vec<String>, Failure> {
    let unexpected = |_json| Failure::Unexpected {
        what: "picketctl events --json".to_owned(),
        text: line.to_owned(),
    };
    let event = json::from_str(line).map_err(unexpected)?.event;
    Ok(event.verdicts.iter().flat_map(of_verdict).collect())
}

fn of_verdict(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Rule(rule) => vec![
            format!("rule    {} [{}]", rule.title, rule.severity),
            format!(
                "        {}, {}, by {}",
                rule.attack.join(" "),
                rule.id,
                rule.author
            ),
        ],
        Verdict::Scorer(score) => of_score(score),
    }
}

fn of_score(score: &ScorerVerdict) -> Vec<String> {
    let equal = recompute(score).agrees_with(score);
    let recomputed = if equal { "gives the same" } else { "DIFFERS" };
    let alone = if score.alert {
        "an alert"
    } else {
        "no alert by itself: too little is known yet"
    };
    let head = format!("scorer  {:.1} bits, p = {} ({alone})", score.bits, score.p);
    let reasons = score
        .reasons
        .iter()
        .map(|reason| format!("        {}", sentence(reason)));
    let proof = format!("        computed again from this explanation alone: {recomputed}");
    [head].into_iter().chain(reasons).chain([proof]).collect()
}
