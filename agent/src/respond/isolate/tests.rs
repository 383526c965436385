//! What is decided before the kernel is asked. Nothing here may reach it: these tests run in the machine's own network.

use std::time::Duration;

use picket_event::command::{Action, BreakGlass, Command};

use super::code::Use;
use super::*;
use crate::respond::tests::{Ask, Bench, command};

fn isolate(number: u8, lasting: Option<Duration>) -> Command {
    Command {
        auto_release: lasting,
        ..command(number, Action::Isolate(Asked::default()))
    }
}

fn in_force(one: &Command, code: Option<&BreakGlass>) -> InForce {
    InForce {
        command: one.id.to_string(),
        action: "isolate".to_owned(),
        object: "the host".to_owned(),
        since: 0,
        end: None,
        signers: Vec::new(),
        stated_reason: String::new(),
        effect: Effect::Isolated(Isolated {
            allow: vec![([10, 0, 0, 0].into(), 8)],
            known: Known::default(),
            break_glass: code.map(|code| code.digest().to_string()),
            wrong_codes: 0,
            released: false,
        }),
    }
}

#[test]
fn without_a_session_nothing_is_cut_off_for_long() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    for (number, lasting) in [(1, None), (2, Some(Duration::from_hours(2)))] {
        let signed = bench.sign(&isolate(number, lasting));
        let receipt = responder.ask(&signed).unwrap();
        assert_eq!(
            (receipt.state, receipt.reason.as_str()),
            (ReceiptState::Refused, "no_path")
        );
        assert!(responder.effects.as_ref().unwrap().all().is_empty());
    }
}

#[test]
fn a_release_without_an_isolation_is_refused() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let receipt = responder
        .ask(&bench.sign(&command(1, Action::Release)))
        .unwrap();
    assert_eq!(receipt.reason, "not_in_force");
}

#[test]
fn a_wrong_code_is_counted_over_restarts_and_told_less_and_less() {
    let bench = Bench::new();
    let code = BreakGlass::generate().unwrap();
    let mut told = 0;
    for tries in 1..=9 {
        let mut responder = bench.responder();
        if tries == 1 {
            assert_eq!(responder.use_code(&code.to_string()).0, Use::NotIsolated);
            let one = in_force(&isolate(1, None), Some(&code));
            responder.effects.as_mut().unwrap().put(one).unwrap();
        }
        let wrong = if tries % 2 == 0 {
            "nonsense"
        } else {
            "00000-00000-00000-00000-00000"
        };
        let (outcome, answers) = responder.use_code(wrong);
        assert_eq!(outcome, Use::Wrong(tries));
        told += answers.len();
    }
    assert_eq!(told, 4, "at the first, second, fourth and eighth");
}

#[test]
fn an_isolation_without_a_code_has_no_code() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let one = in_force(&isolate(1, None), None);
    responder.effects.as_mut().unwrap().put(one).unwrap();
    for typed in ["", "-", "00000-00000-00000-00000-00000"] {
        assert!(
            matches!(responder.use_code(typed).0, Use::Wrong(_)),
            "{typed}"
        );
    }
}

#[test]
fn the_newest_says_what_stays_reachable_and_the_longest_when_it_ends() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let (now, boot) = (responder.clock.now(), responder.boot);
    assert_eq!(responder.wanted(None), None);
    let end = |hours| {
        Some(crate::respond::effects::End::after(
            Duration::from_hours(hours),
            now,
            boot,
        ))
    };
    let older = InForce {
        end: end(3),
        ..in_force(&isolate(1, None), None)
    };
    let mut newer = InForce {
        end: end(1),
        ..in_force(&isolate(2, None), None)
    };
    if let Effect::Isolated(isolated) = &mut newer.effect {
        isolated.allow.clear();
    }
    for one in [&older, &newer] {
        responder
            .effects
            .as_mut()
            .unwrap()
            .put(one.clone())
            .unwrap();
    }
    let wanted = responder.wanted(None).unwrap();
    assert!(wanted.networks.is_empty());
    let left = wanted.until.unwrap().left();
    assert!(
        left > Duration::from_hours(2) && left <= Duration::from_hours(3),
        "{left:?}"
    );
    let rest = responder.wanted(Some(&newer.command)).unwrap();
    assert_eq!(rest.networks.len(), 1);
}
