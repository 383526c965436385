//! A snapshot is taken back whole or refused with its reason.

use picket_scorer::{Scorer, Settings, SnapshotError};

use super::world::{Dice, SECRET, life};

fn settings() -> Settings {
    Settings {
        slots: 1 << 10,
        ..Settings::new(SECRET)
    }
}

fn snapshot() -> Vec<u8> {
    let mut scorer = Scorer::new(settings());
    for event in life(31, 3, 200) {
        scorer.step(event.time, &event);
    }
    scorer.snapshot()
}

fn refusal(settings: Settings, bytes: &[u8]) -> SnapshotError {
    Scorer::restore(settings, bytes).expect_err("these bytes must not be taken back")
}

#[test]
fn any_flipped_byte_is_refused() {
    let good = snapshot();
    let mut dice = Dice(7);
    let places: Vec<usize> = (0..200)
        .chain(good.len() - 200..good.len())
        .chain((0..600).map(|_| usize::try_from(dice.throw()).unwrap() % good.len()))
        .collect();
    for place in places {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        let expected = match place {
            0..8 => SnapshotError::NotASnapshot,
            8..12 => {
                let got = u32::from_le_bytes([bad[8], bad[9], bad[10], bad[11]]);
                // One says that it is of the format before, which is read.
                let other = SnapshotError::Version { expected: 4, got };
                if got == 2 {
                    SnapshotError::Checksum
                } else {
                    other
                }
            }
            _ => SnapshotError::Checksum,
        };
        assert_eq!(refusal(settings(), &bad), expected, "byte {place}");
    }
}

#[test]
fn any_shorter_or_longer_snapshot_is_refused() {
    let good = snapshot();
    for length in (0..40).chain([good.len() / 2, good.len() - 1]) {
        refusal(settings(), &good[..length]);
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert_eq!(refusal(settings(), &longer), SnapshotError::Checksum);
    assert_eq!(refusal(settings(), b""), SnapshotError::NotASnapshot);
}

#[test]
fn a_snapshot_of_another_host_is_refused() {
    let other = Settings {
        host_secret: [9; 16],
        ..settings()
    };
    assert_eq!(refusal(other, &snapshot()), SnapshotError::Checksum);
}

#[test]
fn a_snapshot_of_another_size_is_refused_with_both_sizes() {
    let other = Settings {
        slots: 1 << 11,
        ..settings()
    };
    let expected = SnapshotError::Slots {
        expected: 1 << 11,
        got: 1 << 10,
    };
    assert_eq!(refusal(other, &snapshot()), expected);
}

#[test]
fn an_empty_scorer_is_taken_back() {
    let empty = Scorer::new(settings());
    let back = Scorer::restore(settings(), &empty.snapshot()).unwrap();
    assert_eq!(back.maturity(), empty.maturity());
}
