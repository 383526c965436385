//! Takes a file away into the vault, and puts it back as exactly what it was.
//!
//! # Invariants
//!
//! - The copy in the vault is durable and its hash compared before the original is touched.
//! - What is removed is the inode that was copied: its name is first made one that nobody knows, then
//!   looked at once more, and only then removed.
//! - A restore never takes the place of another file.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use picket_event::command::{FileTarget, Mode};
use picket_event::{Affected, Containment, ReceiptState, Text};
use picket_seal::Digest;
use rustix::fs::{AtFlags, statat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::check::{Checked, Refusal};
use super::effects::Effect;
use super::likeness::Likeness;
use super::place::Place;
use super::undo::Undone;
use super::vault::{Vault, VaultError};
use super::{Responder, protect};

/// A larger file is not taken.
const MAX_BYTES: u64 = 4 << 30;

/// A file that was taken away.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Quarantined {
    /// The file in the vault: the command's id.
    pub(crate) name: String,
    /// Where it was, in hexadecimal digits.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) sha256: String,
    /// Everything else about it.
    pub(crate) likeness: Likeness,
}

impl Responder {
    /// Takes the file away.
    pub(super) fn quarantine(
        &mut self,
        checked: &Checked,
        target: &FileTarget,
    ) -> Result<Containment, Refusal> {
        let no = |code, why: &str| checked.refuse(code, why);
        let place = Place::of(target.path.as_bytes()).map_err(|why| no("not_found", &why))?;
        let mut file = place.open().map_err(|why| no("precondition", &why))?;
        let likeness = Likeness::of(&file)
            .map_err(|error| no("precondition", &format!("the file cannot be read: {error}")))?;
        if target.inode.is_some_and(|inode| inode != likeness.inode()) {
            return Err(no("precondition", "another file has this name"));
        }
        if let Some(why) = self.protected_file(&likeness) {
            return Err(no("protected", why));
        }
        if checked.command.mode == Mode::DryRun {
            return would(checked, target, &mut file);
        }
        let vault = Vault::open(&self.state).map_err(|error| no("no_vault", &chain(&error)))?;
        let name = checked.command.id.to_string();
        let copied = vault.put(&name, &mut file, MAX_BYTES);
        let (digest, _) = copied.map_err(|error| no("not_copied", &chain(&error)))?;
        let drop_copy = || drop(vault.remove(&name));
        if target.sha256.is_some_and(|expected| expected != digest) {
            drop_copy();
            return Err(no("precondition", "the file has another content"));
        }
        let record = Quarantined {
            name: name.clone(),
            path: hex::encode(target.path.as_bytes()),
            sha256: digest.to_string(),
            likeness: likeness.clone(),
        };
        if let Err(refusal) = self.put_effect(checked, Effect::Quarantined(record)) {
            drop_copy();
            return Err(refusal);
        }
        match place.remove(&file, &likeness) {
            Ok(()) => Ok(taken(
                checked,
                target,
                &likeness,
                vault.path(&name).exists(),
            )),
            Err(why) => {
                self.drop_effect(checked.command.id);
                drop_copy();
                Err(no(
                    "not_removed",
                    &format!("the file is where it was: {why}"),
                ))
            }
        }
    }

    /// Files that no command may take: what the first process and this agent run.
    fn protected_file(&self, likeness: &Likeness) -> Option<&'static str> {
        if protect::is_mapped(1, likeness.inode()) {
            return Some("the first process runs it");
        }
        if protect::is_mapped(std::process::id(), likeness.inode()) {
            return Some("this agent runs it");
        }
        self.protection.file(likeness.inode(), self.state.root())
    }
}

fn would(checked: &Checked, target: &FileTarget, file: &mut File) -> Result<Containment, Refusal> {
    let digest = digest_of(file);
    let digest = digest.map_err(|error| checked.refuse("precondition", &error.to_string()))?;
    if target.sha256.is_some_and(|expected| expected != digest) {
        return Err(checked.refuse("precondition", "the file has another content"));
    }
    Ok(Containment {
        reason: Containment::DRY_RUN.to_owned(),
        affected: vec![Affected::object(target.path.clone(), "present")],
        ..checked.receipt(
            ReceiptState::Accepted,
            &format!("dry run: the file of {digest} would be quarantined"),
        )
    })
}

fn taken(
    checked: &Checked,
    target: &FileTarget,
    likeness: &Likeness,
    in_vault: bool,
) -> Containment {
    let other_links = likeness.links().saturating_sub(1);
    let (state, reason, rest) = match (in_vault, other_links) {
        (false, _) => (
            ReceiptState::Partial,
            "no_vault",
            "; the copy is gone".to_owned(),
        ),
        (true, 0) => (ReceiptState::Executed, "", String::new()),
        (true, more) => (
            ReceiptState::Partial,
            "hard_links",
            format!("; the content has {more} other names and can still be reached by them"),
        ),
    };
    Containment {
        reason: reason.to_owned(),
        affected: vec![Affected::object(target.path.clone(), "quarantined")],
        verified: state == ReceiptState::Executed,
        undo_token: checked.command.id.to_string(),
        ..checked.receipt(state, &format!("the file is in the vault{rest}"))
    }
}

impl Quarantined {
    /// Puts it back; says what is there now.
    pub(crate) fn undo(&self, vault: Result<Vault, VaultError>) -> Undone {
        match vault
            .map_err(|error| chain(&error))
            .and_then(|vault| self.restore(&vault))
        {
            Ok(effect) => Undone {
                affected: vec![Affected::object(Text::from(self.bytes()), "restored")],
                ..Undone::complete(effect)
            },
            Err(why) => Undone::failed(why),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.path).unwrap_or_default()
    }

    fn restore(&self, vault: &Vault) -> Result<&'static str, String> {
        let place = Place::of(&self.bytes())?;
        match statat(place.parent(), place.name(), AtFlags::SYMLINK_NOFOLLOW) {
            // A crash came before the removal: it never left. A new file may have got its number.
            Ok(found) if self.likeness.is(&found) && self.is_content_of(&place) => {
                drop(vault.remove(&self.name));
                return Ok("the file was never removed");
            }
            Ok(_) => return Err("another file has taken its place; move it away first".to_owned()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(format!("its place cannot be looked at: {error}")),
        }
        let temporary = format!(".picket-{}", self.name);
        // Left over by a restore that a crash ended.
        let forget = || unlinkat(place.parent(), &temporary, AtFlags::empty()).unwrap_or_default();
        forget();
        let put = self.put_back(vault, &place, &temporary);
        if put.is_err() {
            forget();
        }
        put?;
        vault
            .remove(&self.name)
            .map_err(|error| format!("the copy in the vault stays: {error}"))?;
        Ok("the file is back as it was")
    }

    fn is_content_of(&self, place: &Place) -> bool {
        let digest = place.open().map(|mut file| digest_of(&mut file));
        matches!(digest, Ok(Ok(digest)) if digest.to_string() == self.sha256)
    }

    fn put_back(&self, vault: &Vault, place: &Place, temporary: &str) -> Result<(), String> {
        let mut file = place.create(temporary)?;
        let digest = vault.take(&self.name, &mut file);
        let digest = digest.map_err(|error| chain(&error))?;
        if digest.to_string() != self.sha256 {
            return Err("the file in the vault is not what was taken".to_owned());
        }
        let said = |error: std::io::Error| format!("it cannot be made what it was: {error}");
        self.likeness.give(&file).map_err(said)?;
        file.sync_all().map_err(said)?;
        place.give_name(temporary)?;
        self.likeness.give_flags(&file).map_err(said)?;
        let now = Likeness::of(&file).map_err(said)?;
        if now.is_like(&self.likeness) {
            Ok(())
        } else {
            Err("it is back, and something about it is not what it was".to_owned())
        }
    }
}

fn digest_of(file: &mut File) -> std::io::Result<Digest> {
    let (digest, _) = Digest::of_reader(file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(digest)
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::failure::chain(error)
}

#[cfg(test)]
mod tests;
