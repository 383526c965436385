//! The collector's data directory: what lies where, who may touch it, and that only one does.
//!
//! ```text
//! ca.pem           certificate of our authority
//! ca.key           its key (0600)
//! server.pem       certificate that agents and operators see, with ca.pem behind it
//! server.key       its key (0600)
//! trust-root.bin   trust root version 1, exact bytes
//! collector.db     tokens, hosts, epoch keys, commands, audit (SQLite)
//! wal/             signed batches (docs/formats/wal.md)
//! checkpoint.key   the key that signs checkpoints (0600)
//! tree/            the tree over all headers (docs/formats/evidence.md)
//! collected/       files that commands asked hosts for
//! lock             held by the process that serves
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A data directory that exists, is ours, and is nobody else's to write.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Held while a process serves from the directory.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file operation failed.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such directory, or no collector was made in it.
    #[error("`{}` holds no collector", .0.display())]
    Empty(PathBuf),
    /// There is one already.
    #[error("`{}` already holds a collector", .0.display())]
    Taken(PathBuf),
    /// Another user's.
    #[error("`{}` belongs to user {owner}, this is user {user}", path.display())]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others may write to it.
    #[error("`{}` can be written by others (mode {mode:04o})", path.display())]
    Open {
        /// Which directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another process serves from it.
    #[error("another picket-collector serves from `{}`", .0.display())]
    Locked(PathBuf),
    /// A private key that belongs to an operator, who keeps it elsewhere.
    #[error("`{}` is a private key that is not the collector's", .0.display())]
    ForeignKey(PathBuf),
}

impl DataDir {
    /// Makes the directory, or takes an empty one, for a new collector.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(path);
        made.map_err(|source| io_error("create", path, source))?;
        let data = Self(path.to_owned());
        data.check_owner()?;
        if data.ca_certificate().exists() || data.database().exists() {
            return Err(DataError::Taken(path.to_owned()));
        }
        Ok(data)
    }

    /// Takes the directory of a collector that was made before.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let data = Self(path.to_owned());
        match fs::metadata(data.ca_certificate()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataError::Empty(path.to_owned()));
            }
            Err(source) => return Err(io_error("open", path, source)),
        }
        data.check_owner()?;
        Ok(data)
    }

    /// Takes the lock; it lasts as long as the answer.
    pub fn lock(&self) -> Result<Lock, DataError> {
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|source| io_error("open", &path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataError::Locked(self.0.clone())),
            Err(errno) => Err(io_error("lock", &path, errno.into())),
        }
    }

    fn check_owner(&self) -> Result<(), DataError> {
        let found = fs::metadata(&self.0).map_err(|source| io_error("read", &self.0, source))?;
        let user = rustix::process::geteuid().as_raw();
        let path = self.0.clone();
        if found.uid() != user {
            return Err(DataError::Foreign {
                path,
                owner: found.uid(),
                user,
            });
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(DataError::Open { path, mode });
        }
        Ok(())
    }

    /// Refuses a directory in which an operator's private key lies.
    pub fn refuse_foreign_keys(&self) -> Result<(), DataError> {
        let own = [self.ca_key(), self.server_key(), self.checkpoint_key()];
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            let listed =
                fs::read_dir(&folder).map_err(|source| io_error("list", &folder, source))?;
            for entry in listed {
                let entry = entry.map_err(|source| io_error("list", &folder, source))?;
                let path = entry.path();
                let kind = entry
                    .file_type()
                    .map_err(|source| io_error("read", &path, source))?;
                if kind.is_dir() {
                    // What hosts sent may hold any key; nobody uses it as one.
                    if path != self.collected() {
                        folders.push(path);
                    }
                } else if kind.is_file() && !own.contains(&path) && holds_private_key(&path)? {
                    return Err(DataError::ForeignKey(path));
                }
            }
        }
        Ok(())
    }

    /// Where the authority's certificate is.
    pub fn ca_certificate(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// Where the authority's key is.
    pub fn ca_key(&self) -> PathBuf {
        self.0.join("ca.key")
    }

    /// Where the server's certificate is.
    pub fn server_certificate(&self) -> PathBuf {
        self.0.join("server.pem")
    }

    /// Where the server's key is.
    pub fn server_key(&self) -> PathBuf {
        self.0.join("server.key")
    }

    /// Where trust root version 1 is.
    pub fn trust_root(&self) -> PathBuf {
        self.0.join("trust-root.bin")
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.0.join("collector.db")
    }

    /// Where the signed batches are.
    pub fn wal(&self) -> PathBuf {
        self.0.join("wal")
    }

    /// Where the files that hosts sent are.
    pub fn collected(&self) -> PathBuf {
        self.0.join("collected")
    }

    /// Where the key of checkpoints is.
    pub fn checkpoint_key(&self) -> PathBuf {
        self.0.join("checkpoint.key")
    }

    /// Where the tree over all headers is.
    pub fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Writes a file that must not be there yet, and returns when it survives a power cut.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| io_error("write", path, source))
}

/// Puts a file in the place of another, whole or not at all.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataError> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &beside, source));
        }
        _ => {}
    }
    write_new(&beside, bytes, mode)?;
    fs::rename(&beside, path).map_err(|source| io_error("replace", path, source))
}

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| io_error("read", path, source))
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> DataError {
    DataError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Whether a small file is a private key: PEM of any kind, PKCS#8, or an operator's encrypted key.
fn holds_private_key(path: &Path) -> Result<bool, DataError> {
    let failed = |source| io_error("read", path, source);
    let mut head = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST_KEY.saturating_add(1))
        .read_to_end(&mut head)
        .map_err(failed)?;
    let small = head.len() as u64 <= LARGEST_KEY;
    let pem = String::from_utf8_lossy(&head).contains("PRIVATE KEY-----");
    Ok(small && (pem || head.starts_with(ENCRYPTED) || is_pkcs8(&head)))
}

/// `SEQUENCE { INTEGER 0 or 1, SEQUENCE { OBJECT IDENTIFIER ...`: nothing else begins like this.
fn is_pkcs8(bytes: &[u8]) -> bool {
    let inner = match bytes {
        [0x30, 0x82, _, _, inner @ ..] | [0x30, 0x81, _, inner @ ..] => inner,
        [0x30, length, inner @ ..] if *length < 0x80 => inner,
        _ => return false,
    };
    matches!(inner, [0x02, 0x01, 0x00 | 0x01, 0x30, _, 0x06, ..])
}

const LARGEST_KEY: u64 = 64 << 10;
const ENCRYPTED: &[u8] = b"PICKETK";
