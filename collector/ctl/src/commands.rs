//! `commands`, `command show`, `command cancel`.

use std::path::Path;

use picket_event::command::Command;
use picket_event::statement::StatementKind;
use picket_event::trust::TrustRoot;
use picket_event::{
    BootId, Clock, CommandId, Detail, Event, HostId, Kind, Origin, Source, SystemClock, UnixNanos,
    json,
};
use picket_proto::v1;
use serde_json::{Value, json};

use crate::approve;
use crate::cli::{CommandVerb, CommandsArgs};
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::fetch;
use crate::operator::Operator;
use crate::output::Output;
use crate::receipt::Answer;
use crate::sheet;
use crate::table::Table;
use crate::when::{ago, stamp};

/// `commands`.
pub(crate) async fn list(operator: &Operator, args: CommandsArgs) -> Result<(), Failure> {
    let commands = Collector::open(operator)
        .await?
        .list_commands(args.limit)
        .await?;
    let mut out = Output::stdout();
    if args.format.json {
        for status in &commands {
            out.json(&as_json(status))?;
        }
        return out.flush();
    }
    let commands: Vec<&v1::CommandStatus> = commands.iter().collect();
    for line in overview(&commands).lines() {
        out.line(&line)?;
    }
    out.flush()
}

/// `command ...`.
pub(crate) async fn run(operator: &Operator, verb: CommandVerb) -> Result<(), Failure> {
    match verb {
        CommandVerb::Show { id, format } => {
            let mut collector = Collector::open(operator).await?;
            let root = operator.sync_trust(&mut collector).await?;
            let status = find(&mut collector, &id).await?;
            let mut out = Output::stdout();
            if format.json {
                out.json(&as_json(&status))?;
            } else {
                in_full(&mut out, &status, &root)?;
            }
            out.flush()
        }
        CommandVerb::Fetch { id, host, out } => {
            let mut collector = Collector::open(operator).await?;
            let status = find(&mut collector, &id).await?;
            fetch::run(&mut collector, &status, host.as_deref(), &out).await
        }
        CommandVerb::Cancel {
            id,
            reason,
            passphrase_file,
        } => cancel(operator, &id, (&reason, passphrase_file.as_deref())).await,
    }
}

async fn cancel(
    operator: &Operator,
    id: &str,
    (reason, passphrase): (&str, Option<&Path>),
) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let status = find(&mut collector, id).await?;
    let said = (StatementKind::Cancel, reason);
    let statement = approve::state(operator, &status, said, passphrase)?;
    let status = collector.cancel(status.command_id, statement).await?;
    let mut out = Output::stdout();
    for line in overview(&[&status]).lines() {
        out.line(&line)?;
    }
    out.flush()
}

/// One line per command.
pub(crate) fn overview(commands: &[&v1::CommandStatus]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(&[
        "ID",
        "SUBMITTED",
        "ACTION",
        "BY",
        "STATE",
        "HOSTS",
        "REASON",
    ]);
    for status in commands {
        let id = id_of(status);
        let hosts = status.hosts.iter().map(|host| {
            let answer = Answer::of(host);
            format!("{} {}", answer.host, answer.state)
        });
        table.row([
            id.get(..12).unwrap_or(&id).to_owned(),
            ago(status.submitted_unix_ns, now),
            status.action.clone(),
            status.requester.clone(),
            status.state.clone(),
            hosts.collect::<Vec<_>>().join(", "),
            status.reason.clone(),
        ]);
    }
    table
}

/// A command as `--json` prints it. What was signed is read from the signed bytes.
pub(crate) fn as_json(status: &v1::CommandStatus) -> Value {
    let signed = status.command.as_ref();
    let command = signed.and_then(|signed| Command::decode(&signed.body).ok());
    let host_set = command.as_ref().and_then(|command| command.host_set);
    let process = command
        .as_ref()
        .and_then(|command| command.action.process());
    let target =
        process.map(|target| json!({"process_uid": target.process.to_string(), "pid": target.pid}));
    let auto_release = command.as_ref().and_then(|command| command.auto_release);
    json!({
        "id": id_of(status),
        "action": status.action,
        "requester": status.requester,
        "reason": status.reason,
        "submitted": stamp(status.submitted_unix_ns),
        "expires": stamp(status.expires_unix_ns),
        "state": status.state,
        "approved": stamp(status.approved_unix_ns),
        "signatures": signed.map_or(0, |signed| signed.signatures.len()),
        "mode": command.as_ref().map(|command| sheet::mode(command.mode)),
        "target": target,
        "object": command.as_ref().map(|command| command.action.object()),
        "auto_release_seconds": auto_release.map(|after| after.as_secs()),
        "dry_run_digest": command.as_ref().and_then(|command| command.dry_run_digest).map(|digest| digest.to_string()),
        "exe_sha256": command.and_then(|command| command.exe_sha256).map(|hash| hash.to_string()),
        "host_set_root": host_set.map(|set| set.root.to_string()),
        "hosts": status.hosts.iter().map(outcome).collect::<Vec<_>>(),
    })
}

fn outcome(host: &v1::HostOutcome) -> Value {
    let answer = Answer::of(host);
    json!({
        "host": HostId::from_slice(&host.host_id).ok().map(|id| id.to_string()),
        "name": host.host_name,
        "state": host.state,
        "time": stamp(host.time_unix_ns),
        "receipt": answer.receipt.map(receipt),
    })
}

/// As the event that proves it has it.
fn receipt(receipt: picket_event::Containment) -> Value {
    let event = Event::new(Kind::Containment, UnixNanos(0), Source::Agent);
    let event = event.with(Detail::Containment(receipt));
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    let mut whole = json::to_value(&event, &origin);
    whole
        .get_mut("containment")
        .map(Value::take)
        .unwrap_or_default()
}

/// The one command whose id begins so.
pub(crate) async fn find(
    collector: &mut Collector,
    id: &str,
) -> Result<v1::CommandStatus, Failure> {
    let wanted = id.to_ascii_lowercase();
    if wanted.is_empty() || !wanted.chars().all(|c| c.is_ascii_hexdigit()) {
        let text = format!("`{id}` is not a command id, which is 32 hexadecimal digits");
        return Err(Failure::new(Exit::Usage, text).hint("picketctl commands"));
    }
    // All of them, with all their hosts, are much to ask for only one.
    if let Ok(whole) = CommandId::parse(&wanted)
        && let Some(status) = collector.command(whole).await
    {
        return Ok(status);
    }
    let mut commands = collector.list_commands(ALL).await?;
    commands.retain(|status| id_of(status).starts_with(&wanted));
    match (commands.pop(), commands.len()) {
        (Some(only), 0) => {
            // A list has not all that is needed to judge a command.
            let whole = CommandId::from_slice(&only.command_id).ok();
            let shown = match whole {
                Some(whole) => collector.command(whole).await,
                None => None,
            };
            Ok(shown.unwrap_or(only))
        }
        (None, _) => Err(
            Failure::new(Exit::Failed, format!("no command is called `{id}`"))
                .hint("picketctl commands"),
        ),
        (Some(_), more) => {
            let text = format!("`{id}` names {} commands", more.saturating_add(1));
            Err(Failure::new(Exit::Usage, text).hint("give more of the id"))
        }
    }
}

fn in_full(out: &mut Output, status: &v1::CommandStatus, root: &TrustRoot) -> Result<(), Failure> {
    match approve::judge(status, root) {
        Ok(judged) => {
            for line in sheet::of_command(&judged, status, root).lines() {
                out.line(&line)?;
            }
        }
        // Somebody who signed may have left since; what was done is shown all the same.
        Err(failure) => {
            for line in overview(&[status]).lines() {
                out.line(&line)?;
            }
            out.line(&format!("NOT APPROVED: {failure}"))?;
        }
    }
    for host in &status.hosts {
        for line in Answer::of(host).lines(out.paint()) {
            out.line(&line)?;
        }
    }
    Ok(())
}

fn id_of(status: &v1::CommandStatus) -> String {
    CommandId::from_slice(&status.command_id).map_or_else(
        |_malformed| hex::encode(&status.command_id),
        |id| id.to_string(),
    )
}

/// How many of the newest commands are searched for an id.
pub(crate) const ALL: u64 = 10_000;
