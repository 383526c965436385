//! The collector that is simulated against: one of our own in a temporary folder, or a given one.

use std::path::PathBuf;

use picket_event::token::EnrolmentToken;
use serde_json::Value;

use crate::failure::Failure;
use crate::programs::Programs;
use crate::rig::{Rig, parse};

use super::command::APPROVER;
use super::usage;

/// A collector that somebody else runs.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where agents connect, `HOST:PORT`.
    pub agents: String,
    /// The operator's folder.
    pub operator: PathBuf,
    /// The collector's process, if it is on this machine: its processor time and memory are then told.
    pub pid: Option<u32>,
}

/// The collector and its operator.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) agents: String,
    programs: Programs,
    operator: PathBuf,
    pid: Option<u32>,
    rig: Option<Rig>,
}

impl Site {
    /// A new collector in a folder that goes away with it.
    pub(super) fn own(approver: bool) -> Result<Self, Failure> {
        let programs = Programs::find_these(&["picket-collector", "picketctl"])?;
        let others: &[&str] = if approver { &[APPROVER] } else { &[] };
        let mut rig = Rig::start_as(programs.clone(), others)?;
        let pid = rig.collector().map(|collector| collector.pid());
        Ok(Self {
            agents: rig.addresses.agents.clone(),
            programs,
            operator: rig.operator(),
            pid,
            rig: Some(rig),
        })
    }

    /// That one.
    pub(super) fn given(given: Given) -> Result<Self, Failure> {
        Ok(Self {
            agents: given.agents,
            programs: Programs::find_these(&["picketctl"])?,
            operator: given.operator,
            pid: given.pid,
            rig: None,
        })
    }

    /// A token that enrols so many hosts within the day.
    pub(super) fn token(&self, uses: usize) -> Result<EnrolmentToken, Failure> {
        let uses = uses.to_string();
        let printed = self.ctl(&["token", "create", "--uses", &uses])?;
        let token = EnrolmentToken::parse(printed.trim());
        token.map_err(|error| Failure::Unexpected {
            what: "picketctl token create".to_owned(),
            text: error.to_string(),
        })
    }

    /// What picketctl prints with `--json`, one value a line.
    pub(super) fn ctl_json(&self, args: &[&str]) -> Result<Vec<Value>, Failure> {
        let printed = self.ctl(&[args, &["--json"]].concat())?;
        printed
            .lines()
            .map(|line| parse("picketctl", line))
            .collect()
    }

    /// The collector's processor time so far and its resident memory in KiB, if its process is known.
    pub(super) fn used(&self) -> Result<Option<Used>, Failure> {
        let of = |pid| -> Result<Used, Failure> {
            Ok(Used {
                cpu: usage::cpu(pid)?.as_secs_f64(),
                resident_kib: usage::resident_kib(pid)?,
            })
        };
        self.pid.map(of).transpose()
    }

    /// Warnings and errors that our own collector has logged.
    pub(super) fn complaints(&mut self) -> Option<Vec<String>> {
        let collector = self.rig.as_mut()?.collector()?;
        let said = collector.said();
        let bad = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        Some(said.lines().filter(bad).map(str::to_owned).collect())
    }

    /// A figure of our own collector.
    pub(super) fn figure(&self, name: &str) -> Result<Option<u64>, Failure> {
        self.rig.as_ref().map(|rig| rig.figure(name)).transpose()
    }

    /// Ends our own collector in good order, and gives where its write-ahead log is.
    pub(super) fn stop(&mut self) -> Result<Option<PathBuf>, Failure> {
        let Some(rig) = self.rig.as_mut() else {
            return Ok(None);
        };
        rig.stop_collector()?;
        Ok(Some(rig.data().join("wal")))
    }

    /// What picketctl prints for the second operator of our own collector.
    pub(super) fn ctl_as(&self, who: &str, args: &[&str]) -> Result<String, Failure> {
        let rig = self.rig.as_ref();
        let operator = rig.map_or_else(|| self.operator.clone(), |rig| rig.path().join(who));
        let operator = operator.display().to_string();
        let all = [&["--operator", &operator], args].concat();
        self.programs.succeed("picketctl", &all)
    }

    pub(super) fn ctl(&self, args: &[&str]) -> Result<String, Failure> {
        let operator = self.operator.display().to_string();
        let all = [&["--operator", &operator], args].concat();
        self.programs.succeed("picketctl", &all)
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Seconds of processor time, user and system.
    pub(super) cpu: f64,
    /// Resident memory.
    pub(super) resident_kib: u64,
}
