//! A collector, an operator and agents on this host, made with the same commands that a person types.

mod questions;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::failure::Failure;
use crate::programs::{Ended, Programs};
use crate::service::{Readiness, Service};

pub use questions::{PATIENCE, execs_taken, portable_agent};

/// How long a program may take to be ready on a busy machine.
const READY: Duration = Duration::from_mins(2);

/// A whole Picket in one directory.
#[derive(Debug)]
pub struct Rig {
    /// The built programs.
    pub programs: Programs,
    /// Where it listens.
    pub addresses: Addresses,
    /// Over CA certificate and trust root.
    pub fingerprint: String,
    collector: Option<Service>,
    grounds: Grounds,
    dir: TempDir,
}

/// Where a rig stands, if not in the place for temporary files.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// In which directory its own is made.
    pub parent: Option<PathBuf>,
    /// Where the collector's log is; else in the rig's directory.
    pub log: Option<PathBuf>,
    /// What else the collector finds in its environment.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// Where the collector listens; else on the loopback.
    pub address: Option<String>,
}

/// Where the collector listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For agents.
    pub agents: String,
    /// For operators.
    pub operators: String,
    /// For metrics and health.
    pub metrics: String,
}

impl Rig {
    /// Keys, collector, operator: ready for tokens.
    pub fn start() -> Result<Self, Failure> {
        Self::start_with(Programs::find()?)
    }

    /// The same with these programs.
    pub fn start_with(programs: Programs) -> Result<Self, Failure> {
        Self::start_on(Grounds::default(), programs, &[])
    }

    /// The same on these grounds.
    pub fn start_in(grounds: Grounds, programs: Programs) -> Result<Self, Failure> {
        Self::start_on(grounds, programs, &[])
    }

    /// The same with further operators, who may approve.
    pub fn start_as(programs: Programs, others: &[&str]) -> Result<Self, Failure> {
        Self::start_on(Grounds::default(), programs, others)
    }

    /// The same where the collector listens on this address.
    pub fn start_at(programs: Programs, address: &str) -> Result<Self, Failure> {
        let grounds = Grounds {
            address: Some(address.to_owned()),
            ..Grounds::default()
        };
        Self::start_on(grounds, programs, &[])
    }

    fn start_on(grounds: Grounds, programs: Programs, others: &[&str]) -> Result<Self, Failure> {
        let parent = grounds.parent.clone().unwrap_or_else(std::env::temp_dir);
        let address = grounds.address.clone();
        let address = address.unwrap_or_else(|| "127.0.0.1".to_owned());
        let dir = tempfile::Builder::new()
            .prefix("picket-rig-")
            .tempdir_in(&parent);
        let dir = dir.map_err(Failure::file(parent))?;
        let fingerprint = prepare(&programs, dir.path(), others, &address)?;
        let any = Addresses {
            agents: format!("{address}:0"),
            operators: format!("{address}:0"),
            metrics: "127.0.0.1:0".to_owned(),
        };
        let (collector, addresses) = serve(&programs, dir.path(), &grounds, &any)?;
        let rig = Self {
            programs,
            addresses,
            fingerprint,
            collector: Some(collector),
            grounds,
            dir,
        };
        rig.finish_operator("operator")?;
        others
            .iter()
            .try_for_each(|other| rig.finish_operator(other))?;
        Ok(rig)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The operator's directory.
    pub fn operator(&self) -> PathBuf {
        self.path().join("operator")
    }

    /// The collector's data.
    pub fn data(&self) -> PathBuf {
        self.path().join("collector")
    }

    /// Sends the running collector a signal.
    pub fn signal_collector(&self, signal: Signal) {
        if let Some(collector) = &self.collector {
            collector.send(signal);
        }
    }

    /// Gives the directory up: it stays when the rig is dropped.
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// The running collector.
    pub fn collector(&mut self) -> Option<&mut Service> {
        self.collector.as_mut()
    }

    /// Runs picketctl as this rig's operator.
    pub fn ctl(&self, args: &[&str]) -> Result<Ended, Failure> {
        self.ctl_as("operator", args)
    }

    /// Runs picketctl as another operator of this rig.
    pub fn ctl_as(&self, who: &str, args: &[&str]) -> Result<Ended, Failure> {
        let operator = self.path().join(who);
        let mut all = vec!["--operator".to_owned(), operator.display().to_string()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.programs.run("picketctl", &all)
    }

    /// Runs picketctl, which must succeed, and gives what it printed.
    pub fn ctl_prints(&self, args: &[&str]) -> Result<String, Failure> {
        self.ctl(args)?
            .success(&format!("picketctl {}", args.join(" ")))
    }

    /// Runs picketctl with `--json` and gives one value per line.
    pub fn ctl_json(&self, args: &[&str]) -> Result<Vec<Value>, Failure> {
        let mut all = args.to_vec();
        all.push("--json");
        let printed = self.ctl_prints(&all)?;
        printed
            .lines()
            .map(|line| parse("picketctl", line))
            .collect()
    }

    /// A fresh token for one host.
    pub fn token(&self) -> Result<String, Failure> {
        Ok(self.ctl_prints(&["token", "create"])?.trim().to_owned())
    }

    /// Enrols a new host whose state is kept under `name`.
    pub fn enroll(&self, name: &str) -> Result<PathBuf, Failure> {
        let state = self.path().join(name);
        let token = self.token()?;
        self.programs.succeed(
            "picket-agent",
            &[
                "enroll",
                "--collector",
                &self.addresses.agents,
                "--token",
                &token,
                "--fingerprint",
                &self.fingerprint,
                "--state",
                &state.display().to_string(),
            ],
        )?;
        Ok(state)
    }

    /// Runs an agent on an enrolled state directory until it is ready.
    pub fn agent(&self, state: &Path, config: Option<&Path>) -> Result<Service, Failure> {
        let mut command = Command::new(self.programs.path("picket-agent")?);
        command.arg("run").arg("--state").arg(state);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let readiness = Readiness::listen(&state.with_extension("ready"))?;
        command.env("NOTIFY_SOCKET", readiness.path());
        let log = state.with_extension("log");
        let mut agent = Service::start("picket-agent run", command, &log)?;
        agent.ready(READY, &readiness)?;
        Ok(agent)
    }

    /// Ends the collector as a crash would.
    pub fn crash_collector(&mut self) {
        if let Some(collector) = self.collector.take() {
            collector.crash();
        }
    }

    /// Ends the collector as the service manager would.
    pub fn stop_collector(&mut self) -> Result<(), Failure> {
        let Some(collector) = self.collector.take() else {
            return Ok(());
        };
        let ended = collector.stop(READY)?;
        if ended.success() {
            return Ok(());
        }
        Err(Failure::Ended {
            what: "picket-collector serve".to_owned(),
            code: ended.to_string(),
            stderr: String::new(),
        })
    }

    /// Starts the collector again where it was.
    pub fn restart_collector(&mut self) -> Result<(), Failure> {
        self.crash_collector();
        let (collector, _) = serve(
            &self.programs,
            self.dir.path(),
            &self.grounds,
            &self.addresses,
        )?;
        self.collector = Some(collector);
        Ok(())
    }

    fn finish_operator(&self, who: &str) -> Result<(), Failure> {
        let operator = self.path().join(who).display().to_string();
        let args = [
            "operator",
            "finish",
            &operator,
            "--collector",
            &self.addresses.operators,
            "--fingerprint",
            &self.fingerprint,
        ];
        self.programs.succeed("picketctl", &args).map(drop)
    }
}

fn prepare(
    programs: &Programs,
    dir: &Path,
    others: &[&str],
    address: &str,
) -> Result<String, Failure> {
    let mut requests = vec![make_operator(programs, dir, ("operator", "alice"))?];
    for other in others {
        requests.push(make_operator(programs, dir, (other, other))?);
    }
    let data = dir.join("collector").display().to_string();
    let names = format!("localhost,127.0.0.1,{address}");
    let mut args = vec!["init", "--data", &data, "--name", &names];
    for request in &requests {
        args.extend(["--operator", request]);
    }
    let printed = programs.succeed("picket-collector", &args)?;
    let words = printed.split_whitespace();
    let fingerprint = words.into_iter().find(|word| word.starts_with("sha256:"));
    let missing = Failure::Unexpected {
        what: "picket-collector init".to_owned(),
        text: printed.clone(),
    };
    fingerprint.map(str::to_owned).ok_or(missing)
}

/// Makes an operator's keys in this folder; gives the request.
fn make_operator(
    programs: &Programs,
    dir: &Path,
    (folder, name): (&str, &str),
) -> Result<String, Failure> {
    let out = dir.join(folder).display().to_string();
    programs.succeed(
        "picketctl",
        &["operator", "init", "--name", name, "--out", &out],
    )?;
    Ok(format!("{out}/request.pem"))
}

fn serve(
    programs: &Programs,
    dir: &Path,
    grounds: &Grounds,
    at: &Addresses,
) -> Result<(Service, Addresses), Failure> {
    let mut command = Command::new(programs.path("picket-collector")?);
    command
        .arg("serve")
        .arg("--data")
        .arg(dir.join("collector"));
    command.args([
        "--agents",
        &at.agents,
        "--operators",
        &at.operators,
        "--metrics",
        &at.metrics,
    ]);
    let environment = grounds.environment.iter();
    command.envs(environment.map(|(name, value)| (*name, value)));
    let log = grounds.log.clone();
    let log = log.unwrap_or_else(|| dir.join("collector.log"));
    let mut service = Service::start("picket-collector serve", command, &log)?;
    let addresses = service.line(READY, listening)?;
    Ok((service, addresses))
}

fn listening(line: &str) -> Option<Addresses> {
    let rest = line.strip_prefix("listening ")?;
    let part = |name: &str| {
        rest.split_whitespace()
            .find_map(|word| word.strip_prefix(name))
            .map(str::to_owned)
    };
    Some(Addresses {
        agents: part("agents=")?,
        operators: part("operators=")?,
        metrics: part("metrics=")?,
    })
}

/// One line of JSON.
pub fn parse(what: &str, line: &str) -> Result<Value, Failure> {
    let unexpected = |_syntax| Failure::Unexpected {
        what: what.to_owned(),
        text: line.to_owned(),
    };
    serde_json::from_str(line).map_err(unexpected)
}

/// Writes a file, its folders first.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    }
    fs::write(path, content).map_err(Failure::file(path))
}
