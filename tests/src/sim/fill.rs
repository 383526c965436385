//! Fills a collector's store: events of simulated hosts over days, on the path that they would take in it.
//!
//! What is real: keys, numbers, chains and signatures of the agent's own sealer; the collector's check of each batch; its
//! write-ahead log with its syncs; its sealing and merging. What is not: the network, epochs (all batches are of the hosts'
//! first key), and the time, which runs as fast as the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use picket_agent::seal::{Now, Sealed, Sealer as BatchSealer, Signer, Speaker};
use picket_collector::data::DataDir;
use picket_collector::database::hosts::{self, HostRow};
use picket_collector::database::{Database, DatabaseError};
use picket_collector::verify::{self, Signed};
use picket_event::{BootId, Class, Clock, HostId, StreamId, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_seal::SigningKey;
use picket_store::{ColumnSize, Lineage, Options as StoreOptions, SealOptions, Sealer, Store};

use super::dice::Dice;
use super::place_of;
use super::world::{Moment, World};
use crate::failure::Failure;

/// What to fill a store with.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// How many hosts.
    pub hosts: usize,
    /// Over how many days before now.
    pub days: f64,
    /// How many events, all hosts together.
    pub events: u64,
    /// What the events are made of.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    /// Events stored.
    pub events: u64,
    /// In so many batches.
    pub batches: u64,
    /// Bytes of the write-ahead log.
    pub log_bytes: u64,
    /// Bytes of the sealed files.
    pub sealed_bytes: u64,
    /// Sealed files.
    pub files: u64,
    /// Time to make, check and store them.
    pub storing: Duration,
    /// Time to seal and merge them.
    pub sealing: Duration,
    /// Processor time of it.
    pub sealing_cpu: Duration,
    /// What each column of the sealed files takes, the largest first.
    pub columns: Vec<ColumnSize>,
}

/// Fills the store of the collector in `data`, which must not be running.
pub fn fill(data: &Path, filling: &Filling) -> Result<Filled, Failure> {
    let failed = |error: &dyn std::error::Error| place_of("the collector's folder", &chain(error));
    let folder = DataDir::open(data).map_err(|error| failed(&error))?;
    let _lock = folder.lock().map_err(|error| failed(&error))?;
    let database = Database::open(&folder.database()).map_err(|error| failed(&error))?;
    let opened = Store::open(&folder.wal(), StoreOptions::default());
    let (mut store, _) = opened.map_err(|error| failed(&error))?;
    let mut filled = Filled::default();
    let began = Instant::now();
    append(&mut store, &database, filling, &mut filled)?;
    filled.storing = began.elapsed();
    filled.log_bytes = store.reader().bytes();
    let (began, used) = (Instant::now(), thread_time());
    let sealer = seal(&store, &folder).map_err(|error| failed(&error))?;
    filled.sealing = began.elapsed();
    filled.sealing_cpu = thread_time().saturating_sub(used);
    filled.sealed_bytes = sealer.sealed_bytes();
    filled.files = sealer.sealed_files();
    filled.columns = sealer.column_sizes().map_err(|error| failed(&error))?;
    Ok(filled)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn seal(store: &Store, folder: &DataDir) -> Result<Sealer, picket_store::StoreError> {
    let options = SealOptions::default();
    let (mut sealer, _) = Sealer::open(&store.reader(), &folder.sealed(), options)?;
    while sealer.seal()?.more {}
    while sealer.compact()?.files > 0 {}
    Ok(sealer)
}

/// What this thread has used of the processor.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn append(
    store: &mut Store,
    database: &Database,
    filling: &Filling,
    filled: &mut Filled,
) -> Result<(), Failure> {
    let (world, mut dice) = (World::new(filling.seed), Dice::new(filling.seed));
    let mut hosts = Vec::new();
    for number in 0..filling.hosts.max(1) {
        hosts.push(FilledHost::enrol(database, number, &mut dice)?);
    }
    let span = Duration::try_from_secs_f64(filling.days * 86_400.0).unwrap_or(LONGEST);
    let (end, mut unsynced) = (SystemClock.now(), 0_u32);
    let begin = end.minus(span);
    while filled.events < filling.events {
        let which = usize::try_from(dice.below(hosts.len() as u64)).unwrap_or_default();
        let Some(host) = hosts.get_mut(which) else {
            break;
        };
        let share = super::play::float(filled.events) / super::play::float(filling.events.max(1));
        let now = begin.plus(span.mul_f64(share.clamp(0.0, 1.0)));
        let most = filling.events - filled.events;
        for sealed in host.burst(&world, now, most, &mut dice)? {
            filled.events += sealed.count;
            filled.batches += 1;
            host.store(store, sealed, now)?;
        }
        unsynced += 1;
        if unsynced >= BURSTS_PER_SYNC {
            sync(store)?;
            unsynced = 0;
        }
    }
    sync(store)
}

fn sync(store: &mut Store) -> Result<(), Failure> {
    let synced = store.sync();
    synced.map_err(|error| place_of("the collector's log", &chain(&error)))
}

/// A host of a filled store.
struct FilledHost {
    id: HostId,
    key: SigningKey,
    sealer: BatchSealer,
}

impl FilledHost {
    fn enrol(database: &Database, number: usize, dice: &mut Dice) -> Result<Self, Failure> {
        let key = SigningKey::generate();
        let key = key.map_err(|error| place_of("a key", &error.to_string()))?;
        let id = HostId::of_first_key(&key.public_key());
        let name = format!("filled-{number:04}");
        let row = HostRow {
            id,
            event_key: key.public_key(),
            facts: super::host::facts(&name),
            name,
            group: String::new(),
            token: "picket-sim".to_owned(),
            enrolled: SystemClock.now(),
            revoked: false,
            heartbeat: None,
            last_seen: UnixNanos(0),
            host_epoch: 0,
        };
        let added = database.run(|t| -> Result<bool, DatabaseError> { hosts::add(t, &row) });
        added.map_err(|error| place_of("the collector's database", &chain(&error)))?;
        let speaker = Speaker {
            host: id,
            stream: StreamId::new(dice.bytes()),
            boot: BootId::new(dice.bytes()),
        };
        let sealer = BatchSealer::new(speaker, None);
        let sealer = sealer.map_err(|error| place_of("a sealer", &error.to_string()))?;
        Ok(Self { id, key, sealer })
    }

    /// Some events of one class within a second, sealed as an agent seals them.
    fn burst(
        &mut self,
        world: &World,
        now: UnixNanos,
        most: u64,
        dice: &mut Dice,
    ) -> Result<Vec<Sealed>, Failure> {
        let (class, count) = match dice.below(100) {
            0 => (Class::Alert, 1),
            1..=45 => (Class::Security, 32 + dice.below(224)),
            _ => (Class::Bulk, 32 + dice.below(224)),
        };
        let (key, mut sealed) = (&self.key, Vec::new());
        let signer = || Signer { epoch: 0, key };
        let unsealed = |error: std::io::Error| place_of("a sealer", &error.to_string());
        let since_boot = u64::try_from(now.0).unwrap_or_default();
        for _ in 0..count.min(most) {
            let within = Duration::from_micros(dice.below(1_000_000));
            let wall = now.plus(within);
            // As an agent's: the wall clock of an event is that of the boot and the time since then.
            let within = u64::try_from(within.as_nanos()).unwrap_or_default();
            let boot_ns = since_boot.saturating_add(within);
            let event = world.event(class, Moment { wall, boot_ns }, dice);
            let at = Now {
                wall,
                mono_ns: since_boot,
            };
            let full = self.sealer.push(Box::new(event), at, signer());
            sealed.extend(full.map_err(unsealed)?);
        }
        let at = Now {
            wall: now,
            mono_ns: since_boot,
        };
        sealed.extend(self.sealer.flush_all(at, signer()).map_err(unsealed)?);
        Ok(sealed)
    }

    /// What the collector does with a batch.
    fn store(&self, store: &mut Store, sealed: Sealed, now: UnixNanos) -> Result<(), Failure> {
        let batch = v1::SignedBatch {
            header: sealed.header,
            payload: sealed.payload,
            signature: sealed.signature.as_bytes().to_vec(),
            successions: Vec::new(),
        };
        let refused = |refusal: picket_collector::refusal::Refusal| {
            place_of("the collector's check", refusal.name())
        };
        let header = verify::read_header(&batch, self.id).map_err(refused)?;
        let signed = Signed {
            key: self.key.public_key(),
            lineage: Lineage::trunk(),
            received: now.plus(Duration::from_secs(2)),
        };
        let entry = verify::check(batch, header, signed).map_err(refused)?;
        let stored = store.append(entry);
        stored.map_err(|error| place_of("the collector's log", &chain(&error)))?;
        Ok(())
    }
}

const BURSTS_PER_SYNC: u32 = 256;

const LONGEST: Duration = Duration::from_hours(24 * 3_650);
