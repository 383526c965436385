//! The command line, as the contract fixes it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use picket_event::content::ContentKind;
use picket_event::{Kind, Severity};
use picket_pages::PagesArgs;

use crate::when::{When, parse_duration, parse_when};

/// Picket for people: operators' keys, enrolment tokens, search, evidence, containment.
#[derive(Debug, Parser)]
#[command(name = "picketctl", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true, subcommand_required = true)]
pub(crate) struct Cli {
    /// The operator's directory: keys, certificate and the pinned collector
    #[arg(long, global = true, env = "PICKET_OPERATOR", value_name = "DIR")]
    pub(crate) operator: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an operator's keys and take the signed certificate in
    #[command(subcommand)]
    Operator(OperatorVerb),
    /// Enrolment tokens: make, list, revoke
    #[command(subcommand)]
    Token(TokenVerb),
    /// All hosts: link, last event, version, ledgers
    #[command(
        after_help = "Example:\n  picketctl hosts --json | jq -r 'select(.connected | not) | .name'"
    )]
    Hosts(Format),
    /// One host: show everything known of it, or revoke it
    #[command(subcommand)]
    Host(HostVerb),
    /// Search the events
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Follow the events as they arrive
    #[command(after_help = "Example:\n  picketctl tail --host web-1 --min-severity medium")]
    Tail(TailArgs),
    /// A process with its ancestors and descendants
    #[command(after_help = "Example:\n  picketctl tree web-1 0f6c3f0b9a2d4c5e8f7a6b5c4d3e2f10")]
    Tree(TreeArgs),
    /// Count the values of a field over all hosts, the rarest first
    #[command(after_help = STACK_EXAMPLES)]
    Stack(StackArgs),
    /// Ask in SQL
    #[command(after_help = QUERY_EXAMPLES)]
    Query(QueryArgs),
    /// Check the evidence here: signatures, chains, gaps
    #[command(after_help = "Example:\n  picketctl verify --host web-1 --since 24h")]
    Verify(VerifyArgs),
    /// Sign a containment command and hand it to the collector
    #[command(after_help = CONTAIN_EXAMPLES)]
    Contain(ContainArgs),
    /// The newest commands and what became of them
    #[command(after_help = "Example:\n  picketctl commands --limit 20")]
    Commands(CommandsArgs),
    /// One command: show or cancel it
    #[command(subcommand)]
    Command(CommandVerb),
    /// Sign a command that another operator asked for, after showing what it says
    #[command(after_help = "Example:\n  picketctl command show 3f2a\n  picketctl approve 3f2a")]
    Approve(ApproveArgs),
    /// Say no to a command that waits for approvals
    #[command(after_help = "Example:\n  picketctl deny 3f2a --reason 'that is the backup'")]
    Deny(DenyArgs),
    /// Whom hosts believe: show it, and change it together
    #[command(subcommand)]
    Trust(TrustVerb),
    /// Rules and policy that hosts take from persons: make, sign, release in rings
    #[command(subcommand)]
    Content(ContentVerb),
    /// Who did what; the chain and each person's signature are checked here
    #[command(after_help = "Example:\n  picketctl audit --since 24h --json")]
    Audit(AuditArgs),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Pages(PagesArgs),
}

/// How data is printed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorVerb {
    /// Make a signing key, a TLS key and the request for the collector's owner
    #[command(
        after_help = "Example:\n  picketctl operator init --name alice --out ~/.picket/alice"
    )]
    Init(InitArgs),
    /// Take the signed certificate in and pin the collector
    #[command(after_help = FINISH_EXAMPLE)]
    Finish(FinishArgs),
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The operator's name: 1 to 64 of a-z 0-9 . _ -
    #[arg(long)]
    pub(crate) name: String,
    /// A new directory for keys and request
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Encrypt the signing key under the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct FinishArgs {
    /// The operator's directory, with certificate.pem in it
    pub(crate) dir: PathBuf,
    /// The collector's port for operators
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) collector: String,
    /// As `picket-collector init` printed it
    #[arg(long, value_name = "sha256:HEX")]
    pub(crate) fingerprint: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token; it is printed once, alone, on stdout
    #[command(after_help = "Example:\n  picketctl token create --ttl 1h --uses 10 --group web")]
    Create(TokenArgs),
    /// All tokens and what is left of them
    List(Format),
    /// End a token now
    Revoke {
        /// The token's id, the second part of the token
        id: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// How long it is good for
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = some_duration)]
    pub(crate) ttl: Duration,
    /// How many hosts it enrols
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: u32,
    /// The group that its hosts join
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Everything known of a host, both ledgers line by line
    Show {
        /// The host's name, id, or the beginning of its id
        host: String,
        #[command(flatten)]
        format: Format,
    },
    /// Say, signed, that a host is the same machine as one enrolled before, which ends
    #[command(
        after_help = "Example:\n  picketctl host replace 3f2a --by web-1 --reason 'disk replaced'"
    )]
    Replace(ReplaceArgs),
    /// Say that another branch of a host's event keys is the host; the one that was is refused
    #[command(
        after_help = "Example:\n  picketctl host accept web-1 9f2c03aa17be4410 --reason 'moved to new hardware from a backup'"
    )]
    Accept(BranchArgs),
    /// Say that another branch of a host's event keys is not the host; nothing more is taken from it
    #[command(
        after_help = "Example:\n  picketctl host show web-1\n  picketctl host refuse web-1 9f2c03aa17be4410 --reason 'a clone in the lab'"
    )]
    Refuse(BranchArgs),
    /// End a host's certificate and connection for good; it must enrol anew
    Revoke {
        /// The host's name, id, or the beginning of its id
        host: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct BranchArgs {
    /// The host's name, id, or the beginning of its id
    pub(crate) host: String,
    /// The branch's name, or the beginning of it, as `host show` lists it
    pub(crate) branch: String,
    /// Why; it is kept
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReplaceArgs {
    /// The old host's name, id, or the beginning of its id
    pub(crate) old: String,
    /// The new one's
    #[arg(long, value_name = "HOST")]
    pub(crate) by: String,
    /// Why; it is signed and kept
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Only of this host: name, id, or the beginning of its id
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only of these kinds, as `exec,net_connect`
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind)]
    pub(crate) kind: Vec<Kind>,
    /// Not before: a duration such as 10m, or a time such as 2026-01-05T10:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) since: Option<When>,
    /// Not after
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) until: Option<When>,
    /// Only where this holds, as `process.exe = "/usr/bin/curl"`; see docs/search.md
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// The newest so many
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// Events that another branch of a host's event keys signed: only those, or none of them; else all, each marked
    #[arg(long, value_name = "ONLY|WITHOUT")]
    pub(crate) doubtful: Option<Doubtful>,
    #[command(flatten)]
    pub(crate) view: EventView,
}

/// What of doubtful events is wanted.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Doubtful {
    /// Only those
    Only,
    /// None of them
    Without,
}

/// How events are printed.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
pub(crate) struct EventView {
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// One OCSF 1.7.0 object per line; see docs/ocsf.md
    #[arg(long)]
    pub(crate) ocsf: bool,
    /// One ECS 8.17 document per line; see docs/ecs.md
    #[arg(long)]
    pub(crate) ecs: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// Only of this host: name, id, or the beginning of its id
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only of these kinds, as `exec,net_connect`
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind)]
    pub(crate) kind: Vec<Kind>,
    /// Only with a verdict at least as bad: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) min_severity: Option<Severity>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("root").required(true))]
pub(crate) struct TreeArgs {
    /// The host's name, id, or the beginning of its id
    pub(crate) host: String,
    /// The process: 32 hexadecimal digits, as events name it
    #[arg(group = "root")]
    pub(crate) process_uid: Option<String>,
    /// In place of a process: everything that was done in this login session (`process.session`)
    #[arg(long, value_name = "NUMBER", group = "root")]
    pub(crate) session: Option<u32>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct StackArgs {
    /// The field, as process.exe; see docs/search.md
    pub(crate) field: String,
    /// Apart for each value of this field
    #[arg(long, value_name = "FIELD")]
    pub(crate) by: Option<String>,
    /// Only of this host: name, id, or the beginning of its id
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only of these kinds, as `exec,net_connect`
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind)]
    pub(crate) kind: Vec<Kind>,
    /// Not before: a duration such as 7d, or a time such as 2026-01-05T10:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) since: Option<When>,
    /// Only where this holds; see docs/search.md
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
    /// Events that another branch of a host's event keys signed: only these, or without them
    #[arg(long, value_name = "WHICH")]
    pub(crate) doubtful: Option<Doubtful>,
    /// The rarest so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rarest: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// One SELECT; `-` reads it from standard input. See docs/query.md
    pub(crate) sql: String,
    /// One JSON object per row
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Comma-separated values, the names of the columns first
    #[arg(long)]
    pub(crate) csv: bool,
    /// At most so many rows
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) limit: u64,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Only of this host: name, id, or the beginning of its id
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only batches since then; what came before is then not checked
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) since: Option<When>,
    /// Also write all of it to a file that anybody can verify without the collector; signs a checkpoint first
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    pub(crate) export: Option<PathBuf>,
    /// Verify such a file; asks no collector and needs no operator
    #[arg(long, value_name = "FILE", requires = "checkpoint_key", conflicts_with_all = ["host", "since", "export"])]
    pub(crate) bundle: Option<PathBuf>,
    /// The collector's checkpoint key: 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    pub(crate) checkpoint_key: Option<String>,
    /// Take it for known that this checkpoint is lost, as after a restore from a backup
    #[arg(long, value_name = "HASH", conflicts_with = "bundle")]
    pub(crate) accept_lost: Vec<String>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ContainAction {
    /// End one process: its uid or pid
    Kill,
    /// End a process and all its descendants
    KillTree,
    /// Stop a process and all its descendants
    Suspend,
    /// Let a suspended tree go on: its root
    Resume,
    /// Take a file away: its path
    Quarantine,
    /// Put a file back: the id of the command that took it away
    Restore,
    /// Cut the host off from everything but its collector
    Isolate,
    /// End the isolation
    Release,
    /// Let no program of this content start: its SHA-256
    BlockHash,
    /// Let it start again
    UnblockHash,
    /// Let a user in no more and end what they have open: the name
    LockUser,
    /// Let them in again
    UnlockUser,
    /// Send a file to the collector: its path
    Collect,
    /// Let the agent's package be removed from a host that protects it
    AllowRemoval,
    /// Let it be removed no more
    ForbidRemoval,
    /// Gather what is asked first of a host into one archive, and send it to the collector
    Triage,
}

#[derive(Args, Debug)]
pub(crate) struct ContainArgs {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: ContainAction,
    /// What it is about: a process, path, hash, user or command; for isolate, release, triage, allow-removal and forbid-removal a host
    pub(crate) target: Option<String>,
    /// A host's name, id, or the beginning of its id; several for what is not a process
    #[arg(long)]
    pub(crate) host: Vec<String>,
    /// All hosts of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// Why; it goes into the signed command and its receipt
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub(crate) reason: String,
    /// How long the host may still act on it; at most 24h [15m; 4h where it waits for approvals]
    #[arg(long, value_name = "DURATION", value_parser = command_ttl)]
    pub(crate) ttl: Option<Duration>,
    /// Bind it to what the hosts said in this dry run: the command's id
    #[arg(long, value_name = "ID", conflicts_with = "dry_run")]
    pub(crate) dry_run_of: Option<String>,
    /// The effect undoes itself after this time; `never` if it does not [isolate: 4h; suspend, allow-removal: 1h]
    #[arg(long = "for", value_name = "DURATION", value_parser = lasting)]
    pub(crate) lasting: Option<Lasting>,
    /// A network that stays reachable from an isolated host, as 10.0.0.0/8
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow: Vec<String>,
    /// Make a code that ends the isolation on the host itself, and show it once, on stderr
    #[arg(long)]
    pub(crate) break_glass: bool,
    /// The file to quarantine must have this SHA-256
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// A larger file is not collected, and a triage is cut, in bytes [collect: 64 MiB, triage: 8 MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// The host says what it would do, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// First on one host, then on 1, 10, 50 and 100 % of those that are connected, each only once the ones before it did well
    #[arg(long, conflicts_with_all = ["dry_run", "wait"])]
    pub(crate) rings: bool,
    /// How long a ring's hosts must stay well before the next begins
    #[arg(long, value_name = "DURATION", value_parser = any_duration, default_value = "10s", requires = "rings")]
    pub(crate) settle: Duration,
    /// How long a ring's hosts may take to answer
    #[arg(long, value_name = "DURATION", value_parser = some_duration, default_value = "1m", requires = "rings")]
    pub(crate) ring_wait: Duration,
    /// When a ring does badly, ask for the undoing of what was done
    #[arg(long, requires = "rings")]
    pub(crate) undo_on_halt: bool,
    /// Wait for the receipt; the exit code then tells what became of it
    #[arg(long)]
    pub(crate) wait: bool,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How long an effect lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lasting {
    /// Until it is undone.
    Never,
    /// So long.
    For(Duration),
}

#[derive(Args, Debug)]
pub(crate) struct CommandsArgs {
    /// The newest so many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandVerb {
    /// What was signed, by whom, and each host's receipt
    Show {
        /// The command's id, or the beginning of it
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Fetch what a host sent because of `contain collect` or `contain triage`, and check its hash
    Fetch {
        /// The command's id, or the beginning of it
        id: String,
        /// From which host, if it was for several
        #[arg(long)]
        host: Option<String>,
        /// Where to; nothing is overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take a command back where no host has it yet
    Cancel {
        /// The command's id, or the beginning of it
        id: String,
        /// Why; it is signed and kept
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            value_name = "TEXT"
        )]
        reason: String,
        /// The passphrase of the signing key is the first line of this file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The command's id, or the beginning of it
    pub(crate) id: String,
    /// Do not ask, at a terminal, whether to sign
    #[arg(long)]
    pub(crate) yes: bool,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct DenyArgs {
    /// The command's id, or the beginning of it
    pub(crate) id: String,
    /// Why; it is signed and kept
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Show only what came since then; all of it is checked
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) since: Option<When>,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustVerb {
    /// Persons, roles, thresholds, and which hosts believe which version
    Show(Format),
    /// Write a draft of the next version to a file
    #[command(after_help = PROPOSE_EXAMPLES)]
    Propose(ProposeArgs),
    /// Show what a draft changes, and sign it
    Sign(SignArgs),
    /// Hand a version that enough persons signed to the collector, which hands it to the hosts
    Publish {
        /// The signed draft
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ProposeArgs {
    /// A new file for the draft
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Add the person of this request, or their further key
    #[arg(long, value_name = "REQUEST")]
    pub(crate) add: Vec<PathBuf>,
    /// Remove a person
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Vec<String>,
    /// Remove one key of a person
    #[arg(long, value_name = "NAME=KEY")]
    pub(crate) remove_key: Vec<String>,
    /// All roles of a person: requester, approver, automation, content, recovery
    #[arg(long, value_name = "NAME=ROLE,...")]
    pub(crate) roles: Vec<String>,
    /// How many persons a class takes: read, reversible, destructive, fleet, content, trust, critical, recovery
    #[arg(long, value_name = "CLASS=N")]
    pub(crate) threshold: Vec<String>,
    /// A host on which what cannot be undone takes another person
    #[arg(long, value_name = "HOST")]
    pub(crate) critical: Vec<String>,
    /// No longer such a host
    #[arg(long, value_name = "HOST")]
    pub(crate) not_critical: Vec<String>,
    /// How long it is good; at most 90d
    #[arg(long, default_value = "90d", value_name = "DURATION", value_parser = trust_age)]
    pub(crate) expires: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The draft; the signature is added to it
    pub(crate) file: PathBuf,
    /// Do not ask, at a terminal, whether to sign
    #[arg(long)]
    pub(crate) yes: bool,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContentVerb {
    /// Check and sign new rules or a new policy; release them in rings if that suffices
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// Show what signed content changes, and sign it too
    Sign(ContentSignArgs),
    /// Publish content that enough persons signed, and release it in rings
    Publish(PublishArgs),
    /// Every version: who signed it, who may have it, who uses it
    Status(Format),
    /// Sign an earlier version anew, as the newest
    Rollback(RollbackArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// What it is: rules, policy, configuration
    #[arg(value_parser = content_kind)]
    pub(crate) kind: ContentKind,
    /// The file of a policy or a configuration; a rule's, or a folder of rules
    pub(crate) path: PathBuf,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) how: PublishArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ContentSignArgs {
    #[command(flatten)]
    pub(crate) how: PublishArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// What it is: rules, policy, configuration
    #[arg(value_parser = content_kind)]
    pub(crate) kind: ContentKind,
    /// To which version; the one before the newest if it is not given
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<u64>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) how: PublishArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// The signed content, which goes from person to person while signatures are missing
    #[arg(long, default_value = "picket.content", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Do not ask, at a terminal, whether to sign
    #[arg(long)]
    pub(crate) yes: bool,
    /// The passphrase of the signing key is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) rings: RingArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RingArgs {
    /// Only these hosts, all at once
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// How long the hosts of a ring may take to use it
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = some_duration)]
    pub(crate) wait: Duration,
    /// How long they must stay connected after that
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = any_duration)]
    pub(crate) settle: Duration,
}

const PUSH_EXAMPLES: &str = "Examples:
  picketctl content push rules ./rules --reason 'miners of this week'
  picketctl content push policy policy.toml --host web-1
  picketctl content push configuration quiet.toml --host web-1
  picketctl content sign --file picket.content
  picketctl content publish --file picket.content";

fn content_kind(text: &str) -> Result<ContentKind, String> {
    ContentKind::from_name(text)
        .ok_or_else(|| "known are rules, policy and configuration".to_owned())
}

fn trust_age(text: &str) -> Result<Duration, String> {
    match some_duration(text)? {
        age if age > picket_event::trust::MAX_TRUST_AGE => Err("at most 90d".to_owned()),
        age => Ok(age),
    }
}

fn any_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn some_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration < Duration::from_secs(1) => Err("at least 1s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn lasting(text: &str) -> Result<Lasting, String> {
    if text == "never" {
        return Ok(Lasting::Never);
    }
    match some_duration(text)? {
        lasting if lasting > MAX_AUTO_RELEASE => Err("at most 30d".to_owned()),
        lasting => Ok(Lasting::For(lasting)),
    }
}

fn command_ttl(text: &str) -> Result<Duration, String> {
    match some_duration(text)? {
        ttl if ttl > LONGEST_TTL => Err("at most 24h".to_owned()),
        ttl => Ok(ttl),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = || {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("not one of {}", names.join(" "))
    };
    Kind::from_name(text.trim()).ok_or_else(known)
}

fn severity(text: &str) -> Result<Severity, String> {
    let known = "not one of informational, low, medium, high, critical";
    Severity::from_name(text).ok_or_else(|| known.to_owned())
}

/// An effect undoes itself after this time at the latest.
const MAX_AUTO_RELEASE: Duration = picket_event::command::MAX_AUTO_RELEASE;
/// How long a command may be good for at most.
const LONGEST_TTL: Duration = Duration::from_hours(24);

const EXAMPLES: &str = "\
Examples:
  picketctl operator init --name alice --out ~/.picket/alice
  export PICKET_OPERATOR=~/.picket/alice
  picketctl hosts
  picketctl events --since 10m --kind exec
  picketctl contain kill-tree 4242 --host web-1 --reason 'reverse shell' --wait

Exit codes: 0 ok, 1 failed, 2 usage, 3 refused by policy, 4 not reachable, 5 verification failed";

const PROPOSE_EXAMPLES: &str = "\
Examples:
  picketctl trust propose --add carol/request.pem --out next.trust
  picketctl trust propose --remove bob --threshold fleet=2 --critical web-1 --out next.trust
  picketctl trust sign next.trust && picketctl trust publish next.trust";

const FINISH_EXAMPLE: &str = "\
Example:
  picketctl operator finish ~/.picket/alice --collector picket.example:7444 \\
    --fingerprint sha256:9719...";

const EVENTS_EXAMPLES: &str = "\
Examples:
  picketctl events --host web-1 --kind exec,net_connect --since 10m
  picketctl events --where 'process.exe = \"/usr/bin/curl\"' --json

Long command lines are cut in the lines for people; --json has them whole.";

const QUERY_EXAMPLES: &str = "Examples:
  picketctl query \"SELECT * FROM tables\"
  picketctl query \"SELECT time, host, process_cmd_line FROM process WHERE kind = 'exec' ORDER BY time DESC LIMIT 20\"
  picketctl query --json \"SELECT process_exe, count(*) AS n FROM process WHERE time > datetime('now', '-1 day') GROUP BY 1 ORDER BY n\"";

const STACK_EXAMPLES: &str = "\
Examples:
  picketctl stack process.exe --kind exec --since 7d --rarest 20
  picketctl stack process.exe --by process.user.name --since 24h
  picketctl stack network.remote_ip --where \"process.exe ~ '/tmp/'\" --json";

const CONTAIN_EXAMPLES: &str = "\
Examples:
  picketctl contain kill 4242 --host web-1 --reason 'miner' --wait
  picketctl contain kill-tree 0f6c3f0b9a2d4c5e8f7a6b5c4d3e2f10 --host web-1 --dry-run --wait
  picketctl contain isolate web-1 --for 2h --reason 'spreads over smb' --wait
  picketctl contain quarantine /tmp/.x/miner --host web-1 --wait

Exit codes with --wait: 0 done and verified by the host, 1 done in part or expired, 3 refused,
4 the host did not get it in time, 5 a receipt or certificate does not fit";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kinds_are_listed_with_commas() {
        let cli = Cli::try_parse_from(["picketctl", "events", "--kind", "exec,dns"]).unwrap();
        let Verb::Events(args) = cli.verb else {
            panic!("another verb");
        };
        assert_eq!(args.kind, [Kind::Exec, Kind::Dns]);
    }

    #[test]
    fn a_command_lives_at_most_a_day() {
        assert_eq!(command_ttl("24h"), Ok(LONGEST_TTL));
        assert_eq!(command_ttl("25h"), Err("at most 24h".to_owned()));
        assert!(command_ttl("0s").is_err());
    }
}
