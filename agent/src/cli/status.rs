//! `status`: what the running agent says about itself over its socket.

use serde_json::Value;

use super::StatusArgs;
use super::output::Output;
use crate::failure::{Code, Failure};
use crate::health::socket;
use crate::state;

/// Asks and prints.
pub(super) fn status(arguments: &StatusArgs) -> Result<(), Failure> {
    if let Err(error @ state::StateError::NotEnrolled { .. }) = state::check_owner(&arguments.state)
    {
        return Err(error.into());
    }
    let text = socket::ask(&arguments.state)?;
    let mut out = Output::new();
    if arguments.json {
        out.line(text.trim())?;
        return out.flush().map(drop);
    }
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::line(
            Code::Failed,
            format!("failed to read the agent's answer: {error}"),
        )
    })?;
    for line in readable(&value) {
        out.line(&picket_event::Text::from(line).for_terminal())?;
    }
    out.flush().map(drop)
}

fn readable(status: &Value) -> Vec<String> {
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let mut lines = vec![
        format!("version   {}", text("/version")),
        format!("host      {}", text("/host")),
        format!(
            "link      {} {} {}",
            text("/link/state"),
            text("/link/collector"),
            text("/link/reason")
        ),
        format!(
            "spool     {} of {} bytes",
            text("/spool/bytes"),
            text("/spool/quota_bytes")
        ),
        format!(
            "sensor    {} {}",
            text("/sensor/backend"),
            text("/sensor/fallback")
        ),
        format!("logins    {}", logins(status)),
        format!(
            "integrity {} files since {} {}",
            text("/integrity/files"),
            text("/integrity/built"),
            text("/integrity/note")
        ),
        format!(
            "rules     {} (signed content: version {}), {} of them still learning what is new here",
            text("/rules"),
            text("/content/rules"),
            text("/rules_over_several/learning")
        ),
        format!("policy    {}", policy(status)),
        format!(
            "settings  of the host's own file, under signed content: version {}",
            text("/content/configuration")
        ),
        format!("trust     {}", trust(status)),
        format!("scorer    {}", scorer(status)),
        format!(
            "commands  {} {}",
            text("/containment/commands"),
            text("/containment/last")
        ),
        format!("memory    {} bytes", text("/resident_bytes")),
    ];
    lines.extend(in_force(status));
    lines.extend(table(status, "/ledger/transport", TRANSPORT));
    lines.extend(table(status, "/ledger/sensor", KINDS));
    lines
}

/// What the scorer knows, what it does not tell, and how much is new.
fn scorer(status: &Value) -> String {
    let number = |name: &str| {
        let number = status.pointer(&format!("/scorer/{name}"));
        number.and_then(Value::as_u64).unwrap_or_default()
    };
    let (of_late, usually) = (number("new_of_late_ppm"), number("new_usually_ppm"));
    let drift = if of_late > usually.saturating_mul(DRIFTS).max(LEAST_DRIFT) {
        ": the host changes"
    } else {
        ""
    };
    let fleet = match number("fleet/prior") {
        0 => "no prior of the fleet".to_owned(),
        prior => format!("prior {prior} of {} hosts", number("fleet/hosts")),
    };
    format!(
        "{} events on {} days, {} of {} contexts mature; {} alerts not told in {} change windows; new of late {} ppm, usually {usually}{drift}; {fleet}",
        number("events"),
        number("days"),
        number("contexts_mature"),
        number("contexts"),
        number("untold_in_change_windows"),
        number("change_windows"),
        of_late,
    )
}

/// How many times the usual share of new events is a change,
const DRIFTS: u64 = 4;
/// and from how many in a million on.
const LEAST_DRIFT: u64 = 10_000;

/// What the host may do by itself.
fn policy(status: &Value) -> String {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64);
    match (number("/policy/version"), number("/policy/entries")) {
        (Some(version), Some(entries)) => format!("version {version} with {entries} entries"),
        _ => "none".to_owned(),
    }
}

/// Whom the host believes, and how long still.
fn trust(status: &Value) -> String {
    let number = |name: &str| status.pointer(&format!("/trust_root/{name}"))?.as_u64();
    let (Some(version), Some(left)) = (number("version"), number("seconds_left")) else {
        return "not known yet".to_owned();
    };
    let expires = status.pointer("/trust_root/expires");
    let expires = expires.and_then(Value::as_str).unwrap_or_default();
    match left / DAY_SECONDS {
        _ if left == 0 => format!(
            "version {version}, expired {expires}: only what ends effects and the next version are taken"
        ),
        days if days < SOON_DAYS => {
            format!("version {version}, expires {expires}: in {days} days, publish the next one")
        }
        days => format!("version {version}, expires {expires} (in {days} days)"),
    }
}

const DAY_SECONDS: u64 = 86_400;
/// From how many days on its end is near.
const SOON_DAYS: u64 = 14;

/// Each effect that somebody, or time, will undo.
fn in_force(status: &Value) -> impl Iterator<Item = String> {
    let effects = status.pointer("/containment/in_force");
    let effects = effects.and_then(Value::as_array).into_iter().flatten();
    effects.map(|effect| {
        let text = |name: &str| effect[name].as_str().unwrap_or_default();
        let until = match text("until") {
            "" => "until it is undone".to_owned(),
            until => format!("until {until}"),
        };
        let (action, object, command) = (text("action"), text("object"), text("command"));
        let files = effect["refused_files"].as_u64();
        let files = files.map_or_else(String::new, |files| {
            format!(", {files} files refused by the kernel")
        });
        format!("in force  {action} of {object} {until}{files} (command {command})")
    })
}

/// Each login source with its state.
fn logins(status: &Value) -> String {
    let hooks = status.pointer("/logins/hooks").and_then(Value::as_array);
    let hooks = hooks.into_iter().flatten().filter_map(|hook| {
        let name = hook["name"].as_str()?.strip_prefix("login ")?;
        Some(format!("{name} {}", hook["state"].as_str()?))
    });
    hooks.collect::<Vec<_>>().join(", ")
}

fn table(status: &Value, pointer: &str, columns: &[&str]) -> Vec<String> {
    let cell = |row: &Value, column: &str| match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let rows = status
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    let row = |row: &Value| aligned(columns.iter().map(|column| cell(row, column)));
    let head = aligned(columns.iter().map(|column| (*column).to_owned()));
    std::iter::once(head)
        .chain(rows.unwrap_or_default().iter().map(row))
        .collect()
}

fn aligned(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:>12}")).collect();
    cells.join(" ")
}

const TRANSPORT: &[&str] = &["class", "numbered", "stored", "spooled", "gaps"];
const KINDS: &[&str] = &[
    "kind",
    "generated",
    "filtered",
    "aggregated",
    "submitted",
    "lost",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Status;
    use picket_event::{HostId, StreamId};

    #[test]
    fn the_trust_root_is_told_with_its_end() {
        let told = |left: u64| {
            trust(&serde_json::json!({"trust_root": {
                "version": 3, "expires": "2027-01-01T00:00:00.000000000Z", "seconds_left": left,
            }}))
        };
        assert_eq!(
            told(40 * DAY_SECONDS),
            "version 3, expires 2027-01-01T00:00:00.000000000Z (in 40 days)"
        );
        assert!(told(2 * DAY_SECONDS).contains("in 2 days, publish the next one"));
        assert!(told(0).contains("expired 2027-01-01"));
        assert_eq!(trust(&Value::Null), "not known yet");
    }

    #[test]
    fn of_a_blocked_content_people_see_how_many_files_the_kernel_refuses() {
        let line = |files: Value| {
            let effect = serde_json::json!({
                "action": "block-hash", "object": "ab", "command": "1", "refused_files": files,
            });
            let status = serde_json::json!({"containment": {"in_force": [effect]}});
            in_force(&status).next().unwrap()
        };
        let told = "in force  block-hash of ab until it is undone, 3 files refused by the kernel (command 1)";
        assert_eq!(line(Value::from(3)), told);
        assert_eq!(
            line(Value::Null),
            "in force  block-hash of ab until it is undone (command 1)"
        );
    }

    #[test]
    fn people_see_the_same_facts() {
        let host = HostId::new([7; 32]);
        let status = Status::new(host, StreamId::new([1; 16]), "c:7443".to_owned());
        let lines = readable(&status.to_json());
        assert!(lines.iter().any(|line| line.contains(&host.to_string())));
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("link      connecting c:7443"))
        );
    }
}
