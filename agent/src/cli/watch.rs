//! `watch`: live events on standard output, without any collector.

use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;

use picket_event::{Origin, ProcessUid};
use picket_scorer::Scorer;
use picket_sensor::device::DeviceFollower;

use super::WatchArgs;
use super::output::Reader;
use crate::config::{Config, EnvironmentArg};
use crate::detect::{Detector, RulesFrom, load_rules, scorer_settings};
use crate::enrich::{Enricher, SharedTable};
use crate::failure::{Code, Failure};
use crate::pipeline::bounds::Bounds;
use crate::pipeline::hasher::HashThread;
use crate::pipeline::ledger::Ledgers;
use crate::pipeline::sensors::{self, Readers};
use crate::pipeline::{self, INPUTS, Stages, World, signals};
use crate::respond::procfs;
use crate::{clock, health};

mod chosen;
mod printer;
pub(super) mod readable;
mod table;

use printer::Printer;

/// Shows events until it is told to stop, or its time is over, or nobody reads.
pub(super) fn watch(arguments: &WatchArgs) -> Result<(), Failure> {
    health::log_to_stderr("warn");
    let mut config = Config::load(arguments.config.as_deref())?;
    if arguments.env {
        config.environment = EnvironmentArg::All;
    }
    let boot = clock::boot_id();
    let rules = load_rules(rules_from(arguments, &config), &[])?;
    let (inputs, waiting) = sync_channel(INPUTS);
    signals::watch(inputs.clone(), arguments.time)?;
    let source = arguments.source.unwrap_or(config.source);
    let mut opened = sensors::open(source, &config, boot)?;
    if let Some(reason) = &opened.fallback {
        let source = opened.sensor.source().name();
        health::say(&format!(
            "kernel sensor not available, using {source}: {reason}"
        ));
    }
    let table = SharedTable::default();
    remember(&table, opened.sensor.as_mut());
    let secret = picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
    let mut stages = Stages {
        enrich: Enricher::new(own_uid(), None, table, config.hashing()).with_every_fork(true),
        detect: Detector::new(
            rules,
            Scorer::new(scorer_settings(secret, config.scorer_alert_p)),
        ),
        ledgers: Ledgers::default(),
        gate: None,
        policy: None,
        fleet: None,
        bounds: Bounds::new(config.memory_bytes),
        clock: clock::system(),
    };
    say_learning(&stages.detect);
    let hasher = HashThread::start(inputs.clone())?;
    let mut readers = Readers::default();
    readers.read(opened.sensor, inputs.clone())?;
    let logins = sensors::open_logins(boot, None);
    stages.detect.ask_for_lines(logins.lines());
    readers.read_logins(logins, inputs.clone())?;
    readers.read_devices(DeviceFollower::open(), inputs)?;
    let mut printer = Printer::new(arguments, Origin { host: None, boot });
    let mut world = World {
        hasher: &hasher,
        reload: &|| None,
        stop: &mut |_ending| readers.stop(),
    };
    match pipeline::walk(&mut stages, &mut printer, &waiting, &mut world) {
        Err(_) if printer.reader == Reader::Gone => Ok(()),
        done => done.map(drop),
    }
}

/// Nothing is kept from one watch to the next, so rules about new values begin to learn.
fn say_learning(detect: &Detector) {
    let learning = detect.over_several().learning;
    if learning > 0 {
        health::say(&format!(
            "{learning} rules about what is new here are silent until they have learned (docs/rules.md)"
        ));
    }
}

fn rules_from<'a>(arguments: &'a WatchArgs, config: &'a Config) -> RulesFrom<'a> {
    match &arguments.rules {
        Some(directory) => RulesFrom::Only(directory),
        None => RulesFrom::Pack(&config.rules),
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
