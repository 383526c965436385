//! The archive of a triage: a tar (ustar) in memory.
//!
//! # Invariants
//!
//! - It never has more than the given bytes. What does not fit is cut behind a whole line, and the index says so.
//! - Names in it are the agent's own, never the host's.
//! - `index.json`, the last file, names every file with its size and what was left out of it.

use picket_event::UnixNanos;
use serde_json::{Value, json};

const BLOCK: usize = 512;
/// What the index and the end of the archive may take.
const RESERVED: usize = 8 << 10;

/// An archive that is being made.
#[derive(Debug)]
pub(super) struct Bundle {
    bytes: Vec<u8>,
    most: usize,
    began: UnixNanos,
    files: Vec<Value>,
}

impl Bundle {
    /// An empty one that is to have at most so many bytes.
    pub(super) fn new(most: u64, began: UnixNanos) -> Self {
        Self {
            bytes: Vec::new(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
            began,
            files: Vec::new(),
        }
    }

    /// Adds a file, or as much of it as fits. `note` says what is missing in it already.
    pub(super) fn add(&mut self, name: &str, content: &[u8], note: &str) {
        let room = self
            .most
            .saturating_sub(self.bytes.len() + RESERVED + BLOCK);
        // What is filled up to a whole block must fit as well.
        let room = room / BLOCK * BLOCK;
        let kept = whole_lines(content, room);
        let cut = content.len() > kept.len();
        self.files.push(json!({
            "name": name, "bytes": kept.len(), "left_out_bytes": content.len() - kept.len(), "note": note,
        }));
        if cut && kept.is_empty() {
            return;
        }
        self.put(name, kept);
    }

    /// Adds the index; the whole archive.
    pub(super) fn end(mut self, host: &str, command: &str) -> Vec<u8> {
        let index = json!({
            "host": host, "command": command, "began": self.began.to_string(),
            "version": env!("CARGO_PKG_VERSION"), "files": self.files,
        });
        self.put("index.json", index.to_string().as_bytes());
        self.bytes.extend_from_slice(&[0; 2 * BLOCK]);
        self.bytes
    }

    fn put(&mut self, name: &str, content: &[u8]) {
        let seconds = self.began.0 / 1_000_000_000;
        self.bytes
            .extend_from_slice(&header(name, content.len(), seconds));
        self.bytes.extend_from_slice(content);
        let filled = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(filled, 0);
    }
}

/// The beginning of `content` that fits, up to the end of a line.
fn whole_lines(content: &[u8], room: usize) -> &[u8] {
    if content.len() <= room {
        return content;
    }
    let fits = &content[..room];
    let end = fits.iter().rposition(|byte| *byte == b'\n');
    end.map_or(&[], |end| &fits[..=end])
}

/// `name[100] mode[8] uid[8] gid[8] size[12] mtime[12] sum[8] kind[1] link[100] "ustar\0" "00" ...`
fn header(name: &str, size: usize, seconds: i64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, &format!("{:011o}", seconds.clamp(0, 0o77_777_777_777)));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    // In the past: tar warns of times that are yet to come.
    const BEGAN: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

    #[test]
    fn tar_reads_what_was_put_in() {
        let mut bundle = Bundle::new(1 << 20, BEGAN);
        bundle.add("lines", b"one\ntwo\n", "");
        bundle.add("empty", b"", "nothing was found");
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("triage.tar");
        std::fs::write(&archive, bundle.end("h", "c")).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&archive).current_dir(dir.path());
        let unpacked = tar.output().unwrap();
        assert!(
            unpacked.status.success() && unpacked.stderr.is_empty(),
            "{unpacked:?}"
        );
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(
            (read("lines").as_str(), read("empty").as_str()),
            ("one\ntwo\n", "")
        );
        let index: Value = serde_json::from_str(&read("index.json")).unwrap();
        assert_eq!(index["files"][1]["note"], "nothing was found");
    }

    #[test]
    fn no_bound_is_passed_and_what_was_cut_is_said() {
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let content = line.repeat(1_000);
        for most in [16_384, 20_001, 65_536] {
            let mut bundle = Bundle::new(most, BEGAN);
            bundle.add("first", &content, "");
            bundle.add("second", &content, "");
            let files = bundle.files.clone();
            let archive = bundle.end("h", "c");
            assert!(archive.len() <= usize::try_from(most).unwrap(), "{most}");
            let kept = files[0]["bytes"].as_u64().unwrap();
            assert!(kept > 0 && kept.is_multiple_of(100), "{kept}");
            assert_eq!(files[0]["left_out_bytes"], 100_000 - kept);
        }
    }
}
