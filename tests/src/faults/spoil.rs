//! What a crash or a bad disk leaves of files, done by hand while the program is dead.
//!
//! # Invariants
//!
//! - Of the collector only what was never synced is touched: bytes are added behind the end of its newest segment, as a
//!   crash in the middle of a write leaves them. What it has synced it has promised.
//! - Of the agent's spool anything may be damaged, synced or not: its promise is to say so.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::sim::dice::Dice;

use super::plan::Side;

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Damage {
    kind: Kind,
    seed: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// The newest segment of the spool ends early.
    SpoolTorn,
    /// The end of the newest segment of the spool is zeros.
    SpoolZeros,
    /// One bit of one segment of the spool is another.
    SpoolBit,
    /// The note of what was acknowledged is gone.
    CursorGone,
    /// Random bytes behind the log's end.
    LogNoise,
    /// Zeros behind the log's end.
    LogZeros,
    /// The beginning of a frame behind the log's end.
    LogTornFrame,
    /// A whole frame whose body never came to the disk, behind the log's end.
    LogEmptyFrame,
}

impl Damage {
    /// One that can befall this side.
    pub(super) fn of(dice: &mut Dice, side: Side) -> Self {
        let kinds = match side {
            Side::Agent => [
                Kind::SpoolTorn,
                Kind::SpoolZeros,
                Kind::SpoolBit,
                Kind::CursorGone,
            ],
            Side::Collector => [
                Kind::LogNoise,
                Kind::LogZeros,
                Kind::LogTornFrame,
                Kind::LogEmptyFrame,
            ],
        };
        Self {
            kind: dice.pick(&kinds).copied().unwrap_or(Kind::LogZeros),
            seed: dice.next(),
        }
    }

    /// Whether synced records are lost by it.
    pub(super) fn destroys(self) -> bool {
        matches!(
            self.kind,
            Kind::SpoolTorn | Kind::SpoolZeros | Kind::SpoolBit
        )
    }

    /// Does it to the files in `folder`: the spool, or the collector's log.
    pub(super) fn strike(self, folder: &Path) -> Result<(), Failure> {
        let mut dice = Dice::new(self.seed);
        match self.kind {
            Kind::CursorGone => {
                // There is none before the first was written.
                fs::remove_file(folder.join("cursor")).unwrap_or_default();
                Ok(())
            }
            Kind::SpoolTorn | Kind::SpoolZeros | Kind::SpoolBit => {
                let segments = segments(folder)?;
                let one = match self.kind {
                    Kind::SpoolBit => dice.pick(&segments),
                    _ => segments.last(),
                };
                one.map_or(Ok(()), |one| self.spool(one, &mut dice))
            }
            _ => {
                let segments = segments(folder)?;
                segments
                    .last()
                    .map_or(Ok(()), |last| append(last, &self.tail(&mut dice)))
            }
        }
    }

    fn spool(self, path: &Path, dice: &mut Dice) -> Result<(), Failure> {
        let mut bytes = fs::read(path).map_err(Failure::file(path))?;
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let used = used.map_or(0, |last| last.saturating_add(1));
        let cut = dice.below(2_048.min(used as u64)) + 1;
        let begin = used.saturating_sub(usize::try_from(cut).unwrap_or(1));
        match self.kind {
            Kind::SpoolTorn => bytes.truncate(begin),
            Kind::SpoolZeros => bytes[begin..].fill(0),
            _ => {
                let at = usize::try_from(dice.below(used as u64)).unwrap_or(0);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
        fs::write(path, bytes).map_err(Failure::file(path))
    }

    /// What stands behind the log's end.
    fn tail(self, dice: &mut Dice) -> Vec<u8> {
        let length = 1 + dice.small(3_000);
        let zeros = vec![0; length as usize];
        let frame =
            |claimed: u32, crc: [u8; 4]| [&b"rec\x01"[..], &claimed.to_le_bytes(), &crc].concat();
        match self.kind {
            Kind::LogNoise => (0..length).map(|_| dice.bytes::<1>()[0]).collect(),
            Kind::LogTornFrame => {
                let mut torn = frame(length.saturating_add(1), dice.bytes());
                torn.extend(zeros);
                torn
            }
            Kind::LogEmptyFrame => {
                let mut empty = frame(length, dice.bytes());
                empty.extend(zeros);
                empty
            }
            _ => zeros,
        }
    }
}

/// The segments in a folder, the newest last.
fn segments(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(folder)(error)),
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("segment-") && !name.ends_with(".new"))
    };
    let mut segments: Vec<PathBuf> = paths.filter(is_segment).collect();
    segments.sort();
    Ok(segments)
}

fn append(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let file = OpenOptions::new().append(true).open(path);
    let mut file = file.map_err(Failure::file(path))?;
    // A disk that is full holds less of it.
    file.write_all(bytes).unwrap_or_default();
    Ok(())
}
