//! The tests, as a list says them. A list is one JSON object with `tests`; what is not named here is passed over.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A list of tests.
#[derive(Clone, Debug, Deserialize)]
pub struct List {
    /// Where it is from.
    #[serde(default)]
    pub source: String,
    /// The tests, in the order in which they are run.
    pub tests: Vec<Test>,
}

/// One test: what somebody types, and what must be there for it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Test {
    /// Its name for machines.
    pub guid: String,
    /// Its name for people.
    pub name: String,
    /// The technique of ATT&CK that it plays, as `T1053.003`.
    pub technique: String,
    /// Which shell reads the command: `sh` or `bash`.
    pub executor: String,
    /// Whether it is run as root.
    pub elevation_required: bool,
    /// What is run.
    pub command: String,
    /// Files that are run before that, one after the other in the same shell; paths from the list's folder.
    pub command_files: Vec<PathBuf>,
    /// What undoes it; may be empty.
    pub cleanup_command: Option<String>,
    /// What must be there before.
    pub dependencies: Vec<Dependency>,
    /// How long it may take on an ordinary machine.
    pub timeout_s: Option<u64>,
    /// Whether the shell does it all by itself, so that no program starts.
    pub builtin_only: bool,
    /// Whether it needs the folder of files that comes with the tests.
    pub needs_atomics_src: bool,
    /// To which part of the tests it belongs.
    pub split: String,
    /// The same where no technique is in two parts.
    pub technique_split: String,
}

/// One thing that must be there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Dependency {
    /// What, for people.
    pub description: String,
    /// Succeeds if it is there.
    pub prereq: String,
    /// Gets it.
    pub get_prereq: Option<String>,
}

impl List {
    /// Reads a list.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
        let mut list: Self = serde_json::from_str(&text).map_err(|error| Failure::Unexpected {
            what: path.display().to_string(),
            text: error.to_string(),
        })?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        for test in &mut list.tests {
            test.take_files(folder)?;
        }
        Ok(list)
    }
}

impl Test {
    fn take_files(&mut self, folder: &Path) -> Result<(), Failure> {
        let mut whole = String::new();
        for file in std::mem::take(&mut self.command_files) {
            let path = folder.join(file);
            whole.push_str(&std::fs::read_to_string(&path).map_err(Failure::file(&path))?);
        }
        self.command.insert_str(0, &whole);
        Ok(())
    }

    /// How long it may take on an ordinary machine, in seconds.
    pub fn limit(&self) -> u64 {
        self.timeout_s.unwrap_or(30).max(1)
    }

    /// What undoes it, if anything does.
    pub fn cleanup(&self) -> Option<&str> {
        let text = self.cleanup_command.as_deref()?;
        (!text.trim().is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_command_come_before_it_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.json");
        std::fs::write(folder.path().join("a.sh"), "echo a\n").unwrap();
        let text = r#"{"tests":[{"guid":"x","command_files":["a.sh"],"command":"echo b"}]}"#;
        std::fs::write(&list, text).unwrap();
        let read = List::read(&list).unwrap();
        assert_eq!(read.tests[0].command, "echo a\necho b");
        std::fs::remove_file(folder.path().join("a.sh")).unwrap();
        let failure = List::read(&list).unwrap_err().to_string();
        assert!(failure.contains("a.sh"), "{failure}");
    }
}
