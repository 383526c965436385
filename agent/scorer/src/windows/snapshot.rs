//! Windows as bytes, and back: part of the scorer's snapshot.
//!
//! ```text
//! trees u8, then that many:  root [u8; 16] | until i64 | service u8
//! files u16, then that many:  name u64 | when i64
//! next u16 | day i32 | today u32 | windows u64 | refused u64 | untold u64
//! ```

use picket_event::ProcessUid;

use super::{Changes, MOST_TREES, MOST_WRITTEN, Tree, Windows};

impl Windows {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.trees.len()).unwrap_or(u8::MAX));
        for tree in &self.trees {
            out.extend_from_slice(tree.root.as_bytes());
            out.extend_from_slice(&tree.until.to_le_bytes());
            out.push(u8::from(tree.service));
        }
        out.extend_from_slice(&short(self.written.len()).to_le_bytes());
        for (name, when) in &self.written {
            out.extend_from_slice(&name.to_le_bytes());
            out.extend_from_slice(&when.to_le_bytes());
        }
        out.extend_from_slice(&short(self.next).to_le_bytes());
        out.extend_from_slice(&self.day.to_le_bytes());
        out.extend_from_slice(&self.today.to_le_bytes());
        let Changes {
            windows,
            refused,
            untold,
        } = self.counts;
        for count in [windows, refused, untold] {
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    /// Reads windows off the front of `bytes`; `None` if they cannot have been written so.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let [trees] = take(bytes)?;
        let trees = (0..trees)
            .map(|_| tree(bytes))
            .collect::<Option<Vec<_>>>()?;
        let files = u16::from_le_bytes(take(bytes)?);
        let mut file = || {
            let name = u64::from_le_bytes(take(bytes)?);
            Some((name, i64::from_le_bytes(take(bytes)?)))
        };
        let written = (0..files).map(|_| file()).collect::<Option<Vec<_>>>()?;
        let windows = Self {
            trees,
            written,
            next: usize::from(u16::from_le_bytes(take(bytes)?)),
            day: i32::from_le_bytes(take(bytes)?),
            today: u32::from_le_bytes(take(bytes)?),
            counts: Changes {
                windows: u64::from_le_bytes(take(bytes)?),
                refused: u64::from_le_bytes(take(bytes)?),
                untold: u64::from_le_bytes(take(bytes)?),
            },
        };
        let fits = windows.trees.len() <= MOST_TREES && windows.written.len() <= MOST_WRITTEN;
        fits.then_some(windows)
    }
}

fn tree(bytes: &mut &[u8]) -> Option<Tree> {
    let root = ProcessUid::new(take(bytes)?);
    let until = i64::from_le_bytes(take(bytes)?);
    let [service] = take(bytes)?;
    Some(Tree {
        root,
        until,
        service: service != 0,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn short(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
