//! A name in a directory that is held open, so that it cannot come to mean another place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, open, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::likeness::Likeness;

/// A directory and a name in it.
#[derive(Debug)]
pub(crate) struct Place {
    parent: OwnedFd,
    name: OsString,
}

impl Place {
    /// The place of an absolute path. Its directory must be there.
    pub(crate) fn of(path: &[u8]) -> Result<Self, String> {
        let path = Path::new(OsStr::from_bytes(path));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err("the path names no file".to_owned());
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let parent = open(parent, flags, Mode::empty())
            .map_err(|error| format!("`{}` cannot be opened: {error}", parent.display()))?;
        let name = OsString::from_vec(name.as_bytes().to_vec());
        Ok(Self { parent, name })
    }

    /// The directory.
    pub(crate) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The name in it.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Opens the regular file of this name; a link is not followed, nothing is waited for.
    pub(crate) fn open(&self) -> Result<File, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.parent, &self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => {
                return Err("it is a symbolic link; name what it points to".to_owned());
            }
            Err(Errno::NOENT) => return Err("there is no such file".to_owned()),
            Err(error) => return Err(format!("it cannot be opened: {error}")),
        };
        match file.metadata() {
            Ok(found) if found.is_file() => Ok(file),
            Ok(_) => Err("it is no regular file".to_owned()),
            Err(error) => Err(format!("it cannot be looked at: {error}")),
        }
    }

    /// A new file under another name in the same directory, for nobody else to read.
    pub(crate) fn create(&self, name: &str) -> Result<File, String> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.parent, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| format!("no file can be made in its directory: {error}"))
    }

    /// Gives a file of the directory this name, if nothing has it.
    pub(crate) fn give_name(&self, from: &str) -> Result<(), String> {
        let (parent, name) = (&self.parent, &self.name);
        renameat_with(parent, from, parent, name, RenameFlags::NOREPLACE)
            .map_err(|error| format!("it cannot be given its name: {error}"))?;
        fsync(parent).map_err(|error| format!("its directory cannot be written: {error}"))
    }

    /// Removes exactly this file from the directory, durably, and reads back that its name is gone.
    pub(crate) fn remove(&self, file: &File, likeness: &Likeness) -> Result<(), String> {
        let said = |error: Errno| error.to_string();
        let random = picket_seal::random::<8>().map_err(|error| error.to_string())?;
        let hidden = format!(".picket-{}", hex::encode(random));
        let (parent, name) = (&self.parent, &self.name);
        likeness
            .clear_flags(file)
            .map_err(|error| error.to_string())?;
        let removed = renameat_with(parent, name, parent, &hidden, RenameFlags::NOREPLACE)
            .map_err(said)
            .and_then(|()| {
                let found = statat(parent, &hidden, AtFlags::SYMLINK_NOFOLLOW).map_err(said)?;
                if likeness.is(&found) {
                    return unlinkat(parent, &hidden, AtFlags::empty()).map_err(said);
                }
                // Somebody was quicker: what has the name now is another file, and gets it back.
                let back = renameat_with(parent, &hidden, parent, name, RenameFlags::NOREPLACE);
                Err(match back {
                    Ok(()) => "another file took its name".to_owned(),
                    Err(error) => {
                        format!("another file took its name, and is now {hidden}: {error}")
                    }
                })
            });
        if let Err(why) = removed {
            drop(likeness.give_flags(file));
            return Err(why);
        }
        fsync(parent).map_err(said)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err("a new file has its name already".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
