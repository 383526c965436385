//! Which form a line of a recording has.

use picket_event::UnixNanos;
use serde_json::Value;

use super::xml;
use crate::login::LogHead;
use crate::login::bytes::cut;

/// The forms that are read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Form {
    /// JSON lines, as `watch --json` prints them; or with a line of another form in a field.
    Json,
    /// Records of auditd, raw or enriched.
    Auditd,
    /// XML of Sysmon for Linux.
    Sysmon,
    /// Lines of a system log: auth.log, secure, syslog.
    Syslog,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Json, Self::Auditd, Self::Sysmon, Self::Syslog];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Auditd => "auditd",
            Self::Sysmon => "sysmon",
            Self::Syslog => "syslog",
        }
    }

    /// What a line looks like.
    pub fn of(line: &[u8]) -> Option<Self> {
        let text = line.trim_ascii_start();
        match text {
            [b'{', ..] => Some(Self::Json),
            [b'<', digit, ..] if digit.is_ascii_digit() => Some(Self::Syslog),
            [b'<', b'E' | b'?' | b'!' | b'/', ..] => Some(Self::Sysmon),
            _ if text.starts_with(b"type=") || text.starts_with(b"node=") => Some(Self::Auditd),
            [first, ..] if first.is_ascii_digit() || is_month(text) => Some(Self::Syslog),
            _ => None,
        }
    }
}

fn is_month(text: &[u8]) -> bool {
    let months = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    text.get(3) == Some(&b' ') && months.chunks(3).any(|month| text.starts_with(month))
}

/// The text of a log that an exporter put into a field.
pub(super) fn wrapped(value: &Value) -> Option<&str> {
    let named = FIELDS.iter().find_map(|name| value.get(*name)?.as_str());
    let nested = || value.get("event")?.get("original")?.as_str();
    named.or_else(nested)
}

/// An entry of systemd's journal (`journalctl -o json`) as a line of a system log.
pub(super) fn of_journal(value: &Value) -> Option<String> {
    let text = |name: &str| value.get(name)?.as_str();
    let micros: i64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let time = UnixNanos(micros.checked_mul(1_000)?);
    let host = text("_HOSTNAME").unwrap_or("-");
    let program = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM"))?;
    let pid = text("SYSLOG_PID").or_else(|| text("_PID"));
    let pid = pid.map_or_else(String::new, |pid| format!("[{pid}]"));
    Some(format!(
        "{time} {host} {program}{pid}: {}",
        text("MESSAGE")?
    ))
}

/// What stands from the first event on.
pub(super) fn xml_part(line: &[u8]) -> &[u8] {
    let at = memchr::memmem::find(line, b"<Event").unwrap_or(line.len());
    line.get(at..).unwrap_or_default()
}

/// Whether no event in it is left open. Without an event there is nothing to wait for.
pub(super) fn is_whole(text: &[u8]) -> bool {
    let begun = xml::elements(text, "Event").count();
    let opens = [b"<Event>".as_slice(), b"<Event "];
    let open: usize = opens
        .iter()
        .map(|open| memchr::memmem::find_iter(text, open).count())
        .sum();
    begun >= open
}

/// A record of audit that a system log carries: `audispd: type=...`, `audit: type=1400 audit(...`.
pub(super) fn record_within<'a>(head: &LogHead<'a>) -> Option<&'a [u8]> {
    let message = head.message;
    let from = |text: &'a [u8]| {
        let known = text.starts_with(b"type=") || text.starts_with(b"node=");
        known.then_some(text)
    };
    let by_kernel = || {
        let (_, rest) = cut(message, b"audit: ")?;
        from(rest)
    };
    from(message).or_else(by_kernel)
}

/// Where exporters keep the line: Splunk, Elastic, the journal, and plain collections.
const FIELDS: [&str; 7] = [
    "message", "_raw", "raw", "MESSAGE", "log", "line", "example",
];
