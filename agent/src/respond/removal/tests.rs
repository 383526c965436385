//! Who may remove the package, for how long, and what is told.

use std::time::Duration;

use picket_event::command::{Action, Command};

use super::*;
use crate::respond::tests::{Ask, Bench, NOW, command};

fn allow(number: u8, lasting: Option<Duration>) -> Command {
    Command {
        auto_release: lasting,
        ..command(number, Action::AllowRemoval)
    }
}

fn protected(bench: &Bench) -> Responder {
    let mut responder = bench.responder();
    responder.protects_removal = true;
    responder
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn without_the_setting_the_package_may_go_and_that_is_told() {
    let bench = Bench::new();
    let (removal, told) = bench.responder().removal_asked(true);
    assert!(matches!(removal, Removal::Unprotected(_)));
    assert_eq!(
        (
            told[0].state,
            told[0].reason.as_str(),
            told[0].action.as_str()
        ),
        (ReceiptState::Executed, "removing", "removal")
    );
}

#[test]
fn with_it_nobody_removes_the_package_and_who_tries_is_told() {
    let bench = Bench::new();
    let mut responder = protected(&bench);
    let (removal, told) = responder.removal_asked(true);
    assert!(matches!(removal, Removal::Refused(_)));
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Refused, "not_allowed")
    );
    let (removal, told) = responder.removal_asked(false);
    assert!(matches!(removal, Removal::Refused(_)) && told.is_empty());
    // Whoever asks without end cannot fill the spool.
    let told = (0..100).map(|_| responder.removal_asked(true).1.len());
    assert!(told.sum::<usize>() < 100);
}

#[test]
fn operators_allow_it_for_a_while_and_that_survives_a_restart() {
    let bench = Bench::new();
    let receipt = protected(&bench)
        .ask(&bench.sign(&allow(1, Some(HOUR))))
        .unwrap();
    assert_eq!(
        (receipt.state, receipt.verified),
        (ReceiptState::Executed, true),
        "{}",
        receipt.effect
    );
    let mut responder = protected(&bench);
    let (removal, told) = responder.removal_asked(true);
    let Removal::Allowed(words) = removal else {
        panic!("{removal:?}");
    };
    assert!(words.contains("alice"), "{words}");
    assert_eq!(
        (
            told[0].command_id,
            told[0].action.as_str(),
            told[0].reason.as_str()
        ),
        (CommandId::new([1; 16]), "allow-removal", "removing")
    );
}

#[test]
fn the_allowance_ends_by_itself_and_by_a_word() {
    let bench = Bench::new();
    let mut responder = protected(&bench);
    responder
        .ask(&bench.sign(&allow(1, Some(Duration::from_millis(1)))))
        .unwrap();
    socket::wait(Duration::from_millis(20));
    // Its time counts, not that somebody has looked.
    assert!(matches!(responder.removal(), Removal::Refused(_)));
    let told = responder.tick();
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Reverted, "auto_release")
    );
    responder.ask(&bench.sign(&allow(2, Some(HOUR)))).unwrap();
    assert!(matches!(responder.removal(), Removal::Allowed(_)));
    let forbid = bench.sign(&command(3, Action::ForbidRemoval));
    let answers = responder.answer(&forbid, None);
    let states: Vec<_> = answers.iter().map(|answer| answer.state).collect();
    assert_eq!(states, [ReceiptState::Executed, ReceiptState::Reverted]);
    assert!(matches!(responder.removal(), Removal::Refused(_)));
}

#[test]
fn an_allowance_without_a_near_end_is_refused() {
    let bench = Bench::new();
    let mut responder = protected(&bench);
    for (number, lasting) in [(1, None), (2, Some(MAX_REMOVAL + Duration::from_secs(1)))] {
        let receipt = responder.ask(&bench.sign(&allow(number, lasting))).unwrap();
        assert_eq!(receipt.reason, "too_long");
    }
    assert!(matches!(responder.removal(), Removal::Refused(_)));
}

#[test]
fn a_dry_run_allows_nothing() {
    let bench = Bench::new();
    let mut responder = protected(&bench);
    let dry = Command {
        mode: Mode::DryRun,
        ..allow(1, Some(HOUR))
    };
    let receipt = responder.ask(&bench.sign(&dry)).unwrap();
    assert_eq!(receipt.reason, Containment::DRY_RUN);
    assert!(matches!(responder.removal(), Removal::Refused(_)));
}

#[test]
fn what_is_in_force_and_cannot_be_read_allows_nothing() {
    let time = (NOW, clock::boot_id());
    let removal = decide(true, Err("damaged".to_owned()), time);
    assert!(matches!(removal, Removal::Refused(why) if why.contains("damaged")));
    let removal = decide(false, Err("damaged".to_owned()), time);
    assert!(matches!(removal, Removal::Unprotected(_)));
}

#[test]
fn every_answer_is_understood() {
    for removal in [
        Removal::Unprotected("a b".to_owned()),
        Removal::Allowed("by x\u{1b}y".to_owned()),
        Removal::Refused(String::new()),
    ] {
        let words = removal.words();
        let understood = Removal::parse(words.trim_end_matches('\n')).unwrap();
        assert_eq!(understood.words(), words);
        assert!(!words.contains('\u{1b}'));
    }
    assert_eq!(Removal::parse("granted x"), None);
}
