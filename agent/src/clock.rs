//! The clocks of this host: the wall clock as a trait that tests own, and time since boot.

use std::sync::Arc;

use picket_event::{BootId, Clock, SystemClock};
use rustix::time::{ClockId, clock_gettime};

/// The wall clock, shared.
pub(crate) type SharedClock = Arc<dyn Clock>;

/// The host's own wall clock.
pub(crate) fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// Nanoseconds since boot, sleep included.
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Which boot this is, as the kernel says; all zeros where it cannot be read.
pub(crate) fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BootId::parse(text.trim()).unwrap_or(BootId::new([0; 16]))
}
