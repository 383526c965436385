//! The command line.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use picket_event::{Clock, SystemClock};
use picket_pages::PagesArgs;
use picket_seal::format_fingerprint;

use crate::config::{Config, ConfigError};
use crate::data::{DataDir, DataError};
use crate::failure::{Exit, Failure};
use crate::init::{self, InitError, Made, Setup};
use crate::operator::WORKER;
use crate::serve::{ServeError, Service, notify, signals};

/// The Picket collector: takes in what agents sign, keeps it, and hands out what operators sign.
#[derive(Debug, Parser)]
#[command(
    name = "picket-collector",
    version,
    after_help = "Example:\n  picket-collector init --data /var/lib/picket-collector --name collector.example --operator alice/request.pem\n  picket-collector serve --data /var/lib/picket-collector"
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new collector: authority, server certificate, database, trust root.
    #[command(
        after_help = "Example:\n  picket-collector init --data /var/lib/picket-collector --name collector.example,10.0.0.5 --operator alice/request.pem"
    )]
    Init(Init),
    /// Give operators their certificates.
    #[command(subcommand)]
    Operator(Operator),
    /// Run the service.
    #[command(
        after_help = "Example:\n  picket-collector serve --data /var/lib/picket-collector --agents 0.0.0.0:7443"
    )]
    Serve(Serve),
    /// Check a configuration file without starting.
    #[command(after_help = "Example:\n  picket-collector check-config /etc/picket/collector.toml")]
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Answer one query of an operator, started by `serve`.
    #[command(name = WORKER, hide = true)]
    QueryWorker,
    /// Write man pages and completions, for packages.
    #[command(hide = true)]
    Pages(PagesArgs),
}

#[derive(Args, Debug)]
struct Init {
    /// Where to make it; the directory must not hold a collector yet.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// DNS names and addresses under which agents and operators reach it.
    #[arg(
        long = "name",
        value_name = "NAME",
        value_delimiter = ',',
        required = true
    )]
    names: Vec<String>,
    /// An operator's request.pem; more than once for more operators.
    #[arg(long = "operator", value_name = "REQUEST", required = true)]
    operators: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Operator {
    /// Sign a further operator's TLS certificate.
    #[command(
        after_help = "Example:\n  picket-collector operator add bob/request.pem --data /var/lib/picket-collector"
    )]
    Add {
        /// The operator's request.pem.
        request: PathBuf,
        /// The collector's data directory.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Serve {
    /// The collector's data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where agents connect (default 0.0.0.0:7443); port 0 picks one.
    #[arg(long, value_name = "ADDR")]
    agents: Option<SocketAddr>,
    /// Where operators connect (default 0.0.0.0:7444); port 0 picks one.
    #[arg(long, value_name = "ADDR")]
    operators: Option<SocketAddr>,
    /// Where metrics and health are read (default 127.0.0.1:7445); port 0 picks one.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

impl Cli {
    /// Whether it is to answer a query, on one thread: what a thread gives up, the others keep.
    pub fn is_worker(&self) -> bool {
        matches!(self.verb, Verb::QueryWorker)
    }

    /// Does what was asked.
    pub async fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::Init(asked) => asked.run(),
            Verb::Operator(Operator::Add { request, data }) => {
                let added = init::add_operator(&data, &request, SystemClock.now());
                let (name, path) = added.map_err(|error| init_failure(&error))?;
                print(&format!(
                    "operator {name}: certificate in {}",
                    path.display()
                ))?;
                print("their signature counts once the trust root names their signing key")
            }
            Verb::Serve(asked) => asked.run().await,
            Verb::CheckConfig { file } => {
                Config::read(&file).map_err(|error| config_failure(&error))?;
                print(&format!("{}: ok", file.display()))
            }
            Verb::QueryWorker => answer_query(),
            Verb::Pages(asked) => picket_pages::write(Self::command(), &asked.out)
                .map_err(|error| Failure::of(Exit::Failed, &error)),
        }
    }
}

/// Answers the query on standard input.
pub fn answer_query() -> Result<(), Failure> {
    picket_query::work().map_err(|error| Failure::of(Exit::Failed, &error))
}

impl Init {
    fn run(self) -> Result<(), Failure> {
        let setup = Setup {
            data: self.data,
            names: self.names,
            operators: self.operators,
        };
        let made = init::init(&setup, SystemClock.now()).map_err(|error| init_failure(&error))?;
        let fingerprint = format_fingerprint(&made.fingerprint);
        if self.json {
            return print(&json(&made, &fingerprint));
        }
        for (name, path) in &made.operators {
            print(&format!(
                "operator {name}: certificate in {}",
                path.display()
            ))?;
        }
        if made.operators.len() == 1 {
            warn_alone()?;
        }
        print(&format!("names: {}", made.names.join(", ")))?;
        print(&format!("fingerprint: {fingerprint}"))
    }
}

/// One operator means that nobody checks them; that must not pass unnoticed.
fn warn_alone() -> Result<(), Failure> {
    let persons = init::persons_for_fleet(1);
    print("")?;
    print("WARNING: there is one operator, so there is NO SECOND APPROVER.")?;
    print(&format!(
        "         Actions that should take two persons take {persons}: whoever has this operator's key"
    ))?;
    print(
        "         can kill processes on every host alone. Name at least two operators for real use.",
    )?;
    print("")
}

fn json(made: &Made, fingerprint: &str) -> String {
    let operators = made.operators.iter().map(|(name, path)| {
        serde_json::json!({ "name": name, "certificate": path.display().to_string() })
    });
    serde_json::json!({
        "fingerprint": fingerprint,
        "names": made.names,
        "operators": operators.collect::<Vec<_>>(),
        "second_approver": made.operators.len() > 1,
    })
    .to_string()
}

impl Serve {
    async fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        let data = DataDir::open(&self.data).map_err(|error| data_failure(&error))?;
        let asked = signals().map_err(|error| serve_failure(&error))?;
        let service = Service::start(data, config)
            .await
            .map_err(|error| serve_failure(&error))?;
        let on = service.addresses();
        let (agents, operators, metrics) = (on.agents, on.operators, on.metrics);
        print(&format!(
            "listening agents={agents} operators={operators} metrics={metrics}"
        ))?;
        notify(&[sd_notify::NotifyState::Ready]);
        service
            .run_until(asked)
            .await
            .map_err(|error| serve_failure(&error))
    }

    fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(file) => Config::read(file).map_err(|error| config_failure(&error))?,
            None => Config::default(),
        };
        config.agents = self.agents.unwrap_or(config.agents);
        config.operators = self.operators.unwrap_or(config.operators);
        config.metrics = self.metrics.unwrap_or(config.metrics);
        Ok(config)
    }
}

fn config_failure(error: &ConfigError) -> Failure {
    Failure::of(Exit::Failed, error)
}

fn init_failure(error: &InitError) -> Failure {
    match error {
        InitError::Data(inner) => data_failure(inner),
        InitError::Request { .. } => Failure::of(Exit::Failed, error)
            .hint("make one with `picketctl operator init --name NAME --out DIR`"),
        InitError::CertificateExists(_) => Failure::of(Exit::Failed, error)
            .hint("each operator has a directory of their own; an existing certificate is never overwritten"),
        InitError::Authority(crate::authority::AuthorityError::Name(_)) => {
            Failure::of(Exit::Usage, error).hint("as --name collector.example,10.0.0.5")
        }
        InitError::Twice(_) | InitError::SharedKey(_) => Failure::of(Exit::Usage, error),
        _ => Failure::of(Exit::Failed, error),
    }
}

fn data_failure(error: &DataError) -> Failure {
    let failure = Failure::of(Exit::Failed, error);
    match error {
        DataError::Empty(path) => failure.hint(format!(
            "make one with `picket-collector init --data {} --name NAME --operator REQUEST`",
            path.display()
        )),
        DataError::Taken(_) => failure.hint("choose another directory, or use `serve` with this one"),
        DataError::Foreign { owner, .. } => {
            Failure::of(Exit::Refused, error).hint(format!("run as user {owner}"))
        }
        DataError::Open { path, .. } => {
            Failure::of(Exit::Refused, error).hint(format!("chmod go-w {}", path.display()))
        }
        DataError::Locked(_) => failure.hint("stop the other one first"),
        DataError::ForeignKey(path) => Failure::of(Exit::Refused, error).hint(format!(
            "an operator's private key never lies with the collector: move {} to the operator's own machine",
            path.display()
        )),
        DataError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            failure.hint("run as the user who made the collector, or name another directory")
        }
        DataError::Io { .. } => failure,
    }
}

fn serve_failure(error: &ServeError) -> Failure {
    match error {
        ServeError::Data(inner) => data_failure(inner),
        ServeError::Listen { what, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::of(Exit::Failed, error).hint(format!(
                "another program uses this port; choose one with --{what} ADDR"
            ))
        }
        _ => Failure::of(Exit::Failed, error),
    }
}

fn print(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::of(Exit::Failed, &error)),
    }
}
