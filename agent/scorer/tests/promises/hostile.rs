//! No event makes the scorer panic, grow or lie.

use std::sync::Arc;

use picket_event::{
    Ancestor, Detail, Event, File, Kind, Login, Process, ProcessUid, Source, UnixNanos,
};
use picket_scorer::{Scorer, Settings, recompute, sentence};
use proptest::prelude::*;

use super::world::{SECRET, START, exec, fresh, life, login};

#[test]
fn an_event_that_says_nothing_is_not_scored() {
    let mut scorer = fresh();
    for kind in Kind::ALL {
        let bare = Event::new(*kind, START, Source::Replay);
        assert_eq!(scorer.step(START, &bare), None, "{kind}");
        let empty = bare
            .by(Process::new(ProcessUid::new([0; 16]), 0))
            .with(Detail::File(File::default()));
        assert!(
            scorer
                .step(START, &empty)
                .is_none_or(|verdict| !verdict.alert),
            "{kind}"
        );
    }
}

#[test]
fn a_megabyte_in_every_field_is_scored_in_bounded_words() {
    let mut scorer = fresh();
    let long = "/a".repeat(500_000);
    let mut event = exec(START, &long, &format!("{long} --{long} {long}"));
    event.process.as_mut().unwrap().cwd = long.as_str().into();
    let verdict = scorer.step(START, &event).unwrap();
    let words = verdict
        .reasons
        .iter()
        .map(|reason| reason.context.as_bytes().len());
    assert!(words.max() <= Some(512));
    assert!(
        verdict
            .reasons
            .iter()
            .all(|reason| sentence(reason).len() < 2_000)
    );
    assert!(recompute(&verdict).agrees_with(&verdict));

    let verdict = scorer
        .step(START, &login(START, &long, &long, &long))
        .unwrap();
    assert!(
        verdict
            .reasons
            .iter()
            .all(|reason| reason.value.as_bytes().len() <= 512)
    );
}

#[test]
fn two_long_texts_that_differ_are_told_apart_by_length() {
    let mut scorer = fresh();
    let long = "x".repeat(10_000);
    for _ in 0..3 {
        scorer.step(START, &login(START, "ann", "", &long));
    }
    let longer = format!("{long}x");
    let verdict = scorer
        .step(START, &login(START, "ann", "", &longer))
        .unwrap();
    let method = verdict
        .reasons
        .iter()
        .find(|reason| reason.factor == "method of user")
        .unwrap();
    assert_eq!((method.seen, method.context_seen), (0, 3));
}

#[test]
fn a_sentence_moves_no_terminal() {
    let mut scorer = fresh();
    let evil = "/bin/\u{1b}[2J\u{202e}\n\r";
    for reason in scorer
        .step(START, &exec(START, evil, evil))
        .unwrap()
        .reasons
    {
        let sentence = sentence(&reason);
        assert!(
            !sentence.contains(['\u{1b}', '\u{202e}', '\n', '\r']),
            "{sentence:?}"
        );
    }
}

#[test]
fn the_memory_is_fixed() {
    let settings = Settings {
        slots: 1 << 12,
        ..Settings::new(SECRET)
    };
    let mut scorer = Scorer::new(settings);
    let before = scorer.state_bytes();
    for event in life(21, 5, 2_000) {
        scorer.step(event.time, &event);
    }
    assert_eq!(scorer.state_bytes(), before);
    assert!(scorer.snapshot().len() < 28 * (1 << 12) + 900_000);
    assert!(
        fresh().state_bytes() <= 10_000_000,
        "{}",
        fresh().state_bytes()
    );
    let absurd = Scorer::new(Settings {
        slots: usize::MAX,
        ..settings
    });
    assert!(absurd.state_bytes() <= 10_000_000);
    assert!(
        Scorer::new(Settings {
            slots: 0,
            ..settings
        })
        .state_bytes()
            > 0
    );
}

#[test]
fn a_wild_clock_neither_stops_the_scorer_nor_ages_everything_away() {
    let mut scorer = fresh();
    let usual = exec(START, "/usr/sbin/nginx", "/usr/sbin/php-fpm -F");
    for event in life(22, 20, 300) {
        scorer.step(event.time, &event);
    }
    let days = scorer.maturity().days;
    for wild in [i64::MIN, i64::MAX, 0, START.0, -1, i64::MAX, START.0] {
        let verdict = scorer.step(UnixNanos(wild), &usual).unwrap();
        assert!(
            recompute(&verdict).agrees_with(&verdict) && verdict.bits < 3.0,
            "{verdict:?}"
        );
    }
    assert!(scorer.maturity().days <= days + 7);
    assert!(scorer.step(START, &usual).unwrap().bits < 1.0);
}

proptest! {
    #[test]
    fn any_bytes_give_a_score_that_follows_from_its_explanation(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 8),
        kind in 0..Kind::ALL.len(),
        now in any::<i64>(),
        as_login in any::<bool>(),
    ) {
        let text = |place: usize| picket_event::Text::from(texts[place].as_slice());
        let mut process = Process::new(ProcessUid::new([1; 16]), 1);
        process.exe = text(0);
        process.argv = vec![text(0), text(1), text(2)];
        process.cwd = text(3);
        process.tty = text(4);
        process.ancestry = Arc::new([Ancestor { uid: process.uid, pid: 1, exe: text(5) }]);
        let source_ip = text(7).lossy().into_owned();
        let detail = if as_login {
            Detail::Login(Login { user: text(6), source_ip, ..Login::default() })
        } else {
            Detail::File(File { path: text(6), new_path: text(7), ..File::default() })
        };
        let now = UnixNanos(now);
        let event = Event::new(Kind::ALL[kind], now, Source::Replay).by(process).with(detail);
        let mut scorer = Scorer::new(Settings { slots: 0, ..Settings::new(SECRET) });
        for _ in 0..3 {
            if let Some(verdict) = scorer.step(now, &event) {
                prop_assert!(recompute(&verdict).agrees_with(&verdict));
                prop_assert!(!verdict.alert && verdict.bits.is_finite());
            }
        }
    }
}
