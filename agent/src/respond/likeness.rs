//! Everything about a file but its content, so that it can be made again: owner, mode, times, extended
//! attributes (capabilities, access lists and labels among them), and the flags that forbid changing it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{
    Gid, IFlags, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, fsetxattr, futimens, ioctl_getflags, ioctl_setflags,
};
use serde::{Deserialize, Serialize};

/// The largest list or value of extended attributes that Linux has.
const XATTR_BYTES: usize = 64 << 10;

/// What a file is like.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Likeness {
    dev: u64,
    inode: u64,
    links: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    accessed: (i64, i64),
    modified: (i64, i64),
    /// Names and values, in hexadecimal digits.
    xattrs: Vec<(String, String)>,
    /// `None`: this file system has none.
    flags: Option<u32>,
}

impl Likeness {
    /// Of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            dev: found.dev(),
            inode: found.ino(),
            links: found.nlink(),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            size: found.len(),
            accessed: (found.atime(), found.atime_nsec()),
            modified: (found.mtime(), found.mtime_nsec()),
            xattrs: xattrs(file)?,
            flags: ioctl_getflags(file).ok().map(|flags| flags.bits()),
        })
    }

    /// Device and inode.
    pub(crate) const fn inode(&self) -> (u64, u64) {
        (self.dev, self.inode)
    }

    /// How many names it has.
    pub(crate) const fn links(&self) -> u64 {
        self.links
    }

    /// Whether this is the same file.
    pub(crate) const fn is(&self, found: &Stat) -> bool {
        self.dev == found.st_dev && self.inode == found.st_ino
    }

    /// Whether another file is the same in everything that can be given back. When it was read last is not
    /// part of it: looking changes it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let part = |it: &Self| {
            let (times, owner) = (it.modified, (it.uid, it.gid, it.mode));
            (times, owner, it.size, it.xattrs.clone(), it.locks())
        };
        part(self) == part(other)
    }

    /// Makes the file so: owner first, as it takes capabilities and set-user-id bits away, times last.
    pub(crate) fn give(&self, file: &File) -> io::Result<()> {
        self.give_owner(file)?;
        let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        futimens(
            file,
            &Timestamps {
                last_access: time(self.accessed),
                last_modification: time(self.modified),
            },
        )?;
        Ok(())
    }

    /// Gives owner, mode and extended attributes, but not the times: it has another content.
    pub(crate) fn give_owner(&self, file: &File) -> io::Result<()> {
        fchown(
            file,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
        )?;
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            let decode = |text: &String| hex::decode(text).map_err(io::Error::other);
            fsetxattr(file, decode(name)?, &decode(value)?, XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Takes the flags away that forbid removing it.
    pub(crate) fn clear_flags(&self, file: &File) -> io::Result<()> {
        match (self.flags, self.locks()) {
            (Some(flags), locks) if !locks.is_empty() => {
                let without = IFlags::from_bits_retain(flags).difference(locks);
                Ok(ioctl_setflags(file, without)?)
            }
            _ => Ok(()),
        }
    }

    /// Gives them back.
    pub(crate) fn give_flags(&self, file: &File) -> io::Result<()> {
        if self.locks().is_empty() {
            return Ok(());
        }
        let now = ioctl_getflags(file)?;
        Ok(ioctl_setflags(file, now | self.locks())?)
    }

    fn locks(&self) -> IFlags {
        let flags = IFlags::from_bits_retain(self.flags.unwrap_or(0));
        flags & (IFlags::IMMUTABLE | IFlags::APPEND)
    }
}

fn xattrs(file: &File) -> io::Result<Vec<(String, String)>> {
    let mut list = vec![0_u8; XATTR_BYTES];
    let length = match flistxattr(file, &mut list) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    list.truncate(length);
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut all = Vec::new();
    for name in names {
        let mut value = vec![0_u8; XATTR_BYTES];
        let length = fgetxattr(file, name, &mut value)?;
        value.truncate(length);
        all.push((hex::encode(name), hex::encode(value)));
    }
    all.sort();
    Ok(all)
}
