//! Waiting for something to become true, with an end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Looks again every 20 ms until `look` finds something, the time is up or somebody asks the program to end.
pub fn until<T>(
    what: &str,
    limit: Duration,
    look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    poll(what, limit, interrupted, look)
}

/// As [`until`], on the way out too: for the end of what was started.
pub fn until_the_end<T>(
    what: &str,
    limit: Duration,
    look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    poll(what, limit, || false, look)
}

fn poll<T>(
    what: &str,
    limit: Duration,
    give_up: impl Fn() -> bool,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end || give_up() {
            return Err(Failure::TooLate(what.to_owned()));
        }
        pause(Duration::from_millis(20));
    }
}

/// From now on Ctrl-C and SIGTERM do not end the program: [`interrupted`] becomes true, and every wait ends, so
/// that whatever was started is stopped and removed on the way out.
pub fn for_interrupts() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        if runtime.block_on(interrupt()).is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
}

async fn interrupt() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

/// Whether somebody asked the program to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Sleeps. These programs have no event loop to block.
#[expect(
    clippy::disallowed_methods,
    reason = "plain threads wait here, no event loop"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
