//! `run`: the service. Puts the parts together, walks the path, takes them apart in the right order.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use picket_event::batch::PreviousStream;
use picket_event::{BootId, Detail, Event, Kind, SensorState, Source, StreamId};
use picket_scorer::Scorer;
use picket_sensor::device::DeviceFollower;
use picket_sensor::login::Position;
use picket_sensor::{Guarded, Sensor};
use picket_spool::{Limits, Lost, RealDisk, Spool};
use tokio::sync::{mpsc, watch};

use super::RunArgs;
use super::watch::{own_uid, remember};
use crate::books::{ALERTS, Books, LOGINS, Parts, SCORER, SEEN};
use crate::clock::{self, boot_ns};
use crate::config::{Config, DEFAULT_CONFIG};
use crate::content::{Contents, SharedContents};
use crate::detect::{Detector, Rules, RulesFrom, load_rules, scorer_settings};
use crate::enrich::{Enricher, SharedTable};
use crate::failure::{Code, Failure, chain};
use crate::fleet::{Compared, Fleet, SharedFleet};
use crate::health::{self, Health, Link, SharedHealth, Status, notify, socket};
use crate::integrity::keeper::{Keeper, Keeping};
use crate::integrity::{Baseline, SharedBaseline};
use crate::pipeline::bounds::Bounds;
use crate::pipeline::hasher::HashThread;
use crate::pipeline::ledger::Ledgers;
use crate::pipeline::sensors::{self, Opened, Readers};
use crate::pipeline::{self, Ending, INPUTS, Input, Stages, World, signals};
use crate::respond::block::Gate;
use crate::respond::effects::Effects;
use crate::respond::isolate;
use crate::respond::isolate::socket::Typed;
use crate::respond::lock_user::Accounts;
use crate::respond::policy::Lookout;
use crate::respond::protect::Protection;
use crate::respond::serve::Calls;
use crate::respond::{Asked, Believer, Kept, Responder, Told};
use crate::seal::{Sealer, Speaker};
use crate::state::commands::CommandLog;
use crate::state::epoch::Epochs;
use crate::state::host::{self, Host};
use crate::state::{StateDir, stream};
use crate::store::{Shared, Store};
use crate::uplink::places::SharedPlaces;
use crate::uplink::runs::Runs;
use crate::uplink::{COMMANDS, Stop, Uplink};

mod previous;

/// Size of one spool segment.
const SEGMENT_BYTES: u64 = 4 << 20;
/// How long the end waits for the collector to take what is left.
const LAST_SEND: Duration = Duration::from_secs(2);
/// Keys the scorer's table.
const SCORER_SECRET: &str = "scorer.secret";

/// Runs until it is told to stop.
pub(super) fn run(arguments: &RunArgs) -> Result<(), Failure> {
    health::log_to_stderr("info");
    let mut config = Config::load(arguments.config.as_deref())?;
    config.source = arguments.source.unwrap_or(config.source);
    host::require(&arguments.state)?;
    let state = Arc::new(StateDir::open(&arguments.state)?);
    let settings = arguments.config.as_deref();
    let guarded = guarded(
        &state,
        &config,
        settings.unwrap_or_else(|| Path::new(DEFAULT_CONFIG)),
    );
    let (service, config) = Service::open(state, config)?;
    match service.run(&config, guarded)? {
        Ending::Stop => Ok(()),
        Ending::StartAnew => Err(start_anew()),
    }
}

/// Becomes a new agent of the same process. Returns only if that fails; then whoever started the agent is to start it again.
fn start_anew() -> Failure {
    tracing::info!("the agent starts anew, with other settings");
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let program = program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let arguments = std::env::args_os().skip(1);
    let error = Command::new(program).args(arguments).exec();
    Failure::new(Code::Failed, &error).hint("start it again: it has other settings")
}

fn join(threads: [JoinHandle<()>; 2]) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread broke");
        }
    }
}

fn nobody_listens() -> Failure {
    Failure::line(Code::Failed, "the path ended before it began")
}

/// What belongs to the service: its program, its settings and rules, its state.
fn guarded(state: &StateDir, config: &Config, settings: &Path) -> Guarded {
    let program = std::env::current_exe().ok();
    Guarded {
        files: program.into_iter().chain([settings.to_owned()]).collect(),
        trees: vec![state.root().to_owned(), config.rules.clone()],
    }
}

/// Everything that is open before the path begins.
struct Service {
    state: Arc<StateDir>,
    host: Host,
    boot: BootId,
    stream: StreamId,
    epochs: Epochs,
    previous: Option<PreviousStream>,
    /// It and those before it, the oldest first.
    runs: Vec<PreviousStream>,
    spool: Arc<Shared>,
    health: SharedHealth,
    table: SharedTable,
    places: SharedPlaces,
    contents: SharedContents,
    fleet: SharedFleet,
}

impl Service {
    /// With the settings that hold: those that operators signed in place of the host's own.
    fn open(state: Arc<StateDir>, own: Config) -> Result<(Self, Config), Failure> {
        let host = Host::read(&state)?;
        let contents = Contents::open(Arc::clone(&state), own.rules.clone(), &host.trust);
        let config = own.under(&contents.configuration());
        let epochs = Epochs::open(&state, &host)?;
        let (mut spool, dropped) = open_spool(&state, &config)?;
        let previous = previous::read(&state, &mut spool)?;
        let runs = previous::with_earlier(&state, previous.as_ref())?;
        let stream = picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
        let stream = StreamId::new(stream);
        let health = Health::new(Status::new(host.id, stream, host.collector.clone()));
        let fleet = Fleet::open(&state, config.fleet_prior)?;
        let service = Self {
            contents,
            fleet,
            boot: clock::boot_id(),
            spool: Shared::new(spool, dropped),
            table: SharedTable::default(),
            places: SharedPlaces::default(),
            state,
            host,
            stream,
            epochs,
            previous,
            runs,
            health,
        };
        Ok((service, config))
    }

    fn run(mut self, config: &Config, guarded: Guarded) -> Result<Ending, Failure> {
        let (inputs, waiting) = sync_channel(INPUTS);
        signals::watch(inputs.clone(), None)?;
        let state = Arc::clone(&self.state);
        let mut opened =
            sensors::open_protected(config.source, config, self.boot, guarded, state.root())?;
        self.note_fallback(&opened);
        remember(&self.table, opened.sensor.as_mut());
        let began = began(opened.sensor.as_ref());
        self.health.status().sensor = sensor_state(opened.sensor.as_ref());
        let baseline = Baseline::new(config.integrity());
        let mut stages = self.stages(config, &baseline)?;
        let responder = self.responder(config);
        responder.blocklist().arm(opened.sensor.blocker(), &state);
        self.health.status().protects_removal = config.protect_removal;
        stages.gate = Some(self.gate(&responder, config, inputs.clone())?);
        let (lookout, due) = Lookout::over(Arc::clone(&self.contents), &responder);
        stages.policy = Some(lookout);
        let hasher = HashThread::start(inputs.clone())?;
        let store = Store::start(Arc::clone(&self.spool), Arc::clone(&self.health))?;
        if let Err(failure) = socket::serve(self.state.root(), &self.health) {
            tracing::error!(reason = failure.line, "nobody can ask for the status");
        }
        let (commands, asked) = mpsc::channel(COMMANDS);
        let trust = responder.trust();
        let health = Arc::clone(&self.health);
        let codes = self.codes();
        let calls = Calls { asked, codes, due };
        let responding = responder.serve(calls, inputs.clone(), health)?;
        // Before anything else can fill the queue that only this thread empties.
        let began = Input::Events(vec![Box::new(began)], Arc::default());
        if inputs.send(began).is_err() {
            return Err(nobody_listens());
        }
        let readers = self.readers(opened.sensor, &mut stages.detect, &inputs)?;
        let keeping = self.keeper(&baseline, inputs.clone())?;
        self.begin();
        let (stop, uplink) = self.uplink(config, (commands, trust), inputs.clone())?;
        let (rules, contents) = (config.rules.clone(), Arc::clone(&self.contents));
        let (health, shared) = (Arc::clone(&self.health), Arc::clone(&self.spool));
        let mut books = self.books(config, store)?;
        notify::ready();
        let mut world = World {
            hasher: &hasher,
            reload: &|| reload(&rules, &contents),
            stop: &mut |ending| {
                match ending {
                    Ending::Stop => notify::stopping(),
                    Ending::StartAnew => notify::starts_anew(),
                }
                readers.stop()
            },
        };
        let done = pipeline::walk(&mut stages, &mut books, &waiting, &mut world);
        drop(waiting);
        keeping.end();
        send_rest(&health, &shared);
        stop.ring();
        join([uplink, responding]);
        save_cursor(&shared);
        contents.end_trials();
        tracing::info!("run ends");
        done
    }

    /// The run begins: nothing that could still end it has failed, so it may take the place of the run before.
    ///
    /// A disk that is full must not keep the agent from starting: only what the uplink drains makes room.
    fn begin(&mut self) {
        if let Err(error) = self.epochs.rotate(clock::system().now()) {
            tracing::error!(
                reason = chain(&error),
                "event key not changed, keeping the old one"
            );
        }
        if let Err(error) = stream::write(&self.state, self.stream, &[], false) {
            tracing::error!(reason = chain(&error), "stream state not kept");
        }
        self.health.status().epoch = self.epochs.epoch();
        let (host, stream, epoch) = (self.host.id, self.stream, self.epochs.epoch());
        tracing::info!(%host, %stream, epoch, "run begins");
    }

    /// The threads that read what sees.
    fn readers(
        &self,
        sensor: Box<dyn Sensor>,
        detect: &mut Detector,
        inputs: &SyncSender<Input>,
    ) -> Result<Readers, Failure> {
        let mut readers = Readers::default();
        readers.read(sensor, inputs.clone())?;
        let logins = self.logins()?;
        detect.ask_for_lines(logins.lines());
        readers.read_logins(logins, inputs.clone())?;
        readers.read_devices(DeviceFollower::open(), inputs.clone())?;
        Ok(readers)
    }

    fn note_fallback(&self, opened: &Opened) {
        if let Some(reason) = &opened.fallback {
            let source = opened.sensor.source().name();
            tracing::warn!(
                reason,
                source,
                "kernel sensor not available, using a lesser one"
            );
            self.health.status().fallback.clone_from(reason);
        }
    }

    fn stages(&self, config: &Config, baseline: &SharedBaseline) -> Result<Stages, Failure> {
        let rules = load_rules(RulesFrom::Pack(&config.rules), &self.contents.rules())?;
        tracing::info!(rules = rules.len(), "rules loaded");
        let own = Some(self.state.root().to_owned());
        Ok(Stages {
            enrich: Enricher::new(own_uid(), own, Arc::clone(&self.table), config.hashing())
                .with_every_fork(config.every_fork)
                .remembering(Arc::clone(baseline)),
            detect: detector(&self.state, config, rules)?,
            ledgers: Ledgers::default(),
            gate: None,
            policy: None,
            fleet: Some(Compared::with(&self.fleet, Instant::now())),
            bounds: Bounds::new(config.memory_bytes),
            clock: clock::system(),
        })
    }

    fn keeper(
        &self,
        baseline: &SharedBaseline,
        inputs: SyncSender<Input>,
    ) -> Result<Keeping, Failure> {
        let keeper = Keeper {
            baseline: Arc::clone(baseline),
            state: Arc::clone(&self.state),
            health: Arc::clone(&self.health),
            inputs,
        };
        keeper.start()
    }

    fn gate(
        &self,
        responder: &Responder,
        config: &Config,
        inputs: SyncSender<Input>,
    ) -> Result<Gate, Failure> {
        let protection = Protection::new(self.boot, config.protected_exes.clone());
        Gate::open(responder.blocklist(), protection, self.boot, inputs)
    }

    /// Where codes are typed that end an isolation here.
    fn codes(&self) -> Option<mpsc::Receiver<Typed>> {
        let codes = isolate::socket::serve(self.state.root());
        let warn = |failure: &Failure| {
            tracing::error!(reason = failure.line, "no code can be said to this agent");
        };
        codes.inspect_err(warn).ok()
    }

    fn responder(&self, config: &Config) -> Responder {
        let log = CommandLog::open(&self.state, clock::system().now());
        if let Err(error) = &log {
            let reason = chain(error);
            tracing::error!(reason, "every command will be refused");
            self.health.status().respond_error = reason;
        }
        let believer = Believer {
            host: self.host.id,
            host_epoch: self.host.epoch,
            trust: self.host.trust.clone(),
            told: watch::Sender::new(Told {
                version: self.host.trust.version,
                refused: String::new(),
            }),
        };
        let protection = Protection::new(self.boot, config.protected_exes.clone());
        let effects = Effects::open(&self.state, self.boot);
        if let Err(error) = &effects {
            let reason = chain(error);
            tracing::error!(reason, "nothing that can be undone will be done");
            self.health.status().respond_error = reason;
        }
        Responder::new(
            believer,
            clock::system(),
            Kept {
                log,
                effects,
                state: Arc::clone(&self.state),
                accounts: Accounts {
                    root: PathBuf::from("/"),
                },
                places: Arc::clone(&self.places),
                contents: Arc::clone(&self.contents),
                protects_removal: config.protect_removal,
                health: Arc::clone(&self.health),
            },
            Arc::clone(&self.table),
            protection,
        )
    }

    /// The login sources, from where the run before stood.
    fn logins(&self) -> Result<picket_sensor::login::LoginFollower, Failure> {
        let Some(bytes) = self.state.read(LOGINS)? else {
            return Ok(sensors::open_logins(self.boot, None));
        };
        match serde_json::from_slice::<Vec<Position>>(&bytes) {
            Ok(positions) => Ok(sensors::open_logins(self.boot, Some(&positions))),
            Err(error) => {
                let aside = self.state.set_aside(LOGINS)?;
                let aside = aside.display().to_string();
                tracing::error!(%error, aside, "login positions were damaged, following from now on");
                Ok(sensors::open_logins(self.boot, None))
            }
        }
    }

    fn uplink(
        &self,
        config: &Config,
        (commands, trust): (mpsc::Sender<Asked>, watch::Receiver<Told>),
        inputs: SyncSender<Input>,
    ) -> Result<(Arc<Stop>, JoinHandle<()>), Failure> {
        let stop = Arc::new(Stop::default());
        let uplink = Uplink {
            state: Arc::clone(&self.state),
            collectors: match config.collectors.as_slice() {
                [] => vec![self.host.collector.clone()],
                given => given.to_vec(),
            },
            proxy: config.proxy.clone(),
            places: Arc::clone(&self.places),
            ca: self.host.ca.clone(),
            host_epoch: self.host.epoch,
            trust,
            contents: Arc::clone(&self.contents),
            fleet: Arc::clone(&self.fleet),
            stream: self.stream,
            successions: self.epochs.log().to_owned(),
            store: Arc::clone(&self.spool),
            health: Arc::clone(&self.health),
            clock: clock::system(),
            commands,
            stop: Arc::clone(&stop),
            runs: Runs::new(Arc::clone(&self.state), self.runs.clone()),
        };
        Ok((stop, uplink.start(inputs)?))
    }

    fn books(self, config: &Config, store: Store) -> Result<Books, Failure> {
        let speaker = Speaker {
            host: self.host.id,
            stream: self.stream,
            boot: self.boot,
        };
        let sealer = Sealer::new(speaker, self.previous);
        Ok(Books::new(Parts {
            state: self.state,
            clock: clock::system(),
            health: self.health,
            speaker,
            sealer: sealer.map_err(|error| Failure::new(Code::Failed, &error))?,
            epochs: self.epochs,
            epoch_length: config.epoch(),
            store,
        }))
    }
}

/// The spool, and the records of earlier runs in it whose payload is gone.
fn open_spool(state: &StateDir, config: &Config) -> Result<(Spool, Vec<Lost>), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(Code::Failed, error);
    let disk = RealDisk::new(state.directory("spool")?).map_err(|error| failed(&error))?;
    let limits = Limits {
        quota_bytes: config.spool_quota_bytes,
        segment_bytes: SEGMENT_BYTES,
    };
    let (spool, recovery) = Spool::open(Box::new(disk), limits).map_err(|error| failed(&error))?;
    tracing::info!(
        records = recovery.records,
        events = recovery.events,
        torn_bytes = recovery.torn_bytes,
        corrupt_bytes = recovery.corrupt_bytes,
        "spool opened"
    );
    for lost in &recovery.lost {
        tracing::error!(?lost, "spool found events lost");
    }
    Ok((spool, recovery.dropped))
}

/// Rules, and what they, the scorer and its budget know from earlier runs.
fn detector(state: &StateDir, config: &Config, rules: Rules) -> Result<Detector, Failure> {
    let detector = with_seen(state, Detector::new(rules, scorer(state, config)?))?;
    let Some(kept) = state.read(ALERTS)? else {
        return Ok(detector);
    };
    let (detector, usable) = detector.with_alerts(&kept);
    if !usable {
        let aside = state.set_aside(ALERTS)?.display().to_string();
        tracing::error!(aside, "the budget of the scorer's alerts begins anew");
    }
    Ok(detector)
}

/// What rules about new values saw in earlier runs. What cannot be used is set aside, and they learn anew.
fn with_seen(state: &StateDir, detector: Detector) -> Result<Detector, Failure> {
    let (detector, usable) = match state.read(SEEN)? {
        Some(kept) => detector.with_seen(&kept),
        None => (detector, true),
    };
    if !usable {
        let aside = state.set_aside(SEEN)?.display().to_string();
        tracing::error!(aside, "rules about new values begin to learn anew");
    }
    let learning = detector.over_several().learning;
    if learning > 0 {
        tracing::info!(
            learning,
            "rules about new values are silent until they have learned"
        );
    }
    Ok(detector)
}

/// What the scorer learned in earlier runs. A snapshot that cannot be used is set aside.
fn scorer(state: &StateDir, config: &Config) -> Result<Scorer, Failure> {
    let kept = state
        .read(SCORER_SECRET)?
        .and_then(|bytes| bytes.try_into().ok());
    let secret: [u8; 16] = if let Some(secret) = kept {
        secret
    } else {
        let secret: [u8; 16] =
            picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
        state.write(SCORER_SECRET, &secret)?;
        secret
    };
    let settings = scorer_settings(secret, config.scorer_alert_p);
    let Some(snapshot) = state.read(SCORER)? else {
        return Ok(Scorer::new(settings));
    };
    match Scorer::restore(settings, &snapshot) {
        Ok(scorer) => {
            if Scorer::is_of_older_format(&snapshot) {
                tracing::info!(
                    "scorer goes on from an older snapshot; command lines are learned anew"
                );
            }
            Ok(scorer)
        }
        Err(error) => {
            let aside = state.set_aside(SCORER)?.display().to_string();
            tracing::error!(reason = chain(&error), aside, "scorer begins to learn anew");
            Ok(Scorer::new(settings))
        }
    }
}

fn sensor_state(sensor: &dyn Sensor) -> SensorState {
    SensorState {
        backend: sensor.source().name().to_owned(),
        change: "started".to_owned(),
        hooks: sensor.hooks(),
    }
}

/// The first event of a run.
fn began(sensor: &dyn Sensor) -> Event {
    let mut event = Event::new(Kind::Sensor, clock::system().now(), Source::Agent);
    event.boot_ns = boot_ns();
    event.with(Detail::Sensor(sensor_state(sensor)))
}

fn reload(rules: &Path, contents: &Contents) -> Option<Rules> {
    match load_rules(RulesFrom::Pack(rules), &contents.rules()) {
        Ok(rules) => {
            tracing::info!(rules = rules.len(), "rules loaded again");
            Some(rules)
        }
        Err(error) => {
            tracing::error!(
                reason = chain(&error),
                "rules not loaded, keeping the old ones"
            );
            None
        }
    }
}

/// Gives a connected collector a moment to take the closing balance.
fn send_rest(health: &SharedHealth, spool: &Shared) {
    let until = Instant::now() + LAST_SEND;
    while health.status().link == Link::Connected && Instant::now() < until {
        let left: u64 = spool
            .spool()
            .status()
            .classes
            .iter()
            .map(|class| class.records)
            .sum();
        if left == 0 {
            return;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

fn save_cursor(spool: &Shared) {
    if let Err(error) = spool.spool().save_cursor() {
        tracing::warn!(reason = chain(&error), "spool cursor not saved");
    }
}
