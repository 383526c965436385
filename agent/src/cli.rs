//! The command line: what the contract lets people type, and the exit codes it answers with.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use picket_event::filter::Filter;
use picket_event::{Kind, Severity};
use picket_pages::PagesArgs;

use crate::config::DEFAULT_STATE;
use crate::failure::{Code, Failure};

mod doctor;
mod form;
mod output;
mod release;
mod removal;
mod replay;
mod rules;
mod run;
mod status;
mod trust;
mod watch;

/// Does what the command line says and gives the exit code of the contract.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    picket_sensor::memory::share_pools();
    let done = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command.run(),
        Err(error) => refuse_or_help(&error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Help and version are answers; everything else clap says is a wrong command line.
fn refuse_or_help(error: &clap::Error) -> Result<(), Failure> {
    let text = error.render().to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        drop(io::stdout().lock().write_all(text.as_bytes()));
        return Ok(());
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::line(Code::Usage, "a command is missing").hint("picket-agent --help"));
    }
    Err(Failure::line(Code::Usage, first_sentence(&text)).hint(help_of(&text)))
}

/// The help of the command that was typed, as the usage line names it.
fn help_of(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let words = usage.unwrap_or_default().split(' ');
    let names = words.take_while(|word| !word.starts_with(['-', '<', '[']));
    let command = names.collect::<Vec<_>>().join(" ");
    if command.is_empty() {
        "picket-agent --help".to_owned()
    } else {
        format!("{command} --help")
    }
}

/// The first paragraph of what clap says, as one line.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let joined = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

/// Endpoint sensor: sees processes, files and logins, judges them, signs them, and contains on
/// command.
#[derive(Debug, Parser)]
#[command(
    name = "picket-agent",
    version,
    after_help = "Examples:\n  picket-agent watch --json --for 10s\n  picket-agent enroll --collector \
                  siem.example:7443 --token pt1-... --fingerprint sha256:...\n  picket-agent run\n\n\
                  Exit codes: 0 ok, 1 failed, 2 usage, 3 refused, 4 not reachable, 5 not verified"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this host known to a collector
    Enroll(EnrollArgs),
    /// Run the service
    Run(RunArgs),
    /// Show live events, without any collector
    Watch(WatchArgs),
    /// Say hook by hook what works here, and what is used in place of what does not
    Doctor(DoctorArgs),
    /// Judge recorded events
    Replay(ReplayArgs),
    /// Work with detection rules
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Whom this host believes: the last resort of its own root
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Ask the running agent how it is
    Status(StatusArgs),
    /// End an isolation on this host, with the code that its operator was shown
    Release(ReleaseArgs),
    /// Say whether the package may be removed from this host
    Removal(RemovalArgs),
    /// Put what is in force on this host in force again, without an agent
    #[command(hide = true)]
    Containment(ContainmentArgs),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Pages(PagesArgs),
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Enroll(arguments) => crate::enroll::enroll(&arguments),
            Self::Run(arguments) => run::run(&arguments),
            Self::Watch(arguments) => watch::watch(&arguments),
            Self::Doctor(arguments) => doctor::doctor(&arguments),
            Self::Replay(arguments) => replay::replay(&arguments),
            Self::Rules(RulesCommand::Check(arguments)) => rules::check(&arguments),
            Self::Trust(TrustCommand::Replace(arguments)) => trust::replace(&arguments),
            Self::Status(arguments) => status::status(&arguments),
            Self::Release(arguments) => release::release(&arguments),
            Self::Removal(arguments) => removal::removal(&arguments),
            Self::Containment(arguments) => release::containment(&arguments),
            Self::Pages(arguments) => picket_pages::write(Cli::command(), &arguments.out)
                .map_err(|error| Failure::new(Code::Failed, &error)),
        }
    }
}

/// What `enroll` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  picket-agent enroll --collector siem.example:7443 --token \
                        pt1-... --fingerprint sha256:4f2a...\n  picket-agent enroll --file \
                        /etc/picket/enroll.toml"
)]
pub(crate) struct EnrollArgs {
    /// The collector's address for agents
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "file")]
    pub(crate) collector: Option<String>,
    /// The token that an operator made
    #[arg(
        long,
        env = "PICKET_TOKEN",
        hide_env_values = true,
        required_unless_present = "file"
    )]
    pub(crate) token: Option<String>,
    /// Over the CA certificate and the operators' trust root, as `picket-collector init` printed it; without it, what
    /// the token carries
    #[arg(long, value_name = "sha256:HEX")]
    pub(crate) fingerprint: Option<String>,
    /// Read these three from a TOML file, and remove it when this host is enrolled; does nothing more if it is already
    #[arg(long, value_name = "FILE", conflicts_with_all = ["collector", "token", "fingerprint"])]
    pub(crate) file: Option<PathBuf>,
    /// Settings, of which the proxy is used; a missing default file means none
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the agent keeps keys, certificate and spool
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Believe this trust root from now on, whoever signed it; it is recorded and reported
    Replace(TrustReplaceArgs),
}

/// What `trust replace` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent trust replace next.trust")]
pub(crate) struct TrustReplaceArgs {
    /// The trust root, as `picketctl trust propose` wrote it
    pub(crate) file: PathBuf,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

/// What `run` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent run --state /var/lib/picket")]
pub(crate) struct RunArgs {
    /// Settings; a missing default file means the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the agent keeps keys, certificate and spool
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
    /// Which sensor; overrides the settings
    #[arg(long, value_enum)]
    pub(crate) source: Option<SourceArg>,
}

/// What `watch` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  picket-agent watch --kinds exec,login\n  picket-agent watch \
                        --min-severity medium\n  picket-agent watch --where \"process.exe ^= \
                        '/tmp/' or file.path $= '/authorized_keys'\"\n  picket-agent watch \
                        --json --for 10s | jq .process.argv\n  picket-agent watch --ocsf --for 1h \
                        > events.ocsf.jsonl"
)]
pub(crate) struct WatchArgs {
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// One OCSF 1.7.0 object per line; see docs/ocsf.md
    #[arg(long, conflicts_with = "json")]
    pub(crate) ocsf: bool,
    /// Which sensor; overrides the settings
    #[arg(long, value_enum)]
    pub(crate) source: Option<SourceArg>,
    /// Only these kinds, as `exec,exit,file_create`
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind)]
    pub(crate) kinds: Vec<Kind>,
    /// Only where this holds, as `process.exe = '/usr/bin/curl'`; see docs/search.md
    #[arg(long = "where", value_name = "EXPR", value_parser = Filter::parse)]
    pub(crate) filter: Option<Filter>,
    /// Only what was judged at least as bad: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) min_severity: Option<Severity>,
    /// Each exec with its whole environment, secrets included; without this, only what changes how a program is loaded
    /// and who came from where
    #[arg(long)]
    pub(crate) env: bool,
    /// End after this time, as `10s`, `5m` or `500ms`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Sigma rules to use in place of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
    /// Settings; a missing default file means the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What `doctor` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent doctor")]
pub(crate) struct DoctorArgs {
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings; a missing default file means the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What `replay` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  picket-agent watch --json --for 60s > events.jsonl\n  \
                        picket-agent replay events.jsonl --json\n  \
                        picket-agent replay /var/log/audit/audit.log /var/log/auth.log"
)]
pub(crate) struct ReplayArgs {
    /// Recordings: JSON lines as `watch --json` prints them, logs of auditd, XML of Sysmon for Linux, system logs
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Which format they have; without it each line tells
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// One OCSF 1.7.0 object per line; see docs/ocsf.md
    #[arg(long, conflicts_with = "json")]
    pub(crate) ocsf: bool,
    /// Go on from what the scorer learned there, and save there
    #[arg(long, value_name = "DIR")]
    pub(crate) scorer_state: Option<PathBuf>,
    /// Sigma rules to use in place of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Option<PathBuf>,
}

/// A format of recordings.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// JSON lines
    Json,
    /// Log of auditd, raw or enriched
    Auditd,
    /// XML of Sysmon for Linux
    Sysmon,
    /// System log: auth.log, secure, syslog
    Syslog,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Load Sigma rules and say file by file whether they can be used
    Check(RulesCheckArgs),
}

/// What `rules check` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent rules check /etc/picket/rules.d")]
pub(crate) struct RulesCheckArgs {
    /// Files, or directories that are searched for `.yml` and `.yaml`
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `status` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent status --json | jq .link")]
pub(crate) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

/// What `release` takes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  picket-agent release --code 7K2QD-0M9XA-...")]
pub(crate) struct ReleaseArgs {
    /// The code
    #[arg(long, env = "PICKET_CODE", hide_env_values = true)]
    pub(crate) code: String,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

/// What `removal` takes.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  picket-agent removal --check\n\nExit codes: 0 it may, 3 it may not"
)]
pub(crate) struct RemovalArgs {
    /// Ask
    #[arg(long, required = true)]
    pub(crate) check: bool,
    /// And tell the collector that the package is being removed, or that somebody was refused; for the package's script
    #[arg(long)]
    pub(crate) tell: bool,
    /// Settings, where no agent runs; a missing default file means the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

/// What `containment` takes.
#[derive(Args, Debug)]
pub(crate) struct ContainmentArgs {
    /// As the host starts: nobody is let through, until the agent runs
    #[arg(long, required = true)]
    pub(crate) apply_boot: bool,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub(crate) state: PathBuf,
}

/// Which sensor to use.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceArg {
    /// Programs in the kernel where possible, else audit, else portable
    #[default]
    Auto,
    /// Programs in the kernel, or nothing
    Ebpf,
    /// What the kernel announces (process connector, fanotify), or nothing
    Audit,
    /// Polling `/proc` and watching directories
    Portable,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::from_name(name.trim()).ok_or_else(|| {
        let known = Kind::ALL.iter().map(|kind| kind.name());
        format!(
            "no such kind; known are {}",
            known.collect::<Vec<_>>().join(" ")
        )
    })
}

fn severity(name: &str) -> Result<Severity, String> {
    Severity::from_name(name.trim()).ok_or_else(|| {
        let known = Severity::ALL.iter().map(|severity| severity.name());
        format!(
            "no such severity; known are {}",
            known.collect::<Vec<_>>().join(" ")
        )
    })
}

/// `10s`, `5m`, `2h`, `500ms`; a bare number means seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let number: u64 = number
        .parse()
        .map_err(|_number| "give a number and a unit, as 10s")?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => return Err("known units are ms, s, m, h and d".to_owned()),
    };
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "10y", "99999999999999999999s", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_flag_is_one_line_with_the_code_for_usage() {
        let arguments = ["picket-agent", "watch", "--jsn"].map(OsString::from);
        let error = Cli::try_parse_from(arguments).unwrap_err();
        let failure = refuse_or_help(&error).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.line.contains("--jsn") && !failure.line.contains('\n'));
    }
}
