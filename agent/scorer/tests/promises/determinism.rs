//! The same events give the same scores, bit for bit.

use picket_event::{Event, ScorerVerdict};
use picket_scorer::{Scorer, Settings};

use super::world::{SECRET, fresh, life};

fn run(scorer: &mut Scorer, events: &[Event]) -> Vec<Option<ScorerVerdict>> {
    events
        .iter()
        .map(|event| scorer.step(event.time, event))
        .collect()
}

#[test]
fn two_scorers_agree_on_every_event() {
    let events = life(11, 20, 500);
    assert_eq!(run(&mut fresh(), &events), run(&mut fresh(), &events));
}

#[test]
fn a_snapshot_in_the_middle_changes_nothing() {
    let events = life(12, 20, 500);
    let (first, second) = events.split_at(events.len() / 2);
    let mut through = fresh();
    run(&mut through, first);
    let mut restored = Scorer::restore(Settings::new(SECRET), &through.snapshot()).unwrap();
    assert_eq!(run(&mut restored, second), run(&mut through, second));
    assert_eq!(restored.snapshot(), through.snapshot());
    assert_eq!(restored.maturity(), through.maturity());
}

#[test]
fn scores_of_a_fixed_stream_never_change_by_accident() {
    let mut scorer = fresh();
    let verdicts = run(&mut scorer, &life(13, 10, 300));
    let fold = |sum: u64, verdict: &ScorerVerdict| {
        sum.rotate_left(7) ^ verdict.bits.to_bits() ^ verdict.p.to_bits().rotate_left(32)
    };
    assert_eq!(
        format!("{:016x}", verdicts.iter().flatten().fold(0, fold)),
        "e1702e0553417b45"
    );
}
