//! A command as a person sees it before they sign: read from its bytes, line by line.

use picket_event::command::{Command, Mode};
use picket_event::statement::Statement;
use picket_event::trust::{Standing, TrustRoot};
use picket_event::{HostId, UnixNanos};
use picket_proto::v1;

use crate::approve::Judged;
use crate::failure::joined;
use crate::table::Table;
use crate::when::stamp;

/// Everything that the signatures cover, and who made them.
pub(crate) fn of_command(judged: &Judged, status: &v1::CommandStatus, root: &TrustRoot) -> Table {
    let id = judged.command.id.to_string();
    let mut table = Table::new(&["COMMAND", &id]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("state", status.state.clone());
    of_body(&judged.command, status, &mut row);
    of_signers(&judged.standing, root, &mut row);
    if let Some(ended) = &status.ended_by {
        row("ended", ended_by(ended, root));
    }
    table
}

fn of_body(command: &Command, status: &v1::CommandStatus, row: &mut impl FnMut(&str, String)) {
    row("action", command.action.name().to_owned());
    row("about", command.action.object());
    for (at, host) in command.hosts.iter().enumerate() {
        let name = if at == 0 { "hosts" } else { "" };
        if at < MOST_HOSTS {
            row(name, host_line(host, status));
        }
    }
    if command.hosts.len() > MOST_HOSTS {
        row("", format!("... {} hosts in all", command.hosts.len()));
    }
    if let Some(set) = command.host_set {
        row("host set", set.root.to_string());
        row("", format!("of {} hosts", set.count));
    }
    if !command.rings.is_empty() {
        let sizes = (1_u32..).take(command.rings.len());
        let sizes = sizes.map(|ring| command.hosts_of_ring(ring).len().to_string());
        let sizes = sizes.collect::<Vec<_>>().join(", then ");
        row(
            "rings",
            format!("{sizes} hosts; who asked signs the beginning of each"),
        );
        row(
            "",
            format!("{} of {} began", status.ring, command.rings.len()),
        );
    }
    row("mode", mode(command.mode).to_owned());
    row("reason", command.reason.clone());
    if let Some(after) = command.auto_release {
        let after = format!("{} s after it began", after.as_secs());
        row("undoes itself", after);
    }
    if let Some(hash) = command.exe_sha256 {
        row("executable", hash.to_string());
    }
    if let Some(digest) = command.dry_run_digest {
        row("dry run", digest.to_string());
    }
    if command.break_glass.is_some() {
        row("break-glass", "the host ends it for a code".to_owned());
    }
    row("begins", time(command.not_before));
    row("expires", time(command.expires));
}

fn of_signers(standing: &Standing, root: &TrustRoot, row: &mut impl FnMut(&str, String)) {
    let kind = if standing.automated {
        " (automation, does not count)"
    } else {
        ""
    };
    row("asked for by", format!("{}{kind}", standing.requester));
    if !standing.approvers.is_empty() {
        row("approved by", standing.approvers.join(", "));
    }
    let class = standing.class;
    let takes = match standing.missing() {
        0 => format!(
            "{} of {} persons for the class {class}",
            standing.counted(),
            standing.needed
        ),
        missing => format!(
            "{missing} more of {} persons for the class {class}",
            standing.needed
        ),
    };
    row("signed by", takes);
    row(
        "trust root",
        format!("{}, expires {}", root.version, root.expires),
    );
}

/// Who denied or cancelled it, if that is believed.
fn ended_by(signed: &v1::SignedStatement, root: &TrustRoot) -> String {
    match Statement::read(signed, root) {
        Ok((statement, person)) => {
            format!("{} by {person}: {}", statement.kind, statement.reason)
        }
        Err(error) => format!("NOT BELIEVED: {}", joined(&error)),
    }
}

/// The id is what is signed; the name is the collector's word.
fn host_line(host: &HostId, status: &v1::CommandStatus) -> String {
    let outcomes = status.hosts.iter();
    let named = outcomes
        .clone()
        .find(|outcome| outcome.host_id == host.as_bytes());
    let id = host.to_string();
    let id = id.get(..16).unwrap_or(&id).to_owned();
    match named {
        Some(outcome) => format!("{id} ({})", outcome.host_name),
        None => id,
    }
}

/// The mode's name.
pub(crate) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::DryRun => "dry-run",
        Mode::Enforce => "enforce",
    }
}

fn time(at: UnixNanos) -> String {
    stamp(at.0).unwrap_or_default()
}

/// So many hosts are listed; the others are counted.
const MOST_HOSTS: usize = 100;
