//! Files of the host that say what starts by itself, who may log in, and who tried to.
//!
//! What stays true: of keys only their fingerprints are told; a link is told with its target and not followed; folders are walked
//! [`DEPTH`] deep.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use picket_event::{Text, UnixNanos};
use picket_seal::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use serde_json::{Value, json};

use super::look::{Line, Look, read_some, regular, why};
use crate::enrich::account::ssh_keys;

/// Jobs, timers and services.
const SCHEDULED: [&str; 15] = [
    "/etc/crontab",
    "/etc/anacrontab",
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
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// The user's own units and the folders `NAME.d` and `NAME.wants` are no deeper.
const DEPTH: usize = 2;
/// The most files that are listed.
const MAX_LISTED: usize = 16_384;
/// Larger files have no hash.
const MAX_HASHED: u64 = 4 << 20;
/// Where sshd looks for keys unless it is told otherwise.
const KEYS: [&str; 2] = ["authorized_keys", "authorized_keys2"];
/// The most that is read of a file with accounts or keys.
const MAX_READ: u64 = 4 << 20;
/// The most users that are looked at.
const MAX_USERS: usize = 4_096;
/// Where logins are written as text: Debian's name and Red Hat's.
const LOGS: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];
/// How much of its end.
const LOG_BYTES: u64 = 256 << 10;

/// What starts by itself, with hashes.
pub(super) fn scheduled(look: &Look) -> (Vec<u8>, &'static str) {
    let mut list = List {
        look,
        lines: Vec::new(),
        count: 0,
        note: "",
    };
    for path in SCHEDULED {
        let path = Path::new(path);
        match look.folder(path) {
            Ok(folder) => list.folder(&folder, path, DEPTH),
            Err(_) => {
                if let Ok(file) = look.open(path) {
                    list.file(path, file);
                }
            }
        }
    }
    (list.lines, list.note)
}

/// Who may log in by which key.
pub(super) fn authorized_keys(look: &Look) -> (Vec<u8>, &'static str) {
    let passwd = match look.open(Path::new("/etc/passwd")) {
        Ok(mut file) => read_some(&mut file, MAX_READ).0,
        Err(why) => return (Vec::new(), why),
    };
    let mut lines = Vec::new();
    for user in passwd.split(|byte| *byte == b'\n').take(MAX_USERS) {
        if look.is_over() {
            return (lines, "the time was over before the last user");
        }
        let fields: Vec<&[u8]> = user.split(|byte| *byte == b':').collect();
        let (Some(name), Some(home)) = (fields.first(), fields.get(5)) else {
            continue;
        };
        let home = PathBuf::from(std::ffi::OsString::from_vec(home.to_vec()));
        for file in KEYS {
            let path = home.join(".ssh").join(file);
            lines.extend(keys_of(look, &Text::from(*name), &path));
        }
    }
    (lines, "")
}

/// The end of the log of logins.
pub(super) fn login_log(look: &Look) -> (Vec<u8>, &'static str) {
    let mut missing = "there is no such file";
    for path in LOGS {
        match look.tail(path, LOG_BYTES) {
            Ok(log) => return log,
            Err(why) => missing = why,
        }
    }
    (Vec::new(), missing)
}

fn keys_of(look: &Look, user: &Text, path: &Path) -> Vec<u8> {
    let line = Line::default()
        .text("user", user)
        .text("path", &Text::from(path.as_os_str().as_bytes()));
    let mut file = match look.open(path) {
        Ok(file) => file,
        Err("there is no such file") => return Vec::new(),
        Err(why) => return line.with("note", why).end(),
    };
    let (bytes, note) = read_some(&mut file, MAX_READ);
    let key = |fields: Vec<(&'static str, Vec<u8>)>| {
        let fields = fields.into_iter();
        let told = fields.map(|(name, value)| {
            (
                name.to_owned(),
                json!(Text::from(value).lossy().into_owned()),
            )
        });
        Value::Object(told.collect())
    };
    let keys: Vec<Value> = ssh_keys(&bytes).into_iter().map(key).collect();
    line.with("sha256", Digest::of(&bytes).to_string())
        .with("keys", keys)
        .with("note", note)
        .end()
}

/// Files that were found.
struct List<'a> {
    look: &'a Look,
    lines: Vec<u8>,
    count: usize,
    note: &'static str,
}

impl List<'_> {
    fn is_full(&mut self) -> bool {
        if self.look.is_over() {
            self.note = "the time was over before the last file";
        } else if self.count >= MAX_LISTED {
            self.note = "there are more files than are listed";
        } else {
            return false;
        }
        true
    }

    fn folder(&mut self, folder: &OwnedFd, path: &Path, deeper: usize) {
        let place = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let names = fs::read_dir(place).into_iter().flatten().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            if self.is_full() {
                return;
            }
            self.entry(folder, &path.join(&name), Path::new(&name), deeper);
        }
    }

    fn entry(&mut self, folder: &OwnedFd, path: &Path, name: &Path, deeper: usize) {
        let Ok(found) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        match found.st_mode & 0o170_000 {
            0o120_000 => {
                let target = readlinkat(folder, name, Vec::new());
                let target = target
                    .map(std::ffi::CString::into_bytes)
                    .unwrap_or_default();
                let line = self.line(path, "link").text("target", &Text::from(target));
                self.lines.extend(line.end());
            }
            0o040_000 if deeper > 0 => {
                let flags = OFlags::DIRECTORY | OFlags::RDONLY;
                if let Ok(inner) = inside(folder, name, flags) {
                    self.folder(&inner, path, deeper - 1);
                }
            }
            0o100_000 => match inside(folder, name, OFlags::PATH).map_err(why) {
                Ok(opened) => {
                    if let Ok(file) = regular(&opened) {
                        self.file(path, file);
                    }
                }
                Err(why) => {
                    let line = self.line(path, "file").with("note", why);
                    self.lines.extend(line.end());
                }
            },
            _ => {
                let line = self.line(path, "other");
                self.lines.extend(line.end());
            }
        }
    }

    fn file(&mut self, path: &Path, file: File) {
        use std::os::unix::fs::MetadataExt;
        let line = self.line(path, "file");
        let Ok(found) = file.metadata() else {
            return;
        };
        let modified = found.mtime().saturating_mul(1_000_000_000);
        let mut line = line
            .with("bytes", found.len())
            .with("mode", format!("{:04o}", found.mode() & 0o7777))
            .with("user_id", found.uid())
            .with(
                "modified",
                UnixNanos(modified.saturating_add(found.mtime_nsec())).to_string(),
            );
        if found.len() <= MAX_HASHED
            && let Ok((digest, _)) = Digest::of_reader(&mut file.take(MAX_HASHED))
        {
            line = line.with("sha256", digest.to_string());
        }
        self.lines.extend(line.end());
    }

    fn line(&mut self, path: &Path, kind: &str) -> Line {
        self.count += 1;
        let path = Text::from(path.as_os_str().as_bytes());
        Line::default().text("path", &path).with("kind", kind)
    }
}

fn inside(folder: &OwnedFd, name: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(
        folder,
        name,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}
