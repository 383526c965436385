//! Who may log in or become somebody: which files say so, and what a change of one of them changed.
//!
//! ```text
//! passwd, shadow, group, gshadow, sudoers, authorized_keys --> Record by (object, key) --> difference --> AccountChange
//! ```
//!
//! # Invariants
//!
//! - No password and no hash of one is told, nor kept: only that it is another one, known by a digest that stays here.
//! - At most [`MAX_BYTES`] of a file are read, [`MAX_TOLD`] changes of one file told; the last of them says how many more there are.
//! - A file that is read as it was gives nothing.

use std::collections::BTreeMap;
use std::io::Read;

use picket_event::{AccountChange, Event, Text};
use picket_seal::Digest;

use super::lookup::{self, Eyes};
use super::noted::{self, Memory, What};

mod keys;
mod place;
mod sudoers;
mod tables;

use place::Form;

/// How much of a file is read.
const MAX_BYTES: u64 = 4 << 20;
/// Changes of one file that are told each by itself.
const MAX_TOLD: usize = 64;
/// The longest text of a change.
const MAX_TEXT: usize = 2 << 10;

/// What an event says about a file with accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    path: Text,
    form: Form,
    what: What,
}

/// What a file said: each account, group, rule or key.
pub(super) type Note = BTreeMap<Subject, Record>;

/// One of them: what it is, and by what it is known in its file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Subject {
    object: &'static str,
    key: Vec<u8>,
}

/// What is said of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Record {
    account: Vec<u8>,
    fields: Vec<(&'static str, Vec<u8>)>,
    /// Of what is not told.
    secret: Option<Digest>,
}

/// The keys of an `authorized_keys`: of each what is known, by its name.
pub(crate) fn ssh_keys(bytes: &[u8]) -> Vec<Vec<(&'static str, Vec<u8>)>> {
    let keys = keys::keys(bytes, b"").into_values();
    keys.map(|record| record.fields).collect()
}

/// `None` if the event changes no such file.
pub(super) fn change(event: &Event) -> Option<Change> {
    let (path, form, what) = noted::touched(event, place::of)?;
    Some(Change { path, form, what })
}

impl Change {
    /// What is known without reading anything.
    pub(super) fn untold(&self) -> AccountChange {
        AccountChange {
            action: self.what.word().to_owned(),
            object: self.form.object().to_owned(),
            path: self.path.clone(),
            ..AccountChange::default()
        }
    }
}

/// Reads what is there before anything changes.
pub(super) fn begin() -> Memory<Note> {
    Memory::of(place::existing(), |path| {
        read(place::of(path.as_bytes())?, path, Eyes::OWN)
    })
}

/// Looks into a change.
pub(super) fn look(
    notes: &mut Memory<Note>,
    mounts: u32,
    eyes: Eyes,
    change: &Change,
) -> Vec<AccountChange> {
    let key = (mounts, change.path.clone());
    let known = notes.take(&key);
    if change.what == What::Removed {
        return known.map_or_else(
            || vec![change.untold()],
            |before| differences(change, &before, &Note::new()),
        );
    }
    let Some(now) = read(change.form, &change.path, eyes) else {
        // It may be gone again, or whoever changed it: that is no word about what it said.
        if let Some(known) = known {
            notes.remember(key, known);
        }
        return vec![change.untold()];
    };
    let before = known.or_else(|| match mounts {
        // What is not known of the agent's own files was not there.
        0 => Some(Note::new()),
        _ => backup(change, eyes),
    });
    let told = match before {
        Some(before) => differences(change, &before, &now),
        None => vec![unknown_before(change, &now)],
    };
    notes.remember(key, now);
    told
}

/// What `useradd` and its like set aside before they change something.
fn backup(change: &Change, eyes: Eyes) -> Option<Note> {
    let path = Text::from([change.path.as_bytes(), b"-"].concat());
    let has_one = matches!(
        change.form,
        Form::Passwd | Form::Shadow | Form::Group | Form::Gshadow
    );
    has_one.then(|| read(change.form, &path, eyes)).flatten()
}

/// In a file of another mount namespace anything may have been there.
fn unknown_before(change: &Change, now: &Note) -> AccountChange {
    AccountChange {
        after: Text::from(format!("{} in it, not known before", now.len()).into_bytes()),
        ..change.untold()
    }
}

/// What a file says now. `None` if it cannot be read.
fn read(form: Form, path: &Text, eyes: Eyes) -> Option<Note> {
    let file = lookup::open(path.as_bytes(), eyes).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let owner = || place::owner(path.as_bytes(), eyes);
    Some(note(form, &bytes, owner))
}

fn note(form: Form, bytes: &[u8], owner: impl Fn() -> Vec<u8>) -> Note {
    match form {
        Form::Passwd => tables::passwd(bytes),
        Form::Shadow => tables::shadow(bytes),
        Form::Group => tables::group(bytes),
        Form::Gshadow => tables::gshadow(bytes),
        Form::Sudoers => sudoers::rules(bytes),
        Form::Keys => keys::keys(bytes, &owner()),
    }
}

fn differences(change: &Change, before: &Note, now: &Note) -> Vec<AccountChange> {
    let gone = before
        .iter()
        .filter(|(subject, _)| !now.contains_key(subject));
    let gone = gone.map(|(subject, record)| tell(change, subject, Some(record), None));
    let there = now.iter().filter_map(|(subject, record)| {
        let was = before.get(subject);
        (was != Some(record)).then(|| tell(change, subject, was, Some(record)))
    });
    let mut told: Vec<AccountChange> = gone.chain(there).collect();
    let more = told.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        told.truncate(MAX_TOLD);
        told.push(AccountChange {
            action: What::Written.word().to_owned(),
            after: Text::from(format!("and {more} more").into_bytes()),
            ..change.untold()
        });
    }
    told
}

fn tell(
    change: &Change,
    subject: &Subject,
    before: Option<&Record>,
    now: Option<&Record>,
) -> AccountChange {
    let what = match (before, now) {
        (None, _) => What::Made,
        (_, None) => What::Removed,
        _ => What::Written,
    };
    let account = now.or(before).map_or(&[][..], |record| &record.account);
    let another_secret = before
        .zip(now)
        .is_some_and(|(before, now)| before.secret != now.secret);
    let mut after = words(now, before);
    if another_secret {
        let separator: &[u8] = if after.is_empty() { b"" } else { b" " };
        after.extend_from_slice(&[separator, b"password=another"].concat());
    }
    AccountChange {
        action: what.word().to_owned(),
        object: subject.object.to_owned(),
        account: Text::from(account.to_vec()),
        before: text(words(before, now)),
        after: text(after),
        ..change.untold()
    }
}

/// `NAME=VALUE` of each field that the other has not, or has otherwise.
fn words(record: Option<&Record>, other: Option<&Record>) -> Vec<u8> {
    let fields = record.map_or(&[][..], |record| &record.fields);
    let others = other.map_or(&[][..], |other| &other.fields);
    let differing = fields.iter().filter(|field| !others.contains(field));
    let words = differing.map(|(name, value)| [name.as_bytes(), b"=", value].concat());
    words.collect::<Vec<_>>().join(&b' ')
}

fn text(mut bytes: Vec<u8>) -> Text {
    bytes.truncate(MAX_TEXT);
    Text::from(bytes)
}

/// Lines without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
