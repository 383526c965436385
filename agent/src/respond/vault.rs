//! Where quarantined files are kept: sealed, so that nothing can run or scan them by accident.
//!
//! # Invariants
//!
//! - A file in the vault is whole and durable before its original is touched, or it is not there.
//! - What comes out is bit for bit what went in, or an error.
//!
//! # The file
//!
//! ```text
//! "PKTVLT01" | prefix of the nonces, 7 bytes | frames
//! frame: ChaCha20-Poly1305 of up to 64 KiB; nonce = prefix | counter, 4 bytes, big endian | 1 if it is the last
//! ```
//!
//! The key is the state's own (`vault.key`). It hides the file from programs, not from root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use picket_seal::Digest;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};

use crate::state::{StateDir, StateError, sync_parent};

const MAGIC: &[u8; 8] = b"PKTVLT01";
const PREFIX: usize = 7;
const FRAME: usize = 64 << 10;
const TAG: usize = 16;
const KEY: &str = "vault.key";

/// The vault of this host.
#[derive(Debug)]
pub(crate) struct Vault {
    directory: PathBuf,
    key: LessSafeKey,
}

/// Why something did not get into the vault, or out of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The file, or the vault's.
    #[error("failed to {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The directory or the key.
    #[error(transparent)]
    State(#[from] StateError),
    /// More than is taken.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// It was changed, or the key is another.
    #[error("the file in the vault is damaged")]
    Damaged,
    /// No random bytes, or no usable key.
    #[error("the vault's key cannot be used")]
    Key,
}

impl Vault {
    /// Opens the vault; makes it, and its key, at the first time.
    pub(crate) fn open(state: &StateDir) -> Result<Self, VaultError> {
        let directory = state.directory("vault")?;
        let bytes = if let Some(bytes) = state.read(KEY)? {
            bytes
        } else {
            let new = picket_seal::random::<32>().map_err(|_entropy| VaultError::Key)?;
            state.write(KEY, &new)?;
            new.to_vec()
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes);
        let key = key.map_err(|_length| VaultError::Key)?;
        Ok(Self {
            directory,
            key: LessSafeKey::new(key),
        })
    }

    /// Where the file of this name is or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.sealed"))
    }

    /// Takes a copy in, durably. Says what it holds and how long it is.
    pub(crate) fn put(
        &self,
        name: &str,
        from: &mut impl Read,
        most: u64,
    ) -> Result<(Digest, u64), VaultError> {
        let path = self.path(name);
        let sealed = self.seal(&path, from, most);
        if sealed.is_err() {
            drop(fs::remove_file(&path));
        }
        sealed
    }

    fn seal(
        &self,
        path: &PathBuf,
        from: &mut impl Read,
        most: u64,
    ) -> Result<(Digest, u64), VaultError> {
        let io = |operation| move |source| VaultError::Io { operation, source };
        let prefix = picket_seal::random::<PREFIX>().map_err(|_entropy| VaultError::Key)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut file = file.map_err(io("make a file in the vault"))?;
        let write = "write into the vault";
        file.write_all(MAGIC).map_err(io(write))?;
        file.write_all(&prefix).map_err(io(write))?;
        let (mut hash, mut length) = (Context::new(&SHA256), 0_u64);
        let mut number = 0_u32;
        loop {
            let mut frame = read_frame(from).map_err(io("read the file"))?;
            let last = frame.len() < FRAME;
            hash.update(&frame);
            length = length.saturating_add(frame.len() as u64);
            if length > most {
                return Err(VaultError::TooLarge(most));
            }
            let nonce = nonce(&prefix, number, last);
            self.key
                .seal_in_place_append_tag(nonce, Aad::empty(), &mut frame)
                .map_err(|_limits| VaultError::Key)?;
            file.write_all(&frame).map_err(io(write))?;
            if last {
                break;
            }
            number = number.checked_add(1).ok_or(VaultError::TooLarge(most))?;
        }
        file.sync_all().map_err(io(write))?;
        sync_parent(path)?;
        let digest = Digest::from_slice(hash.finish().as_ref());
        Ok((digest.map_err(|_length| VaultError::Key)?, length))
    }

    /// Brings it out again, into `to`. Says what it held.
    pub(crate) fn take(&self, name: &str, to: &mut impl Write) -> Result<Digest, VaultError> {
        let io = |operation| move |source| VaultError::Io { operation, source };
        let file = File::open(self.path(name));
        let mut file = file.map_err(io("open the file in the vault"))?;
        let mut head = [0_u8; MAGIC.len() + PREFIX];
        file.read_exact(&mut head)
            .map_err(io("read from the vault"))?;
        let (magic, prefix) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(VaultError::Damaged);
        }
        let mut hash = Context::new(&SHA256);
        let mut number = 0_u32;
        loop {
            let mut frame = Vec::with_capacity(FRAME + TAG);
            let read = (&mut file).take((FRAME + TAG) as u64);
            { read }
                .read_to_end(&mut frame)
                .map_err(io("read from the vault"))?;
            let last = frame.len() < FRAME + TAG;
            let plain = self
                .key
                .open_in_place(nonce(prefix, number, last), Aad::empty(), &mut frame)
                .map_err(|_unfit| VaultError::Damaged)?;
            hash.update(plain);
            to.write_all(plain).map_err(io("write the file"))?;
            if last {
                break;
            }
            number = number.checked_add(1).ok_or(VaultError::Damaged)?;
        }
        Digest::from_slice(hash.finish().as_ref()).map_err(|_length| VaultError::Damaged)
    }

    /// Forgets it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Up to one frame; less only at the end.
fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(FRAME + TAG);
    from.take(FRAME as u64).read_to_end(&mut frame)?;
    Ok(frame)
}

fn nonce(prefix: &[u8], number: u32, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().zip(prefix) {
        *to = *from;
    }
    if let Some(counter) = bytes.get_mut(PREFIX..PREFIX + 4) {
        counter.copy_from_slice(&number.to_be_bytes());
    }
    if let Some(end) = bytes.last_mut() {
        *end = u8::from(last);
    }
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(dir: &tempfile::TempDir) -> Vault {
        Vault::open(&StateDir::open(dir.path()).unwrap()).unwrap()
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            let name = length.to_string();
            let (digest, size) = vault.put(&name, &mut bytes.as_slice(), u64::MAX).unwrap();
            assert_eq!((digest, size), (Digest::of(&bytes), length as u64));
            let kept = fs::read(vault.path(&name)).unwrap();
            assert!(length < 100 || !kept.windows(32).any(|part| part == &bytes[..32]));
            let mut out = Vec::new();
            assert_eq!(vault.take(&name, &mut out).unwrap(), digest);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn what_was_changed_cut_or_lengthened_does_not_come_out() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        let bytes = vec![7; 2 * FRAME];
        vault.put("a", &mut bytes.as_slice(), u64::MAX).unwrap();
        let kept = fs::read(vault.path("a")).unwrap();
        let frame = MAGIC.len() + PREFIX + FRAME + TAG;
        let mut flipped = kept.clone();
        flipped[100] ^= 1;
        let mut longer = kept.clone();
        longer.push(0);
        for wrong in [
            flipped,
            kept[..frame].to_vec(),
            kept[..frame - 1].to_vec(),
            longer,
        ] {
            fs::write(vault.path("a"), wrong).unwrap();
            assert!(vault.take("a", &mut io::sink()).is_err());
        }
    }

    #[test]
    fn a_file_that_is_too_large_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(&dir);
        let refused = vault.put("a", &mut &[0; 100][..], 99);
        assert!(matches!(refused, Err(VaultError::TooLarge(99))));
        assert!(!vault.path("a").exists());
    }
}
