//! Names for the processes of a recording, which says numbers only.
//!
//! What stays true: the same host, number and parent get the same name; the recording does not say when a process began, so
//! a number that was given out twice to children of one parent is one process.

use std::collections::HashMap;

use picket_event::{BootId, ProcessUid, Text};
use picket_seal::Digest;

use crate::audit::record::Stamp;

/// Gives out names.
#[derive(Debug, Default)]
pub(super) struct Identities {
    latest: HashMap<(Text, u32), ProcessUid>,
}

impl Identities {
    /// The process of this number and parent; 0: the parent is not known.
    pub(super) fn process(&mut self, host: &Text, pid: u32, ppid: u32) -> ProcessUid {
        if ppid == 0
            && let Some(known) = self.latest.get(&(host.clone(), pid))
        {
            return *known;
        }
        let uid = ProcessUid::from_ticks(&boot(host), pid, u64::from(ppid));
        if self.latest.len() >= MOST {
            self.latest.clear();
        }
        self.latest.insert((host.clone(), pid), uid);
        uid
    }

    /// A process of which not even the number is known.
    pub(super) fn lone(host: &Text, stamp: Stamp) -> ProcessUid {
        let moment = stamp.millis.rotate_left(20) ^ stamp.serial;
        ProcessUid::from_ticks(&boot(host), 0, moment)
    }
}

/// Processes of different hosts have different names.
fn boot(host: &Text) -> BootId {
    let digest = Digest::of(host.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    BootId::new(bytes)
}

const MOST: usize = 65_536;
