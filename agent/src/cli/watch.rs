//! `watch`: live events on standard output, without any collector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Kind, Origin, ProcessUid, Source, json};
use picket_scorer::Scorer;

use super::WatchArgs;
use super::output::{Output, Reader};
use crate::config::{Config, DEFAULT_RULES};
use crate::detect::{Detector, RulesFrom, load_rules, scorer_settings};
use crate::enrich::{Enricher, SharedTable};
use crate::failure::{Code, Failure};
use crate::pipeline::hasher::HashThread;
use crate::pipeline::ledger::Ledgers;
use crate::pipeline::sensors::{self, Readers};
use crate::pipeline::{self, INPUTS, Sink, Stages, World, signals};
use crate::respond::procfs;
use crate::{clock, health};

pub(super) mod readable;

/// An idle line is shown after this time at the latest.
const SHOW_AFTER: Duration = Duration::from_millis(50);

/// Shows events until it is told to stop, or its time is over, or nobody reads.
pub(super) fn watch(arguments: &WatchArgs) -> Result<(), Failure> {
    health::log_to_stderr("warn");
    let config = Config::load(arguments.config.as_deref())?;
    let boot = clock::boot_id();
    let rules = load_rules(rules_from(arguments, &config))?;
    let (inputs, waiting) = sync_channel(INPUTS);
    signals::watch(inputs.clone(), arguments.time)?;
    let mut opened = sensors::open(arguments.source, &config, boot)?;
    if let Some(reason) = &opened.fallback {
        health::say(&format!(
            "kernel sensor not available, using portable: {reason}"
        ));
    }
    let table = SharedTable::default();
    remember(&table, opened.sensor.as_mut());
    let secret = picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
    let mut stages = Stages {
        enrich: Enricher::new(own_uid(), None, table),
        detect: Detector::new(
            rules,
            Scorer::new(scorer_settings(secret, config.scorer_alert_p)),
        ),
        ledgers: Ledgers::default(),
        clock: clock::system(),
    };
    let hasher = HashThread::start(inputs.clone())?;
    let mut readers = Readers::default();
    readers.read(opened.sensor, inputs.clone())?;
    readers.read_logins(sensors::open_logins(boot, None), inputs)?;
    let mut printer = Printer::new(arguments, Origin { host: None, boot });
    let mut world = World {
        hasher: &hasher,
        reload: &|| None,
        stop: &mut || readers.stop(),
    };
    match pipeline::walk(&mut stages, &mut printer, &waiting, &mut world) {
        Err(_) if printer.reader == Reader::Gone => Ok(()),
        done => done,
    }
}

fn rules_from<'a>(arguments: &'a WatchArgs, config: &'a Config) -> RulesFrom<'a> {
    match &arguments.rules {
        Some(directory) => RulesFrom::Only(directory),
        None if arguments.config.is_some() => RulesFrom::Pack(&config.rules),
        None => RulesFrom::Pack(std::path::Path::new(DEFAULT_RULES)),
    }
}

/// What runs already, so that the first events have parents.
pub(crate) fn remember(table: &SharedTable, sensor: &mut dyn picket_sensor::Sensor) {
    let running = sensors::running(sensor);
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    for mut process in running {
        table.complete(&mut process);
        table.see(&process);
    }
}

/// This process.
pub(crate) fn own_uid() -> ProcessUid {
    let own = procfs::find(&clock::boot_id(), std::process::id());
    own.map_or(ProcessUid::new([0; 16]), |own| own.uid)
}

/// The sink that people read.
struct Printer {
    out: Output,
    json: bool,
    kinds: BTreeSet<Kind>,
    origin: Origin,
    seq: u64,
    held_back: BTreeMap<Kind, u64>,
    reader: Reader,
    unshown: Option<Instant>,
}

impl Printer {
    fn new(arguments: &WatchArgs, origin: Origin) -> Self {
        Self {
            out: Output::new(),
            json: arguments.json,
            kinds: arguments.kinds.iter().copied().collect(),
            origin,
            seq: 0,
            held_back: BTreeMap::new(),
            reader: Reader::There,
            unshown: None,
        }
    }

    fn print(&mut self, mut event: Event) -> Result<(), Failure> {
        event.seq = self.seq;
        self.seq = self.seq.saturating_add(1);
        let text = if self.json {
            json::to_string(&event, &self.origin)
        } else {
            readable::line(&event)
        };
        self.unshown.get_or_insert_with(Instant::now);
        let reader = self.out.line(&text)?;
        self.notice(reader)
    }

    /// A reader that is gone ends the walk; the caller knows that it is no failure.
    fn notice(&mut self, reader: Reader) -> Result<(), Failure> {
        self.reader = reader;
        match reader {
            Reader::There => Ok(()),
            Reader::Gone => Err(Failure::line(Code::Failed, "nobody reads")),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.unshown = None;
        let reader = self.out.flush()?;
        self.notice(reader)
    }

    /// What `--kinds` held back was filtered, not handed on.
    fn balance(&self, last: &mut Event) {
        let Some(Detail::Loss(loss)) = &mut last.detail else {
            return;
        };
        for line in &mut loss.kinds {
            let held_back = self.held_back.get(&line.kind).copied().unwrap_or(0);
            line.hold_back(held_back);
        }
    }
}

impl Sink for Printer {
    fn take(&mut self, event: Event) -> Result<(), Failure> {
        if self.kinds.is_empty() || self.kinds.contains(&event.kind) {
            return self.print(event);
        }
        let count = self.held_back.entry(event.kind).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// The sensor's ledger says it, and the sensor's own `loss` events.
    fn lose(&mut self, _from: Source, _kind: Kind, _count: u64) -> Result<(), Failure> {
        Ok(())
    }

    fn tick(&mut self, _stages: &Stages) -> Result<(), Failure> {
        match self.unshown {
            Some(since) if since.elapsed() >= SHOW_AFTER => self.flush(),
            _ => Ok(()),
        }
    }

    fn patience(&self) -> Duration {
        let shown = self
            .unshown
            .map(|since| SHOW_AFTER.saturating_sub(since.elapsed()));
        shown.unwrap_or(Duration::MAX)
    }

    fn close(&mut self, mut last: Event, _stages: &Stages) -> Result<(), Failure> {
        self.balance(&mut last);
        self.print(last)?;
        self.flush()
    }
}
