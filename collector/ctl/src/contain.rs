//! `contain`: find the process, sign the command here, hand it in, wait for the receipt.

use std::collections::BTreeMap;
use std::time::Duration;

use picket_event::command::{BreakGlass, Command, Mode};
use picket_event::trust::TrustRoot;
use picket_event::{BootId, Clock, Event, HostId, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, SigningKey};

use crate::aim::{self, Aim, Object};
use crate::approve;
use crate::campaign::{self, Campaign};
use crate::cli::ContainArgs;
use crate::client::{self, Collector};
use crate::commands;
use crate::dry;
use crate::events::Found;
use crate::failure::{Exit, Failure};
use crate::operator::{self, Operator};
use crate::order::{self, Order};
use crate::output::{Output, note};
use crate::receipt::{self, Answer};
use crate::target::{Chosen, KINDS, Typed};

/// `contain`.
pub(crate) async fn run(operator: &Operator, args: ContainArgs) -> Result<(), Failure> {
    let aim = Aim::parse(&args)?;
    let mut collector = Collector::open(operator).await?;
    let hosts = aim.hosts(&mut collector).await?;
    for host in hosts.iter().filter(|host| !host.connected) {
        note(&format!(
            "{} is not connected; it gets the command when it comes back in time",
            host.name
        ));
    }
    let root = operator.sync_trust(&mut collector).await?;
    let mut hosts = hosts;
    if args.rings {
        campaign::in_order(&mut hosts);
    }
    let mut order = order_of(&mut collector, &args, &aim, &hosts).await?;
    if args.rings {
        order.rings = campaign::ends(&hosts);
    }
    if args.break_glass {
        order.break_glass = Some(break_glass()?);
    }
    let command = in_time(order, &args, &root)?;
    let key = operator.signing_key(args.passphrase_file.as_deref())?;
    let signed = sign(&key, (&command, &root))?;
    let status = collector.submit(signed).await?;
    let mut follower = Follower::new(&args, &command);
    if !args.rings {
        follower.show(&status)?;
    }
    if status.state == "requested" {
        tell_missing(&status, &root)?;
    }
    if args.rings {
        let campaign = Campaign {
            collector: &mut collector,
            command: &command,
            key: &key,
            args: &args,
        };
        return campaign.run(status).await;
    }
    if args.wait {
        follower.wait(&mut collector, status).await
    } else {
        follower.leave(&status)
    }
}

/// The births and deaths of whatever has the typed name.
async fn lives(
    collector: &mut Collector,
    host: HostId,
    typed: Typed,
) -> Result<Vec<(BootId, Event)>, Failure> {
    let request = v1::SearchRequest {
        host: host.to_string(),
        kinds: KINDS.iter().map(|kind| kind.to_wire()).collect(),
        r#where: typed.filter(),
        limit: MOST_LIVES,
        ..v1::SearchRequest::default()
    };
    let mut stream = collector.search(request).await?;
    let mut lives = Vec::new();
    while let Some(wire) = client::next(&mut stream, client::SEARCH).await? {
        if let Ok(found) = Found::try_from(wire) {
            lives.push((found.origin.boot, found.event));
        }
    }
    Ok(lives)
}

fn remark(chosen: &Chosen) {
    let uid = chosen.target.process;
    if chosen.exe.is_empty() && chosen.target.pid == 0 {
        note(&format!(
            "no event knows the process {uid}; the host decides whether it has it"
        ));
    }
    if chosen.exited {
        note(&format!("the process {uid} was seen to exit"));
    }
}

async fn order_of(
    collector: &mut Collector,
    args: &ContainArgs,
    aim: &Aim,
    hosts: &[v1::Host],
) -> Result<Order, Failure> {
    let ids = hosts.iter().map(|host| HostId::from_slice(&host.host_id));
    let ids: Vec<HostId> = ids
        .collect::<Result<_, _>>()
        .map_err(|source| Failure::new(Exit::Unverified, source))?;
    let (action, exe_sha256) = match (&aim.object, ids.as_slice()) {
        (Object::Action(action), _) => (action.clone(), None),
        (Object::Process(typed), [host]) => {
            let chosen = typed.choose(lives(collector, *host, *typed).await?)?;
            remark(&chosen);
            (aim.on_process(chosen.target), chosen.exe_sha256)
        }
        (Object::Process(_), _) => {
            let text = "a process is on one host: name it with --host";
            return Err(Failure::new(Exit::Usage, text.to_owned()));
        }
    };
    Ok(Order {
        action,
        hosts: ids,
        host_epoch: match hosts {
            [only] => only.host_epoch,
            _ => 0,
        },
        mode: if args.dry_run {
            Mode::DryRun
        } else {
            Mode::Enforce
        },
        exe_sha256,
        reason: args.reason.clone(),
        ttl: args.ttl.unwrap_or(TTL),
        dry_run_digest: match &args.dry_run_of {
            Some(id) => Some(dry::digest_of(collector, id).await?),
            None => None,
        },
        auto_release: aim.auto_release,
        break_glass: None,
        rings: Vec::new(),
        by_root: aim::by_root(hosts)?,
    })
}

/// A fresh code, shown before anything is sent: it is nowhere else.
fn break_glass() -> Result<Digest, Failure> {
    let code = BreakGlass::generate();
    let code = code.map_err(|source| Failure::new(Exit::Failed, source))?;
    note(&format!("break-glass code {code}"));
    note("hint: keep it; on the host, as root: picket-agent release --code CODE");
    Ok(code.digest())
}

fn sign(
    key: &SigningKey,
    (command, root): (&Command, &TrustRoot),
) -> Result<v1::SignedCommand, Failure> {
    if !operator::is_requester(root, &key.public_key()) {
        note("the trust root does not let your signing key ask: expect the hosts to refuse");
    }
    order::sign(command, key).map_err(|source| Failure::new(Exit::Usage, source))
}

/// A command that others must approve is good for longer, unless the operator says for how long.
fn in_time(mut order: Order, args: &ContainArgs, root: &TrustRoot) -> Result<Command, Failure> {
    let unmade = |source| Failure::new(Exit::Failed, source);
    let command = order.clone().command(SystemClock.now()).map_err(unmade)?;
    if args.ttl.is_some() || root.strictest(&command).1 < 2 {
        return Ok(command);
    }
    order.ttl = TTL_WITH_APPROVALS;
    order.command(SystemClock.now()).map_err(unmade)
}

/// Who is missing, and what they type.
fn tell_missing(status: &v1::CommandStatus, root: &TrustRoot) -> Result<(), Failure> {
    let standing = approve::judge(status, root)?.standing;
    let id = hex::encode(&status.command_id);
    note(&format!(
        "waits for {} more of {} persons for the class {}: picketctl approve {}",
        standing.missing(),
        standing.needed,
        standing.class,
        id.get(..12).unwrap_or(&id)
    ));
    Ok(())
}

/// Prints each answer once, and knows how it ends.
struct Follower {
    out: Output,
    json: bool,
    id: String,
    expires: UnixNanos,
    shown: BTreeMap<String, String>,
}

impl Follower {
    fn new(args: &ContainArgs, command: &Command) -> Self {
        Self {
            out: Output::stdout(),
            json: args.format.json,
            id: command.id.to_string(),
            expires: command.expires,
            shown: BTreeMap::new(),
        }
    }

    /// Every host whose state is another than before.
    fn show(&mut self, status: &v1::CommandStatus) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        if self.shown.is_empty() {
            self.out.line(&format!("command {}", self.id))?;
        }
        for answer in status.hosts.iter().map(Answer::of) {
            let before = self.shown.insert(answer.host.clone(), answer.state.clone());
            if before.as_ref() != Some(&answer.state) {
                for line in answer.lines(self.out.paint()) {
                    self.out.line(&line)?;
                }
            }
        }
        self.out.flush()
    }

    /// Without waiting: where to look next.
    fn leave(mut self, status: &v1::CommandStatus) -> Result<(), Failure> {
        if self.json {
            self.out.json(&commands::as_json(status))?;
            return self.out.flush();
        }
        note(&format!("hint: picketctl command show {}", self.id));
        Ok(())
    }

    /// Until every host has answered or the command is over.
    async fn wait(
        mut self,
        collector: &mut Collector,
        first: v1::CommandStatus,
    ) -> Result<(), Failure> {
        let left = self
            .expires
            .since(SystemClock.now())
            .saturating_add(PATIENCE);
        let mut latest = first;
        let followed = self.follow(collector, &mut latest);
        match tokio::time::timeout(left, followed).await {
            Ok(ended) => ended?,
            Err(_elapsed) => note("the command is over"),
        }
        if self.json {
            self.out.json(&commands::as_json(&latest))?;
            self.out.flush()?;
        }
        end(&latest)
    }

    async fn follow(
        &mut self,
        collector: &mut Collector,
        latest: &mut v1::CommandStatus,
    ) -> Result<(), Failure> {
        let mut stream = collector.watch(latest.command_id.clone()).await?;
        while !is_over(latest) {
            let next = client::next(&mut stream, "watch the command").await?;
            let Some(status) = next else {
                break;
            };
            self.show(&status)?;
            *latest = status;
        }
        Ok(())
    }
}

/// How the program ends, by the worst of the hosts' answers.
fn end(latest: &v1::CommandStatus) -> Result<(), Failure> {
    let answers: Vec<Answer> = latest.hosts.iter().map(Answer::of).collect();
    match receipt::worst(&answers) {
        None => Ok(()),
        Some(exit) => Err(failure(exit, &answers)),
    }
}

fn is_over(status: &v1::CommandStatus) -> bool {
    let over = matches!(status.state.as_str(), "done" | "expired" | "denied");
    over || status.hosts.iter().all(|host| Answer::of(host).is_final())
}

fn failure(exit: Exit, answers: &[Answer]) -> Failure {
    let worst = answers.iter().find(|answer| answer.exit() == Some(exit));
    let Some(answer) = worst else {
        return Failure::silent(exit);
    };
    let host = &answer.host;
    let reason = answer
        .receipt
        .as_ref()
        .map(|receipt| receipt.reason.clone());
    let reason = reason.filter(|reason| !reason.is_empty());
    match answer.state.as_str() {
        "denied" => return Failure::new(exit, "the command was denied".to_owned()).hint(ASK),
        "unapproved" | "requested" => {
            let text = "the command was not approved in time".to_owned();
            return Failure::new(exit, text).hint(ASK);
        }
        _ => {}
    }
    let text = match exit {
        Exit::Refused => format!("{host} refused the command: {}", reason.unwrap_or_default()),
        Exit::Unreachable => format!("{host} did not get the command in time"),
        _ => format!(
            "{host} did not do all of it: {}",
            reason.unwrap_or_else(|| answer.state.clone())
        ),
    };
    Failure::new(exit, text)
}

/// So many births and deaths of one pid are looked at, newest first.
const MOST_LIVES: u64 = 10_000;
/// Where to see who said what.
const ASK: &str = "picketctl command show says who signed and who did not";
/// How long a command is good unless the operator says so.
const TTL: Duration = Duration::from_mins(15);
/// The same where it waits for approvals; after the last one the collector hands it out for a quarter of an hour.
const TTL_WITH_APPROVALS: Duration = Duration::from_hours(4);
/// How long after a command's end its last answer may still come.
const PATIENCE: Duration = Duration::from_secs(3);
