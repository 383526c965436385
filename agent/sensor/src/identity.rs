//! When and who: this boot, the age of a process, and the wall clock of an instant since boot.
//!
//! # Invariants
//!
//! - A process is named by its number and its start; [`start_ticks`] and the kernel sensor's start
//!   time give the same [`ProcessUid`](picket_event::ProcessUid).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::{BootId, UnixNanos};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::SensorError;

/// Reads the id of this boot.
pub fn boot_id() -> Result<BootId, SensorError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(|source| SensorError::File {
        operation: "read",
        path: path.to_owned(),
        source,
    })?;
    BootId::parse(text.trim()).map_err(|_not_an_id| SensorError::Malformed {
        path: path.to_owned(),
    })
}

/// When the process that has this number now began, in clock ticks since boot; `None` if there is
/// none.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
    Stat::parse(&stat).map(|stat| stat.start_ticks)
}

/// What `/proc/PID/stat` tells that identity needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// The parent's number.
    pub ppid: u32,
    /// The controlling terminal's device number as the kernel encodes it; 0: none.
    pub tty: u32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads the line. The command's name in it may hold anything, parentheses and spaces included.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let name_end = line.iter().rposition(|byte| *byte == b')')?;
        let rest = line.get(name_end.checked_add(1)?..)?;
        let fields: Vec<&str> = std::str::from_utf8(rest).ok()?.split_whitespace().collect();
        Some(Self {
            ppid: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Turns instants since boot into wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    offset_ns: i64,
}

impl WallClock {
    /// Compares the two clocks now.
    pub fn new() -> Self {
        Self {
            offset_ns: offset_now(),
        }
    }

    /// Compares again. True if the wall clock was set in between.
    pub fn renew(&mut self) -> bool {
        let offset = offset_now();
        let stepped = offset.abs_diff(self.offset_ns) > STEP_NS;
        if stepped {
            self.offset_ns = offset;
        }
        stepped
    }

    /// Wall-clock time minus time since boot, in nanoseconds.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// The wall-clock time of an instant since boot.
    pub fn at(&self, boot_ns: u64) -> UnixNanos {
        let since_boot = i64::try_from(boot_ns).unwrap_or(i64::MAX);
        UnixNanos(since_boot.saturating_add(self.offset_ns))
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds since boot, time asleep included.
pub fn boot_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

/// The processor time that all threads of this process have used.
pub fn processor_time() -> Duration {
    let used = nanoseconds(clock_gettime(ClockId::ProcessCPUTime));
    Duration::from_nanos(u64::try_from(used).unwrap_or(0))
}

fn offset_now() -> i64 {
    let wall = nanoseconds(clock_gettime(ClockId::Realtime));
    wall.saturating_sub(nanoseconds(clock_gettime(ClockId::Boottime)))
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

/// The clocks drift by less than this between two looks; more is a step.
const STEP_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"42 (a) b ( c) S 7 42 42 34816 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                ppid: 7,
                tty: 34816,
                start_ticks: 98_765
            }
        );
    }

    #[test]
    fn a_short_or_foreign_line_is_not_a_stat_line() {
        for line in [
            &b""[..],
            b"42",
            b"42 (x",
            b"42 (x)",
            b"42 (x) S 1 2",
            b"\xff\xfe)",
        ] {
            assert_eq!(Stat::parse(line), None);
        }
    }

    #[test]
    fn this_process_has_a_start_and_a_missing_one_has_none() {
        assert!(start_ticks(std::process::id()).is_some());
        assert_eq!(start_ticks(u32::MAX), None);
    }

    #[test]
    fn an_instant_since_boot_is_near_the_wall_clock() {
        let clock = WallClock::new();
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        assert!(clock.at(boot_ns()).0.abs_diff(wall) < 1_000_000_000);
    }
}
