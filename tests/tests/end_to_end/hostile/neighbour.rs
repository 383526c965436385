//! An honest host beside a hostile one: it goes on all the time, and says how it fared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use picket_tests::rig::Rig;
use picket_tests::wait;

use crate::rogue::{Rogue, Run};

/// A host in a thread of its own.
pub(crate) struct Neighbour {
    host: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// How it fared.
#[derive(Clone, Copy)]
pub(crate) struct Fared {
    /// Batches, all acknowledged.
    batches: usize,
    /// 99 of 100 acknowledgements came faster.
    p99: Duration,
}

impl std::fmt::Display for Fared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} batches, p99 {:?}", self.batches, self.p99)
    }
}

impl Neighbour {
    /// Moves in and begins to send a batch every twentieth of a second.
    pub(crate) fn of(rig: &Rig) -> Self {
        let rogue = Rogue::enroll(rig);
        let (host, stop) = (rogue.host.to_string(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || live(&rogue, &told));
        Self { host, stop, thread }
    }

    /// Moves out. Everything it sent must have been acknowledged, stored and be verifiable.
    pub(crate) fn leave(self, rig: &Rig) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self
            .thread
            .join()
            .expect("every batch of it was acknowledged");
        let verified = rig.ctl_json(&["verify", "--host", &self.host]);
        let verified = verified.expect("its evidence holds");
        assert_eq!(verified[0]["events"], times.len(), "{verified:?}");
        times.sort_unstable();
        let p99 = times[(times.len() * 99).div_ceil(100) - 1];
        Fared {
            batches: times.len(),
            p99,
        }
    }
}

fn live(rogue: &Rogue, stop: &AtomicBool) -> Vec<Duration> {
    let mut run = Run::of(rogue);
    let mut call = rogue.call();
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) || times.is_empty() {
        let batch = run.next(&["neighbour"]);
        let sent = Instant::now();
        let ack = call.send(batch.seal(&rogue.key)).expect("it is served");
        times.push(sent.elapsed());
        assert_eq!(ack.refused, "", "an honest batch");
        run.goes_on_behind(&batch);
        wait::pause(Duration::from_millis(50));
    }
    times
}
