//! What a host that has learned does about attacks, repetition and floods. Each trial is on a copy.

use picket_event::{Event, Kind, Process, ProcessUid, ScorerVerdict, Source, UnixNanos};
use picket_scorer::{Alerts, Decision, Scorer, incident_of};
use serde_json::{Value, json};

use super::{DAY, Host};

/// The events of the attacks, one after the other right after the stream; then each one that is scored
/// repeated, all on one day and once on each of thirty days.
pub(super) fn attacks(host: &Host, events: &[Event]) -> Value {
    let Some((mut scorer, mut alerts)) = host.copy() else {
        return Value::Null;
    };
    let (mut scored, mut candidates, mut told) = (0_u64, 0_u64, 0_u64);
    for (place, event) in (0_i64..).zip(events) {
        let now = after(host.last, place);
        let Some((verdict, decision)) = step(&mut scorer, &mut alerts, now, event) else {
            continue;
        };
        scored += 1;
        candidates += u64::from(verdict.alert);
        told += u64::from(decision.notifies());
    }
    json!({
        "events": events.len(),
        "scored": scored,
        "alerts_before_budget": candidates,
        "notifications": told,
        "repeated": repeated(host, events),
    })
}

/// Repetition of single events: how many there were, how many of those that were rare (p < 1 %) a
/// thousand repeats on one day, or one on each of thirty days, made usual (p >= 1 %), and the median day.
fn repeated(host: &Host, events: &[Event]) -> Value {
    let (mut rare, mut in_a_day, mut in_days) = (0_u64, 0_u64, Vec::new());
    for event in events.iter().take(MOST_REPEATED) {
        let Some(before) = again(host, event, |place| after(host.last, place), 1) else {
            continue;
        };
        if before.p >= USUAL_P {
            continue;
        }
        rare += 1;
        let same_day = again(
            host,
            event,
            |place| after(next_day(host.last), place),
            1_001,
        );
        in_a_day += u64::from(same_day.is_some_and(|verdict| verdict.p >= USUAL_P));
        let usual_on = (2..=30).find(|days| {
            let daily = again(
                host,
                event,
                |day| after(host.last, day * DAY / SECOND),
                *days,
            );
            daily.is_some_and(|verdict| verdict.p >= USUAL_P)
        });
        in_days.extend(usual_on);
    }
    in_days.sort_unstable();
    json!({
        "rare_events": rare,
        "usual_after_1000_repeats_on_one_day": in_a_day,
        "usual_within_30_days_of_one_each": in_days.len(),
        "median_day": in_days.get(in_days.len() / 2),
    })
}

/// The last verdict of so many repeats of an event.
fn again(
    host: &Host,
    event: &Event,
    when: impl Fn(i64) -> UnixNanos,
    times: i64,
) -> Option<ScorerVerdict> {
    let (mut scorer, _) = host.copy()?;
    (0..times)
        .filter_map(|place| scorer.step(when(place), event))
        .last()
}

/// Five thousand invented programs, each started by something that the host knows, within a day.
pub(super) fn flood(host: &Host) -> Value {
    let Some((mut scorer, mut alerts)) = host.copy() else {
        return Value::Null;
    };
    let (mut candidates, mut told, mut floods) = (0_u64, 0_u64, 0_u64);
    for number in 0..FLOOD {
        let now = after(host.last, i64::from(number) * 10);
        let event = invented(number, now, host);
        let Some((verdict, decision)) = step(&mut scorer, &mut alerts, now, &event) else {
            continue;
        };
        candidates += u64::from(verdict.alert);
        told += u64::from(decision.notifies());
        floods += u64::from(decision == Decision::Flood);
    }
    json!({
        "events": FLOOD,
        "alerts_before_budget": candidates,
        "notifications": told,
        "told_as_a_flood": floods,
    })
}

fn invented(number: u32, now: UnixNanos, host: &Host) -> Event {
    let mut uid = [0xee; 16];
    uid[..4].copy_from_slice(&number.to_le_bytes());
    let mut process = Process::new(ProcessUid::new(uid), number + 10_000);
    process.exe = format!("/opt/invented/p-{}", u64::from(number) * 7_919 + 1)
        .as_str()
        .into();
    process.argv = vec![process.exe.clone()];
    process.cwd = "/".into();
    process.ancestry = host
        .parents
        .get(number as usize % host.parents.len().max(1))
        .cloned()
        .into_iter()
        .collect::<Vec<_>>()
        .into();
    Event::new(Kind::Exec, now, Source::Replay).by(process)
}

fn step(
    scorer: &mut Scorer,
    alerts: &mut Alerts,
    now: UnixNanos,
    event: &Event,
) -> Option<(ScorerVerdict, Decision)> {
    let verdict = scorer.step(now, event)?;
    let decision = alerts.step(now, incident_of(event), &verdict);
    Some((verdict, decision))
}

/// So many seconds later.
const fn after(time: UnixNanos, seconds: i64) -> UnixNanos {
    UnixNanos(time.0.saturating_add(seconds.saturating_mul(SECOND)))
}

/// The beginning of the next day, so that repeats do not run over midnight.
const fn next_day(time: UnixNanos) -> UnixNanos {
    UnixNanos((time.0.div_euclid(DAY) + 1).saturating_mul(DAY))
}

const SECOND: i64 = 1_000_000_000;
const FLOOD: u32 = 5_000;
/// Events of attacks that are repeated: each takes many copies of the scorer.
const MOST_REPEATED: usize = 20;
/// From this probability on an event is usual.
const USUAL_P: f64 = 0.01;
