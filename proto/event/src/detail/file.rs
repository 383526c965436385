//! Files, and what is special about some of them: scripts and scheduled jobs.

use picket_seal::Digest;

use crate::{HashStatus, Text};

/// A file, by path and by what the kernel knows it by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct File {
    /// Its path.
    pub path: Text,
    /// Its new path, for renames and links.
    pub new_path: Text,
    /// Inode number.
    pub inode: Option<u64>,
    /// Device: major << 20 | minor.
    pub dev: Option<u64>,
    /// Type and permissions.
    pub mode: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// SHA-256 before.
    pub sha256_before: Option<Digest>,
    /// SHA-256 after.
    pub sha256_after: Option<Digest>,
    /// What became of the hash.
    pub hash_status: Option<HashStatus>,
    /// Whether it is on the list of secrets.
    pub sensitive: bool,
    /// Flags of `open(2)`.
    pub flags: Option<u32>,
    /// Of a link: `hard`, `symbolic`; of attributes: `mode`, `owner`, `xattr`, `times`, `flags`, `size`.
    pub change: String,
    /// Type and permissions before.
    pub mode_before: Option<u32>,
    /// The owner after a change of it.
    pub owner_uid: Option<u32>,
    /// The owning group after a change of it.
    pub owner_gid: Option<u32>,
    /// Name of an extended attribute.
    pub attribute: Text,
    /// Whether the path is what the caller wrote; links in it are not resolved.
    pub path_given: bool,
    /// A negative errno where it was tried and refused.
    pub result: Option<i32>,
}

impl File {
    /// Where it is after the event.
    pub const fn current_path(&self) -> &Text {
        if self.new_path.is_empty() {
            &self.path
        } else {
            &self.new_path
        }
    }
}

/// A file that an interpreter was given to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Script {
    /// Its path.
    pub path: Text,
    /// Who runs it.
    pub interpreter: Text,
    /// SHA-256 of the whole file.
    pub sha256: Option<Digest>,
    /// What became of the hash.
    pub hash_status: Option<HashStatus>,
    /// Size in bytes.
    pub size: Option<u64>,
}

/// What somebody wants to be run later, or again and again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScheduledJob {
    /// `created`, `changed` or `removed`.
    pub action: String,
    /// `cron`, `anacron`, `at` or `systemd`.
    pub scheduler: String,
    /// The file that says so.
    pub path: Text,
    /// As whom it runs.
    pub user: Text,
    /// When, in the scheduler's words.
    pub schedule: Text,
    /// What.
    pub command: Text,
}
