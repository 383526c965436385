//! The on-device policy: what a host does by itself when a rule or the scorer speaks.
//!
//! The file is described for its users in `docs/policy.md`.
//!
//! # Invariants
//!
//! - An entry rests on a verdict of the host itself; nothing that only the collector says makes it act.
//! - What cannot be undone is done only where the file says `irreversible = true`; what could be undone has an end.
//! - An unknown key, a wrong value or an entry that could never act is an error of the file, never ignored.

use std::time::Duration;

use serde::Deserialize;

use crate::command::{Action, FileTarget, Isolation, MAX_REVERSIBLE, Target};
use crate::content::{Content, ContentKind};
use crate::filter::Filter;
use crate::{
    Detail, Event, File, Kind, PolicyCause, RuleVerdict, ScorerVerdict, Severity, Verdict,
    parse_duration,
};

#[cfg(test)]
mod tests;

/// The most entries of one policy.
pub const MAX_ENTRIES: usize = 256;
/// How long a suspension or isolation lasts unless the entry says otherwise.
const DEFAULT_END: Duration = Duration::from_hours(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// A policy whose form is right.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// How often each action may be done.
    pub budgets: Budgets,
    /// The entries, in the order of the file.
    pub entries: Vec<Entry>,
}

/// When to do what.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, unique in the file.
    pub name: String,
    /// Whether to act.
    pub mode: PolicyMode,
    /// What.
    pub action: PolicyAction,
    /// How long it lasts; `None`: until somebody undoes it.
    pub lasts: Option<Duration>,
    basis: Basis,
    only: Option<Filter>,
}

/// Whether an entry acts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum PolicyMode {
    /// Only says what it would do.
    Observe,
    /// Says what an operator should ask for.
    Ask,
    /// Does it.
    Act,
}

/// What an entry does. On whom is in the event.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyAction {
    /// Ends the process.
    Kill,
    /// Ends it and its descendants.
    KillTree,
    /// Stops it and its descendants.
    Suspend,
    /// Takes the written file, or the executable, away.
    Quarantine,
    /// Lets nothing of that content start.
    BlockHash,
    /// Locks the user.
    LockUser,
    /// Cuts the host off.
    Isolate,
}

/// How often each action may be done by any entry together.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// `kill` and `kill-tree`.
    pub kill_per_hour: u32,
    /// `suspend`.
    pub suspend_per_hour: u32,
    /// `quarantine`.
    pub quarantine_per_hour: u32,
    /// `block-hash`.
    pub block_hash_per_hour: u32,
    /// `lock-user`.
    pub lock_user_per_day: u32,
    /// `isolate`.
    pub isolate_per_day: u32,
}

/// On what an entry rests.
#[derive(Clone, Debug, Default)]
struct Basis {
    rules: Vec<String>,
    level: Option<Severity>,
    attack: Vec<String>,
    score_p: Option<f64>,
}

/// An entry whose time has come.
#[derive(Clone, Debug)]
pub struct Due<'a> {
    /// Which.
    pub entry: &'a Entry,
    /// What to do; `None`: the event names nobody to do it to.
    pub action: Option<Action>,
    /// Why; the version is not filled in.
    pub cause: PolicyCause,
}

/// Why a text is no policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// Not of the form.
    #[error("line {line}: {problem}")]
    Form {
        /// Which line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// An entry cannot be meant so.
    #[error("entry `{entry}`: {problem}")]
    Entry {
        /// Which entry.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Too many entries.
    #[error("a policy has at most {MAX_ENTRIES} entries")]
    TooMany,
    /// Not exactly one file.
    #[error("a policy is one file")]
    Files,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    irreversible: bool,
    #[serde(default)]
    budgets: Budgets,
    #[serde(default, rename = "entry")]
    entries: Vec<EntryFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    name: String,
    mode: PolicyMode,
    action: PolicyAction,
    #[serde(rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    rules: Vec<String>,
    level: Option<String>,
    #[serde(default)]
    attack: Vec<String>,
    score_p: Option<f64>,
    #[serde(rename = "where")]
    only: Option<String>,
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile = toml::from_str(text).map_err(|error| form(text, &error))?;
        if file.entries.len() > MAX_ENTRIES {
            return Err(PolicyError::TooMany);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(file.entries.len());
        for entry in file.entries {
            let name = entry.name.clone();
            let wrong = |problem: String| PolicyError::Entry {
                entry: name.clone(),
                problem,
            };
            if name.is_empty() || entries.iter().any(|known| known.name == name) {
                return Err(wrong("its name is empty or is there twice".to_owned()));
            }
            entries.push(entry.check(file.irreversible).map_err(wrong)?);
        }
        Ok(Self {
            budgets: file.budgets,
            entries,
        })
    }

    /// From signed content of the kind [`ContentKind::Policy`].
    pub fn of(content: &Content) -> Result<Self, PolicyError> {
        match (content.kind, content.files.as_slice()) {
            (ContentKind::Policy, [file]) => Self::parse(&file.text),
            _ => Err(PolicyError::Files),
        }
    }

    /// The entries that this event calls for, in the order of the file.
    pub fn due<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Due<'a>> {
        self.entries.iter().filter_map(|entry| {
            let verdict = event
                .verdicts
                .iter()
                .find(|one| entry.basis.rests_on(one))?;
            let meant = entry.only.as_ref().is_none_or(|only| only.matches(event));
            meant.then(|| Due {
                entry,
                action: entry.action.on(event),
                cause: entry.cause(verdict, event),
            })
        })
    }
}

impl EntryFile {
    fn check(self, irreversible: bool) -> Result<Entry, String> {
        if self.mode == PolicyMode::Act && self.action.is_irreversible() && !irreversible {
            let name = self.action.name();
            return Err(format!(
                "`{name}` cannot be undone; say irreversible = true at the beginning of the file if that is meant"
            ));
        }
        let level = self.level.as_deref().map(|name| {
            Severity::from_name(name).ok_or_else(|| format!("`{name}` is no level of a rule"))
        });
        let basis = Basis {
            level: level.transpose()?,
            rules: self.rules,
            attack: self.attack,
            score_p: self.score_p,
        };
        basis.check()?;
        let only = self.only.as_deref().map(Filter::parse).transpose();
        Ok(Entry {
            lasts: self.action.lasts(self.lasts.as_deref())?,
            name: self.name,
            mode: self.mode,
            action: self.action,
            basis,
            only: only.map_err(|error| format!("where: {error}"))?,
        })
    }
}

impl Basis {
    fn check(&self) -> Result<(), String> {
        let nothing = self.rules.is_empty() && self.attack.is_empty();
        if nothing && self.level.is_none() && self.score_p.is_none() {
            return Err("it rests on nothing: give rules, level, attack or score_p".to_owned());
        }
        if self.score_p.is_some_and(|p| !(p > 0.0 && p < 1.0)) {
            return Err("score_p must be between 0 and 1".to_owned());
        }
        let technique = |name: &&String| !name.starts_with('T');
        if let Some(wrong) = self.attack.iter().find(technique) {
            return Err(format!("`{wrong}` is no technique of ATT&CK"));
        }
        Ok(())
    }

    fn rests_on(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Rule(rule) => self.rests_on_rule(rule),
            // What is new because packages change is nothing to act on, unless the scorer tells it.
            Verdict::Scorer(score) => {
                let unlikely = self.score_p.is_some_and(|p| score.p <= p);
                unlikely && (score.alert || !score.in_change_window())
            }
        }
    }

    /// All that is said of rules must hold.
    fn rests_on_rule(&self, rule: &RuleVerdict) -> bool {
        let said = !self.rules.is_empty() || self.level.is_some() || !self.attack.is_empty();
        let named = self.rules.is_empty() || self.rules.contains(&rule.id);
        let grave = self.level.is_none_or(|level| rule.severity >= level);
        let technique = self.attack.is_empty()
            || self.attack.iter().any(|wanted| {
                let mut found = rule.attack.iter();
                found.any(|one| one == wanted || is_below(one, wanted))
            });
        said && named && grave && technique
    }
}

/// Whether `technique` is a sub-technique of `parent`.
fn is_below(technique: &str, parent: &str) -> bool {
    technique
        .strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('.'))
}

impl Entry {
    fn cause(&self, verdict: &Verdict, event: &Event) -> PolicyCause {
        let (by, id, title) = match verdict {
            Verdict::Rule(rule) => ("rule", rule.id.clone(), rule.title.clone()),
            Verdict::Scorer(score) => ("scorer", String::new(), spoken(score)),
        };
        PolicyCause {
            policy_version: 0,
            entry: self.name.clone(),
            mode: self.mode.name().to_owned(),
            by: by.to_owned(),
            id,
            title,
            process: event.process.as_ref().map(|process| process.uid),
            event_kind: event.kind.name().to_owned(),
        }
    }
}

fn spoken(score: &ScorerVerdict) -> String {
    format!("score of {:.1} bits, p {:.1e}", score.bits, score.p)
}

impl PolicyMode {
    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Ask => "ask",
            Self::Act => "act",
        }
    }
}

impl PolicyAction {
    /// Its name in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillTree => "kill-tree",
            Self::Suspend => "suspend",
            Self::Quarantine => "quarantine",
            Self::BlockHash => "block-hash",
            Self::LockUser => "lock-user",
            Self::Isolate => "isolate",
        }
    }

    /// Whether it has no undo, or harms people whom it is done to by mistake.
    pub const fn is_irreversible(self) -> bool {
        matches!(self, Self::Kill | Self::KillTree | Self::LockUser)
    }

    fn lasts(self, given: Option<&str>) -> Result<Option<Duration>, String> {
        let given = match given {
            None => None,
            Some(text) => Some(
                parse_duration(text)
                    .filter(|lasts| !lasts.is_zero())
                    .ok_or_else(|| format!("for: `{text}` is no duration, as 30m"))?,
            ),
        };
        match self {
            Self::Kill | Self::KillTree if given.is_some() => {
                Err(format!("for: `{}` has no end", self.name()))
            }
            Self::Suspend | Self::Isolate => {
                let lasts = given.unwrap_or(DEFAULT_END);
                if lasts > MAX_REVERSIBLE {
                    return Err("for: at most 4h, then a person has to decide".to_owned());
                }
                Ok(Some(lasts))
            }
            _ => Ok(given),
        }
    }

    /// The action on whom the event names.
    fn on(self, event: &Event) -> Option<Action> {
        let process = event.process.as_ref();
        let target = process.map(|process| Target {
            process: process.uid,
            pid: process.pid,
        });
        let written = match &event.detail {
            Some(Detail::File(file)) => Some(file),
            _ => None,
        };
        match self {
            Self::Kill => target.map(Action::Kill),
            Self::KillTree => target.map(Action::KillTree),
            Self::Suspend => target.map(Action::Suspend),
            Self::Isolate => Some(Action::Isolate(Isolation::default())),
            Self::LockUser => user_of(event).map(Action::LockUser),
            Self::BlockHash => match (written, event.kind) {
                (Some(file), _) => file.sha256_after,
                (None, Kind::Exec) => process?.sha256,
                _ => None,
            }
            .map(Action::BlockHash),
            Self::Quarantine => match written {
                Some(file) => file_target(file),
                None => FileTarget::at(process?.exe.as_bytes())
                    .ok()
                    .map(|target| FileTarget {
                        sha256: process.and_then(|process| process.sha256),
                        ..target
                    }),
            }
            .map(Action::Quarantine),
        }
    }
}

fn file_target(file: &File) -> Option<FileTarget> {
    let target = FileTarget::at(file.current_path().as_bytes()).ok()?;
    Some(FileTarget {
        sha256: file.sha256_after,
        ..target
    })
}

/// Who logged in, else who ran the process: by name, and never the first user.
fn user_of(event: &Event) -> Option<String> {
    let by_process = || {
        let user = event.process.as_ref()?.user.as_ref()?;
        (user.uid != 0).then(|| user.name.lossy().into_owned())
    };
    let name = match &event.detail {
        Some(Detail::Login(login)) => login.user.lossy().into_owned(),
        _ => by_process()?,
    };
    crate::command::user(name)
        .ok()
        .filter(|name| name != "root")
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            kill_per_hour: 10,
            suspend_per_hour: 20,
            quarantine_per_hour: 20,
            block_hash_per_hour: 20,
            lock_user_per_day: 5,
            isolate_per_day: 2,
        }
    }
}

impl Budgets {
    /// How often the action may be done in which time.
    pub const fn of(&self, action: PolicyAction) -> (u32, Duration) {
        match action {
            PolicyAction::Kill | PolicyAction::KillTree => (self.kill_per_hour, HOUR),
            PolicyAction::Suspend => (self.suspend_per_hour, HOUR),
            PolicyAction::Quarantine => (self.quarantine_per_hour, HOUR),
            PolicyAction::BlockHash => (self.block_hash_per_hour, HOUR),
            PolicyAction::LockUser => (self.lock_user_per_day, DAY),
            PolicyAction::Isolate => (self.isolate_per_day, DAY),
        }
    }
}

/// What toml objects to, with the line of the file.
fn form(text: &str, error: &toml::de::Error) -> PolicyError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().get(..at).unwrap_or_default();
    PolicyError::Form {
        line: before.split(|byte| *byte == b'\n').count(),
        problem: error.message().replace('\n', " "),
    }
}
