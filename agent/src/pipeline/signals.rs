//! Signals of the service manager and of people, as inputs of the path.

use std::io;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Input;
use crate::failure::{Code, Failure};

/// SIGINT and SIGTERM stop, SIGHUP reloads. With `time`, that time stops too.
pub(crate) fn watch(inputs: SyncSender<Input>, time: Option<Duration>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let failed = |error: io::Error| Failure::new(Code::Failed, &error);
    let runtime = runtime.map_err(failed)?;
    let guard = runtime.enter();
    let signals = Signals::new().map_err(failed)?;
    drop(guard);
    let work = move || runtime.block_on(signals.forward(inputs, time));
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(work)
        .map(drop)
        .map_err(failed)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn forward(mut self, inputs: SyncSender<Input>, time: Option<Duration>) {
        let end = tokio::time::sleep(time.unwrap_or(Duration::MAX / 4));
        tokio::pin!(end);
        loop {
            let input = tokio::select! {
                _ = self.interrupt.recv() => Input::Stop,
                _ = self.terminate.recv() => Input::Stop,
                _ = self.hangup.recv() => Input::Reload,
                () = &mut end => Input::Stop,
            };
            let last = matches!(input, Input::Stop);
            if inputs.send(input).is_err() || last {
                return;
            }
        }
    }
}
