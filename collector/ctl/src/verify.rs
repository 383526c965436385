//! `verify`: asks for the evidence and checks it here, believing nobody.

mod bundle;
mod pins;

use std::collections::BTreeMap;
use std::path::Path;

use picket_event::{Clock, GapReason, Text};
use picket_proto::v1;
use picket_seal::Digest;
use serde::Serialize;

use crate::cli::VerifyArgs;
use crate::client::{self, Collector};
use crate::evidence::{Expected, Fault, Fork, Host, Line, Log, Outcome, Verifier};
use crate::failure::{Exit, Failure, joined};
use crate::operator::Operator;
use crate::output::{Output, Paint};
use crate::table::{Table, cut};
use bundle::{Reader, Writer};
use pins::{Pins, parse_key};

/// Evidence that does not fit: the first place.
#[derive(Debug, thiserror::Error)]
#[error("the evidence does not verify: {0}")]
struct Unverified(String);

/// `verify`, of what the collector has.
pub(crate) async fn run(operator: &Operator, args: VerifyArgs) -> Result<(), Failure> {
    let since = args
        .since
        .map_or(0, |when| when.from(picket_event::SystemClock.now()).0);
    let mut pins = Pins::read(operator)?;
    pins.accept(&args.accept_lost)?;
    let request = v1::EvidenceRequest {
        host: args.host.unwrap_or_default(),
        since_unix_ns: since,
        checkpoint_now: args.export.is_some(),
        audit: true,
    };
    let mut stream = Collector::open(operator).await?.evidence(request).await?;
    let expected = Expected {
        first_trust: Some(Digest::of(operator.first_trust_root())),
        ..pins.expected(args.checkpoint_key.as_deref())?
    };
    let mut verifier = Verifier::new(since == 0, expected);
    let mut bundle = args.export.as_deref().map(Writer::create).transpose()?;
    while let Some(item) = client::next(&mut stream, "read the evidence").await? {
        if let Some(bundle) = &mut bundle {
            bundle.add(&item)?;
        }
        verifier.take(item);
    }
    let log = judge(verifier, args.format.json)?;
    if let Some(bundle) = bundle {
        bundle.finish()?;
    }
    pins.keep(operator, &log)
}

/// `verify --bundle`: asks nobody, and demands that each batch is in a checkpoint.
pub(crate) fn offline(bundle: &Path, args: &VerifyArgs) -> Result<(), Failure> {
    let key = args.checkpoint_key.as_deref().map(parse_key).transpose()?;
    let expected = Expected {
        key,
        strict: true,
        ..Expected::default()
    };
    let mut reader = Reader::open(bundle)?;
    let mut verifier = Verifier::new(true, expected);
    while let Some(item) = reader.next()? {
        verifier.take(item);
    }
    judge(verifier, args.format.json).map(drop)
}

/// Prints what was found, and says whether it holds.
fn judge(verifier: Verifier, json: bool) -> Result<Log, Failure> {
    let (hosts, stray, log) = verifier.finish();
    let mut out = Output::stdout();
    if json {
        print_json(&mut out, &hosts, &log)?;
    } else {
        print_table(&mut out, &hosts, stray.is_none())?;
        print_checkpoint(&mut out, &hosts, &log)?;
    }
    out.flush()?;
    match first_fault(&hosts, stray.as_ref()) {
        Some(place) => {
            let faults = hosts.iter().filter_map(|host| host.fault.as_ref());
            let hint = hint(faults.chain(stray.as_ref()).next());
            Err(Failure::new(Exit::Unverified, Unverified(place)).hint(hint))
        }
        None => Ok(log),
    }
}

/// What to do about it.
fn hint(fault: Option<&Fault>) -> String {
    let keep = "keep the collector's data and the host as they are until somebody has looked";
    match fault.and_then(Fault::gone) {
        Some(hash) => format!(
            "{keep}; if this collector is known to have been restored from a backup: picketctl verify --accept-lost {hash}"
        ),
        None => keep.to_owned(),
    }
}

/// How much of it the collector has signed for.
fn print_checkpoint(out: &mut Output, hosts: &[Host], log: &Log) -> Result<(), Failure> {
    let audit = log.audit();
    if audit.entries() > 0 {
        out.line(&format!(
            "audit: {} entries, {} of them signed by persons, trust root {}",
            audit.entries(),
            audit.signed(),
            audit.trust().map_or(0, |root| root.version)
        ))?;
    }
    let lines = || hosts.iter().flat_map(|host| &host.lines);
    if let Some(until) = lines().filter_map(|line| line.retired_until).max() {
        out.line(&format!(
            "{} numbers, up to {until}, are without their payload, by the collector's word that its limit is reached; their headers hold",
            total(lines().map(|line| line.retired))
        ))?;
    }
    let proven = total(lines().map(|line| line.proven));
    let batches = total(lines().map(|line| line.batches));
    let (Some((last, hash)), Some(key)) = (log.last(), log.key()) else {
        return out.line("no checkpoint was signed yet");
    };
    out.line(&format!(
        "checkpoint {} ({hash}) holds {proven} of these batches, {} came later; its key is {}",
        last.number,
        batches.saturating_sub(proven),
        hex::encode(key.as_bytes())
    ))
}

fn print_table(out: &mut Output, hosts: &[Host], whole: bool) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "HOST", "STREAM", "CLASS", "FROM", "TO", "BATCHES", "EVENTS", "GAPS", "UNKNOWN", "RESULT",
    ]);
    for host in hosts {
        for line in &host.lines {
            table.row(cells(host, line));
        }
    }
    for line in table.lines() {
        out.line(&line)?;
    }
    let good = whole && hosts.iter().all(Host::is_good);
    out.line(&summary(hosts, good, out.paint()))?;
    for host in hosts {
        for fork in host.forks() {
            out.line(&out.paint().warn(&of_branch(host, fork)))?;
        }
    }
    Ok(())
}

/// What one of two has said that speak for a host.
fn of_branch(host: &Host, fork: Fork) -> String {
    let lines = || {
        host.lines
            .iter()
            .filter(|line| line.branch == Some(fork.name))
    };
    format!(
        "of these, by others who hold keys of {}: branch {}, which left it behind epoch {}: {} chains, {} batches, {} events",
        cut(&Text::from(host.name.as_str()), 64),
        fork.name,
        fork.epoch,
        lines().count(),
        total(lines().map(|line| line.batches)),
        total(lines().map(|line| line.events)),
    )
}

fn cells(host: &Host, line: &Line) -> [String; 10] {
    let stream = line.stream.to_string();
    [
        host.name.clone(),
        stream.get(..12).unwrap_or_default().to_owned(),
        line.class.name().to_owned(),
        line.first.to_string(),
        line.next().to_string(),
        line.batches.to_string(),
        line.events.to_string(),
        gaps(&line.gaps),
        gaps(&line.unknown_gaps),
        result(line),
    ]
}

fn gaps(counts: &BTreeMap<GapReason, u64>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let reasons = counts
        .iter()
        .map(|(reason, count)| format!("{} {count}", reason.name()));
    reasons.collect::<Vec<_>>().join(", ")
}

fn result(line: &Line) -> String {
    match line.outcome() {
        Outcome::Verified if line.retired > 0 => {
            format!("headers verified, {} without payload", line.retired)
        }
        Outcome::Verified => "verified".to_owned(),
        Outcome::Outstanding => format!("verified, {} not here yet", line.outstanding),
        Outcome::Failed => match &line.fault {
            Some((seq, _)) => format!("FAILED at {seq}"),
            None => "FAILED".to_owned(),
        },
    }
}

fn summary(hosts: &[Host], good: bool, paint: Paint) -> String {
    let lines = || hosts.iter().flat_map(|host| &host.lines);
    let text = format!(
        "{}: {} hosts, {} chains, {} batches, {} events, {} gaps, {} gaps of unknown size",
        if good { "verified" } else { "FAILED" },
        hosts.len(),
        lines().count(),
        total(lines().map(|line| line.batches)),
        total(lines().map(|line| line.events)),
        total(lines().map(Line::gap_numbers)),
        total(lines().map(Line::unknown_gap_count)),
    );
    if good {
        paint.good(&text)
    } else {
        paint.bad(&text)
    }
}

fn total(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}

/// Where the first thing is wrong, and what.
fn first_fault(hosts: &[Host], stray: Option<&Fault>) -> Option<String> {
    if let Some(fault) = stray {
        return Some(joined(fault));
    }
    let host = hosts.iter().find(|host| !host.is_good())?;
    let named = cut(&Text::from(host.name.as_str()), 64);
    let of_line = |line: &Line| {
        let (seq, fault) = line.fault.as_ref()?;
        let (stream, class) = (line.stream, line.class);
        let fault = joined(fault);
        Some(format!(
            "host {named}, stream {stream}, class {class}, batch at {seq}: {fault}"
        ))
    };
    let of_host = host.fault.as_ref();
    of_host
        .map(|fault| format!("host {named}: {}", joined(fault)))
        .or_else(|| host.lines.iter().find_map(of_line))
}

/// One chain as `--json` prints it; the fault of a host itself has neither stream nor class.
#[derive(Debug, Default, Serialize)]
struct View {
    host: Option<String>,
    name: String,
    epoch: u64,
    stream: Option<String>,
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<String>,
    seq_first: u64,
    seq_next: u64,
    batches: u64,
    events: u64,
    gaps: serde_json::Map<String, serde_json::Value>,
    unknown_gaps: serde_json::Map<String, serde_json::Value>,
    retired: u64,
    retired_until: Option<String>,
    outstanding: u64,
    unchecked: u64,
    proven: u64,
    checkpoint: Option<u64>,
    ok: bool,
    failed_at: Option<u64>,
    reason: Option<String>,
}

fn print_json(out: &mut Output, hosts: &[Host], log: &Log) -> Result<(), Failure> {
    for host in hosts {
        if let Some(fault) = &host.fault {
            out.json(&View {
                reason: Some(joined(fault)),
                ..of_host(host)
            })?;
        }
        for line in &host.lines {
            out.json(&View {
                checkpoint: log.last().map(|(last, _)| last.number),
                ..view(host, line)
            })?;
        }
    }
    Ok(())
}

fn of_host(host: &Host) -> View {
    View {
        host: host.id.map(|id| id.to_string()),
        name: host.name.clone(),
        epoch: host.epoch,
        ..View::default()
    }
}

fn view(host: &Host, line: &Line) -> View {
    View {
        stream: Some(line.stream.to_string()),
        class: Some(line.class.name()),
        branch: line.branch.map(|name| name.to_string()),
        seq_first: line.first,
        seq_next: line.next(),
        batches: line.batches,
        events: line.events,
        gaps: by_reason(&line.gaps),
        unknown_gaps: by_reason(&line.unknown_gaps),
        retired: line.retired,
        retired_until: line.retired_until.map(|until| until.to_string()),
        outstanding: line.outstanding,
        unchecked: line.unchecked,
        proven: line.proven,
        ok: line.fault.is_none(),
        failed_at: line.fault.as_ref().map(|(seq, _)| *seq),
        reason: line.fault.as_ref().map(|(_, fault)| joined(fault)),
        ..of_host(host)
    }
}

fn by_reason(counts: &BTreeMap<GapReason, u64>) -> serde_json::Map<String, serde_json::Value> {
    let counts = counts.iter();
    counts
        .map(|(reason, count)| (reason.name().to_owned(), (*count).into()))
        .collect()
}
