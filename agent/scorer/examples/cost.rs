//! Prints what the scorer costs: microseconds for an event and bytes of state.
//!
//! `cargo run -p picket-scorer --example cost`

#![expect(clippy::print_stdout, reason = "it prints its figures")]
#![expect(dead_code, reason = "the tests' host has more in it than is run here")]

use std::time::Instant;

use picket_event::Event;
use picket_event::fleet::FleetSecret;
use picket_scorer::{Scorer, recompute};

#[path = "../tests/promises/world.rs"]
mod world;

fn main() {
    let events = world::life(1, DAYS, EVENTS_A_DAY);
    println!("events           {}", events.len());
    println!("alone");
    live(world::fresh(), &events);
    println!("in a fleet, whose hashes are made too");
    let mut member = world::fresh();
    member.join_fleet(FleetSecret::new([1; 16]));
    let scorer = live(member, &events);
    println!("bytes of state   {}", scorer.state_bytes());
    print_snapshot(&scorer);
    println!("maturity         {:?}", scorer.maturity());
    print_recomputation(scorer, &events);
}

/// Steps through the events and prints what each took.
fn live(mut scorer: Scorer, events: &[Event]) -> Scorer {
    let mut alerts_a_day = vec![0_u32; usize::try_from(DAYS).unwrap_or_default()];
    let mut micros = Vec::with_capacity(events.len());
    for (number, event) in events.iter().enumerate() {
        let began = Instant::now();
        let verdict = scorer.step(event.time, event);
        micros.push(began.elapsed().as_secs_f64() * 1e6);
        if verdict.is_some_and(|verdict| verdict.alert) {
            alerts_a_day[number / usize::try_from(EVENTS_A_DAY).unwrap_or(1)] += 1;
        }
    }
    micros.sort_by(f64::total_cmp);
    let mean = micros.iter().sum::<f64>() / f64::from(DAYS * EVENTS_A_DAY);
    let at = |share: usize| micros[(micros.len() - 1) * share / 1000];
    println!(
        "us per event     {mean:.2} mean, {:.2} median, {:.2} p99",
        at(500),
        at(990)
    );
    println!("alerts by day    {alerts_a_day:?}");
    scorer
}

fn print_snapshot(scorer: &Scorer) {
    let began = Instant::now();
    let bytes = scorer.snapshot().len();
    println!(
        "snapshot         {bytes} bytes in {:.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
}

fn print_recomputation(mut scorer: Scorer, events: &[Event]) {
    let last = events.iter().rev().take(10_000);
    let verdicts: Vec<_> = last
        .filter_map(|event| scorer.step(event.time, event))
        .collect();
    let began = Instant::now();
    let agree = verdicts
        .iter()
        .filter(|verdict| recompute(verdict).agrees_with(verdict))
        .count();
    let micros = began.elapsed().as_secs_f64() * 1e6 / 10_000.0;
    println!(
        "recomputed       {agree} of {} equal, {micros:.2} us each",
        verdicts.len()
    );
}

const DAYS: u32 = 30;
const EVENTS_A_DAY: u32 = 20_000;
