//! An operator's directory: what lies in it, and who may touch it.
//!
//! # Invariants
//!
//! - The directory is the caller's own and nobody else can write to it; otherwise it is not opened.
//! - A secret that somebody else could read or write is not used.
//! - Files are made 0600 in a directory of 0700, and a file is there whole or not at all.
//!
//! # On disk
//!
//! ```text
//! signing.key      the key that signs commands; docs/formats/operator-key.md
//! tls.key          the key of the TLS certificate, PKCS#8, PEM
//! request.pem      what the collector's owner is given
//! certificate.pem  what the collector's owner gave back
//! ca.der           pinned: the collector's CA
//! trust-root.bin   pinned: trust root version 1, exact bytes
//! trust-newest.bin pinned: the newest trust root that verified, with its signatures
//! collector        pinned: HOST:PORT
//! checkpoints      pinned: the collector's checkpoint key, the last checkpoint that verified (JSON)
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// The key that signs commands.
pub(crate) const SIGNING_KEY: &str = "signing.key";
/// The key of the TLS certificate.
pub(crate) const TLS_KEY: &str = "tls.key";
/// What the collector's owner is given.
pub(crate) const REQUEST: &str = "request.pem";
/// What the collector's owner gave back.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// The pinned CA.
pub(crate) const CA: &str = "ca.der";
/// The pinned trust root.
pub(crate) const TRUST_ROOT: &str = "trust-root.bin";
/// The newest trust root that verified.
pub(crate) const NEWEST_TRUST: &str = "trust-newest.bin";
/// The pinned address.
pub(crate) const COLLECTOR: &str = "collector";

/// The pinned checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Why a directory or a file in it is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// A file or directory could not be opened, read or written.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// As `read`.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There is something in it.
    #[error("`{}` is not empty, and keys are never overwritten", .0.display())]
    NotEmpty(PathBuf),
    /// Somebody else's.
    #[error("`{}` belongs to user {owner}, not to you", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// Others could change it.
    #[error("`{}` can be written by others (mode {mode:04o})", path.display())]
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others could read a secret.
    #[error("the secret key `{}` can be read by others (mode {mode:04o})", path.display())]
    Readable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Larger than anything that belongs there.
    #[error("`{}` is larger than {LARGEST} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// An operator's directory that was found safe to use.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A directory for new keys: made now, or empty and the caller's own.
    pub(crate) fn create(path: &Path) -> Result<Self, FolderError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(failed("make", path))?;
        let folder = Self::open(path)?;
        let mut entries = fs::read_dir(path).map_err(failed("read", path))?;
        if entries.next().is_some() {
            return Err(FolderError::NotEmpty(path.to_owned()));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(failed("set the permissions of", path))?;
        Ok(folder)
    }

    /// An existing directory, checked.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let meta = fs::metadata(path).map_err(failed("open", path))?;
        if !meta.is_dir() {
            return Err(FolderError::NotADirectory(path.to_owned()));
        }
        check_owner(path, &meta)?;
        if meta.mode() & 0o022 != 0 {
            let mode = meta.mode() & 0o7777;
            let path = path.to_owned();
            return Err(FolderError::Writable { path, mode });
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it holds this file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// What a file holds.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.file(name);
        let file = File::open(&path).map_err(failed("open", &path))?;
        read_bounded(file, path)
    }

    /// What a file of secrets holds, unless others could know or change it.
    pub(crate) fn read_secret(&self, name: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.file(name);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let meta = file.metadata().map_err(failed("examine", &path))?;
        check_owner(&path, &meta)?;
        if meta.mode() & 0o077 != 0 {
            let mode = meta.mode() & 0o7777;
            return Err(FolderError::Readable { path, mode });
        }
        read_bounded(file, path)
    }

    /// Puts a file there, whole and durable, in the place of one that may be there.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.file(name);
        let new = self.file(&format!("{name}.new"));
        let unwritten = failed("write", &path);
        write_private(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(unwritten)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let hint = error.hint();
        let failure = Self::new(error.exit(), error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl FolderError {
    const fn exit(&self) -> Exit {
        match self {
            Self::Foreign { .. } | Self::Writable { .. } | Self::Readable { .. } => Exit::Refused,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotEmpty(_) => "name a new directory with --out".to_owned(),
            Self::Foreign { .. } => OWNER.to_owned(),
            Self::Writable { path, .. } => format!("chmod go-w {}", path.display()),
            Self::Readable { path, .. } => {
                format!("chmod 600 {} and ask who read it", path.display())
            }
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::NotFound => missing(path),
                io::ErrorKind::PermissionDenied => OWNER.to_owned(),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// What to do about a file that is not there.
fn missing(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    match name {
        Some(CERTIFICATE) => format!(
            "give {} to the collector's owner: `picket-collector init --operator` or `operator add` writes it",
            path.with_file_name(REQUEST).display()
        ),
        Some(CA | TRUST_ROOT | COLLECTOR) => {
            "picketctl operator finish DIR --collector HOST:PORT --fingerprint sha256:HEX"
                .to_owned()
        }
        _ => {
            "picketctl operator init --name NAME --out DIR makes an operator's directory".to_owned()
        }
    }
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FolderError + use<'a> {
    move |source| FolderError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<(), FolderError> {
    if meta.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let owner = meta.uid();
    let path = path.to_owned();
    Err(FolderError::Foreign { path, owner })
}

fn read_bounded(file: File, path: PathBuf) -> Result<Vec<u8>, FolderError> {
    let mut bytes = Vec::new();
    let mut bounded = file.take(LARGEST + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(failed("read", &path))?;
    if bytes.len() as u64 > LARGEST {
        return Err(FolderError::TooLarge(path));
    }
    Ok(bytes)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What to do about files of somebody else.
const OWNER: &str = "run picketctl as the user who made the keys";
/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn files_are_private_and_whole() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::create(&base.path().join("a/b")).unwrap();
        folder.write(TLS_KEY, b"secret").unwrap();
        assert_eq!(mode_of(folder.path()), 0o700);
        assert_eq!(mode_of(&folder.file(TLS_KEY)), 0o600);
        assert_eq!(folder.read_secret(TLS_KEY).unwrap(), b"secret");
        assert!(!folder.has("tls.key.new"));
    }

    #[test]
    fn keys_are_never_overwritten() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("signing.key"), b"old").unwrap();
        let refused = Folder::create(base.path()).unwrap_err();
        assert!(matches!(refused, FolderError::NotEmpty(_)));
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::create(base.path()).unwrap();
        folder.write(TLS_KEY, b"secret").unwrap();
        set_mode(&folder.file(TLS_KEY), 0o640);
        let refused = folder.read_secret(TLS_KEY).unwrap_err();
        assert!(matches!(refused, FolderError::Readable { mode: 0o640, .. }));
        assert_eq!(Failure::from(refused).exit(), Exit::Refused);
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_opened() {
        let base = tempfile::tempdir().unwrap();
        set_mode(base.path(), 0o777);
        let refused = Folder::open(base.path()).unwrap_err();
        assert!(matches!(refused, FolderError::Writable { .. }));
    }

    #[test]
    fn a_missing_directory_says_how_to_make_one() {
        let failure = Failure::from(Folder::open(Path::new("/nonexistent/op")).unwrap_err());
        let text = failure.to_string();
        assert!(text.starts_with("picketctl: failed to open `/nonexistent/op`: no such file"));
        assert!(text.contains("hint: picketctl operator init"), "{text}");
    }
}
