//! The proof of each hook: at the start, and again now and then, the canary's own deeds must come back through it.
//!
//! # Invariants
//!
//! - While the canary sings, the kernel also tells what this process does with files; all of that is claimed and counts as
//!   filtered, so the user never sees it.
//! - Singing keeps the reader from its rings for a moment, so a proof waits until little is going on.
//! - A hook loses its standing only if nothing at all was lost while the canary sang.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use picket_event::{Detail, Event, HookState, Kind, SensorState, Source};

use super::canary::Canary;
use super::hooks::{BLOCK, Standing};
use super::program::{Loaded, kernel};
use super::watch::{TrieEntry, Watch};
use super::{KernelSensor, TICK};
use crate::{Boxed, Secret, Sensor, SensorError, Settings, identity};

/// When the next proof is due, and what it needs.
#[derive(Debug)]
pub(super) struct Proofs {
    settings: Settings,
    tries: Tries,
    told_facts: MapHandle,
    last: Instant,
    received: u64,
    under_way: Option<UnderWay>,
}

/// A proof whose canary has sung.
#[derive(Debug)]
struct UnderWay {
    until: Instant,
    lost_before: u64,
    watch: Watch,
}

/// The kernel's coarse filters of paths.
#[derive(Debug)]
pub(super) struct Tries {
    paths: MapHandle,
    names: MapHandle,
}

impl Proofs {
    pub(super) fn new(settings: Settings, tries: Tries, told_facts: MapHandle) -> Self {
        Self {
            settings,
            tries,
            told_facts,
            last: Instant::now(),
            received: 0,
            under_way: None,
        }
    }

    /// Whether a proof is due and little has come since the last call.
    fn is_time(&mut self, received: u64) -> bool {
        let came = received.saturating_sub(self.received);
        self.received = received;
        let every = self.settings.prove_every;
        !every.is_zero() && self.last.elapsed() >= every && came < CALM
    }

    /// What this process did before counts as told no longer, or the kernel would only count it.
    fn forget_own(&self) {
        let own = std::process::id().to_ne_bytes();
        // `struct told_key` of `agent/ebpf/fact.h`.
        let is_own = |key: &Vec<u8>| key.get(8..12) == Some(&own[..]);
        for key in self.told_facts.keys().filter(is_own).collect::<Vec<_>>() {
            if let Err(error) = self.told_facts.delete(&key) {
                tracing::debug!(%error, "a fact told before stays told");
            }
        }
    }
}

impl Tries {
    pub(super) fn of(loaded: &Loaded) -> Result<Self, SensorError> {
        Ok(Self {
            paths: loaded.map("prefixes")?,
            names: loaded.map("secret_names")?,
        })
    }

    /// Tells the kernel programs what is watched.
    pub(super) fn fill(&self, watch: &Watch) -> Result<(), SensorError> {
        let entries = self.entries(watch);
        entries.iter().try_for_each(|(trie, (key, flags))| {
            let result = trie.update(key, &flags.to_ne_bytes(), MapFlags::ANY);
            result.map_err(|source| {
                let operation = "tell the kernel programs what is watched";
                kernel(operation.to_owned(), source)
            })
        })
    }

    /// Takes out what `watch` has and `kept` has not.
    fn clear(&self, watch: &Watch, kept: &Watch) {
        let keep: BTreeSet<Vec<u8>> = self
            .entries(kept)
            .into_iter()
            .map(|(_, (key, _))| key)
            .collect();
        for (trie, (key, _)) in self.entries(watch) {
            if !keep.contains(&key)
                && let Err(error) = trie.delete(&key)
            {
                tracing::debug!(%error, "the canary's folder stays in the kernel's filter");
            }
        }
    }

    fn entries(&self, watch: &Watch) -> Vec<(&MapHandle, TrieEntry)> {
        let paths = watch.path_entries().into_iter();
        let names = watch.name_entries().into_iter();
        let paths = paths.map(|entry| (&self.paths, entry));
        paths
            .chain(names.map(|entry| (&self.names, entry)))
            .collect()
    }
}

impl KernelSensor {
    /// The first proof: nothing else is read before it ends.
    pub(super) fn prove_at_start(&mut self) -> Result<(), SensorError> {
        self.begin_proof()?;
        while self.is_waiting_for_canary() {
            self.wait(TICK);
            self.drain();
        }
        self.end_proof()
    }

    /// The later ones: they begin when it is time and end when the canary came back, while events go on.
    pub(super) fn prove_again(&mut self, out: &mut Vec<Boxed>) -> Result<(), SensorError> {
        if self.proofs.under_way.is_some() {
            if self.is_waiting_for_canary() {
                return Ok(());
            }
            let before = self.attached.hooks.report();
            self.end_proof()?;
            let after = self.attached.hooks.report();
            if before != after {
                let proved = |state: &HookState| *state == HookState::Proved;
                let count = |hooks: &[picket_event::Hook]| {
                    hooks.iter().filter(|hook| proved(&hook.state)).count()
                };
                let worse = count(&after) < count(&before);
                let state = if worse { "hook_lost" } else { "hook_back" };
                out.push(Box::new(self.state_event(state)));
            }
            return Ok(());
        }
        let received = self.with_intake(|intake| intake.received);
        if self.proofs.is_time(received) && self.governor.allowance() == 0 {
            self.begin_proof()?;
        }
        Ok(())
    }

    /// Lets a canary sing, where one can be had.
    fn begin_proof(&mut self) -> Result<(), SensorError> {
        self.proofs.last = Instant::now();
        let canary = Canary::new();
        let canary = canary.inspect_err(
            |error| tracing::warn!(%error, "no canary: hooks are not proved this time"),
        );
        let Ok(mut canary) = canary else {
            self.orders.own_tgid = std::process::id();
            return self.write_settings();
        };
        let watch = with_canary(&self.proofs.settings, &canary);
        self.proofs.tries.fill(&watch)?;
        self.proofs.forget_own();
        self.orders.own_tgid = 0;
        self.write_settings()?;
        let lost_before = self.lost_so_far();
        // Nobody reads the rings until the intake knows the canary: it claims all that comes of this.
        canary.sing();
        if self.guard.is_some() {
            canary.tempt_guard();
        }
        if let (Some(blocker), Some(folder)) = (&self.blocker, &self.proofs.settings.block) {
            canary.tempt_block(blocker, folder);
        }
        self.with_intake(|intake| {
            intake.translator.set_watch(watch.clone());
            intake.canary = Some(canary);
        });
        self.proofs.under_way = Instant::now()
            .checked_add(CANARY_PATIENCE)
            .map(|until| UnderWay {
                until,
                lost_before,
                watch,
            });
        Ok(())
    }

    /// Whether there is still hope that more of the canary comes back.
    fn is_waiting_for_canary(&self) -> bool {
        let Some(proof) = &self.proofs.under_way else {
            return false;
        };
        let came_back = self.came_back();
        let usable = self.attached.hooks.usable();
        let is_all = usable.iter().all(|spec| came_back.contains(spec.name));
        !is_all && Instant::now() < proof.until
    }

    /// Notes what came back, and leaves everything as it was before the canary.
    fn end_proof(&mut self) -> Result<(), SensorError> {
        let Some(proof) = self.proofs.under_way.take() else {
            return Ok(());
        };
        self.note_standing(&proof);
        let plain = Watch::new(&self.proofs.settings.watch, &self.proofs.settings.secrets);
        self.with_intake(|intake| intake.translator.set_watch(plain.clone()));
        // From here on the kernel leaves out what this process does with files, the end of the canary's folder included.
        self.orders.own_tgid = std::process::id();
        self.write_settings()?;
        self.drain();
        self.with_intake(|intake| intake.canary = None);
        self.proofs.tries.clear(&proof.watch, &plain);
        Ok(())
    }

    fn note_standing(&mut self, proof: &UnderWay) {
        let came_back = self.came_back();
        let is_sure = self.lost_so_far() == proof.lost_before;
        for spec in self.attached.hooks.usable() {
            if came_back.contains(spec.name) {
                self.attached.hooks.set(spec.name, Standing::Proved);
            } else if is_sure {
                let why = "its canary did not come back".to_owned();
                self.attached.hooks.set(spec.name, Standing::Attached(why));
            }
        }
        if let Some(blocker) = &self.blocker {
            blocker.note_proof(self.attached.hooks.is_proved(BLOCK));
        }
    }

    fn came_back(&self) -> BTreeSet<&'static str> {
        self.with_intake(|intake| {
            let canary = intake.canary.as_ref();
            canary.map(Canary::came_back).cloned().unwrap_or_default()
        })
    }

    fn lost_so_far(&self) -> u64 {
        let ledger = self.ledger();
        let lost = ledger.iter().map(|line| line.lost);
        lost.fold(0, u64::saturating_add)
    }

    fn state_event(&self, change: &str) -> Event {
        let now = identity::boot_ns();
        let time = self.with_intake(|intake| intake.translator.clock().at(now));
        let mut event = Event::new(Kind::Sensor, time, Source::Agent);
        event.boot_ns = now;
        event.with(Detail::Sensor(SensorState {
            backend: Source::Ebpf.name().to_owned(),
            change: change.to_owned(),
            hooks: self.attached.hooks.report(),
        }))
    }
}

/// The configured watch, and the canary's folder.
fn with_canary(settings: &Settings, canary: &Canary) -> Watch {
    let mut watch = settings.watch.clone();
    let mut secrets = settings.secrets.clone();
    watch.push(canary.folder().to_owned());
    secrets.push(Secret::File(canary.secret()));
    Watch::new(&watch, &secrets)
}

/// How long the canary's events may take.
const CANARY_PATIENCE: Duration = Duration::from_secs(1);
/// Records since the last look below which it is calm.
const CALM: u64 = 1_000;
