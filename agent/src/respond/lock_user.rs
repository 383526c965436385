//! Lets a user of this host in no more, ends what they have open, and lets them in again.
//!
//! # Invariants
//!
//! - The account file is replaced as a whole, under the lock that its own tools take, and never loses a line.
//! - An unlock takes away only what the lock put there: what an administrator changed meanwhile stays.
//! - The first user is never locked; neither is anybody whom this host does not know itself.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_event::command::Mode as CommandMode;
use picket_event::{Affected, BootId, Containment, ReceiptState, Text};
use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, fcntl_lock, openat2,
    renameat_with,
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::check::{Checked, Refusal};
use super::effects::Effect;
use super::kill::Held;
use super::likeness::Likeness;
use super::process::processes;
use super::protect::Protection;
use super::undo::Undone;
use super::{MAX_LISTED, Responder, procfs};

/// Where sshd looks for keys unless it is told otherwise, below the user's home.
const KEYS: [&str; 2] = ["authorized_keys", "authorized_keys2"];
/// Account files are no larger.
const MAX_BYTES: u64 = 16 << 20;
/// How long the tools of the accounts may hold their lock.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long the user's processes may take to end.
const END_WAIT: Duration = Duration::from_secs(5);
/// The day on which the account ends: long ago, and not 0, which some read as never.
const EXPIRED: &str = "1";
const PASSWORD: usize = 1;
const EXPIRES: usize = 7;

/// Where accounts are kept.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    /// `/`, but in tests.
    pub(crate) root: PathBuf,
}

/// A user who is locked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Locked {
    /// Their name.
    pub(crate) name: String,
    /// Whether their password was locked before.
    was_closed: bool,
    /// When their account ended before; empty: never.
    expires: String,
    /// Their home, in hexadecimal digits.
    home: String,
    /// Files with keys that were given another name: the end of that name.
    aside: String,
}

/// What the account files say of a user.
#[derive(Debug)]
struct Account {
    uid: u32,
    home: PathBuf,
}

impl Responder {
    /// Locks a user.
    pub(super) fn lock_user(
        &mut self,
        checked: &Checked,
        name: &str,
    ) -> Result<Containment, Refusal> {
        let no = |code, why: &str| checked.refuse(code, why);
        let accounts = self.accounts.clone();
        let account = accounts.find(name).map_err(|why| no("not_found", &why))?;
        if account.uid == 0 {
            return Err(no("protected", "the first user cannot be locked"));
        }
        let (password, expires) = accounts.state(name).map_err(|why| no("not_found", &why))?;
        if checked.command.mode == CommandMode::DryRun {
            let found = open_by(account.uid, self.boot, &self.protection);
            return Ok(super::process::would(
                checked,
                "ended and the account locked",
                &found,
            ));
        }
        let locked = Locked {
            name: name.to_owned(),
            was_closed: password.starts_with('!'),
            expires,
            home: hex::encode(account.home.as_os_str().as_bytes()),
            aside: format!("picket-{}", checked.command.id),
        };
        self.put_effect(checked, Effect::Locked(locked.clone()))?;
        if let Err(why) = accounts.change(name, Locked::lock) {
            self.drop_effect(checked.command.id);
            return Err(no("not_locked", &why));
        }
        let keys = locked.set_keys_aside(&accounts);
        let ended = end_all(account.uid, self.boot, &self.protection);
        let holds = accounts
            .state(name)
            .is_ok_and(|(password, expires)| password.starts_with('!') && expires == EXPIRED);
        Ok(receipt(checked, holds, keys, ended))
    }
}

fn receipt(
    checked: &Checked,
    holds: bool,
    keys: Result<usize, String>,
    ended: Vec<Affected>,
) -> Containment {
    let dead = ended.iter().filter(|one| one.outcome == "dead").count();
    let complete = holds && keys.is_ok() && dead == ended.len();
    let keys = match keys {
        Ok(count) => format!("{count} files of keys set aside"),
        Err(why) => format!("keys not set aside: {why}"),
    };
    let state = if complete {
        ReceiptState::Executed
    } else {
        ReceiptState::Partial
    };
    let account = if holds { "locked" } else { "not locked" };
    let effect = format!(
        "the account is {account}; {keys}; ended {}",
        processes(dead)
    );
    Containment {
        affected: ended.into_iter().take(MAX_LISTED).collect(),
        verified: complete,
        undo_token: checked.command.id.to_string(),
        ..checked.receipt(state, &effect)
    }
}

impl Locked {
    fn lock(fields: &mut [String]) {
        if let Some(password) = fields.get_mut(PASSWORD)
            && !password.starts_with('!')
        {
            password.insert(0, '!');
        }
        if let Some(expires) = fields.get_mut(EXPIRES) {
            EXPIRED.clone_into(expires);
        }
    }

    fn unlock(&self, fields: &mut [String]) {
        if let Some(password) = fields.get_mut(PASSWORD)
            && !self.was_closed
            && password.starts_with('!')
        {
            password.remove(0);
        }
        if let Some(expires) = fields.get_mut(EXPIRES)
            && expires == EXPIRED
        {
            expires.clone_from(&self.expires);
        }
    }

    /// Lets them in again; says what is now.
    pub(crate) fn undo(&self, accounts: &Accounts) -> Undone {
        if accounts.find(&self.name).is_err() {
            return Undone::complete("the user is not there any more");
        }
        if let Err(why) = accounts.change(&self.name, |fields| self.unlock(fields)) {
            return Undone::failed(why);
        }
        match (self.give_keys_back(accounts), accounts.state(&self.name)) {
            (Ok(count), Ok((password, expires))) => {
                let free = password.starts_with('!') == self.was_closed && expires == self.expires;
                let words = if free {
                    "is as it was"
                } else {
                    "was changed meanwhile"
                };
                let object = Text::from(self.name.as_str());
                Undone {
                    affected: vec![Affected::object(object, "unlocked")],
                    ..Undone::complete(&format!(
                        "the account {words}; {count} files of keys are back"
                    ))
                }
            }
            (Err(why), _) | (_, Err(why)) => Undone::failed(why),
        }
    }

    fn set_keys_aside(&self, accounts: &Accounts) -> Result<usize, String> {
        self.rename_keys(accounts, |name, aside| (name.to_owned(), aside))
    }

    fn give_keys_back(&self, accounts: &Accounts) -> Result<usize, String> {
        self.rename_keys(accounts, |name, aside| (aside, name.to_owned()))
    }

    /// The home belongs to the user, who may put links in the way: none is followed.
    fn rename_keys(
        &self,
        accounts: &Accounts,
        order: impl Fn(&str, String) -> (String, String),
    ) -> Result<usize, String> {
        use std::os::unix::ffi::OsStringExt;
        let home = hex::decode(&self.home).unwrap_or_default();
        let home = PathBuf::from(std::ffi::OsString::from_vec(home)).join(".ssh");
        let directory = openat2(
            CWD,
            accounts.below(&home),
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        );
        let directory = match directory {
            Ok(directory) => directory,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(0),
            Err(error) => return Err(format!("`{}`: {error}", home.display())),
        };
        let mut renamed = 0;
        for name in KEYS {
            let (from, to) = order(name, format!("{name}.{}", self.aside));
            match renameat_with(&directory, &from, &directory, &to, RenameFlags::NOREPLACE) {
                Ok(()) => renamed += 1,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(format!("{from} cannot become {to}: {error}")),
            }
        }
        Ok(renamed)
    }
}

impl Accounts {
    fn below(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let path = self.below(Path::new(name));
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text))
            .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        String::from_utf8(text).map_err(|error| format!("`{}`: {error}", path.display()))
    }

    fn find(&self, name: &str) -> Result<Account, String> {
        let text = self.read("/etc/passwd")?;
        let line = line_of(&text, name).ok_or("this host has no user of that name")?;
        let fields: Vec<&str> = line.split(':').collect();
        let uid = fields.get(2).and_then(|uid| uid.parse().ok());
        let home = fields.get(5).copied().unwrap_or_default();
        Ok(Account {
            uid: uid.ok_or("the user has no number")?,
            home: PathBuf::from(home),
        })
    }

    /// Password field and day of the end.
    fn state(&self, name: &str) -> Result<(String, String), String> {
        let text = self.read("/etc/shadow")?;
        let line = line_of(&text, name).ok_or("the user has no password entry on this host")?;
        let mut fields = line.split(':').map(str::to_owned);
        let password = fields.nth(PASSWORD).unwrap_or_default();
        let expires = fields.nth(EXPIRES - PASSWORD - 1).unwrap_or_default();
        Ok((password, expires))
    }

    /// Changes the user's line and nothing else.
    fn change(&self, name: &str, change: impl Fn(&mut [String])) -> Result<(), String> {
        let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let _lock = self.lock()?;
        let text = self.read("/etc/shadow")?;
        let mut found = false;
        let lines = text.split_inclusive('\n').map(|line| {
            if !is_of(line, name) {
                return line.to_owned();
            }
            found = true;
            let (body, end) = line
                .strip_suffix('\n')
                .map_or((line, ""), |body| (body, "\n"));
            let mut fields: Vec<String> = body.split(':').map(str::to_owned).collect();
            change(&mut fields);
            fields.join(":") + end
        });
        let new: String = lines.collect();
        if !found {
            return Err("the user has no password entry on this host".to_owned());
        }
        let path = self.below(Path::new("/etc/shadow"));
        let old = File::open(&path).map_err(said("shadow cannot be read"))?;
        let likeness = Likeness::of(&old).map_err(said("shadow cannot be read"))?;
        let next = self.below(Path::new("/etc/.shadow.picket"));
        drop(fs::remove_file(&next));
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&next);
        let mut file = made.map_err(said("no new shadow can be made"))?;
        let written = file
            .write_all(new.as_bytes())
            .and_then(|()| likeness.give_owner(&file))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&next, &path));
        if let Err(error) = written {
            drop(fs::remove_file(&next));
            return Err(format!("shadow cannot be replaced: {error}"));
        }
        crate::state::sync_parent(&path).map_err(|error| crate::failure::chain(&error))
    }

    /// The lock that the tools of the accounts take. It ends with the file.
    fn lock(&self) -> Result<File, String> {
        let path = self.below(Path::new("/etc/.pwd.lock"));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| format!("the accounts cannot be locked: {error}"))?;
        let until = Instant::now() + LOCK_WAIT;
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(error) if Instant::now() >= until => {
                    return Err(format!(
                        "the accounts are locked by another program: {error}"
                    ));
                }
                Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
            }
        }
    }
}

fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find(|line| is_of(line, name))
}

fn is_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with(':'))
}

/// The user's processes, without those that no command may touch.
fn open_by(uid: u32, boot: BootId, protection: &Protection) -> Vec<procfs::Found> {
    let all = procfs::all(&boot).into_iter();
    let theirs = all.filter(|found| found.is_alive() && owner(found.pid) == Some(uid));
    theirs
        .filter(|found| protection.vital(found).is_none())
        .collect()
}

fn owner(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Kills what the user has open, until nothing new appears.
fn end_all(uid: u32, boot: BootId, protection: &Protection) -> Vec<Affected> {
    let until = Instant::now() + END_WAIT;
    let mut ended: Vec<Affected> = Vec::new();
    loop {
        let found = open_by(uid, boot, protection);
        let held: Vec<Held> = found
            .iter()
            .filter_map(|found| Held::take(&boot, found))
            .collect();
        for one in &held {
            if let Err(error) = one.signal(Signal::KILL) {
                tracing::warn!(pid = one.found.pid, %error, "failed to end a process of the user");
            }
        }
        for one in &held {
            one.wait(until.saturating_duration_since(Instant::now()));
            let affected = one.affected();
            ended.retain(|before| before.process_uid != affected.process_uid);
            ended.push(affected);
        }
        if held.is_empty() || Instant::now() >= until {
            return ended;
        }
    }
}

#[cfg(test)]
mod tests;
