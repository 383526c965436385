//! `hosts`, `host show`, `host accept`, `host refuse`, `host replace`, `host revoke`.

mod branch;
mod view;

use picket_event::replacement::Replacement;
use picket_event::{Clock, HostId, SystemClock};
use picket_proto::v1;

use crate::approve::confirm;
use crate::cli::{Format, HostVerb, ReplaceArgs};
use crate::client::Collector;
use crate::commands;
use crate::failure::{Exit, Failure};
use crate::ledger::{self, Balance};
use crate::operator::Operator;
use crate::output::{Output, Paint};
use crate::table::Table;
use crate::when::ago;

/// `hosts`.
pub(crate) async fn list(operator: &Operator, format: Format) -> Result<(), Failure> {
    let hosts = Collector::open(operator).await?.list_hosts("").await?;
    let mut out = Output::stdout();
    if format.json {
        for host in &hosts {
            out.json(&view::of(host, &[]))?;
        }
        return out.flush();
    }
    for line in overview(&hosts).lines() {
        out.line(&line)?;
    }
    out.flush()
}

/// `host ...`.
pub(crate) async fn run(operator: &Operator, verb: HostVerb) -> Result<(), Failure> {
    match verb {
        HostVerb::Show { host, format } => show(operator, &host, format).await,
        HostVerb::Accept(args) => branch::decide(operator, args, true).await,
        HostVerb::Refuse(args) => branch::decide(operator, args, false).await,
        HostVerb::Replace(args) => replace(operator, args).await,
        HostVerb::Revoke { host } => revoke(operator, &host).await,
    }
}

async fn show(operator: &Operator, name: &str, format: Format) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let host = collector.host(name).await?;
    let commands = collector.list_commands(COMMANDS).await?;
    let concerned: Vec<_> = commands
        .iter()
        .filter(|command| concerns(command, &host))
        .collect();
    let mut out = Output::stdout();
    if format.json {
        out.json(&view::of(&host, &concerned))?;
        return out.flush();
    }
    for line in in_full(&host, &concerned, out.paint()) {
        out.line(&line)?;
    }
    out.flush()
}

/// The signature is a person's, so the collector alone cannot pass one host's past off as another's.
async fn replace(operator: &Operator, args: ReplaceArgs) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let old = collector.host(&args.old).await?;
    let new = collector.host(&args.by).await?;
    let id = |host: &v1::Host| {
        let id = HostId::from_slice(&host.host_id);
        id.map_err(|_length| Failure::new(Exit::Failed, "the collector shows a host without an id"))
    };
    let said = Replacement {
        host: id(&new)?,
        predecessor: id(&old)?,
        reason: args.reason,
        time: SystemClock.now(),
    };
    let key = operator.signing_key(args.passphrase_file.as_deref())?;
    if !args.yes {
        let (old, new) = (shown(&old.name), shown(&new.name));
        let (before, after) = (said.predecessor, said.host);
        confirm(&format!(
            "end {old} ({before}) and say that it became {new} ({after})?"
        ))?;
    }
    let host = collector.replace_host(said.sign(&key)).await?;
    say(&host)
}

async fn revoke(operator: &Operator, name: &str) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let host = collector.host(name).await?;
    let host = collector.revoke_host(&id_of(&host)).await?;
    say(&host)
}

fn say(host: &v1::Host) -> Result<(), Failure> {
    let mut out = Output::stdout();
    let mut table = Table::new(&["HOST", "ID", "STATE"]);
    table.row([host.name.clone(), id_of(host), link(host)]);
    for line in table.lines() {
        out.line(&line)?;
    }
    out.flush()
}

/// One line per host.
fn overview(hosts: &[v1::Host]) -> Table {
    let now = SystemClock.now();
    let mut table = Table::new(&[
        "HOST",
        "ID",
        "LINK",
        "LAST EVENT",
        "VERSION",
        "SENSOR",
        "LOST",
        "TRANSPORT",
        "GROUP",
    ]);
    for host in hosts {
        let id = id_of(host);
        table.row([
            host.name.clone(),
            id.get(..12).unwrap_or_default().to_owned(),
            link(host),
            ago(host.last_event_unix_ns, now),
            facts(host).agent_version,
            sensor(host),
            lost(host),
            transport(host),
            host.group.clone(),
        ]);
    }
    table
}

/// Everything about one host.
fn in_full(host: &v1::Host, commands: &[&v1::CommandStatus], paint: Paint) -> Vec<String> {
    let now = SystemClock.now();
    let facts = facts(host);
    let mut head = Table::new(&["HOST", &shown(&host.name)]);
    head.row(["id".to_owned(), id_of(host)]);
    for (word, id) in [
        ("was before", &host.predecessor),
        ("became", &host.successor),
    ] {
        if !id.is_empty() {
            head.row([word.to_owned(), hex::encode(id)]);
        }
    }
    head.row(["group".to_owned(), host.group.clone()]);
    head.row(["link".to_owned(), link(host)]);
    head.row(["enrolled".to_owned(), ago(host.enrolled_unix_ns, now)]);
    head.row(["last seen".to_owned(), ago(host.last_seen_unix_ns, now)]);
    head.row(["last event".to_owned(), ago(host.last_event_unix_ns, now)]);
    head.row(["agent".to_owned(), facts.agent_version]);
    head.row([
        "system".to_owned(),
        format!("{} {}", facts.os, facts.kernel),
    ]);
    head.row(["key epoch".to_owned(), host.epoch.to_string()]);
    head.row(["state generation".to_owned(), host.host_epoch.to_string()]);
    head.row(["memory, spool".to_owned(), budget(host)]);
    head.row(["sensor".to_owned(), sensor(host)]);
    let mut lines = head.lines();
    for alarm in &host.alarms {
        let since = ago(alarm.since_unix_ns, now);
        let text = format!("ALARM {} ({since}): {}", alarm.name, alarm.words);
        lines.push(paint.bad(&text));
    }
    lines.extend(branch::lines(host, now, paint));
    lines.extend(part("hooks", hooks(host)));
    lines.extend(part(
        "sensor ledger: generated = filtered + aggregated + submitted + lost",
        sensor_table(host),
    ));
    lines.extend(part(
        "transport ledger: numbered = stored + spooled + gaps",
        transport_table(host),
    ));
    lines.extend(part("containment", commands::overview(commands)));
    lines.push(String::new());
    let word = conclusion(host, paint);
    lines.push(word);
    lines
}

fn part(title: &str, table: Table) -> Vec<String> {
    let lines = table.lines();
    if lines.len() < 2 {
        return vec![String::new(), format!("{title}: nothing known")];
    }
    let indented = lines.into_iter().map(|line| format!("  {line}"));
    [String::new(), title.to_owned()]
        .into_iter()
        .chain(indented)
        .collect()
}

fn hooks(host: &v1::Host) -> Table {
    let mut table = Table::new(&["HOOK", "STATE", "DETAIL", "INSTEAD"]);
    for hook in sensor_state(host)
        .map(|state| state.hooks.as_slice())
        .unwrap_or_default()
    {
        table.row([
            hook.name.clone(),
            hook.state.clone(),
            hook.detail.clone(),
            hook.instead.clone(),
        ]);
    }
    table
}

fn sensor_table(host: &v1::Host) -> Table {
    let headings = [
        "KIND",
        "GENERATED",
        "FILTERED",
        "AGGREGATED",
        "SUBMITTED",
        "LOST",
        "SUM",
    ];
    let mut table = Table::new(&headings);
    for line in ledger::sensor_lines(host) {
        table.row([
            line.kind.name().to_owned(),
            line.generated.to_string(),
            line.filtered.to_string(),
            line.aggregated.to_string(),
            line.submitted.to_string(),
            line.lost_words(),
            said(line.balances()).to_owned(),
        ]);
    }
    table
}

fn transport_table(host: &v1::Host) -> Table {
    let headings = [
        "STREAM",
        "CLASS",
        "NUMBERED",
        "STORED",
        "SPOOLED",
        "GAPS",
        "UNKNOWN GAPS",
        "SUM",
        "BRANCH",
    ];
    let mut table = Table::new(&headings);
    for line in ledger::transport_lines(host) {
        table.row([
            line.stream.to_string(),
            line.class.name().to_owned(),
            line.numbered.to_string(),
            line.stored.to_string(),
            line.spooled.to_string(),
            line.gaps.to_string(),
            line.unknown_gaps.to_string(),
            line.balance.word(),
            line.branch
                .map_or_else(String::new, |name| name.to_string()),
        ]);
    }
    table
}

fn transport(host: &v1::Host) -> String {
    ledger::transport(host)
        .map(Balance::word)
        .unwrap_or_default()
}

/// What both ledgers come to.
fn conclusion(host: &v1::Host, paint: Paint) -> String {
    match ledger::balanced(host) {
        Some(true) => paint.good("both ledgers BALANCED"),
        Some(false) => {
            let sensor = said(ledger::sensor(host) == Some(true));
            paint.bad(&format!(
                "ledgers: sensor {sensor}, transport {}",
                transport(host)
            ))
        }
        None => paint.warn("the host has not told its ledgers yet"),
    }
}

fn lost(host: &v1::Host) -> String {
    let lines = ledger::sensor_lines(host);
    let lost = lines
        .iter()
        .fold(0_u64, |sum, line| sum.saturating_add(line.lost));
    match ledger::sensor(host) {
        None => String::new(),
        Some(true) => lost.to_string(),
        Some(false) => format!("{lost} {}", said(false)),
    }
}

const fn said(balanced: bool) -> &'static str {
    if balanced { "BALANCED" } else { "DIFFERENCE" }
}

fn link(host: &v1::Host) -> String {
    let now = SystemClock.now();
    match (host.revoked, host.connected) {
        (true, _) => "revoked".to_owned(),
        (false, true) => "connected".to_owned(),
        (false, false) if host.last_seen_unix_ns == 0 => "never seen".to_owned(),
        (false, false) => format!("away since {}", ago(host.last_seen_unix_ns, now)),
    }
}

fn sensor(host: &v1::Host) -> String {
    let Some(state) = sensor_state(host) else {
        return String::new();
    };
    let proved = state
        .hooks
        .iter()
        .filter(|hook| hook.state == "proved")
        .count();
    format!("{} {proved}/{} proved", state.backend, state.hooks.len())
}

fn budget(host: &v1::Host) -> String {
    let Some(beat) = &host.heartbeat else {
        return String::new();
    };
    format!(
        "{} MiB resident, {} of {} MiB spooled",
        beat.resident_bytes >> 20,
        beat.spool_bytes.div_ceil(1 << 20),
        beat.spool_quota_bytes >> 20
    )
}

fn sensor_state(host: &v1::Host) -> Option<&v1::SensorState> {
    host.heartbeat.as_ref()?.sensor.as_ref()
}

fn facts(host: &v1::Host) -> v1::HostFacts {
    host.facts.clone().unwrap_or_default()
}

fn concerns(command: &v1::CommandStatus, host: &v1::Host) -> bool {
    command
        .hosts
        .iter()
        .any(|outcome| outcome.host_id == host.host_id)
}

fn shown(name: &str) -> String {
    crate::table::cut(&picket_event::Text::from(name), 64)
}

/// The whole id; hexadecimal of whatever the collector sent, if it is malformed.
pub(crate) fn id_of(host: &v1::Host) -> String {
    HostId::from_slice(&host.host_id)
        .map_or_else(|_malformed| hex::encode(&host.host_id), |id| id.to_string())
}

/// How many of the newest commands are looked through for those of one host.
const COMMANDS: u64 = 200;
