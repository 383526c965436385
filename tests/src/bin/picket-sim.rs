//! `picket-sim`: simulated agents in any number against a real collector.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use picket_tests::failure::Failure;
use picket_tests::sim::{self, Filling, Given, Options};

/// Simulated agents with real keys, certificates, connections and seals, against a real collector.
#[derive(Debug, Parser)]
#[command(
    name = "picket-sim",
    version,
    after_help = "Example:\n  picket-sim run --agents 1000 --batch 64 --for 10 --storm"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Enrol agents, let them send events, and prove that what was acknowledged is stored once
    #[command(
        after_help = "Example:\n  picket-sim run --agents 200 --total-rate 50000 --for 30 --json"
    )]
    Run(Run),
    /// Fill the store of a collector that is not running with events of simulated hosts, and seal them
    #[command(
        after_help = "Example:\n  picket-sim fill --data /var/lib/picket-collector --hosts 100 --days 7 --events 1000000"
    )]
    Fill(Fill),
}

#[derive(Args, Debug)]
struct Fill {
    /// The collector's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many hosts
    #[arg(long, default_value_t = 40, value_name = "N")]
    hosts: usize,
    /// Over how many days before now
    #[arg(long, default_value_t = 1.0, value_name = "D")]
    days: f64,
    /// How many events, all hosts together
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    events: u64,
    /// What the events are made of
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

impl Fill {
    fn run(&self) -> Result<(), Failure> {
        let filling = Filling {
            hosts: self.hosts,
            days: self.days,
            events: self.events,
            seed: self.seed,
        };
        let filled = sim::fill(&self.data, &filling)?;
        let line = serde_json::json!({
            "events": filled.events,
            "batches": filled.batches,
            "log_bytes": filled.log_bytes,
            "sealed_bytes": filled.sealed_bytes,
            "sealed_files": filled.files,
            "storing_s": filled.storing.as_secs_f64(),
            "sealing_s": filled.sealing.as_secs_f64(),
        });
        // Whoever closed the pipe has seen enough.
        drop(writeln!(std::io::stdout(), "{line}"));
        Ok(())
    }
}

#[derive(Args, Debug)]
struct Run {
    /// How many agents
    #[arg(long, default_value_t = 100, value_name = "N")]
    agents: usize,
    /// Events per second of each agent; without a rate as fast as they are taken
    #[arg(
        long,
        value_name = "EVENTS_PER_AGENT_PER_S",
        conflicts_with = "total_rate"
    )]
    rate: Option<f64>,
    /// Events per second of all agents together
    #[arg(long, value_name = "EVENTS_PER_S")]
    total_rate: Option<f64>,
    /// Events in a batch; the agent's own bound of 256 KiB holds too
    #[arg(long, default_value_t = 64, value_name = "N")]
    batch: usize,
    /// How long, in seconds
    #[arg(
        long = "for",
        visible_alias = "seconds",
        default_value_t = 10.0,
        value_name = "SECONDS"
    )]
    seconds: f64,
    /// Afterwards cut all connections at once, and wait until each agent has a new batch acknowledged
    #[arg(long)]
    storm: bool,
    /// Without a rate: batches that each agent has under way
    #[arg(long, default_value_t = 8, value_name = "N")]
    window: usize,
    /// What the events are made of
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// A collector's port for agents; without it one is started in a temporary folder
    #[arg(long, value_name = "HOST:PORT", requires = "operator")]
    collector: Option<String>,
    /// The folder of an operator of that collector
    #[arg(long, value_name = "DIR", requires = "collector")]
    operator: Option<PathBuf>,
    /// That collector's process, to tell its processor time and memory
    #[arg(long, value_name = "PID", requires = "collector")]
    pid: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Run {
    fn options(&self) -> Options {
        let agents = self.agents.max(1);
        let each = u32::try_from(agents).unwrap_or(u32::MAX);
        let given = self.collector.clone().zip(self.operator.clone());
        Options {
            agents,
            rate: self
                .total_rate
                .or_else(|| self.rate.map(|rate| rate * f64::from(each))),
            batch: self.batch,
            time: Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::ZERO),
            storm: self.storm,
            window: self.window,
            seed: self.seed,
            given: given.map(|(agents, operator)| Given {
                agents,
                operator,
                pid: self.pid,
            }),
            approver: false,
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run(run) => sim::run(run.options(), run.json),
        Verb::Fill(fill) => fill.run(),
    };
    picket_tests::report("picket-sim", done)
}
