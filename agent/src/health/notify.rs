//! What the service manager is told: ready, alive, stopping. Without one, nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells the service manager that the agent lives, as often as it wants to hear it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    /// As the service manager asks.
    pub(crate) fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self {
            every,
            last: Instant::now(),
        }
    }

    /// Is called by the path itself: a path that stands still is not alive.
    pub(crate) fn pat(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            self.last = Instant::now();
            tell(NotifyState::Watchdog);
        }
    }
}

/// The agent sees, judges and keeps.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// The agent closes its books.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// The agent closes its books and begins anew as the same process; [`ready`] follows.
pub(crate) fn starts_anew() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_all(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "service manager not told"),
    }
}

fn tell(state: NotifyState<'_>) {
    tell_all(&[state]);
}

fn tell_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager not told");
    }
}
