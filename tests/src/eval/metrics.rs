//! Figures of a ranking: how well scores tell attacks from what is normal.
//!
//! Scores that are equal are never told apart: half a win in the AUROC, one step in the AUPR, and
//! together on one side of a threshold.

/// The share of pairs of an attack and a normal sample in which the attack has the higher score.
pub fn auroc(normals: &[f64], attacks: &[f64]) -> Option<f64> {
    if normals.is_empty() || attacks.is_empty() {
        return None;
    }
    let mut below = 0;
    let mut wins = 0.0;
    for (normal, attack) in steps(normals, attacks).into_iter().rev() {
        wins += count(attack) * (count(below) + count(normal) / 2.0);
        below += normal;
    }
    Some(wins / count(normals.len()) / count(attacks.len()))
}

/// The area under precision over recall, as average precision.
pub fn aupr(normals: &[f64], attacks: &[f64]) -> Option<f64> {
    if normals.is_empty() || attacks.is_empty() {
        return None;
    }
    let (mut above, mut found, mut area) = (0, 0, 0.0);
    for (normal, attack) in steps(normals, attacks) {
        above += normal;
        found += attack;
        area += count(attack) * count(found) / count(found + above);
    }
    Some(area / count(attacks.len()))
}

/// The threshold that at most `floor(share * normals)` normal samples exceed, as low as possible.
pub fn threshold(normals: &[f64], share: f64) -> Option<f64> {
    let mut sorted = normals.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length, rounded down on purpose"
    )]
    let allowed = (share.clamp(0.0, 1.0) * count(normals.len()) + EXACT).floor() as usize;
    sorted.get(allowed).or_else(|| sorted.last()).copied()
}

/// A count of a total, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// How many.
    pub found: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    /// Samples above the threshold.
    pub fn above(samples: &[f64], threshold: f64) -> Self {
        Self {
            found: samples.iter().filter(|score| **score > threshold).count(),
            of: samples.len(),
        }
    }

    /// From 0 to 1; 0 of nothing.
    pub fn value(self) -> f64 {
        count(self.found) / count(self.of).max(1.0)
    }

    /// The interval of Wilson, 95 %.
    pub fn interval(self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (count(self.of), self.value());
        let shrink = 1.0 + Z * Z / n;
        let middle = (p + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        [(middle - half).max(0.0), (middle + half).min(1.0)]
    }
}

/// How many normal samples and attacks have each score, the highest score first.
fn steps(normals: &[f64], attacks: &[f64]) -> Vec<(usize, usize)> {
    let normal = normals.iter().map(|score| (*score, false));
    let attack = attacks.iter().map(|score| (*score, true));
    let mut all: Vec<(f64, bool)> = normal.chain(attack).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
        .map(|same| {
            let attacks = same.iter().filter(|(_, attack)| *attack).count();
            (same.len() - attacks, attacks)
        })
        .collect()
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_964;
/// So that one hundredth of 100 is 1, whatever the binary digits say.
const EXACT: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_by_hand_with_a_tie() {
        // Pairs: 3 beats 1 and 2; 2 beats 1 and ties with 2. 3.5 of 4.
        assert_eq!(auroc(&[1.0, 2.0], &[2.0, 3.0]), Some(0.875));
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), Some(0.5));
        assert_eq!(auroc(&[2.0], &[1.0]), Some(0.0));
        assert_eq!(auroc(&[], &[1.0]), None);
    }

    #[test]
    fn aupr_by_hand() {
        // Ranks: attack, normal, attack, normal. Precision 1 at the first, 2/3 at the second.
        let area = aupr(&[3.0, 1.0], &[4.0, 2.0]).unwrap();
        assert!((area - f64::midpoint(1.0, 2.0 / 3.0)).abs() < 1e-12);
        // All equal: the share of attacks.
        assert_eq!(aupr(&[1.0, 1.0, 1.0], &[1.0]), Some(0.25));
    }

    #[test]
    fn a_threshold_lets_at_most_the_allowed_normals_through() {
        let normals: Vec<f64> = (0..100).map(f64::from).collect();
        let one = threshold(&normals, 0.01).unwrap();
        assert_eq!(one.to_bits(), 98.0_f64.to_bits());
        assert_eq!(Share::above(&normals, one).found, 1);
        assert_eq!(
            Share::above(&normals, threshold(&normals, 0.001).unwrap()).found,
            0
        );
    }

    #[test]
    fn tied_scores_stay_on_one_side_of_the_threshold() {
        let normals = [5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        // One may exceed it, but three share the highest score: none does.
        let threshold = threshold(&normals, 0.1).unwrap();
        assert_eq!(Share::above(&normals, threshold).found, 0);
        assert_eq!(
            Share::above(&[5.0, 5.1], threshold),
            Share { found: 1, of: 2 }
        );
    }

    #[test]
    fn wilson_by_hand() {
        let [low, high] = Share { found: 50, of: 100 }.interval();
        assert!((low - 0.4038).abs() < 1e-4 && (high - 0.5962).abs() < 1e-4);
        let [low, high] = Share { found: 0, of: 10 }.interval();
        assert!(low.abs() < 1e-9 && (high - 0.2775).abs() < 1e-4);
    }
}
