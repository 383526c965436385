//! The baseline on disk.
//!
//! ```text
//! "picket-baseline-1\n" | built i64 | count u32 | file... | SHA-256 of all before [32]      integers little-endian
//!   file:  length u32 | path | flags u8 (1: state, 2: hash) | mode u32 | uid u32 | gid u32 | [state 5 * u64] | [SHA-256 32]
//! ```
//!
//! What stays true: bytes that are not exactly this are refused with a reason.

use std::collections::HashMap;

use picket_event::{Text, UnixNanos};
use picket_seal::Digest;
use picket_sensor::FileKey;

use super::{Known, MAX_FILES};

const MAGIC: &[u8] = b"picket-baseline-1\n";
const STATE: u8 = 1;
const HASH: u8 = 2;
/// The longest path that Linux takes.
const MAX_PATH: u32 = 4_096;

/// As it is kept.
pub(super) fn encode(files: &HashMap<Text, Known>, built: UnixNanos) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&built.0.to_le_bytes());
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    for (path, known) in files {
        let length = u32::try_from(path.as_bytes().len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(path.as_bytes());
        let hash = known.sha256.map_or(0, |_| HASH);
        out.push(known.state.map_or(0, |_| STATE) | hash);
        for number in [known.mode, known.uid, known.gid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(key) = known.state {
            for number in [key.dev, key.inode, key.size, key.mtime_ns, key.ctime_ns] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        if let Some(sha256) = known.sha256 {
            out.extend_from_slice(sha256.as_bytes());
        }
    }
    let sum = Digest::of(&out);
    out.extend_from_slice(sum.as_bytes());
    out
}

/// From how it is kept.
pub(super) fn decode(bytes: &[u8]) -> Result<(HashMap<Text, Known>, UnixNanos), &'static str> {
    let split = bytes.len().checked_sub(32).ok_or("too short")?;
    let (content, sum) = bytes.split_at(split);
    if Digest::of(content).as_bytes() != sum {
        return Err("checksum is wrong");
    }
    let content = content
        .strip_prefix(MAGIC)
        .ok_or("not a baseline of this version")?;
    let mut rest = Rest(content);
    let built = UnixNanos(i64::from_le_bytes(rest.array()?));
    let count = u32::from_le_bytes(rest.array()?);
    if count as usize > MAX_FILES {
        return Err("too many files");
    }
    let mut files = HashMap::new();
    for _ in 0..count {
        let (path, known) = rest.file()?;
        files.insert(path, known);
    }
    if rest.0.is_empty() {
        Ok((files, built))
    } else {
        Err("bytes are left over")
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().or(Err("ends too early"))
    }

    fn file(&mut self) -> Result<(Text, Known), &'static str> {
        let length = u32::from_le_bytes(self.array()?);
        if length > MAX_PATH {
            return Err("a path is too long");
        }
        let path = Text::from(self.take(length as usize)?);
        let [flags] = self.array()?;
        let [mode, uid, gid] =
            [self.array()?, self.array()?, self.array()?].map(u32::from_le_bytes);
        let state = if flags & STATE > 0 {
            Some(self.state()?)
        } else {
            None
        };
        let sha256 = if flags & HASH > 0 {
            Some(self.digest()?)
        } else {
            None
        };
        let known = Known {
            state,
            sha256,
            mode,
            uid,
            gid,
        };
        Ok((path, known))
    }

    fn digest(&mut self) -> Result<Digest, &'static str> {
        Digest::from_slice(self.take(32)?).or(Err("ends too early"))
    }

    fn state(&mut self) -> Result<FileKey, &'static str> {
        let mut number = || self.array().map(u64::from_le_bytes);
        Ok(FileKey {
            dev: number()?,
            inode: number()?,
            size: number()?,
            mtime_ns: number()?,
            ctime_ns: number()?,
        })
    }
}
