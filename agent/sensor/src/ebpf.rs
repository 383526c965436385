//! The kernel sensor: typed raw tracepoints, two rings, one reader.
//!
//! ```text
//! agent/ebpf/*.c --- ring_process, ring_other ---> intake --- translate ---> events, oldest first
//!      ledger, sequences (per CPU) ------------------------> ledger
//! ```
//!
//! `docs/sensors.md` tells what each hook sees and what it does not.
//!
//! # Invariants
//!
//! - While records come the reader looks at the rings every [`TICK`], and the kernel wakes it earlier only when a ring is an
//!   eighth full. Once it found nothing a few times it sleeps for up to [`IDLE_TICK`], and the first record wakes it.
//! - Both rings are read before anything is given out, and what is given out is older than the moment
//!   the reading began: a file event never comes before the exec that led to it.
//! - While nobody can take events, records are held as they came, up to a limit. When nobody polls, the rings fill, and the
//!   kernel counts what did not fit. Nothing else happens.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, RingBuffer};
use picket_event::{
    BootId, Detail, Event, Hook, Kind, KindCounts, Loss, LossCause, Process, ProcessUid, Source,
};

use self::block::Blocker;
use self::cgroups::Cgroups;
use self::counters::Counters;
use self::governor::Governor;
use self::hooks::{BLOCK, PROTECT, Standing};
use self::intake::Intake;
use self::program::{Attached, Loaded, kernel};
use self::proof::{Proofs, Tries};
use self::protect::Guard;
use self::translate::Translator;
use self::watch::Watch;
use crate::ledger::LossWatch;
use crate::{Boxed, FileKey, Sensor, SensorError, Settings, identity, memory};

mod backlog;
pub mod block;
mod calls;
pub(crate) mod canary;
pub(crate) mod cgroups;
mod counters;
mod governor;
mod hooks;
mod intake;
mod program;
mod proof;
pub mod protect;
pub mod raw;
pub mod replay;
pub(crate) mod snapshot;
pub(crate) mod translate;
pub mod watch;

/// A running kernel sensor. Dropping it detaches every program, which takes the kernel some 70 ms for each system call.
pub struct KernelSensor {
    // They read from maps of `attached`, so they go first.
    rings: RingBuffer<'static>,
    intake: Arc<Mutex<Intake>>,
    attached: Attached,
    counters: Counters,
    settings_map: MapHandle,
    boot: BootId,
    losses: LossWatch,
    losses_read: Instant,
    /// What the kernel passed over, as of the last look.
    misses: Vec<(Kind, u64)>,
    misses_read: Instant,
    /// What the kernel programs are told.
    orders: Orders,
    /// Looks at the rings in a row that found nothing new, and what had come until the last.
    empty_looks: u32,
    seen: u64,
    governor: Governor,
    proofs: Proofs,
    guard: Option<Guard>,
    blocker: Option<Blocker>,
}

/// What the kernel programs are told and may be told anew.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    /// The process whose file events are left out; 0 for nobody.
    own_tgid: u32,
    /// System calls are looked at no more.
    is_stopped: bool,
    /// The reader sleeps: the first record wakes it.
    is_idle: bool,
    ring_bytes: u32,
    /// Whole folders are secret.
    has_secret_trees: bool,
    /// How many records of files and network one control group may make in a window; 0 for any number.
    allowance: u32,
}

impl Orders {
    /// `struct settings` of `agent/ebpf/emit.h`. `offset_ns` is the wall clock minus the time since boot.
    fn write(&self, settings: &MapHandle, offset_ns: i64) -> Result<(), SensorError> {
        let mut value = Vec::with_capacity(32);
        let wake_bytes = if self.is_idle { 1 } else { self.ring_bytes / 8 };
        let [trees, stopped] = [self.has_secret_trees, self.is_stopped].map(u32::from);
        for number in [self.own_tgid, wake_bytes, trees, stopped] {
            value.extend_from_slice(&number.to_ne_bytes());
        }
        value.extend_from_slice(&offset_ns.to_ne_bytes());
        for number in [self.allowance, 0] {
            value.extend_from_slice(&number.to_ne_bytes());
        }
        let written = settings.update(&0_u32.to_ne_bytes(), &value, MapFlags::ANY);
        written.map_err(|source| {
            kernel(
                "write the settings of the kernel programs".to_owned(),
                source,
            )
        })
    }
}

impl fmt::Debug for KernelSensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSensor")
            .field("boot", &self.boot)
            .field("hooks", &self.attached.hooks)
            .finish_non_exhaustive()
    }
}

impl KernelSensor {
    /// Loads, attaches and proves.
    pub fn open(settings: Settings) -> Result<Self, SensorError> {
        check_host(&settings)?;
        let watch = Watch::new(&settings.watch, &settings.secrets);
        let mut loaded = Loaded::new(settings.ring_bytes)?;
        let may_protect = may_protect(&mut loaded, &settings);
        let protect = settings.protect.clone().filter(|_guarded| may_protect);
        let may_block = may_block(&mut loaded, &settings);
        let tries = Tries::of(&loaded)?;
        tries.fill(&watch)?;
        let mut sensor = Self::attached(loaded, settings, watch, tries)?;
        if let Some(guarded) = protect {
            sensor.switch_protection_on(guarded)?;
        }
        let usable = sensor.attached.hooks.usable();
        if may_block && usable.iter().any(|spec| spec.name == BLOCK) {
            sensor.blocker = Some(Blocker::of(&sensor.attached)?);
        }
        sensor.prove_at_start()?;
        Ok(sensor)
    }

    /// Tells the programs their settings, attaches them, and listens.
    fn attached(
        loaded: Loaded,
        settings: Settings,
        watch: Watch,
        tries: Tries,
    ) -> Result<Self, SensorError> {
        let orders = Orders {
            ring_bytes: settings.ring_bytes,
            has_secret_trees: watch.has_secret_trees(),
            ..Orders::default()
        };
        let mut translator =
            Translator::new(settings.boot, watch, Cgroups::new(), settings.environment);
        let settings_map = loaded.map("settings")?;
        orders.write(&settings_map, translator.clock().offset_ns())?;
        let recording = settings.recording.as_deref().map(create).transpose()?;
        let intake = Arc::new(Mutex::new(Intake::new(translator, recording)));
        let attached = loaded.attach()?;
        let told_facts = attached.map("told_facts")?;
        Ok(Self {
            rings: attached.rings(&["ring_other", "ring_process"], || accept_into(&intake))?,
            counters: Counters::new(&attached)?,
            settings_map,
            boot: settings.boot,
            losses: LossWatch::default(),
            losses_read: Instant::now(),
            misses: Vec::new(),
            misses_read: Instant::now(),
            orders,
            empty_looks: 0,
            seen: 0,
            governor: Governor::new(settings.cpu_percent, settings.memory_bytes),
            proofs: Proofs::new(settings, tries, told_facts),
            guard: None,
            blocker: None,
            intake,
            attached,
        })
    }

    /// Guards that did not attach are not told for whom: they refuse nothing.
    fn switch_protection_on(&mut self, guarded: protect::Guarded) -> Result<(), SensorError> {
        let usable = self.attached.hooks.usable();
        if usable.iter().any(|spec| spec.name == PROTECT) {
            let guard = Guard::of(&self.attached, guarded)?;
            guard.set(true)?;
            self.guard = Some(guard);
        }
        Ok(())
    }

    /// The switch of the protection, where that is on.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// How many records the kernel programs numbered that have not come: those that were lost, counted
    /// from the other side, and those that are still in the rings.
    pub fn missing(&self) -> u64 {
        let received = self.with_intake(|intake| intake.received);
        self.counters.numbered().saturating_sub(received)
    }

    fn write_settings(&self) -> Result<(), SensorError> {
        let offset_ns = self.with_intake(|intake| intake.translator.clock().offset_ns());
        self.orders.write(&self.settings_map, offset_ns)
    }

    /// Sleeps until a ring is filled as the kernel programs were told, at most for `timeout`.
    fn wait(&self, timeout: Duration) {
        if let Err(error) = self.rings.poll(in_whole_millis(timeout))
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::warn!(%error, "waiting for kernel records failed");
        }
    }

    /// Empties both rings into the intake. Gives the moment up to which the intake is complete.
    fn drain(&self) -> u64 {
        let began = identity::boot_ns();
        if let Err(error) = self.rings.consume() {
            tracing::warn!(%error, "reading kernel records failed");
        }
        began.saturating_sub(IN_FLIGHT_NS)
    }

    /// Moves what is in the rings to what is held.
    fn hold(&self) {
        self.with_intake(Intake::begin_hold);
        let cut = self.drain();
        self.with_intake(|intake| intake.end_hold(cut));
    }

    /// Reads what was held first, if anything is. Gives the moment up to which the intake is complete then.
    fn take_up(&self) -> Option<u64> {
        let (is_empty, is_full) = self.with_intake(|intake| {
            let backlog = intake.backlog();
            (backlog.is_empty(), backlog.is_full())
        });
        if is_empty {
            return None;
        }
        if !is_full {
            self.hold();
        }
        self.with_intake(Intake::read_held)
    }

    /// How long to sleep now.
    fn tick(&self) -> Duration {
        match self.empty_looks {
            _ if self.with_intake(|intake| intake.is_waiting()) => SHORT_TICK,
            // One more short one: a record may have come just before the kernel programs were told to wake.
            ..=EMPTY_LOOKS => TICK,
            _ => IDLE_TICK,
        }
    }

    /// Goes to sleep where nothing comes, and wakes up where something does.
    fn pace(&mut self) -> Result<(), SensorError> {
        let (received, is_waiting) =
            self.with_intake(|intake| (intake.received, intake.is_waiting()));
        let is_new = received != self.seen || is_waiting;
        self.seen = received;
        self.empty_looks = if is_new {
            0
        } else {
            self.empty_looks.saturating_add(1)
        };
        let is_idle = self.empty_looks >= EMPTY_LOOKS;
        if is_idle != self.orders.is_idle {
            self.orders.is_idle = is_idle;
            self.write_settings()?;
        }
        Ok(())
    }

    fn with_intake<T>(&self, act: impl FnOnce(&mut Intake) -> T) -> T {
        act(&mut self.intake.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Now and then: has the wall clock been set, is it too much, was anything lost.
    fn look_around(&mut self, out: &mut Vec<Boxed>) -> Result<(), SensorError> {
        if self.losses_read.elapsed() < LOOK_PAUSE {
            return Ok(());
        }
        self.losses_read = Instant::now();
        let was_set = self.with_intake(|intake| intake.translator.clock().renew());
        let is_governed = self.govern();
        if was_set || is_governed {
            self.write_settings()?;
        }
        if self.misses_read.elapsed() >= MISSES_PAUSE {
            self.read_misses();
        }
        self.report_loss(out);
        // The proof reads the rings, and what is held came before.
        if self.with_intake(|intake| intake.backlog().is_empty()) {
            self.prove_again(out)?;
        }
        Ok(())
    }

    /// Whether the governor has changed what may be told.
    fn govern(&mut self) -> bool {
        let now = Duration::from_nanos(identity::boot_ns());
        let memory = memory::private_bytes().unwrap_or(0);
        let changed = self.governor.look(now, identity::processor_time(), memory);
        if changed {
            self.orders.allowance = self.governor.allowance();
            let records = self.orders.allowance;
            tracing::warn!(
                records,
                memory,
                "the agent's share of the processor or its memory changes what may be told of files and network; 0 is all"
            );
        }
        changed
    }

    fn read_misses(&mut self) {
        self.misses = self.attached.misses();
        self.misses_read = Instant::now();
    }

    fn report_loss(&mut self, out: &mut Vec<Boxed>) {
        let kinds = self.ledger();
        if self.losses.grew(&kinds) {
            out.push(Box::new(self.loss_event(kinds)));
        }
    }

    fn loss_event(&self, kinds: Vec<KindCounts>) -> Event {
        let now = identity::boot_ns();
        let time = self.with_intake(|intake| intake.translator.clock().at(now));
        let mut event = Event::new(Kind::Loss, time, Source::Ebpf);
        event.boot_ns = now;
        event.with(Detail::Loss(Loss { kinds, last: false }))
    }
}

impl Sensor for KernelSensor {
    fn source(&self) -> Source {
        Source::Ebpf
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError> {
        let mut events = Vec::new();
        let read = self.read(timeout, &mut events);
        out.extend(events.into_iter().map(|event| *event));
        read
    }

    fn read(&mut self, timeout: Duration, out: &mut Vec<Boxed>) -> Result<(), SensorError> {
        let before = out.len();
        self.with_intake(Intake::forget_keys);
        let until = Instant::now().checked_add(timeout);
        loop {
            let left = until.map_or(TICK, |until| {
                until.saturating_duration_since(Instant::now())
            });
            let cut = self.take_up().unwrap_or_else(|| {
                self.wait(self.tick().min(left));
                self.drain()
            });
            self.with_intake(|intake| intake.release(cut, out));
            self.pace()?;
            self.look_around(out)?;
            if out.len() > before || left.is_zero() {
                return Ok(());
            }
        }
    }

    fn keep(&mut self, pause: Duration) -> bool {
        if self.with_intake(|intake| intake.backlog().is_full()) {
            return false;
        }
        std::thread::park_timeout(pause);
        self.hold();
        true
    }

    fn executables(&mut self) -> Vec<(ProcessUid, FileKey)> {
        self.with_intake(Intake::take_executables)
    }

    fn written(&mut self) -> Vec<(u64, FileKey)> {
        self.with_intake(Intake::take_written)
    }

    fn ledger(&self) -> Vec<KindCounts> {
        let mut counts = self.counters.read();
        self.with_intake(|intake| {
            for line in &mut counts {
                intake.afterwards.apply(line);
            }
        });
        for (kind, count) in &self.misses {
            if let Some(line) = counts.iter_mut().find(|line| line.kind == *kind) {
                line.generated = line.generated.saturating_add(*count);
                line.lose(LossCause::Scratch, *count);
            }
        }
        counts
    }

    fn hooks(&self) -> Vec<Hook> {
        self.attached.hooks.report()
    }

    fn snapshot(&mut self) -> Vec<Process> {
        snapshot::processes(&self.boot)
    }

    fn blocker(&self) -> Option<Blocker> {
        self.blocker.clone()
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError> {
        self.orders.is_stopped = true;
        self.write_settings()?;
        self.attached.detach_all_but_calls();
        while self.with_intake(Intake::read_held).is_some() {}
        // Until then a program that was at work has ended.
        let until = Instant::now().checked_add(LAST_WORDS);
        while until.is_some_and(|until| Instant::now() < until) {
            self.wait(LAST_WORDS);
        }
        self.drain();
        let mut last = Vec::new();
        self.with_intake(|intake| intake.release(u64::MAX, &mut last));
        self.read_misses();
        self.report_loss(&mut last);
        out.extend(last.into_iter().map(|event| *event));
        Ok(())
    }
}

/// Loads the programs that refuse, if that is wanted and possible; the hook's standing says why not.
fn may_protect(loaded: &mut Loaded, settings: &Settings) -> bool {
    let why_not = match (protect::obstacle(), &settings.protect) {
        (Some(obstacle), _) => Some(obstacle),
        (None, None) => {
            Some("switched off; `protect = true` in the settings of the service".to_owned())
        }
        (None, Some(_)) => loaded.add_guards().err(),
    };
    let is_loaded = why_not.is_none();
    if let Some(why) = why_not {
        loaded.hooks.set(PROTECT, Standing::Refused(why));
    }
    is_loaded
}

/// The same for the program that refuses to run files.
fn may_block(loaded: &mut Loaded, settings: &Settings) -> bool {
    let why_not = match (protect::obstacle(), &settings.block) {
        (Some(obstacle), _) => Some(obstacle),
        (None, None) => Some("only the service blocks programs".to_owned()),
        (None, Some(_)) => loaded.add_block().err(),
    };
    let is_loaded = why_not.is_none();
    if let Some(why) = why_not {
        loaded.hooks.set(BLOCK, Standing::Refused(why));
    }
    is_loaded
}

/// What must be true before it is worth asking the kernel.
fn check_host(settings: &Settings) -> Result<(), SensorError> {
    if !cfg!(target_arch = "x86_64") {
        let arch = std::env::consts::ARCH;
        return Err(SensorError::Architecture { arch });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(SensorError::NotPermitted);
    }
    let bytes = settings.ring_bytes;
    if !bytes.is_power_of_two() || bytes < LEAST_RING {
        return Err(SensorError::RingSize { bytes });
    }
    let path = PathBuf::from("/sys/kernel/btf/vmlinux");
    if !path.exists() {
        return Err(SensorError::NoTypes { path });
    }
    Ok(())
}

/// Rounded up: what is waited for is counted in milliseconds, and the rest of one would be no wait at all, again and again until it is
/// over.
fn in_whole_millis(timeout: Duration) -> Duration {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// What a ring does with a record.
fn accept_into(intake: &Arc<Mutex<Intake>>) -> impl FnMut(&[u8]) -> i32 + 'static {
    let intake = Arc::clone(intake);
    move |bytes| {
        let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
        intake.accept(bytes);
        0
    }
}

fn create(path: &Path) -> Result<File, SensorError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(|source| SensorError::File {
        operation: "create",
        path: path.to_owned(),
        source,
    })
}

/// How long the reader sleeps while records come and the kernel does not wake it.
pub const TICK: Duration = Duration::from_millis(20);
/// The same when none came for so many looks. Each time the reader wakes costs the host some 50 microseconds.
pub const IDLE_TICK: Duration = Duration::from_millis(500);
const EMPTY_LOOKS: u32 = 5;
/// The same while events wait for the other ring to catch up.
const SHORT_TICK: Duration = Duration::from_millis(5);
/// A record made longer ago than this is in its ring.
const IN_FLIGHT_NS: u64 = 1_000_000;
/// Between two looks at the ledger and the wall clock.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The same for what the kernel passed over: each program is asked.
const MISSES_PAUSE: Duration = Duration::from_secs(2);
/// Between the order to stop and the last look.
const LAST_WORDS: Duration = Duration::from_millis(10);
const LEAST_RING: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_asked_and_none_stays_none() {
        let rounded = |nanos| in_whole_millis(Duration::from_nanos(nanos));
        assert_eq!(rounded(0), Duration::ZERO);
        assert_eq!(rounded(1), Duration::from_millis(1));
        assert_eq!(rounded(1_000_000), Duration::from_millis(1));
        assert_eq!(rounded(499_000_001), Duration::from_millis(500));
    }
}
