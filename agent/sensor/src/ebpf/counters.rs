//! The kernel's side of the ledger, summed over the CPUs.
//!
//! # Invariants
//!
//! - A line is read again until it balances, because a program may be between two of its counts. A
//!   line that never does is given as it was read: an imbalance is a bug and must be seen.

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use picket_event::{Kind, KindCounts, LossCause};

use super::program::Attached;
use crate::SensorError;

/// Reads the counters of the kernel programs.
#[derive(Debug)]
pub(super) struct Counters {
    ledger: MapHandle,
    sequences: MapHandle,
}

impl Counters {
    pub(super) fn new(attached: &Attached) -> Result<Self, SensorError> {
        Ok(Self {
            ledger: attached.map("ledger")?,
            sequences: attached.map("sequences")?,
        })
    }

    /// One line for each kind that the kernel programs know.
    pub(super) fn read(&self) -> Vec<KindCounts> {
        let mut lines = self.lines();
        for _ in 1..ATTEMPTS {
            if lines.iter().all(KindCounts::balances) {
                break;
            }
            for (line, again) in lines.iter_mut().zip(self.lines()) {
                if !line.balances() {
                    *line = again;
                }
            }
        }
        lines
    }

    /// How many records the programs gave a number, over all CPUs and rings.
    pub(super) fn numbered(&self) -> u64 {
        let counters = (0..SEQUENCES).flat_map(|key| per_cpu(&self.sequences, key));
        counters
            .filter_map(|bytes| Some(u64::from_ne_bytes(*bytes.first_chunk()?)))
            .fold(0, u64::saturating_add)
    }

    fn lines(&self) -> Vec<KindCounts> {
        let cpus = per_cpu(&self.ledger, 0);
        KINDS.iter().map(|kind| line_of(*kind, &cpus)).collect()
    }
}

/// The line of this kind, out of the `struct book` of each CPU.
fn line_of(kind: Kind, cpus: &[Vec<u8>]) -> KindCounts {
    let mut line = KindCounts::zero(kind);
    let place = usize::try_from(kind.to_wire()).unwrap_or(usize::MAX);
    let begin = place.saturating_mul(COUNTS_BYTES);
    let end = begin.saturating_add(COUNTS_BYTES);
    for cpu in cpus {
        add(&mut line, cpu.get(begin..end).unwrap_or_default());
    }
    line
}

/// The value of each CPU.
fn per_cpu(map: &MapHandle, key: u32) -> Vec<Vec<u8>> {
    match map.lookup_percpu(&key.to_ne_bytes(), MapFlags::ANY) {
        Ok(values) => values.unwrap_or_default(),
        Err(error) => {
            tracing::error!(%error, "kernel counters cannot be read");
            Vec::new()
        }
    }
}

/// Adds one CPU's `struct counts` of `agent/ebpf/emit.h`.
fn add(line: &mut KindCounts, counts: &[u8]) {
    let mut numbers = counts
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_ne_bytes(*bytes));
    let mut next = || numbers.next().unwrap_or(0);
    line.generated = line.generated.saturating_add(next());
    line.filtered = line.filtered.saturating_add(next());
    line.aggregated = line.aggregated.saturating_add(next());
    line.submitted = line.submitted.saturating_add(next());
    line.lose(LossCause::Ring, next());
    line.lose(LossCause::Scratch, next());
    line.lose(LossCause::Shed, next());
}

/// What the kernel programs make.
pub(super) const KINDS: &[Kind] = &[
    Kind::Exec,
    Kind::ExecFailed,
    Kind::CredChange,
    Kind::Ptrace,
    Kind::Signal,
    Kind::MemExec,
    Kind::ModuleLoad,
    Kind::BpfLoad,
    Kind::Mount,
    Kind::IoUring,
    Kind::Fork,
    Kind::Exit,
    Kind::FileCreate,
    Kind::FileModify,
    Kind::FileDelete,
    Kind::FileRename,
    Kind::FileLink,
    Kind::FileAttr,
    Kind::FileOpen,
    Kind::NetConnect,
    Kind::NetListen,
    Kind::NetAccept,
    Kind::NetClose,
    Kind::Dns,
    Kind::Memfd,
];
/// Two rings times the slots of a CPU, as the map `sequences` of `agent/ebpf/emit.h`.
const SEQUENCES: u32 = 4;
const ATTEMPTS: u32 = 16;
/// Of a `struct counts`: seven numbers.
const COUNTS_BYTES: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_the_cpus_are_added_and_every_loss_is_lost() {
        let cpu: Vec<u8> = [12_u64, 3, 0, 4, 2, 1, 2]
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let mut line = KindCounts::zero(Kind::Exec);
        add(&mut line, &cpu);
        add(&mut line, &cpu);
        assert_eq!((line.generated, line.lost), (24, 10));
        let by = line.lost_by;
        assert_eq!((by.ring, by.scratch, by.shed), (4, 2, 4));
        assert!(line.balances());
    }

    #[test]
    fn each_kind_has_its_own_place_in_the_book_of_a_cpu() {
        let numbers = (0_u64..64).flat_map(|kind| [kind, 0, 0, kind, 0, 0, 0]);
        let book: Vec<u8> = numbers.flat_map(u64::to_ne_bytes).collect();
        for kind in KINDS {
            let line = line_of(*kind, &[book.clone(), book.clone()]);
            let wire = u64::try_from(kind.to_wire()).unwrap();
            assert_eq!((line.generated, line.submitted), (2 * wire, 2 * wire));
        }
    }
}
