//! Names that somebody may have meant.

/// Those of `names` that are least unlike `wanted`, at most three.
pub(crate) fn near<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let most = (wanted.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = names
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= most || name.ends_with(&format!("_{wanted}")))
        .collect();
    found.sort_unstable();
    found.dedup();
    let least = found.first().map_or(0, |(distance, _)| *distance);
    found.retain(|(distance, _)| *distance == least);
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters have to be changed, added or left out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().take(LONGEST).enumerate() {
        let mut before = row.first().copied().unwrap_or_default();
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, same) in other.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let left = row.get(j).copied().unwrap_or_default();
            let changed = before + usize::from(*same != letter);
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = changed.min(above + 1).min(left + 1);
            }
            before = above;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Longer names are not compared to their end.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_found() {
        let names = ["process_exe", "process_pid", "time"];
        assert_eq!(near("proces_exe", names.into_iter()), ["process_exe"]);
        assert_eq!(near("exe", names.into_iter()), ["process_exe"]);
        assert!(near("zzzzzzzzzz", names.into_iter()).is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
