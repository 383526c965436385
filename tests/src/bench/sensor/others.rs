//! What auditd costs in the same storms, and auditd with laurel behind it, measured as the agent is.

use std::path::PathBuf;

use super::Measured;
use super::cost::{Costs, Goal, Spent};
use super::load::Cost;
use super::paired::{self, Turns};
use super::subject::{Bench, Cpu, Standing};
use super::{execs, files};
use crate::audit::{Audit, Daemon};
use crate::failure::Failure;

/// The storms of programs and of files, beside rules that see each of them.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    standing.stop()?;
    let audit = match Audit::take()? {
        Ok(audit) => audit,
        Err(reason) => {
            super::say(&format!("SKIPPED: auditd and laurel: {reason}"));
            return Ok(Measured::default());
        }
    };
    let mut measured = Measured::default();
    for (with_laurel, who) in [(false, ", auditd"), (true, ", laurel")] {
        if with_laurel && !audit.has_laurel() {
            super::say("SKIPPED: laurel is not here: apt-get install laurel");
            continue;
        }
        let other = Other {
            audit: &audit,
            with_laurel,
            folder: bench.load.path("audit"),
        };
        programs(bench, &other, who, &mut measured)?;
        written(bench, &other, who, &mut measured)?;
    }
    Ok(measured)
}

struct Other<'a> {
    audit: &'a Audit,
    with_laurel: bool,
    folder: PathBuf,
}

fn programs(
    bench: &Bench,
    other: &Other<'_>,
    who: &str,
    measured: &mut Measured,
) -> Result<(), Failure> {
    let count = bench.pick(1_000, execs::EXECS);
    let rules = ["-a always,exit -F arch=b64 -S execve,execveat -k picket-bench".to_owned()];
    let (costs, lost) = other.costs(bench, &rules, || bench.load.exec(count, 0, "others"))?;
    let conditions = format!("{lost} records lost; {}", costs.rates());
    measured
        .figures
        .push(costs.total(without_goal(execs::CPU), who, &conditions));
    measured
        .figures
        .push(costs.slow_down(without_goal(execs::SLOW_DOWN), who, &conditions));
    Ok(())
}

fn written(
    bench: &Bench,
    other: &Other<'_>,
    who: &str,
    measured: &mut Measured,
) -> Result<(), Failure> {
    let cycles = bench.pick(1_000, files::CYCLES);
    let folder = files::watched_folder()?;
    let rules = [format!(
        "-w {} -p wa -k picket-bench",
        folder.path().display()
    )];
    let load = || bench.load.files(cycles, folder.path(), "others", false);
    let (costs, lost) = other.costs(bench, &rules, load)?;
    let conditions = format!("tmpfs; {lost} records lost; {}", costs.rates());
    measured
        .figures
        .push(costs.total(without_goal(files::WATCHED), who, &conditions));
    Ok(())
}

impl Other<'_> {
    /// What pairs of the load cost without and with it, and how many records the kernel lost meanwhile.
    fn costs(
        &self,
        bench: &Bench,
        rules: &[String],
        load: impl Fn() -> Result<Cost, Failure>,
    ) -> Result<(Costs, u64), Failure> {
        let lost = self.audit.lost()?;
        let turns = Turns {
            start: || self.audit.start(&self.folder, self.with_laurel, rules),
            run: |daemon: Option<&Daemon<'_>>| {
                let (load, agent) = match daemon {
                    None => (load()?, Cpu::default()),
                    Some(daemon) => Cpu::meanwhile(|| Cpu::of_all(daemon.pids()), &load)?,
                };
                Ok(Spent { load, agent })
            },
            stop: Daemon::stop,
        };
        let pairs = paired::pairs(bench.pick(2, PAIRS), turns)?;
        Ok((Costs::of(pairs), self.audit.lost()?.saturating_sub(lost)))
    }
}

/// Others have no goals here.
fn without_goal(goal: Goal) -> Goal {
    Goal {
        words: "-",
        limit: f64::INFINITY,
        anchor: "",
        ..goal
    }
}

const PAIRS: usize = 8;
