//! Which names schedule something, and in which form.
//!
//! What stays true: a name that is none of these costs a few comparisons of its beginning and end.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use picket_event::Text;

use super::unit::is_unit;

/// The most files that are looked for at the start.
const MAX_EXISTING: usize = 1_024;

/// Where a file is, and what that makes of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(super) scheduler: &'static str,
    pub(super) form: Form,
}

/// How a file says what it schedules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// A table with users.
    SystemTable,
    /// The table of one user.
    UserTable(Vec<u8>),
    /// A program that runs so often.
    RunParts(&'static str),
    /// anacron's table.
    Anacron,
    /// A job of at.
    At,
    /// A unit, or a part of one.
    Unit {
        /// Of the system, not of a user.
        system: bool,
    },
    /// A link that makes a unit start with another.
    Wanted(Vec<u8>),
}

impl Place {
    /// As whom it runs, as far as the name tells.
    pub(super) fn user(&self) -> &[u8] {
        match &self.form {
            Form::UserTable(user) => user,
            Form::RunParts(_) | Form::Anacron => b"root",
            _ => b"",
        }
    }
}

/// What the file of this name schedules, if it does.
pub(super) fn of(path: &[u8]) -> Option<Place> {
    if let Some(rest) = path.strip_prefix(b"/etc/") {
        return etc(rest).or_else(|| of_systemd(path));
    }
    if let Some(rest) = path.strip_prefix(b"/var/spool/") {
        return spool(rest);
    }
    of_systemd(path)
}

fn etc(rest: &[u8]) -> Option<Place> {
    let place = |scheduler, form| Some(Place { scheduler, form });
    match rest {
        b"crontab" => return place("cron", Form::SystemTable),
        b"anacrontab" => return place("anacron", Form::Anacron),
        _ => {}
    }
    let rest = rest.strip_prefix(b"cron.")?;
    let (folder, name) = split(rest)?;
    if !is_settled(name) {
        return None;
    }
    let period = match folder {
        b"d" => return place("cron", Form::SystemTable),
        b"hourly" => "@hourly",
        b"daily" => "@daily",
        b"weekly" => "@weekly",
        b"monthly" => "@monthly",
        b"yearly" => "@yearly",
        _ => return None,
    };
    // run-parts takes no names with a dot; some other implementations do.
    place("cron", Form::RunParts(period))
}

/// Tables are named after users, jobs of at by a code.
fn spool(rest: &[u8]) -> Option<Place> {
    let user_table = |name: &[u8]| Place {
        scheduler: "cron",
        form: Form::UserTable(name.to_vec()),
    };
    let at = Place {
        scheduler: "at",
        form: Form::At,
    };
    let (folder, name) = match (rest.strip_prefix(b"cron/"), rest.strip_prefix(b"at/")) {
        (Some(rest), _) => split(rest).unwrap_or((b"", rest)),
        (_, Some(name)) => (&b"atjobs"[..], name),
        _ => return None,
    };
    let single = !name.contains(&b'/') && is_settled(name);
    match folder {
        b"atjobs" => (single && super::at::is_name(name)).then_some(at),
        b"crontabs" | b"tabs" | b"" => single.then(|| user_table(name)),
        _ => None,
    }
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().position(|byte| *byte == b'/')?;
    let (folder, name) = (path.get(..slash)?, path.get(slash + 1..)?);
    (!name.is_empty() && !name.contains(&b'/')).then_some((folder, name))
}

/// What editors and package managers write before they rename it is not read by any scheduler.
fn is_settled(name: &[u8]) -> bool {
    let begins = |text: &[u8]| name.starts_with(text);
    let ends = |text: &[u8]| name.ends_with(text);
    let passing = begins(b".") || begins(b"#") || begins(b"tmp.") || ends(b"~");
    let passing = passing || ends(b".swp") || ends(b".tmp");
    let packaged = [
        ".dpkg-new",
        ".dpkg-tmp",
        ".dpkg-old",
        ".dpkg-dist",
        ".rpmnew",
        ".rpmsave",
    ];
    !name.is_empty() && !passing && !packaged.iter().any(|end| ends(end.as_bytes()))
}

/// Units, parts of units (`x.service.d/y.conf`) and links by which others want them.
fn of_systemd(path: &[u8]) -> Option<Place> {
    if !is_unit(path) && !path.ends_with(b".conf") {
        return None;
    }
    let (rest, system) = below_units(path)?;
    let names: Vec<&[u8]> = rest.split(|byte| *byte == b'/').collect();
    let form = match names[..] {
        [name] if is_unit(name) => Form::Unit { system },
        [folder, name] => inside(folder, name, system)?,
        _ => return None,
    };
    Some(Place {
        scheduler: "systemd",
        form,
    })
}

fn inside(folder: &[u8], name: &[u8], system: bool) -> Option<Form> {
    if name.ends_with(b".conf") && !name.starts_with(b".") {
        let of_unit = folder.strip_suffix(b".d").is_some_and(is_unit);
        return of_unit.then_some(Form::Unit { system });
    }
    let by = [&b".wants"[..], b".requires"]
        .iter()
        .find_map(|end| folder.strip_suffix(*end))?;
    is_unit(name).then(|| Form::Wanted(by.to_vec()))
}

/// What follows the folder of units, and whether they are the system's.
fn below_units(path: &[u8]) -> Option<(&[u8], bool)> {
    let rest = UNIT_ROOTS
        .iter()
        .find_map(|root| path.strip_prefix(root.as_bytes()));
    if let Some(rest) = rest {
        let system = rest.strip_prefix(b"system/").map(|rest| (rest, true));
        return system.or_else(|| Some((rest.strip_prefix(b"user/")?, false)));
    }
    let home = [
        &b"/.config/systemd/user/"[..],
        b"/.local/share/systemd/user/",
    ];
    home.iter().find_map(|folder| {
        let at = path
            .windows(folder.len())
            .position(|part| part == *folder)?;
        Some((path.get(at + folder.len()..)?, false))
    })
}

const UNIT_ROOTS: &[&str] = &[
    "/etc/systemd/",
    "/usr/lib/systemd/",
    "/lib/systemd/",
    "/usr/local/lib/systemd/",
    "/run/systemd/",
];

/// What is there now, of the system and in the spools.
pub(super) fn existing() -> Vec<Text> {
    let mut found: Vec<Text> = ["/etc/crontab", "/etc/anacrontab"].map(Text::from).into();
    for folder in FOLDERS {
        list(Path::new(folder), 2, &mut found);
    }
    found
}

const FOLDERS: &[&str] = &[
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/etc/cron.yearly",
    "/var/spool/cron",
    "/var/spool/at",
    "/etc/systemd/system",
    "/etc/systemd/user",
    "/usr/local/lib/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
];

fn list(folder: &Path, depth: usize, found: &mut Vec<Text>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if found.len() >= MAX_EXISTING {
            return;
        }
        let path = entry.path();
        let name = path.into_os_string().into_vec();
        if of(&name).is_some() {
            found.push(Text::from(name));
        } else if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(Path::new(OsStr::from_bytes(&name)), depth - 1, found);
        }
    }
}
