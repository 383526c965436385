//! Faults at random, by a seed: `make test-faults`. Nothing that was acknowledged is lost, nothing is there twice, and
//! the books balance to the number.
//!
//! # What is real
//!
//! - Agent, collector and picketctl: the programs themselves, on loopback. The agent's sensor is the portable one, and
//!   its events are the processes of this machine, some of which the test begins.
//! - Kills are SIGKILL, pauses SIGSTOP. Disks are ext4 in files of the test's own, that are filled to the last block and
//!   frozen (`fsfreeze`). That needs root, mkfs.ext4 and a loop device: without them no disk is touched, and it is said.
//! - The network is a TCP proxy that cuts, falls silent (half-open), delays, narrows and refuses.
//!
//! # What is not
//!
//! - A frozen disk stands for a slow one: it answers late, but then as fast as ever.
//! - The clock is stepped inside the programs, by a file that only everyday builds read (`PICKET_TEST_CLOCK`); what TLS
//!   itself takes for the time of day does not step.
//! - A SIGKILL leaves the page cache alone, so what the collector wrote and did not sync is still there. What a loss of
//!   power does to it is tried on a fake disk (`collector/store/tests`, `agent/spool/tests`); here bytes are added where
//!   it was writing.
//!
//! # Playing a seed again
//!
//! A world is one collector and one agent for at most [`ROUNDS_OF_A_WORLD`] rounds, and has a seed of its own. The same seed plays the
//! same faults at the same times on the clock; the programs' own timing is the machine's.

mod disk;
mod judge;
mod plan;
mod proxy;
mod spoil;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::failure::Failure;
use crate::programs::Programs;
use crate::sim::dice::Dice;
use crate::wait;

use judge::Memory;
use plan::{Act, Means, Side};
use world::{Tally, World};

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first world's seed; the others follow.
    pub seed: u64,
    /// How many rounds in all worlds together.
    pub rounds: u64,
    /// How many worlds at a time.
    pub at_once: usize,
    /// Keep what a failing world has on its disks.
    pub keep: bool,
}

/// The most rounds that one collector and one agent live through.
pub const ROUNDS_OF_A_WORLD: u64 = 20;

/// Plays, and prints what came of it. Fails at the first round that does not hold.
pub fn run(options: Options) -> Result<(), Failure> {
    wait::for_interrupts();
    let programs = Programs::find()?;
    let base = tempfile::Builder::new().prefix("picket-faults-").tempdir();
    let mut base = base.map_err(Failure::file(std::env::temp_dir()))?;
    base.disable_cleanup(options.keep);
    let means = means(base.path());
    let lanes = options.at_once.max(1);
    let each = options.rounds.div_ceil(lanes as u64);
    let play = Play {
        rounds_of_a_world: each.min(ROUNDS_OF_A_WORLD),
        options,
        means,
        programs,
        base: base.path().to_owned(),
        next: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        sums: Mutex::default(),
        began: Instant::now(),
    };
    let failures: Vec<Failure> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| play.lane())).collect();
        let ended = lanes.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .filter_map(|lane| lane.ok().and_then(Result::err))
            .collect()
    });
    play.report();
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Enters a mount namespace of its own, if that is possible: `true` in the program that is in one.
///
/// The program starts itself again there, and this call gives the end of that one as an error code.
pub fn enter_grounds() -> Result<Option<i32>, Failure> {
    if !rustix::process::geteuid().is_root() || std::env::var_os(GROUNDS).is_some() {
        return Ok(None);
    }
    let own = std::env::current_exe().map_err(Failure::file("/proc/self/exe"))?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--"])
        .arg(own);
    command.args(std::env::args_os().skip(1)).env(GROUNDS, "1");
    match command.status() {
        Ok(status) => Ok(Some(status.code().unwrap_or(1))),
        // Then without.
        Err(_) => Ok(None),
    }
}

/// What can be played here; what cannot is said aloud.
fn means(base: &Path) -> Means {
    let refused = if std::env::var_os(GROUNDS).is_none() {
        "they need root and unshare".to_owned()
    } else {
        match disk::Disk::make(&base.join("trial"), 8) {
            Ok(_) => return Means { disks: true },
            Err(failure) => failure.to_string(),
        }
    };
    say(&format!("SKIPPED: full and frozen disks: {refused}"));
    Means { disks: false }
}

/// The worlds, shared by the lanes that play them.
#[derive(Debug)]
struct Play {
    rounds_of_a_world: u64,
    options: Options,
    means: Means,
    programs: Programs,
    base: PathBuf,
    next: AtomicU64,
    failed: AtomicBool,
    sums: Mutex<Sums>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Sums {
    tally: Tally,
    worlds: u64,
    stored: u64,
    gaps: u64,
    outstanding: u64,
    forwarded: u64,
}

impl Play {
    /// Plays one world after the other until there are none left.
    fn lane(&self) -> Result<(), Failure> {
        loop {
            let world = self.next.fetch_add(1, Ordering::Relaxed);
            let first = world * self.rounds_of_a_world;
            let left = self.options.rounds.saturating_sub(first);
            let rounds = left.min(self.rounds_of_a_world);
            if rounds == 0 || self.failed.load(Ordering::Relaxed) || wait::interrupted() {
                return Ok(());
            }
            let seed = self.options.seed.wrapping_add(world);
            if let Err(failure) = self.world(seed, rounds) {
                self.failed.store(true, Ordering::Relaxed);
                return Err(failure);
            }
        }
    }

    fn world(&self, seed: u64, rounds: u64) -> Result<(), Failure> {
        let base = self.base.join(format!("world-{seed}"));
        std::fs::create_dir_all(&base).map_err(Failure::file(&base))?;
        let mut dice = Dice::new(seed);
        let noise = Dice::new(dice.next());
        let mut world = World::begin(&base, &self.programs, noise, self.means.disks)?;
        let mut memory = Memory::default();
        for round in 0..rounds {
            if self.failed.load(Ordering::Relaxed) || wait::interrupted() {
                return Ok(());
            }
            let acts = plan::round(&mut dice, self.means);
            if let Err(failure) = play_round(&mut world, &mut memory, &acts) {
                // Somebody asked for the end: then every wait ends too early, which says nothing.
                if wait::interrupted() {
                    return Ok(());
                }
                self.explain(&mut world, (seed, round), &acts);
                return Err(failure);
            }
        }
        self.add(&world, &memory);
        drop(world);
        if !self.options.keep {
            std::fs::remove_dir_all(&base).unwrap_or_default();
        }
        Ok(())
    }

    /// What is needed to play it again.
    fn explain(&self, world: &mut World, (seed, round): (u64, u64), acts: &[(u64, Act)]) {
        say(&format!(
            "FAILED: world {seed}, round {round}; again: make test-faults SEED={seed} ROUNDS={}",
            round + 1
        ));
        for (at, act) in acts {
            say(&format!("  {at:5} ms {act:?}"));
        }
        for (program, said) in world.logs() {
            for line in said
                .lines()
                .rev()
                .take(25)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                say(&format!("  {program}: {line}"));
            }
        }
        if self.options.keep {
            world.keep();
            say(&format!("  kept: {}", world.rig.path().display()));
        }
    }

    fn add(&self, world: &World, memory: &Memory) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.worlds += 1;
        sums.stored += memory.stored;
        sums.gaps += memory.gaps;
        sums.outstanding += memory.outstanding;
        sums.forwarded += world.proxy.forwarded();
        sums.tally.add(world.tally);
        let rounds = sums.tally.rounds;
        let seconds = self.began.elapsed().as_secs();
        drop(sums);
        say(&format!("{rounds} rounds in {seconds} s"));
    }

    fn report(&self) {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = sums.tally;
        say(&format!(
            "{} rounds in {} worlds: {} kills, {} damaged files, {} changes of the network, {} full and {} frozen disks, \
             {} pauses, {} steps of a clock",
            tally.rounds,
            sums.worlds,
            tally.kills,
            tally.damages,
            tally.network,
            tally.fills,
            tally.freezes,
            tally.pauses,
            tally.steps
        ));
        say(&format!(
            "{} events stored and found once, {} numbers are gaps, {} were told of by headers and never came; \
             the collector ended by itself {} times, {} runs were begun anew to come to rest, {} bytes went over the network",
            sums.stored,
            sums.gaps,
            sums.outstanding,
            tally.collector_ended,
            tally.nudged,
            sums.forwarded
        ));
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.damages += other.damages;
        self.network += other.network;
        self.fills += other.fills;
        self.freezes += other.freezes;
        self.pauses += other.pauses;
        self.steps += other.steps;
        self.collector_ended += other.collector_ended;
        self.nudged += other.nudged;
    }
}

#[expect(clippy::print_stdout, reason = "the report of a program")]
fn say(line: &str) {
    println!("{line}");
}

/// Set in the program that is in a mount namespace of its own.
const GROUNDS: &str = "PICKET_FAULTS_GROUNDS";

/// Plays one round and judges it.
fn play_round(world: &mut World, memory: &mut Memory, acts: &[(u64, Act)]) -> Result<(), Failure> {
    world.agent_lost = false;
    let played = world.play(acts);
    let touches = |act: &Act| matches!(act, Act::Fill(Side::Agent) | Act::Freeze(Side::Agent, _));
    let paused = |act: &Act| matches!(act, Act::Pause(Side::Agent));
    let calm = !acts.iter().any(|(_, act)| touches(act) || paused(act));
    let rested = played.and_then(|()| world.rest(calm));
    let markers = world.dismiss();
    rested?;
    world.tally.rounds += 1;
    memory.judge(world, &markers, calm && !world.agent_lost)
}
