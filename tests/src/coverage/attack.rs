//! What techniques have to do with each other, and to which tactics they belong.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::failure::Failure;

/// Techniques and their tactics, from a file like the development data's `attack_linux.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Techniques(BTreeMap<String, Technique>);

#[derive(Clone, Debug, Default, Deserialize)]
struct Technique {
    #[serde(default)]
    tactics: Vec<String>,
}

impl Techniques {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
        serde_json::from_str(&text).map_err(|error| Failure::Unexpected {
            what: path.display().to_string(),
            text: error.to_string(),
        })
    }

    /// The tactics of a technique; none if it is not known.
    pub fn tactics(&self, technique: &str) -> &[String] {
        self.0.get(technique).map_or(&[], |known| &known.tactics)
    }
}

/// Whether an alert's technique is that of the test: the same, its parent, or one of its sub-techniques. A sibling is not.
pub fn is_right(alert: &str, test: &str) -> bool {
    alert == test || parent(test) == Some(alert) || parent(alert) == Some(test)
}

/// Whether an alert's label names a tactic of the test, and no technique: `persistence`.
pub fn is_right_tactic(alert: &str, tactics: &[String]) -> bool {
    tactics.iter().any(|tactic| tactic == alert)
}

fn parent(technique: &str) -> Option<&str> {
    technique.split_once('.').map(|(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_child_are_right_and_a_sibling_is_not() {
        assert!(is_right("T1053.003", "T1053.003"));
        assert!(is_right("T1053", "T1053.003"));
        assert!(is_right("T1053.003", "T1053"));
        assert!(!is_right("T1053.006", "T1053.003"));
        assert!(!is_right("T1053.003", "T1059"));
    }

    #[test]
    fn tactics_are_read_and_an_unknown_technique_has_none() {
        let known: Techniques =
            serde_json::from_str(r#"{"T1053":{"name":"x","tactics":["execution"]}}"#).unwrap();
        assert_eq!(known.tactics("T1053"), ["execution"]);
        assert!(known.tactics("T9999").is_empty());
        assert!(is_right_tactic("execution", known.tactics("T1053")));
    }
}
