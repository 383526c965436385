//! What a system call did to files, from the paths that audit recorded with it.
//!
//! What stays true: a relative name is completed by the recorded folder; where none was recorded it stays as it is and
//! says so (`path_given`).

use picket_event::{Detail, File, Kind, Text};

use super::audit::Told;
use super::record::AuditRecord;
use crate::ebpf::watch::normalized;

/// What happened to files.
pub(super) fn events(told: &Told<'_>) -> Vec<(Kind, Option<Detail>)> {
    let paths: Vec<Looked> = told
        .records
        .iter()
        .filter_map(|record| looked(told, record))
        .collect();
    let refused = told.refused();
    if refused.is_some() && !is_open(told.call) {
        return Vec::new();
    }
    let found = match told.call {
        "rename" | "renameat" | "renameat2" => renamed(&paths),
        "link" | "linkat" => linked(&paths, "hard"),
        "symlink" | "symlinkat" => linked(&paths, "symbolic"),
        call if is_open(call) => opened(told, &paths, refused),
        call => match changed(told, call) {
            Some(change) => attributes(told, &paths, change),
            None => made_or_removed(call, &paths),
        },
    };
    let with_detail = |(kind, file)| (kind, Some(Detail::File(file)));
    found.into_iter().map(with_detail).collect()
}

/// A path that the kernel looked up, and what for.
#[derive(Clone, Debug)]
struct Looked {
    purpose: Text,
    file: File,
    owner: (Option<u32>, Option<u32>),
}

fn looked(told: &Told<'_>, record: &AuditRecord) -> Option<Looked> {
    if record.kind != "PATH" {
        return None;
    }
    let name = record.get("name")?;
    let folder = folder(told);
    let path = Text::from(absolute(folder.as_bytes(), name.as_bytes()));
    let purpose = record.get("nametype").or_else(|| record.get("objtype"));
    let mode = |text: &Text| u32::from_str_radix(text.as_str()?, 8).ok();
    Some(Looked {
        purpose: purpose.cloned().unwrap_or(Text::NONE),
        owner: (record.id("ouid"), record.id("ogid")),
        file: File {
            sensitive: told.watch.is_secret(path.as_bytes()),
            path_given: !path.as_bytes().starts_with(b"/"),
            path,
            inode: record.get("inode").and_then(|it| it.as_str()?.parse().ok()),
            dev: record.get("dev").and_then(device),
            mode: record.get("mode").and_then(mode),
            ..File::default()
        },
    })
}

/// The working directory, or the one in which a name was looked up.
fn folder(told: &Told<'_>) -> Text {
    let parent = told.records.iter().find(|record| {
        let purpose = record.get("nametype").or_else(|| record.get("objtype"));
        record.kind == "PATH" && purpose.is_some_and(|it| it.as_bytes() == b"PARENT")
    });
    let parent = parent.map_or(Text::NONE, |record| record.text("name"));
    if parent.as_bytes().starts_with(b"/") {
        return parent;
    }
    told.first("CWD")
        .map_or(Text::NONE, |record| record.text("cwd"))
}

/// `name` below `folder`, unless it is whole already or there is no folder.
pub(super) fn absolute(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") {
        return normalized(name);
    }
    if folder.is_empty() {
        return name.to_vec();
    }
    normalized(&[folder, b"/", name].concat())
}

/// `08:01`, in hexadecimal.
fn device(text: &Text) -> Option<u64> {
    let (major, minor) = text.as_str()?.split_once(':')?;
    let part = |part| u64::from_str_radix(part, 16).ok();
    Some(part(major)?.checked_shl(20)? | part(minor)?)
}

fn of<'a>(paths: &'a [Looked], purpose: &str) -> impl DoubleEndedIterator<Item = &'a File> {
    let of_purpose = move |path: &&Looked| path.purpose.as_bytes() == purpose.as_bytes();
    paths.iter().filter(of_purpose).map(|path| &path.file)
}

fn renamed(paths: &[Looked]) -> Vec<(Kind, File)> {
    let Some(new) = of(paths, "CREATE").next_back() else {
        return Vec::new();
    };
    let old = of(paths, "DELETE").find(|file| file.path != new.path);
    let old = old.or_else(|| of(paths, "DELETE").next());
    let file = File {
        path: old.map_or(Text::NONE, |file| file.path.clone()),
        new_path: new.path.clone(),
        sensitive: new.sensitive || old.is_some_and(|file| file.sensitive),
        ..new.clone()
    };
    vec![(Kind::FileRename, file)]
}

fn linked(paths: &[Looked], change: &str) -> Vec<(Kind, File)> {
    let Some(new) = of(paths, "CREATE").next_back() else {
        return Vec::new();
    };
    let old = of(paths, "NORMAL").next();
    let file = File {
        path: old.map_or(Text::NONE, |file| file.path.clone()),
        new_path: new.path.clone(),
        change: change.to_owned(),
        ..new.clone()
    };
    vec![(Kind::FileLink, file)]
}

fn is_open(call: &str) -> bool {
    matches!(call, "open" | "openat" | "openat2" | "creat")
}

fn opened(told: &Told<'_>, paths: &[Looked], result: Option<i32>) -> Vec<(Kind, File)> {
    let flags = match told.call {
        "open" => told.register("a1"),
        "openat" => told.register("a2"),
        _ => None,
    };
    let flags = flags.and_then(|flags| u32::try_from(flags).ok());
    let made = of(paths, "CREATE").next_back();
    let writes = told.call == "creat" || flags.is_some_and(|flags| flags & WRITES != 0);
    let kind = match (made, writes) {
        _ if result.is_some() => Kind::FileOpen,
        (Some(_), _) => Kind::FileCreate,
        (None, true) => Kind::FileModify,
        (None, false) => Kind::FileOpen,
    };
    let file = made.or_else(|| of(paths, "NORMAL").next_back());
    let file = file.or_else(|| of(paths, "UNKNOWN").next_back());
    let file = file.map(|file| File {
        flags,
        result,
        ..file.clone()
    });
    file.map(|file| (kind, file)).into_iter().collect()
}

/// Which attribute a call changes, and the register of its new value.
fn changed(told: &Told<'_>, call: &str) -> Option<(&'static str, Option<u64>)> {
    let value = |register| told.register(register);
    Some(match call {
        "chmod" | "fchmod" => ("mode", value("a1")),
        "fchmodat" | "fchmodat2" => ("mode", value("a2")),
        "chown" | "lchown" | "fchown" => ("owner", value("a1")),
        "fchownat" => ("owner", value("a2")),
        "setxattr" | "lsetxattr" | "fsetxattr" | "removexattr" | "lremovexattr"
        | "fremovexattr" | "setxattrat" | "removexattrat" => ("xattr", None),
        "utime" | "utimes" | "utimensat" | "futimesat" => ("times", None),
        _ => return None,
    })
}

fn attributes(
    told: &Told<'_>,
    paths: &[Looked],
    (change, value): (&str, Option<u64>),
) -> Vec<(Kind, File)> {
    let path = paths
        .iter()
        .rfind(|path| path.purpose.as_bytes() != b"PARENT");
    let Some(path) = path else {
        return Vec::new();
    };
    let before = path.file.mode;
    let mut file = File {
        change: change.to_owned(),
        ..path.file.clone()
    };
    let value = value.and_then(|value| u32::try_from(value & 0xffff_ffff).ok());
    match (change, value) {
        ("mode", Some(mode)) => {
            file.mode = Some(before.unwrap_or(0) & !PERMISSIONS | mode & PERMISSIONS);
            file.mode_before = before;
        }
        ("owner", owner) => {
            let group = if told.call == "fchownat" { "a3" } else { "a2" };
            let group = told
                .register(group)
                .and_then(|id| u32::try_from(id & 0xffff_ffff).ok());
            let known = |id: Option<u32>, before| id.filter(|id| *id != u32::MAX).or(before);
            file.owner_uid = known(owner, path.owner.0);
            file.owner_gid = known(group, path.owner.1);
        }
        _ => {}
    }
    vec![(Kind::FileAttr, file)]
}

/// Calls whose paths say by themselves what became of them; without the call the paths alone say it.
fn made_or_removed(call: &str, paths: &[Looked]) -> Vec<(Kind, File)> {
    if matches!(call, "truncate" | "ftruncate") {
        let file = of(paths, "NORMAL").next_back().cloned();
        return file
            .map(|file| (Kind::FileModify, file))
            .into_iter()
            .collect();
    }
    let kind = |path: &Looked| match path.purpose.as_bytes() {
        b"CREATE" => Some(Kind::FileCreate),
        b"DELETE" => Some(Kind::FileDelete),
        _ => None,
    };
    let known = paths
        .iter()
        .filter_map(|path| Some((kind(path)?, path.file.clone())));
    known.collect()
}

/// `O_WRONLY`, `O_RDWR` and `O_TRUNC` of `open(2)`.
const WRITES: u32 = 0o1 | 0o2 | 0o1000;
/// What `chmod(2)` sets.
const PERMISSIONS: u32 = 0o7777;
