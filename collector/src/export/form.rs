//! An event as it goes out.
//!
//! What stays true: one event is one line; what hosts say cannot begin another line or another field.

use picket_event::{Event, HostId, Origin, Severity, UnixNanos, Verdict, ecs, json, ocsf};
use picket_store::StoredEvent;

use super::otlp;
use super::settings::Format;

/// An event, written.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it happened.
    pub time: UnixNanos,
    /// On which host, by name.
    pub host: String,
    /// The same host, by id.
    pub host_id: HostId,
    /// Its kind.
    pub kind: &'static str,
    /// How bad it is; `None`: nobody judged it.
    pub severity: Option<Severity>,
    /// The event in its form, one line.
    pub text: String,
}

/// Writes an event of a host of this name; `doubtful` is the branch of the host's event keys that signed it, if that is not the host.
pub fn message(
    stored: &StoredEvent,
    (host, doubtful): (&str, Option<&str>),
    format: Format,
) -> Message {
    let origin = Origin {
        host: Some(stored.host),
        boot: stored.boot,
    };
    let event = &stored.event;
    let text = match (format, doubtful) {
        (Format::Json, None) => json::to_string(event, &origin),
        (Format::Json, Some(branch)) => {
            let mut value = json::to_value(event, &origin);
            value["doubtful"] = branch.into();
            value.to_string()
        }
        (Format::Ocsf, _) => {
            let mut value = ocsf::to_value(event, &origin, Some(host));
            doubtful.inspect(|branch| ocsf::mark_doubtful(&mut value, branch));
            value.to_string()
        }
        (Format::Ecs, _) => {
            let mut value = ecs::to_value(event, &origin, Some(host));
            doubtful.inspect(|branch| ecs::mark_doubtful(&mut value, branch));
            value.to_string()
        }
        (Format::Cef, _) => cef(event, (&stored.host.to_string(), host), doubtful),
        (Format::Otlp, _) => otlp::record(stored, &origin, doubtful),
    };
    Message {
        time: event.time,
        host: host.to_owned(),
        host_id: stored.host,
        kind: event.kind.name(),
        severity: event.severity(),
        text,
    }
}

impl Message {
    /// As RFC 5424 has it: facility 10 (security), the event's kind as MSGID.
    pub fn syslog(&self) -> String {
        let level = match self.severity {
            Some(Severity::Critical) => 2,
            Some(Severity::High) => 3,
            Some(Severity::Medium) => 4,
            Some(Severity::Low) => 5,
            Some(Severity::Informational) | None => 6,
        };
        let priority = FACILITY.saturating_mul(8).saturating_add(level);
        let (time, host) = (micros(self.time), header(&self.host));
        format!(
            "<{priority}>1 {time} {host} picket - {} - {}",
            self.kind, self.text
        )
    }
}

/// RFC 5424 allows six digits of a second.
fn micros(time: UnixNanos) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, rest)) => {
            let digits: String = rest.chars().filter(char::is_ascii_digit).take(6).collect();
            format!("{seconds}.{digits}Z")
        }
        None => text,
    }
}

/// A header's field: visible ASCII, never empty.
fn header(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    if kept.is_empty() {
        "-".to_owned()
    } else {
        kept
    }
}

fn cef(event: &Event, (host_id, host): (&str, &str), doubtful: Option<&str>) -> String {
    let rule = event.verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Rule(rule) => Some(rule),
        Verdict::Scorer(_) => None,
    });
    let kind = event.kind.name();
    let id = rule.map_or(kind, |rule| rule.id.as_str());
    let name = rule.map_or(kind, |rule| rule.title.as_str());
    let level = match event.severity() {
        Some(Severity::Critical) => 10,
        Some(Severity::High) => 8,
        Some(Severity::Medium) => 5,
        Some(Severity::Low) => 3,
        Some(Severity::Informational) | None => 1,
    };
    let mut text = format!(
        "CEF:0|Picket|Picket|{}|{}|{}|{level}|",
        env!("CARGO_PKG_VERSION"),
        bar(id),
        bar(name)
    );
    let millis = event.time.0 / 1_000_000;
    let mut fields = vec![
        ("rt", millis.to_string()),
        ("cat", kind.to_owned()),
        ("dvchost", host.to_owned()),
        ("deviceExternalId", host_id.to_owned()),
    ];
    fields.extend(about(event));
    if let Some(branch) = doubtful {
        fields.push(("cs2Label", "doubtfulBranch".to_owned()));
        fields.push(("cs2", branch.to_owned()));
    }
    let fields = fields
        .iter()
        .map(|(key, value)| format!("{key}={}", value_of(value)));
    text.push_str(&fields.collect::<Vec<_>>().join(" "));
    text
}

/// What CEF has names for.
fn about(event: &Event) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(process) = &event.process {
        let arguments = process.argv.iter().map(|one| one.lossy().into_owned());
        let arguments: Vec<String> = arguments.collect();
        fields.push(("sproc", process.exe.lossy().into_owned()));
        fields.push(("spid", process.pid.to_string()));
        fields.push(("cs1Label", "commandLine".to_owned()));
        fields.push(("cs1", arguments.join(" ")));
        if let Some(user) = &process.user {
            fields.push(("suid", user.uid.to_string()));
            fields.push(("suser", user.name.lossy().into_owned()));
        }
    }
    if let Some(file) = event.file() {
        fields.push(("filePath", file.path.lossy().into_owned()));
    }
    if let Some(login) = event.login() {
        fields.push(("duser", login.user.lossy().into_owned()));
        fields.push(("src", login.source_ip.clone()));
        fields.push(("outcome", login.outcome.clone()));
    }
    fields.retain(|(_, value)| !value.is_empty());
    fields
}

/// In the head of CEF.
fn bar(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\n', '\r'], " ")
}

/// In the fields of CEF.
fn value_of(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('=', "\\=")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

const FACILITY: u32 = 10;

#[cfg(test)]
impl Message {
    /// Of a host called `web`.
    pub(super) fn sample(text: &str) -> Self {
        Self {
            time: UnixNanos(1),
            host: "web".to_owned(),
            host_id: HostId::new([1; 32]),
            kind: "exec",
            severity: None,
            text: text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{Kind, Process, ProcessUid, Source, Text};

    use super::*;

    fn event() -> Event {
        let mut process = Process::new(ProcessUid::new([1; 16]), 42);
        process.exe = Text::from("/tmp/a=b");
        process.argv = vec![Text::from("a|b"), Text::from("x\ny=1")];
        Event::new(
            Kind::Exec,
            UnixNanos(1_767_607_200_123_456_789),
            Source::Ebpf,
        )
        .by(process)
    }

    #[test]
    fn what_hosts_say_begins_no_field_and_no_line_of_cef() {
        let text = cef(&event(), ("aa", "web 1|x"), None);
        assert!(text.starts_with("CEF:0|Picket|Picket|"), "{text}");
        for part in [
            "sproc=/tmp/a\\=b",
            "cs1=a|b x\\ny\\=1",
            "dvchost=web 1|x",
            "rt=1767607200123",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\n'));
    }

    #[test]
    fn each_form_says_that_another_signed() {
        let stored = StoredEvent {
            host: HostId::new([1; 32]),
            boot: picket_event::BootId::new([2; 16]),
            stream: picket_event::StreamId::new([3; 16]),
            class: picket_event::Class::Bulk,
            received: UnixNanos(2),
            event: event(),
        };
        for (format, said) in [
            (Format::Json, r#""doubtful":"9f2c""#),
            (Format::Ocsf, r#""doubtful":"9f2c""#),
            (Format::Ecs, r#""doubtful":"9f2c""#),
            (Format::Cef, "cs2Label=doubtfulBranch cs2=9f2c"),
            (
                Format::Otlp,
                r#"{"key":"picket.doubtful","value":{"stringValue":"9f2c"}}"#,
            ),
        ] {
            let marked = message(&stored, ("web", Some("9f2c")), format);
            assert!(marked.text.contains(said), "{}", marked.text);
            let own = message(&stored, ("web", None), format);
            assert!(!own.text.contains("oubtful"), "{}", own.text);
        }
    }

    #[test]
    fn the_head_of_syslog_is_that_of_the_rfc() {
        let message = Message {
            time: event().time,
            host: "web 1\n".to_owned(),
            severity: Some(Severity::High),
            ..Message::sample("{}")
        };
        let expected = "<83>1 2026-01-05T10:00:00.123456Z web1 picket - exec - {}";
        assert_eq!(message.syslog(), expected);
    }
}
