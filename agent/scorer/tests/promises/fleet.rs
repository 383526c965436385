//! What a host tells its fleet, and what the fleet's prior does for a host that is new.

use std::collections::HashMap;

use picket_event::fleet::{FleetSecret, Pair, Prior, SharedContext, SharedValue, Sketch};
use picket_event::{Event, Reason, ScorerVerdict, UnixNanos};
use picket_scorer::{Scorer, Settings, recompute, sentence};

use super::world::{at, exec, life};

const FLEET: FleetSecret = FleetSecret::new([8; 16]);

/// A member of the fleet, with a secret of its own.
fn member(number: u8) -> Scorer {
    let mut scorer = Scorer::new(Settings {
        slots: 1 << 14,
        ..Settings::new([number; 16])
    });
    scorer.join_fleet(FLEET);
    scorer
}

/// What it tells after some days of its life.
fn told(number: u8, days: u32) -> Sketch {
    let mut scorer = member(number);
    for event in life(u64::from(number), days, 400) {
        scorer.step(event.time, &event);
    }
    scorer.sketch().expect("it joined")
}

/// A prior of these sketches; all values are taken to be shared.
fn prior(sketches: &[Sketch]) -> Prior {
    let (mut contexts, mut values) = (HashMap::new(), HashMap::new());
    for sketch in sketches {
        let mut own: Vec<u64> = sketch.pairs.iter().map(|pair| pair.context).collect();
        own.sort_unstable();
        own.dedup();
        for context in own {
            *contexts.entry(context).or_insert(0) += 1;
        }
        for pair in &sketch.pairs {
            *values.entry(*pair).or_insert(0) += 1;
        }
    }
    let of = |context| {
        values
            .keys()
            .filter(|pair: &&Pair| pair.context == context)
            .count()
    };
    let contexts = contexts.into_iter().map(|(context, hosts)| SharedContext {
        context,
        hosts,
        values: u32::try_from(of(context)).unwrap_or(u32::MAX),
    });
    Prior {
        fleet: FLEET.id(),
        number: 1,
        wall: UnixNanos(0),
        hosts: u32::try_from(sketches.len()).unwrap_or(u32::MAX),
        contexts: contexts.collect(),
        values: values
            .iter()
            .map(|(pair, hosts)| SharedValue {
                value: pair.value,
                hosts: *hosts,
            })
            .collect(),
    }
}

fn forty() -> Prior {
    let sketches: Vec<Sketch> = (1..=40).map(|number| told(number, 3)).collect();
    prior(&sketches)
}

fn step(scorer: &mut Scorer, event: &Event) -> ScorerVerdict {
    scorer
        .step(event.time, event)
        .expect("the event can be scored")
}

fn child(verdict: &ScorerVerdict) -> &Reason {
    let mut reasons = verdict.reasons.iter();
    let found = reasons.find(|reason| reason.factor == "child of parent");
    found.expect("it is asked who started it")
}

/// The first morning of a new host, and then a shell of the web server.
fn first_day(prior: Option<&Prior>) -> (u32, ScorerVerdict) {
    let mut scorer = member(200);
    if let Some(prior) = prior {
        assert!(scorer.take_prior(prior));
    }
    let mut alerts = 0;
    for event in life(77, 1, 600) {
        alerts += u32::from(
            scorer
                .step(event.time, &event)
                .is_some_and(|verdict| verdict.alert),
        );
    }
    let strange = exec(at(0, 86_000), "/usr/sbin/nginx", "/tmp/xmrig -o pool");
    (alerts, step(&mut scorer, &strange))
}

#[test]
fn a_new_host_of_a_known_fleet_tells_on_its_first_day_what_no_other_host_does() {
    let (alerts, alone) = first_day(None);
    assert!(!alone.alert && alerts == 0, "{alone:?}");
    let prior = forty();
    let (alerts, strange) = first_day(Some(&prior));
    let reason = child(&strange);
    assert!(strange.alert, "{strange:?}");
    assert!(alerts <= 2, "{alerts} alerts on a day like any other");
    let said = sentence(reason);
    assert!(said.contains("; hosts of the fleet: 0 of 40"), "{said}");
    let bits = |verdict: &ScorerVerdict| child(verdict).bits;
    assert!(bits(&strange) > bits(&alone), "{strange:?} {alone:?}");
}

#[test]
fn what_the_fleet_does_is_usual_on_a_host_that_never_did_it() {
    let prior = forty();
    let usual = exec(at(0, 0), "/usr/sbin/nginx", "/usr/sbin/php-fpm -F");
    let alone = step(&mut member(200), &usual);
    let mut scorer = member(200);
    scorer.take_prior(&prior);
    let known = step(&mut scorer, &usual);
    assert!(
        child(&alone).bits >= 9.0 && child(&known).bits < 1.0,
        "{known:?}"
    );
}

#[test]
fn scores_that_rest_on_the_fleet_are_computed_again_from_their_explanation() {
    let prior = forty();
    let mut scorer = member(200);
    scorer.take_prior(&prior);
    let mut by_fleet = 0;
    for event in life(78, 3, 800) {
        let Some(verdict) = scorer.step(event.time, &event) else {
            continue;
        };
        assert!(recompute(&verdict).agrees_with(&verdict), "{verdict:?}");
        let of_fleet = |reason: &Reason| {
            let mut levels = reason.backoff.iter();
            levels.any(|level| level.context == "hosts of the fleet")
        };
        by_fleet += u32::from(verdict.reasons.iter().any(of_fleet));
    }
    assert!(by_fleet > 100, "{by_fleet}");
}

#[test]
fn hosts_with_other_secrets_tell_the_same_of_the_same_and_other_fleets_something_else() {
    let (mut one, mut two, mut other) = (member(1), member(2), member(3));
    other.join_fleet(FleetSecret::new([9; 16]));
    for scorer in [&mut one, &mut two, &mut other] {
        for event in life(5, 3, 400) {
            scorer.step(event.time, &event);
        }
    }
    let pairs = |scorer: &Scorer| {
        let mut pairs = scorer.sketch().expect("it joined").pairs;
        pairs.sort_unstable();
        pairs
    };
    assert!(!pairs(&one).is_empty() && pairs(&one) == pairs(&two));
    let foreign = pairs(&other);
    assert!(pairs(&one).iter().all(|pair| !foreign.contains(pair)));
    assert!(!one.take_prior(&Prior {
        fleet: FleetSecret::new([9; 16]).id(),
        ..prior(&[])
    }));
}

#[test]
fn a_thing_of_one_day_and_what_is_on_probation_are_not_told() {
    let mut scorer = member(1);
    for event in life(5, 12, 400) {
        scorer.step(event.time, &event);
    }
    let before = scorer.sketch().expect("it joined").pairs.len();
    for day in 12..15 {
        for second in 0..300 {
            let strange = exec(at(day, second), "/usr/sbin/nginx", "/tmp/miner -c id");
            scorer.step(strange.time, &strange);
        }
    }
    let told = scorer.sketch().expect("it joined").pairs;
    // Of the miner only what a context of its own says, which nothing was known of: who runs it, with which flags.
    assert!(told.len() <= before + 2, "{before} {}", told.len());
}

#[test]
fn what_the_fleet_has_is_not_put_on_probation() {
    let tool = |day, second| exec(at(day, second), "/usr/sbin/nginx", "/usr/bin/brotli -d");
    let sketches = (1..=5).map(|number| {
        let mut scorer = member(number);
        for day in 0..3 {
            scorer.step(at(day, 0), &tool(day, 0));
        }
        scorer.sketch().expect("it joined")
    });
    let prior = prior(&sketches.collect::<Vec<_>>());
    let on_probation = |prior: Option<&Prior>| {
        let mut scorer = member(200);
        if let Some(prior) = prior {
            scorer.take_prior(prior);
        }
        for event in life(79, 8, 600) {
            scorer.step(event.time, &event);
        }
        step(&mut scorer, &tool(8, 0));
        let again = step(&mut scorer, &tool(8, 1));
        let mut levels = child(&again).backoff.iter();
        levels.any(|level| level.context == "days seen on probation")
    };
    assert!(on_probation(None) && !on_probation(Some(&prior)));
}

#[test]
fn what_is_told_goes_on_through_a_snapshot() {
    let mut scorer = member(1);
    for event in life(5, 4, 400) {
        scorer.step(event.time, &event);
    }
    let settings = Settings {
        slots: 1 << 14,
        ..Settings::new([1; 16])
    };
    let restored = Scorer::restore(settings, &scorer.snapshot()).expect("it is whole");
    assert_eq!(restored.sketch(), scorer.sketch());
    assert_eq!(restored.snapshot(), scorer.snapshot());
}
