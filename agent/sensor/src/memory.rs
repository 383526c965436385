//! What this process takes of the host's memory, and how it gives back what it no longer uses.
//!
//! # Invariants
//!
//! - What counts is memory that no other process shares: the kernel's rings and the program's own text are not in it.
//! - Giving back changes nothing but where free memory is: the allocator's or the host's.

use std::fs::File;
use std::io::Read as _;

/// The private memory that this process has in RAM, in bytes. `None` where `/proc` does not say it.
pub fn private_bytes() -> Option<u64> {
    let mut line = [0; 128];
    let read = File::open("/proc/self/statm")
        .and_then(|mut file| file.read(&mut line))
        .ok()?;
    let line = std::str::from_utf8(line.get(..read)?).ok()?;
    let pages = private_pages(line)?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}

/// Of the line of `/proc/PID/statm` (as in `proc_pid_statm(5)`): resident pages without the shared ones.
fn private_pages(line: &str) -> Option<u64> {
    let mut numbers = line.split_ascii_whitespace().skip(1);
    let resident: u64 = numbers.next()?.parse().ok()?;
    let shared: u64 = numbers.next()?.parse().ok()?;
    Some(resident.saturating_sub(shared))
}

/// Lets threads share their pools of free memory: many small pools keep what none of them needs. Early, and once.
pub fn share_pools() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "mallopt(3) has no safe form")]
        // SAFETY: it takes two numbers and touches only the allocator's own settings, under its lock.
        let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, POOLS) };
        if done == 0 {
            tracing::debug!("the allocator keeps its own number of pools");
        }
    }
}

/// Gives free memory back to the host. Takes some milliseconds at most.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "malloc_trim(3) has no safe form")]
        // SAFETY: it takes a number and works on the allocator's free memory, under its locks.
        let _ = unsafe { libc::malloc_trim(KEPT) };
    }
}

/// Pools of free memory that threads share.
#[cfg(target_env = "gnu")]
const POOLS: libc::c_int = 2;
/// How much of the free memory at the end of the heap is kept, in bytes.
#[cfg(target_env = "gnu")]
const KEPT: libc::size_t = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_resident_without_shared() {
        assert_eq!(private_pages("5000 1200 300 10 0 900 0\n"), Some(900));
        assert_eq!(private_pages("5000 200 300 10 0 900 0\n"), Some(0));
        for damaged in ["", "1", "1 2", "a b c", "1 -2 3"] {
            assert_eq!(private_pages(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn what_is_used_counts_and_what_is_given_back_does_not() {
        share_pools();
        let before = private_bytes().unwrap();
        let pieces: Vec<Box<[u8]>> = (0..64_000).map(|_| Box::from([1_u8; 512])).collect();
        let during = private_bytes().unwrap();
        assert!(during > before + (30 << 20), "{before} {during}");
        drop(pieces);
        give_back();
        let after = private_bytes().unwrap();
        assert!(after < during - (25 << 20), "{during} {after}");
    }
}
