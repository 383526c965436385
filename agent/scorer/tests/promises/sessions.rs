//! One login session cannot make a host forget, nor everything usual.

use picket_event::Event;
use picket_scorer::Scorer;

use super::world::{at, exec, fresh, life};

/// A host after some weeks of its life.
fn grown() -> Scorer {
    let mut scorer = fresh();
    for event in life(41, 20, 2_000) {
        scorer.step(event.time, &event);
    }
    scorer
}

fn invented(number: u32, session: Option<u32>) -> Event {
    let line = format!("/opt/invented{}/{number} -x", letters(number));
    let mut event = exec(at(20, i64::from(number / 4)), "/bin/bash", &line);
    let process = event.process.as_mut().expect("a process");
    process.session = session;
    event
}

/// Numbers alone would count as one name.
fn letters(number: u32) -> String {
    let letter =
        |digit: char| char::from(b'a' + u8::try_from(digit.to_digit(10).unwrap_or(0)).unwrap_or(0));
    number.to_string().chars().map(letter).collect()
}

/// Contexts that the host knows after so many invented programs.
fn contexts(session: Option<u32>, programs: u32) -> (u64, u64, u64) {
    let mut scorer = grown();
    let before = scorer.maturity().contexts;
    for number in 0..programs {
        let event = invented(number, session);
        scorer.step(event.time, &event);
    }
    let maturity = scorer.maturity();
    let gained = maturity.contexts.saturating_sub(before);
    (gained, maturity.contexts_mature, scorer.drift().unlearned)
}

#[test]
fn what_one_session_invents_in_a_day_teaches_so_much_and_no_more() {
    let (usual, mature, unlearned) = contexts(None, 5_000);
    assert_eq!(unlearned, 0, "what services do is not limited");
    let (within, _, none) = contexts(Some(7), 100);
    assert!(within > 100 && none == 0, "an ordinary session: {within}");
    let (gained, still_mature, unlearned) = contexts(Some(7), 5_000);
    assert!(gained < usual / 4, "{gained} against {usual}");
    assert!(
        still_mature >= mature && unlearned > 10_000,
        "{still_mature}, {unlearned}"
    );
}

#[test]
fn the_next_day_the_session_teaches_again_and_what_is_known_always_counts() {
    let mut scorer = grown();
    for number in 0..5_000 {
        let event = invented(number, Some(7));
        scorer.step(event.time, &event);
    }
    let known = |scorer: &mut Scorer, day: i64| {
        let mut event = exec(at(day, 80_000), "/bin/bash", "/bin/ls -l");
        event.process.as_mut().expect("a process").session = Some(7);
        let before = scorer.drift().unlearned;
        scorer.step(event.time, &event);
        scorer.drift().unlearned - before
    };
    let again = known(&mut scorer, 20);
    assert!(again <= 1, "{again}");
    assert_eq!(known(&mut scorer, 21), 0);
}
