//! What a process has used, as the kernel accounts it: processor time and memory.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Processor time of a process so far, user and system, to the kernel's tick (mostly 10 ms).
pub(super) fn cpu(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let ticks = ticks(&text).ok_or_else(|| Failure::Unexpected {
        what: path,
        text: text.clone(),
    })?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_secs(ticks) / u32::try_from(per_second).unwrap_or(100))
}

/// Fields 14 and 15; what stands in brackets before may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system))
}

/// Resident memory of a process, in KiB.
pub(super) fn resident_kib(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.ok_or(Failure::Unexpected { what: path, text })
}

/// Lets this process, and what it starts, open `wanted` files, as far as it may. Gives how many it may now.
pub(super) fn allow_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(hard.max(wanted)),
        maximum: Some(hard.max(wanted)),
    };
    // Beyond the hard limit only root may go; up to it everybody.
    let up_to_hard = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let raised = wanted > hard && setrlimit(Resource::Nofile, raised).is_ok();
    if !raised {
        // Where even that is refused the limit stays as it was, and is told.
        setrlimit(Resource::Nofile, up_to_hard).unwrap_or_default();
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_bracket_in_its_name_is_read_right() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn this_process_uses_memory_and_may_open_files() {
        let own = std::process::id();
        assert!(resident_kib(own).unwrap() > 0);
        assert!(cpu(own).unwrap() < Duration::from_hours(1));
        assert!(allow_files(0) > 0);
    }
}
