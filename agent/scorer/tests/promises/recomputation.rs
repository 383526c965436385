//! Every score can be recomputed from its own explanation.

use picket_event::{BootId, Event, Origin, Source, UnixNanos, Verdict, json};
use picket_proto::v1;
use picket_scorer::{recompute, sentence};
use prost::Message;

use super::world::{fresh, life};

#[test]
fn every_score_follows_from_its_own_explanation() {
    let (mut scorer, mut scored) = (fresh(), 0);
    for event in life(1, 30, 1_000) {
        let Some(verdict) = scorer.step(event.time, &event) else {
            continue;
        };
        let again = recompute(&verdict);
        assert!(again.agrees_with(&verdict), "{verdict:?} gave {again:?}");
        assert!(verdict.p > 0.0 && verdict.p <= 1.0 && verdict.bits >= 0.0);
        assert!((1..=4).contains(&verdict.reasons.len()));
        scored += 1;
    }
    assert!(scored > 20_000);
}

#[test]
fn a_changed_count_is_noticed() {
    let mut scorer = fresh();
    let verdicts = life(2, 5, 500)
        .into_iter()
        .filter_map(|event| scorer.step(event.time, &event));
    let verdict = verdicts.last().unwrap();
    assert!(recompute(&verdict).agrees_with(&verdict));
    for place in 0..verdict.reasons.len() {
        let mut changed = verdict.clone();
        changed.reasons[place].context_seen += 1_000;
        changed.reasons[place].backoff[0].seen += 5_000;
        assert!(!recompute(&changed).agrees_with(&changed), "{changed:?}");
    }
}

#[test]
fn a_score_that_crossed_the_wire_still_follows_from_its_explanation() {
    let mut scorer = fresh();
    for event in life(3, 5, 200) {
        let Some(verdict) = scorer.step(event.time, &event) else {
            continue;
        };
        let mut carrier = Event::new(event.kind, UnixNanos(0), Source::Replay);
        carrier.verdicts.push(Verdict::Scorer(verdict));
        let bytes = v1::Event::from(carrier).encode_to_vec();
        let back = Event::try_from(v1::Event::decode(&*bytes).unwrap()).unwrap();
        let [Verdict::Scorer(verdict)] = &back.verdicts[..] else {
            panic!("the verdict is gone")
        };
        assert!(recompute(verdict).agrees_with(verdict));
    }
}

#[test]
fn a_score_that_was_read_from_json_still_follows_from_its_explanation() {
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    let mut scorer = fresh();
    for mut event in life(5, 5, 400) {
        let Some(verdict) = scorer.step(event.time, &event) else {
            continue;
        };
        event.verdicts.push(Verdict::Scorer(verdict));
        let back = json::from_str(&json::to_string(&event, &origin))
            .unwrap()
            .event;
        let [Verdict::Scorer(verdict)] = &back.verdicts[..] else {
            panic!("the verdict is gone")
        };
        let again = recompute(verdict);
        assert!(again.agrees_with(verdict), "{verdict:?} gave {again:?}");
    }
}

#[test]
fn every_reason_has_a_sentence() {
    let mut scorer = fresh();
    for event in life(4, 10, 300) {
        let verdict = scorer.step(event.time, &event);
        for reason in verdict.iter().flat_map(|verdict| &verdict.reasons) {
            let sentence = sentence(reason);
            assert!(
                sentence.ends_with('.') && sentence.contains(" bits (usual "),
                "{sentence}"
            );
        }
    }
}
