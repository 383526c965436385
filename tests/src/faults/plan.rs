//! What happens in one round, when, and to whom: made of a seed, so that it can be played again.

use std::time::Duration;

use crate::sim::dice::Dice;

use super::proxy::Weather;
use super::spoil::Damage;

/// Which program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Agent,
    Collector,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Act {
    /// So many processes begin on this host.
    Work(u32),
    /// The network changes.
    Turn(Weather),
    /// All connections end.
    Cut,
    /// The program is killed, and this becomes of its files.
    Kill(Side, Option<Damage>),
    /// The program is stopped as the service manager would.
    Stop(Side),
    /// The program is started, if it does not run.
    Start(Side),
    /// The program stands still.
    Pause(Side),
    /// It goes on.
    Resume(Side),
    /// Its disk has no room any more.
    Fill(Side),
    /// It has again.
    Free(Side),
    /// Its disk does not answer writes for so long.
    Freeze(Side, Duration),
    /// Its wall clock is off by so many seconds from now on.
    Step(Side, i64),
}

/// What can be played here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Disks of its own, so they can be filled and frozen.
    pub(super) disks: bool,
}

/// The acts of a round in the order of time, in milliseconds from its beginning.
pub(super) fn round(dice: &mut Dice, means: Means) -> Vec<(u64, Act)> {
    let mut acts: Vec<(u64, Act)> = (0..3)
        .map(|n| (n * 500 + dice.below(300), Act::Work(1 + dice.small(4))))
        .collect();
    for _ in 0..=dice.below(3) {
        let begin = 100 + dice.below(1_200);
        let end = begin + 100 + dice.below(1_300);
        fault(dice, means, (begin, end), &mut acts);
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// One fault from its beginning to its end.
fn fault(dice: &mut Dice, means: Means, (begin, end): (u64, u64), acts: &mut Vec<(u64, Act)>) {
    let side = if dice.below(2) == 0 {
        Side::Agent
    } else {
        Side::Collector
    };
    let kinds = if means.disks { 12 } else { 9 };
    match dice.below(kinds) {
        0 => acts.extend([(begin, Act::Cut), (end, Act::Cut)]),
        1 => {
            acts.push((begin, Act::Turn(weather(dice))));
            acts.extend([(end, Act::Turn(Weather::Fair)), (end, Act::Cut)]);
        }
        2 => {
            acts.push((begin, Act::Turn(weather(dice))));
            acts.push((end, Act::Turn(Weather::Fair)));
        }
        3..=5 => {
            let damage = (dice.below(3) > 0).then(|| Damage::of(dice, side));
            acts.push((begin, Act::Kill(side, damage)));
            acts.push((end, Act::Start(side)));
        }
        6 => acts.extend([(begin, Act::Stop(side)), (end, Act::Start(side))]),
        7 => acts.extend([(begin, Act::Pause(side)), (end, Act::Resume(side))]),
        8 => acts.push((begin, Act::Step(side, step(dice, side)))),
        9 | 10 => acts.extend([(begin, Act::Fill(side)), (end, Act::Free(side))]),
        _ => {
            let time = Duration::from_millis(end.saturating_sub(begin));
            acts.push((begin, Act::Freeze(side, time)));
        }
    }
}

fn weather(dice: &mut Dice) -> Weather {
    match dice.below(4) {
        0 => Weather::Refusing,
        1 => Weather::Silent,
        2 => Weather::Late(Duration::from_millis(20 + dice.below(400))),
        _ => Weather::Narrow(200 + dice.small(20_000)),
    }
}

/// Seconds. The collector's are small: certificates that it gives while its clock is ahead are good only then, on any
/// clock that is right.
fn step(dice: &mut Dice, side: Side) -> i64 {
    let of = match side {
        Side::Agent => [-1, 2, -3_600, 46_900, 2_592_000, -157_680_000],
        Side::Collector => [-1, 2, -3_600, 240, -86_400, 30],
    };
    dice.pick(&of).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_plays_the_same_round() {
        let means = Means { disks: true };
        let play = |seed| round(&mut Dice::new(seed), means);
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
    }

    #[test]
    fn without_disks_of_its_own_no_disk_is_touched() {
        let means = Means { disks: false };
        for seed in 0..500 {
            let acts = round(&mut Dice::new(seed), means);
            let touches = |act: &Act| matches!(act, Act::Fill(_) | Act::Freeze(..));
            assert!(!acts.iter().any(|(_, act)| touches(act)));
        }
    }
}
