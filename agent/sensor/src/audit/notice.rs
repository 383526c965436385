//! What fanotify tells, as bytes: the mask, who, and by which handles and names.
//!
//! ```text
//! event_len u32 | version u8 | - u8 | metadata_len u16 | mask u64 | fd i32 | pid i32 | info...
//! info: type u8 | - u8 | len u16 | fsid u64 | handle_bytes u32 | handle_type i32 | handle | name NUL
//! ```
//!
//! # Invariants
//!
//! - Lengths are checked before they are believed; what does not fit ends the walk.

use super::netlink::{u16_at, u32_at, u64_at};

/// One notice of fanotify.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Notice {
    pub(super) mask: u64,
    pub(super) pid: u32,
    /// The file itself.
    pub(super) target: Option<Handle>,
    /// Its folder and name.
    pub(super) entry: Option<Entry>,
    /// Of a renaming.
    pub(super) old: Option<Entry>,
    pub(super) new: Option<Entry>,
}

impl Notice {
    pub(super) fn has(&self, bits: u64) -> bool {
        self.mask & bits != 0
    }
}

/// What the kernel knows a file by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Handle {
    pub(super) fsid: u64,
    pub(super) kind: i32,
    pub(super) bytes: Vec<u8>,
}

/// A name in a folder; `.` is the folder itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) folder: Handle,
    pub(super) name: Vec<u8>,
}

/// The notices of one reading.
pub(super) fn notices(buffer: &[u8]) -> impl Iterator<Item = Notice> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let head = usize::from(u16_at(rest, 6)?);
        let event = rest.get(..length).filter(|_| length >= METADATA)?;
        rest = rest.get(length..)?;
        let mut notice = Notice {
            mask: u64_at(event, 8)?,
            pid: u32_at(event, 20)?,
            ..Notice::default()
        };
        read_infos(event.get(head..).unwrap_or_default(), &mut notice);
        Some(notice)
    })
}

fn read_infos(mut infos: &[u8], notice: &mut Notice) {
    while let Some(length) = u16_at(infos, 2).map(usize::from) {
        let Some(info) = infos.get(..length).filter(|_| length >= INFO_HEADER) else {
            return;
        };
        read_info(info, notice);
        infos = infos.get(length..).unwrap_or_default();
    }
}

fn read_info(info: &[u8], notice: &mut Notice) {
    let Some((handle, name)) = handle_and_name(info) else {
        return;
    };
    let entry = |folder: Handle| {
        Some(Entry {
            folder,
            name: name.to_vec(),
        })
    };
    match info.first().copied().unwrap_or(0) {
        libc::FAN_EVENT_INFO_TYPE_FID => notice.target = Some(handle),
        libc::FAN_EVENT_INFO_TYPE_DFID_NAME | libc::FAN_EVENT_INFO_TYPE_DFID => {
            notice.entry = entry(handle);
        }
        libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => notice.old = entry(handle),
        libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => notice.new = entry(handle),
        _ => {}
    }
}

fn handle_and_name(info: &[u8]) -> Option<(Handle, &[u8])> {
    let length = usize::try_from(u32_at(info, 12)?).ok()?;
    let end = HANDLE.checked_add(length)?;
    let kind = i32::from_ne_bytes(u32_at(info, 16)?.to_ne_bytes());
    let handle = Handle {
        fsid: u64_at(info, 4)?,
        kind,
        bytes: info.get(HANDLE..end)?.to_vec(),
    };
    let name = info.get(end..)?.split(|byte| *byte == 0).next();
    Some((handle, name.unwrap_or_default()))
}

const METADATA: usize = 24;
const INFO_HEADER: usize = 4;
const HANDLE: usize = 20;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "lengths of a few bytes")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(HANDLE + handle.len() + name.len()).unwrap();
        let mut info = vec![kind, 0];
        info.extend_from_slice(&length.to_ne_bytes());
        info.extend_from_slice(&9_u64.to_ne_bytes());
        info.extend_from_slice(&u32::try_from(handle.len()).unwrap().to_ne_bytes());
        info.extend_from_slice(&1_i32.to_ne_bytes());
        info.extend_from_slice(handle);
        info.extend_from_slice(name);
        info
    }

    fn event(mask: u64, pid: u32, infos: &[Vec<u8>]) -> Vec<u8> {
        let infos = infos.concat();
        let length = u32::try_from(METADATA + infos.len()).unwrap();
        let mut event = length.to_ne_bytes().to_vec();
        event.extend_from_slice(&[3, 0, 24, 0]);
        event.extend_from_slice(&mask.to_ne_bytes());
        event.extend_from_slice(&(-1_i32).to_ne_bytes());
        event.extend_from_slice(&pid.to_ne_bytes());
        event.extend_from_slice(&infos);
        event
    }

    #[test]
    fn a_name_in_a_folder_and_the_file_itself_are_told_apart() {
        let infos = [
            info(libc::FAN_EVENT_INFO_TYPE_DFID_NAME, b"folder", b"name\0\0"),
            info(libc::FAN_EVENT_INFO_TYPE_FID, b"file", b""),
        ];
        let bytes = [event(libc::FAN_CREATE, 7, &infos), event(1, 8, &[])].concat();
        let found: Vec<_> = notices(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].entry.as_ref().unwrap().name, b"name");
        assert_eq!(found[0].entry.as_ref().unwrap().folder.bytes, b"folder");
        assert_eq!(found[0].target.as_ref().unwrap().bytes, b"file");
        assert_eq!((found[0].pid, found[1].pid), (7, 8));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reading_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0_u32..260,
        ) {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[3, 0, 24, 0]);
            bytes.extend(tail.clone());
            assert!(notices(&bytes).count() <= bytes.len());
            assert!(notices(&tail).count() <= tail.len());
        }
    }
}
