//! The state directory: everything the agent must find again after a restart.
//!
//! ```text
//! lock                 held while an agent runs
//! host.json            host id, collector, state generation; written last by enrolment
//! ca.der trust-root    the anchors, exact bytes
//! tls.p8 chain.pem     TLS key and certificate chain
//! keys/epoch-N.p8      the event key of the epoch in force
//! successions          every event key since the first, each signed by the one before
//! stream.json          this run's stream, where its chains stand, whether it closed its books
//! streams.json         how the runs before it ended
//! fleet.secret fleet.prior  what hashes for the fleet are made with, and what it knows
//! commands             ids and receipts of commands
//! spool/               sealed batches
//! scorer.snapshot scorer.alerts logins.json
//! integrity.baseline   what important files were
//! blocked-files        files that the kernel refuses to run
//! ```
//!
//! # Invariants
//!
//! - The directory belongs to the agent's user and nobody else can write into it.
//! - A file is either the old one or the new one, never a part of one.
//! - A damaged file is named and set aside or refused, never silently replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::failure::{Code, Failure};

pub(crate) mod commands;
pub(crate) mod epoch;
pub(crate) mod host;
pub(crate) mod stream;

/// A state directory that this process owns.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: File,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// A system call failed.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another user owns it.
    #[error("state directory `{}` belongs to user {owner}, not to user {user}", path.display())]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others can write into it.
    #[error("state directory `{}` has mode {mode:04o}: others can write into it", path.display())]
    Open {
        /// Which directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not a directory.
    #[error("state directory `{}` is not a directory", path.display())]
    NotDirectory {
        /// Which path.
        path: PathBuf,
    },
    /// Another agent runs on it.
    #[error("state directory `{}` is in use by another picket-agent", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("state file `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody has enrolled this host there.
    #[error("`{}` holds no enrolment", path.display())]
    NotEnrolled {
        /// Which directory.
        path: PathBuf,
    },
}

impl StateDir {
    /// Opens an existing directory and locks it.
    pub(crate) fn open(root: &Path) -> Result<Self, StateError> {
        check_owner(root)?;
        let path = root.join("lock");
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(&path)
            .map_err(|source| StateError::Io {
                operation: "open",
                path,
                source,
            })?;
        match patient_lock(&lock) {
            Ok(()) => Ok(Self {
                root: root.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse {
                path: root.to_owned(),
            }),
            Err(error) => Err(StateError::Io {
                operation: "lock",
                path: root.join("lock"),
                source: error.into(),
            }),
        }
    }

    /// As [`Self::open`]; makes the directory if it is missing. Also says whether it did.
    pub(crate) fn open_or_create(root: &Path) -> Result<(Self, bool), StateError> {
        let created = match fs::symlink_metadata(root) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private_dir(root)?;
                true
            }
            Err(source) => {
                let path = root.to_owned();
                return Err(StateError::Io {
                    operation: "open",
                    path,
                    source,
                });
            }
        };
        Ok((Self::open(root)?, created))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a private directory in it, if it is missing.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.path(name);
        if !path.is_dir() {
            make_private_dir(&path)?;
        }
        Ok(path)
    }

    /// The bytes of a file; `None` if it is missing.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        read(&self.path(name))
    }

    /// Replaces a file by these bytes, as one step, durable on return.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        write(&self.path(name), bytes)
    }

    /// Renames a damaged file, so that a person can look at it, and says where it is now.
    pub(crate) fn set_aside(&self, name: &str) -> Result<PathBuf, StateError> {
        let (from, to) = (self.path(name), self.path(&format!("{name}.damaged")));
        fs::rename(&from, &to).map_err(|source| StateError::Io {
            operation: "set aside",
            path: from,
            source,
        })?;
        Ok(to)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let hint = match &error {
            StateError::Foreign { path, owner, .. } => {
                format!(
                    "run as user {owner}, or name another directory than {}",
                    path.display()
                )
            }
            StateError::Open { path, .. } => format!("chmod go-w {}", path.display()),
            StateError::InUse { .. } => "picket-agent status".to_owned(),
            StateError::NotEnrolled { .. } => {
                "picket-agent enroll --collector HOST:PORT --token TOKEN --fingerprint sha256:HEX"
                    .to_owned()
            }
            StateError::Damaged { .. } => {
                "restore the file, or enrol this host again with a new state directory".to_owned()
            }
            StateError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as the user who owns the state directory, or name one with --state".to_owned()
            }
            StateError::Io { .. } | StateError::NotDirectory { .. } => String::new(),
        };
        let code = match error {
            StateError::Foreign { .. } | StateError::Open { .. } => Code::Refused,
            _ => Code::Failed,
        };
        Self::new(code, &error).hint(hint)
    }
}

/// An agent that was killed a moment ago may not be quite gone.
fn patient_lock(lock: &File) -> rustix::io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            done => return done,
        }
    }
    Err(rustix::io::Errno::WOULDBLOCK)
}

/// Times that a lock is tried, a twentieth of a second apart.
const LOCK_TRIES: u32 = 20;

/// Refuses a directory that others own or can write into.
pub(crate) fn check_owner(root: &Path) -> Result<(), StateError> {
    let path = root.to_owned();
    let found = match fs::symlink_metadata(root) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StateError::NotEnrolled { path });
        }
        Err(source) => {
            return Err(StateError::Io {
                operation: "open",
                path,
                source,
            });
        }
    };
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(StateError::NotDirectory { path });
    }
    if found.uid() != user {
        return Err(StateError::Foreign {
            path,
            owner: found.uid(),
            user,
        });
    }
    if found.mode() & 0o022 != 0 {
        return Err(StateError::Open {
            path,
            mode: found.mode() & 0o7777,
        });
    }
    Ok(())
}

/// The bytes of a file; `None` if it is missing.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Replaces a file by these bytes, as one step, durable on return.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let failed = |operation| {
        move |source| StateError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let new = path.with_extension("new");
    let mut file = private(OpenOptions::new().create(true).truncate(true).write(true))
        .open(&new)
        .map_err(failed("create"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&new, path).map_err(failed("replace"))?;
    sync_parent(path)
}

/// Makes the names in the file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StateError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StateError::Io {
            operation: "sync",
            path: parent.to_owned(),
            source,
        })
}

fn make_private_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::Io {
            operation: "create",
            path: path.to_owned(),
            source,
        })
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600).custom_flags(NOFOLLOW)
}

/// `O_NOFOLLOW`: a link in the place of a state file is refused.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn two_agents_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateDir::open(dir.path()).unwrap();
        assert!(matches!(
            StateDir::open(dir.path()),
            Err(StateError::InUse { .. })
        ));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o775)).unwrap();
        let failure = Failure::from(StateDir::open(dir.path()).unwrap_err());
        assert!(failure.line.contains("0775"), "{}", failure.line);
        assert!(failure.hint.starts_with("chmod go-w"));
    }

    #[test]
    fn a_file_is_private_and_replaced_as_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.write("x.json", b"one").unwrap();
        state.write("x.json", b"two").unwrap();
        assert_eq!(state.read("x.json").unwrap().as_deref(), Some(&b"two"[..]));
        let mode = fs::metadata(state.path("x.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(state.read("missing").unwrap(), None);
    }

    #[test]
    fn a_missing_or_wrong_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = StateDir::open(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, StateError::NotEnrolled { .. }));
        fs::write(dir.path().join("file"), b"").unwrap();
        let wrong = StateDir::open(&dir.path().join("file")).unwrap_err();
        assert!(matches!(wrong, StateError::NotDirectory { .. }));
    }
}
