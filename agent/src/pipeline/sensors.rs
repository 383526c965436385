//! Opens the sensors and gives each a thread that reads it.
//!
//! What stays true: whoever asked for a source gets that one or a refusal; only `auto` falls back, and
//! says so.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use picket_event::{BootId, Hook, Process};
use picket_sensor::device::DeviceFollower;
use picket_sensor::login::{LoginFollower, LoginSettings, Position};
use picket_sensor::{
    Guarded, Secret, Sensor, SensorError, Settings, open_audit, open_ebpf, open_portable,
};

use super::{Boxed, CHUNK, Input, alarm};
use crate::cli::SourceArg;
use crate::config::Config;
use crate::enrich::FileStates;
use crate::failure::{Code, Failure, chain};

/// How long one look of a sensor may take.
const POLL: Duration = Duration::from_millis(500);
/// How often a ledger is sent while nothing changes it.
const LEDGER_EVERY: Duration = Duration::from_secs(1);
/// How often at most while events come: reading the kernel's counters costs as much as many events do.
const LEDGER_PAUSE: Duration = Duration::from_millis(250);
/// Between two looks whether the path has room again; it works longer than this on what waits for it.
const ROOM_PAUSE: Duration = Duration::from_millis(4);

/// A sensor that was opened, and why it is not a better one.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The sensor.
    pub(crate) sensor: Box<dyn Sensor>,
    /// Why no better one is used; `None` if this is the best or was asked for by name.
    pub(crate) fallback: Option<String>,
}

/// Opens the sensor that was asked for; `auto` is the best that can be had.
pub(crate) fn open(source: SourceArg, config: &Config, boot: BootId) -> Result<Opened, Failure> {
    open_with(source, settings(config, boot))
}

/// The same for the service, whose own files and process are protected where the settings say so, and which blocks programs.
/// That the kernel refuses these is proved in `state`.
pub(crate) fn open_protected(
    source: SourceArg,
    config: &Config,
    boot: BootId,
    guarded: Guarded,
    state: &Path,
) -> Result<Opened, Failure> {
    let mut settings = settings(config, boot);
    settings.protect = config.protect.then_some(guarded);
    settings.block = Some(state.to_owned());
    open_with(source, settings)
}

fn open_with(source: SourceArg, settings: Settings) -> Result<Opened, Failure> {
    let opened = match source {
        SourceArg::Ebpf => open_ebpf(settings),
        SourceArg::Audit => open_audit(settings),
        SourceArg::Portable => open_portable(settings),
        SourceArg::Auto => return best(&settings),
    };
    match opened {
        Ok(sensor) => Ok(Opened {
            sensor,
            fallback: None,
        }),
        Err(error) => Err(refused(&error).hint(hint(&error))),
    }
}

/// Kernel programs, else the kernel's announcements, else polling.
fn best(settings: &Settings) -> Result<Opened, Failure> {
    let mut reasons = Vec::new();
    for open in [open_ebpf, open_audit] {
        match open(settings.clone()) {
            Ok(sensor) => {
                let fallback = (!reasons.is_empty()).then(|| reasons.join("; "));
                return Ok(Opened { sensor, fallback });
            }
            Err(error) => reasons.push(chain(&error)),
        }
    }
    let sensor = open_portable(settings.clone()).map_err(|error| refused(&error))?;
    Ok(Opened {
        sensor,
        fallback: Some(reasons.join("; ")),
    })
}

/// The hooks of one source, or why it cannot be had.
pub(crate) fn probe(
    open: impl FnOnce(Settings) -> Result<Box<dyn Sensor>, SensorError>,
    config: &Config,
    boot: BootId,
) -> Result<Vec<Hook>, String> {
    let mut settings = settings(config, boot);
    // What a service would do; the state directory is the service's.
    settings.block = Some(std::env::temp_dir());
    match open(settings) {
        Ok(sensor) => Ok(sensor.hooks()),
        Err(error) => Err(chain(&error)),
    }
}

fn refused(error: &SensorError) -> Failure {
    Failure::line(
        Code::Failed,
        format!("failed to open the sensor: {}", chain(error)),
    )
}

fn hint(error: &SensorError) -> &'static str {
    match error {
        SensorError::NotPermitted | SensorError::NotRoot => "run as root, or use --source portable",
        _ => "picket-agent doctor, or use --source portable",
    }
}

fn settings(config: &Config, boot: BootId) -> Settings {
    let mut settings = Settings::new(boot);
    settings.environment = config.environment.into();
    settings.cpu_percent = config.cpu_percent;
    settings.memory_bytes = config.memory_bytes;
    if let Some(paths) = &config.watch_paths {
        settings.watch = paths.iter().map(Into::into).collect();
    }
    for path in config.integrity_paths.iter().flatten() {
        // Up to the first name that may be any.
        let fixed = path.split("/*").next().unwrap_or(path);
        settings.watch.push(fixed.into());
    }
    if let Some(paths) = &config.secret_paths {
        settings.secrets = paths.iter().map(|path| Secret::File(path.into())).collect();
    }
    settings
}

/// The login sources, from where an earlier run stood, or from their ends.
pub(crate) fn open_logins(boot: BootId, positions: Option<&[Position]>) -> LoginFollower {
    let settings = LoginSettings::new(boot);
    match positions {
        Some(positions) => LoginFollower::resume(&settings, positions),
        None => LoginFollower::open(&settings),
    }
}

/// Threads that read sensors.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    count: usize,
}

impl Readers {
    /// Reads a kernel or portable sensor.
    pub(crate) fn read(
        &mut self,
        sensor: Box<dyn Sensor>,
        inputs: SyncSender<Input>,
    ) -> Result<(), Failure> {
        let reader = self.reader(sensor, inputs.clone());
        self.count += 1;
        alarm::spawn("sensor", inputs, move || drive(reader)).map(drop)
    }

    /// Reads the login sources, and says how far it got.
    pub(crate) fn read_logins(
        &mut self,
        logins: LoginFollower,
        inputs: SyncSender<Input>,
    ) -> Result<(), Failure> {
        let reader = self.reader(logins, inputs.clone());
        self.count += 1;
        alarm::spawn("logins", inputs, move || drive(reader)).map(drop)
    }

    /// Reads the kernel's word of devices.
    pub(crate) fn read_devices(
        &mut self,
        devices: DeviceFollower,
        inputs: SyncSender<Input>,
    ) -> Result<(), Failure> {
        let reader = self.reader(devices, inputs.clone());
        self.count += 1;
        alarm::spawn("devices", inputs, move || drive(reader)).map(drop)
    }

    /// Tells all to stop, and how many there are.
    pub(crate) fn stop(&self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.count
    }

    fn reader<S>(&self, sensor: S, inputs: SyncSender<Input>) -> Reader<S> {
        Reader {
            sensor,
            inputs,
            stop: Arc::clone(&self.stop),
            has_stopped: false,
        }
    }
}

struct Reader<S> {
    sensor: S,
    inputs: SyncSender<Input>,
    stop: Arc<AtomicBool>,
    /// The sensor has said its last.
    has_stopped: bool,
}

/// Reads until told to stop or nobody listens; then everything that is left, and the final ledger.
fn drive<S: Sensed>(mut reader: Reader<S>) {
    let mut told = None;
    let mut hooks = None;
    let mut is_untold = false;
    let mut last_ledger = Instant::now();
    while !reader.stop.load(Ordering::Acquire) {
        let mut events = Vec::new();
        if let Err(error) = reader.sensor.sensed().read(POLL, &mut events) {
            let line = format!("failed to read the sensor: {}", chain(&error));
            // Nobody listens any more: then nobody is to be told either.
            drop(
                reader
                    .inputs
                    .send(Input::Broken(Failure::line(Code::Failed, line))),
            );
            break;
        }
        is_untold |= !events.is_empty();
        let now = reader.sensor.positions();
        if !reader.send(events) {
            return;
        }
        let due = if is_untold {
            LEDGER_PAUSE
        } else {
            LEDGER_EVERY
        };
        if last_ledger.elapsed() >= due {
            is_untold = false;
            last_ledger = Instant::now();
            if !reader.send_ledger() || !reader.send_hooks(&mut hooks) {
                return;
            }
        }
        if now != told {
            told.clone_from(&now);
            if now.is_some_and(|now| reader.inputs.send(Input::Positions(now)).is_err()) {
                return;
            }
        }
    }
    reader.finish();
}

impl<S: Sensed> Reader<S> {
    /// Sends events in messages of a bounded size. `false`: nobody listens any more.
    fn send(&mut self, events: Vec<Boxed>) -> bool {
        let sensor = self.sensor.sensed();
        let states = Arc::new(FileStates::new(sensor.executables(), sensor.written()));
        let mut events = events.into_iter();
        loop {
            let chunk: Vec<Boxed> = events.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return true;
            }
            if !self.hand_on(Input::Events(chunk, Arc::clone(&states))) {
                return false;
            }
        }
    }

    /// Waits for room; a sensor that can takes in what comes meanwhile.
    fn hand_on(&mut self, mut input: Input) -> bool {
        loop {
            input = match self.inputs.try_send(input) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) => back,
            };
            if self.has_stopped || !self.sensor.sensed().keep(ROOM_PAUSE) {
                return self.inputs.send(input).is_ok();
            }
        }
    }

    fn send_ledger(&mut self) -> bool {
        let sensor = self.sensor.sensed();
        let ledger = Input::Ledger(sensor.source(), sensor.ledger());
        self.inputs.send(ledger).is_ok()
    }

    /// What the sensor's own hooks are, if they are others than were told.
    fn send_hooks(&self, told: &mut Option<Vec<Hook>>) -> bool {
        let hooks = self.sensor.own_hooks();
        if hooks == *told {
            return true;
        }
        told.clone_from(&hooks);
        hooks.is_none_or(|hooks| self.inputs.send(Input::Logins(hooks)).is_ok())
    }

    fn finish(mut self) {
        let mut events = Vec::new();
        if let Err(error) = self.sensor.sensed().stop(&mut events) {
            tracing::warn!(error = chain(&error), "failed to stop the sensor");
        }
        self.has_stopped = true;
        let events = events.into_iter().map(Box::new).collect();
        let listening = self.send(events) && self.send_ledger();
        let positions = self.sensor.positions().map(Input::Positions);
        if listening && positions.is_none_or(|now| self.inputs.send(now).is_ok()) {
            drop(self.inputs.send(Input::Done));
        }
    }
}

/// What a reader reads: a boxed sensor, or one whose type is known.
trait Sensed: Send {
    fn sensed(&mut self) -> &mut dyn Sensor;

    /// How far it has read, where that outlives the run.
    fn positions(&self) -> Option<Vec<Position>> {
        None
    }

    /// Its hooks, where nothing else tells of them.
    fn own_hooks(&self) -> Option<Vec<Hook>> {
        None
    }
}

impl Sensed for Box<dyn Sensor> {
    fn sensed(&mut self) -> &mut dyn Sensor {
        self.as_mut()
    }
}

impl Sensed for DeviceFollower {
    fn sensed(&mut self) -> &mut dyn Sensor {
        self
    }
}

impl Sensed for LoginFollower {
    fn sensed(&mut self) -> &mut dyn Sensor {
        self
    }

    fn positions(&self) -> Option<Vec<Position>> {
        Some(Self::positions(self))
    }

    fn own_hooks(&self) -> Option<Vec<Hook>> {
        Some(self.hooks())
    }
}

/// The processes that run now, parents before their children where possible.
pub(crate) fn running(sensor: &mut dyn Sensor) -> VecDeque<Process> {
    let mut processes = sensor.snapshot();
    processes.sort_by_key(|process| (process.start_time, process.pid));
    processes.into()
}
