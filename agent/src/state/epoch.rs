//! The event keys on disk: one private key at a time, each vouched for by the one before.
//!
//! A rotation writes the new key, then the old key's signature over it, then erases the old key.
//! It may be cut off anywhere: the log of successions decides which key is in force, and every other
//! key file is erased at the next start.
//!
//! # Invariants
//!
//! - The key in force is the one of the newest complete succession, or the first.
//! - A key signs nothing before its succession is durable, and nothing after its successor's is.
//!
//! # The log
//!
//! ```text
//! len u32 le | Succession (picket.v1)      repeated; a cut-off end is removed
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, KeyId, PublicKey, Signature, SigningKey, SuccessionChain};
use prost::Message;

use super::host::Host;
use super::{StateDir, StateError};

/// The key in force and the log that proves it.
#[derive(Debug)]
pub(crate) struct Epochs {
    host: HostId,
    keys: PathBuf,
    log: PathBuf,
    epoch: u64,
    key: SigningKey,
}

/// How far a rotation got. Tests stop after each.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Step {
    NewKey,
    Vouched,
    OldErased,
}

impl Epochs {
    /// Writes the first key of a host. Returns its directory's state as [`Self::open`] would.
    pub(crate) fn create(state: &StateDir, first: &SigningKey) -> Result<(), StateError> {
        let keys = state.directory("keys")?;
        super::write(&key_path(&keys, 0), first.to_pkcs8())?;
        super::write(&state.path(LOG), b"")
    }

    /// Finds the key in force, and finishes or takes back a rotation that was cut off.
    pub(crate) fn open(state: &StateDir, host: &Host) -> Result<Self, StateError> {
        let (keys, log) = (state.path("keys"), state.path(LOG));
        let chain = verified(host, &log, &read_log(&log)?)?;
        let epoch = chain.latest_epoch();
        let path = key_path(&keys, epoch);
        let damaged = |reason: String| StateError::Damaged {
            path: path.clone(),
            reason,
        };
        let bytes = super::read(&path)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let key = SigningKey::from_pkcs8(&bytes).map_err(|error| damaged(error.to_string()))?;
        if Some(key.public_key()) != chain.key(epoch) {
            return Err(damaged("it is not the key that was vouched for".to_owned()));
        }
        erase_all_but(&keys, epoch)?;
        Ok(Self {
            host: host.id,
            keys,
            log,
            epoch,
            key,
        })
    }

    /// The epoch in force.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its key.
    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Where the log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Begins the next epoch. Afterwards the old private key is gone; after an error with a new [`Self::epoch`] it may not be, and the
    /// next rotation erases it.
    pub(crate) fn rotate(&mut self, now: UnixNanos) -> Result<(), StateError> {
        self.rotate_until(Step::OldErased, now)
    }

    fn rotate_until(&mut self, last: Step, now: UnixNanos) -> Result<(), StateError> {
        let next = self.epoch.saturating_add(1);
        let key = SigningKey::generate().map_err(|error| StateError::Damaged {
            path: PathBuf::from("/dev/urandom"),
            reason: error.to_string(),
        })?;
        super::write(&key_path(&self.keys, next), key.to_pkcs8())?;
        if last == Step::NewKey {
            return Ok(());
        }
        // What an earlier attempt wrote in part must not stand before what comes now.
        let whole = read_log(&self.log)?.1;
        cut(&self.log, whole)?;
        if let Err(error) = append_log(&self.log, &self.vouch(next, key.public_key(), now)) {
            // Two successors of one key would be taken for a clone: the next attempt makes another one.
            cut(&self.log, whole)?;
            return Err(error);
        }
        if last == Step::Vouched {
            return Ok(());
        }
        (self.epoch, self.key) = (next, key);
        // Also what an earlier rotation could not erase.
        erase_all_but(&self.keys, self.epoch)
    }

    fn vouch(&self, epoch: u64, public: PublicKey, now: UnixNanos) -> v1::Succession {
        let body = v1::SuccessionBody {
            host_id: self.host.as_bytes().to_vec(),
            epoch,
            public_key: public.as_bytes().to_vec(),
            wall_unix_ns: now.0,
        }
        .encode_to_vec();
        let signature = self.key.sign(Domain::Succession, &body).as_bytes().to_vec();
        v1::Succession { body, signature }
    }
}

/// The successions to epochs after `known`, in order.
pub(crate) fn successions_after(log: &Path, known: u64) -> Result<Vec<v1::Succession>, StateError> {
    let mut after = Vec::new();
    for succession in read_log(log)?.0 {
        if epoch_of(&succession).is_some_and(|epoch| epoch > known) {
            after.push(succession);
        }
    }
    Ok(after)
}

/// The newest key's epoch and name, and the newest successions that lead to it, at most `most`, the oldest first.
pub(crate) fn newest(
    log: &Path,
    most: usize,
) -> Result<Option<(u64, KeyId, Vec<v1::Succession>)>, StateError> {
    let mut successions = read_log(log)?.0;
    let Some((epoch, name)) = successions.last().and_then(named) else {
        return Ok(None);
    };
    let newest = successions.split_off(successions.len().saturating_sub(most));
    Ok(Some((epoch, name, newest)))
}

/// The newest epoch whose key the collector and this host both have, by some of the keys that the collector has. `None`: they
/// have none of those in common that are in the log.
pub(crate) fn newest_in_common(
    log: &Path,
    known: &[(u64, KeyId)],
) -> Result<Option<u64>, StateError> {
    let own: HashMap<u64, KeyId> = read_log(log)?.0.iter().filter_map(named).collect();
    let common = known
        .iter()
        .filter(|(epoch, name)| own.get(epoch) == Some(name));
    Ok(common.map(|(epoch, _)| *epoch).max())
}

fn named(succession: &v1::Succession) -> Option<(u64, KeyId)> {
    let body = v1::SuccessionBody::decode(succession.body.as_slice()).ok()?;
    let key = PublicKey::from_slice(&body.public_key).ok()?;
    Some((body.epoch, key.key_id()))
}

/// The epoch that a succession begins.
pub(crate) fn epoch_of(succession: &v1::Succession) -> Option<u64> {
    v1::SuccessionBody::decode(succession.body.as_slice())
        .ok()
        .map(|body| body.epoch)
}

/// The complete successions and the length that they take in the file.
fn read_log(log: &Path) -> Result<(Vec<v1::Succession>, usize), StateError> {
    let bytes = super::read(log)?.unwrap_or_default();
    let (mut successions, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((record, after)) = after.split_at_checked(length) else {
            break;
        };
        let succession = v1::Succession::decode(record).map_err(|error| StateError::Damaged {
            path: log.to_owned(),
            reason: error.to_string(),
        })?;
        successions.push(succession);
        rest = after;
    }
    Ok((successions, bytes.len() - rest.len()))
}

/// The chain of all keys; removes a record that was cut off.
fn verified(
    host: &Host,
    log: &Path,
    (successions, length): &(Vec<v1::Succession>, usize),
) -> Result<SuccessionChain, StateError> {
    let mut chain = SuccessionChain::new(host.first_key);
    for succession in successions {
        accept(&mut chain, succession).map_err(|reason| StateError::Damaged {
            path: log.to_owned(),
            reason,
        })?;
    }
    cut(log, *length)?;
    Ok(chain)
}

fn accept(chain: &mut SuccessionChain, succession: &v1::Succession) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| crate::failure::chain(error);
    let body =
        v1::SuccessionBody::decode(succession.body.as_slice()).map_err(|error| text(&error))?;
    let public = PublicKey::from_slice(&body.public_key).map_err(|error| text(&error))?;
    let signature = Signature::from_slice(&succession.signature).map_err(|error| text(&error))?;
    chain
        .accept(body.epoch, public, &succession.body, &signature)
        .map(drop)
        .map_err(|error| text(&error))
}

fn cut(log: &Path, length: usize) -> Result<(), StateError> {
    let failed = |source| StateError::Io {
        operation: "cut",
        path: log.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(log);
    let file = file.map_err(failed)?;
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    if file.metadata().map_err(failed)?.len() != length {
        file.set_len(length).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
    Ok(())
}

fn append_log(log: &Path, succession: &v1::Succession) -> Result<(), StateError> {
    let failed = |source| StateError::Io {
        operation: "append to",
        path: log.to_owned(),
        source,
    };
    let message = succession.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let record = [&length.to_le_bytes()[..], &message].concat();
    let mut file = OpenOptions::new().append(true).open(log).map_err(failed)?;
    file.write_all(&record).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn key_path(keys: &Path, epoch: u64) -> PathBuf {
    keys.join(format!("epoch-{epoch}.p8"))
}

fn erase_all_but(keys: &Path, epoch: u64) -> Result<(), StateError> {
    let failed = |source| StateError::Io {
        operation: "list",
        path: keys.to_owned(),
        source,
    };
    let keep = key_path(keys, epoch);
    for entry in fs::read_dir(keys).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path != keep {
            erase(&path)?;
        }
    }
    Ok(())
}

/// Overwrites the bytes, then removes the name. What copies the disk keeps is beyond this.
fn erase(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io {
        operation: "erase",
        path: path.to_owned(),
        source,
    };
    overwrite(path).map_err(failed)?;
    fs::remove_file(path).map_err(failed)?;
    super::sync_parent(path)
}

fn overwrite(path: &Path) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

const LOG: &str = "successions";

#[cfg(test)]
mod tests {
    use super::super::host::tests::sample;
    use super::*;

    fn enrolled() -> (tempfile::TempDir, StateDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let first = SigningKey::generate().unwrap();
        Epochs::create(&state, &first).unwrap();
        let host = sample(&first, &first);
        (dir, state, host)
    }

    fn key_files(state: &StateDir) -> Vec<String> {
        let entries = fs::read_dir(state.path("keys")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn each_rotation_is_vouched_for_and_leaves_one_private_key() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        for _ in 0..3 {
            epochs.rotate(UnixNanos(7)).unwrap();
        }
        assert_eq!(key_files(&state), ["epoch-3.p8"]);
        let again = Epochs::open(&state, &host).unwrap();
        assert_eq!(
            (again.epoch(), again.key().public_key()),
            (3, epochs.key().public_key())
        );
        assert_eq!(successions_after(again.log(), 1).unwrap().len(), 2);
    }

    #[test]
    fn a_rotation_cut_off_anywhere_is_finished_or_taken_back() {
        for (last, epoch) in [(Step::NewKey, 0), (Step::Vouched, 1), (Step::OldErased, 1)] {
            let (_dir, state, host) = enrolled();
            let mut epochs = Epochs::open(&state, &host).unwrap();
            epochs.rotate_until(last, UnixNanos(7)).unwrap();
            let mut after = Epochs::open(&state, &host).unwrap();
            assert_eq!(after.epoch(), epoch, "after {last:?}");
            assert_eq!(
                key_files(&state),
                [format!("epoch-{epoch}.p8")],
                "after {last:?}"
            );
            after.rotate(UnixNanos(8)).unwrap();
            assert_eq!(Epochs::open(&state, &host).unwrap().epoch(), epoch + 1);
        }
    }

    #[test]
    fn a_succession_written_in_part_is_taken_back() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        epochs.rotate(UnixNanos(1)).unwrap();
        let whole = fs::read(epochs.log()).unwrap();
        epochs.rotate_until(Step::Vouched, UnixNanos(2)).unwrap();
        let longer = fs::read(epochs.log()).unwrap();
        for length in whole.len()..longer.len() {
            fs::write(epochs.log(), &longer[..length]).unwrap();
            assert_eq!(
                read_log(epochs.log()).unwrap().0.len(),
                1,
                "cut at {length}"
            );
        }
        let after = Epochs::open(&state, &host).unwrap();
        assert_eq!((after.epoch(), fs::read(after.log()).unwrap()), (1, whole));
    }

    #[test]
    fn an_attempt_that_failed_half_way_does_not_spoil_the_next() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        epochs.rotate_until(Step::NewKey, UnixNanos(1)).unwrap();
        fs::write(epochs.log(), [9, 0, 0, 0, 1, 2]).unwrap();
        epochs.rotate(UnixNanos(2)).unwrap();
        assert_eq!(Epochs::open(&state, &host).unwrap().epoch(), 1);
    }

    #[test]
    fn a_key_that_could_not_be_erased_goes_with_the_next_rotation() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        // What no file can be: it can be neither overwritten nor removed as one.
        let stuck = state.path("keys/epoch-0.p8");
        fs::remove_file(&stuck).unwrap();
        fs::create_dir(&stuck).unwrap();
        assert!(epochs.rotate(UnixNanos(1)).is_err());
        assert_eq!(epochs.epoch(), 1, "the new key is in force all the same");
        fs::remove_dir(&stuck).unwrap();
        fs::write(&stuck, b"the old key").unwrap();
        epochs.rotate(UnixNanos(2)).unwrap();
        assert_eq!(key_files(&state), ["epoch-2.p8"]);
    }

    #[test]
    fn an_old_key_that_was_only_overwritten_is_removed() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        epochs.rotate_until(Step::Vouched, UnixNanos(2)).unwrap();
        overwrite(&state.path("keys/epoch-0.p8")).unwrap();
        assert_eq!(Epochs::open(&state, &host).unwrap().epoch(), 1);
        assert_eq!(key_files(&state), ["epoch-1.p8"]);
    }

    #[test]
    fn a_copy_and_the_host_find_what_they_have_in_common() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        assert!(newest(epochs.log(), 4).unwrap().is_none());
        for _ in 0..3 {
            epochs.rotate(UnixNanos(1)).unwrap();
        }
        let of_log = |log: &Path| read_log(log).unwrap().0.iter().filter_map(named).collect();
        let own: Vec<(u64, KeyId)> = of_log(epochs.log());
        assert_eq!(newest_in_common(epochs.log(), &own).unwrap(), Some(3));
        let (epoch, name, successions) = newest(epochs.log(), 2).unwrap().unwrap();
        assert_eq!((epoch, name, successions.len()), (3, own[2].1, 2));
        // The collector has other keys from epoch 2 on: this is the copy.
        let others = [(3, KeyId([9; 8])), (2, KeyId([8; 8])), own[0]];
        assert_eq!(newest_in_common(epochs.log(), &others).unwrap(), Some(1));
        assert_eq!(newest_in_common(epochs.log(), &others[..2]).unwrap(), None);
    }

    #[test]
    fn an_altered_log_is_refused_by_name() {
        let (_dir, state, host) = enrolled();
        let mut epochs = Epochs::open(&state, &host).unwrap();
        epochs.rotate(UnixNanos(1)).unwrap();
        let mut bytes = fs::read(epochs.log()).unwrap();
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        fs::write(epochs.log(), bytes).unwrap();
        let error = Epochs::open(&state, &host).unwrap_err();
        assert!(
            error.to_string().contains("successions` is damaged"),
            "{error}"
        );
    }
}
