//! `rules check`: loads Sigma rules and says, document by document, whether they can be used.

use std::collections::BTreeSet;
use std::path::PathBuf;

use picket_rules::{Checked, Source, check_beside};

use super::RulesCheckArgs;
use super::output::{Output, Reader};
use crate::detect::pack;
use crate::failure::{Code, Failure};

/// Checks files and directories. Fails if any rule is not good.
pub(super) fn check(arguments: &RulesCheckArgs) -> Result<(), Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in &arguments.paths {
        files.extend(pack::files(path)?);
    }
    let mut out = Output::new();
    let (mut good, mut bad) = (0_u64, 0_u64);
    let names = names_in(&files);
    for file in &files {
        for checked in check_file(file, &names) {
            *(if checked.ok { &mut good } else { &mut bad }) += 1;
            if out.line(&line(&checked, arguments.json))? == Reader::Gone {
                return Ok(());
            }
        }
    }
    out.flush()?;
    let counted = good + bad;
    match bad {
        0 if counted == 0 => Err(Failure::line(
            Code::Failed,
            "failed to check rules: no rule was found",
        )),
        0 => Ok(()),
        _ => Err(Failure::line(
            Code::Failed,
            format!("failed to load {bad} of {counted} rules"),
        )),
    }
}

/// What correlations may call rules by: those of all files that are checked, and of the built-in pack.
fn names_in(files: &[PathBuf]) -> BTreeSet<String> {
    let read = |file: &PathBuf| {
        let name = file.display().to_string();
        let text = pack::read(file).ok()?;
        Some(Source { name, text })
    };
    let mut sources: Vec<Source> = files.iter().filter_map(read).collect();
    sources.extend(pack::built_in());
    picket_rules::names(&sources)
}

fn check_file(file: &std::path::Path, names: &BTreeSet<String>) -> Vec<Checked> {
    let name = file.display().to_string();
    match pack::read(file) {
        Ok(text) => check_beside(&Source { name, text }, names),
        Err(error) => vec![Checked {
            file: name,
            id: None,
            ok: false,
            reason: Some(crate::failure::chain(&error)),
            line: None,
        }],
    }
}

fn line(checked: &Checked, json: bool) -> String {
    if json {
        return serde_json::to_string(checked).expect("strings and numbers are always JSON");
    }
    let place = checked
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    let mark = if checked.ok { "ok" } else { "no" };
    let reason = checked
        .reason
        .as_deref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let text = format!("{mark} {}{place}{reason}", checked.file);
    picket_event::Text::from(text).for_terminal()
}
