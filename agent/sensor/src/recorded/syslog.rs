//! Lines of system logs: the head in each of its forms.
//!
//! ```text
//! Dec 10 06:55:46 HOST PROGRAM[PID]: MESSAGE
//! 2026-01-05T10:00:00.123+01:00 HOST PROGRAM[PID]: MESSAGE
//! <38>Dec 10 ..., <38>1 2026-01-05T10:00:00Z HOST PROGRAM PID MSGID - MESSAGE
//! ```

use picket_event::{Detail, Event, Kind, Login, Source, Text};

use crate::login::bytes::{cut, number, word};
use crate::login::{LineClock, LogHead};

/// Takes a line apart. `text` holds the line in the form that is understood, if it had to be rewritten.
pub(super) fn head<'a>(
    line: &'a [u8],
    clock: &LineClock,
    text: &'a mut Vec<u8>,
) -> Option<LogHead<'a>> {
    let line = without_priority(line);
    if let Some(rest) = line.strip_prefix(b"1 ") {
        *text = of_rfc_5424(rest)?;
        return LogHead::parse(text, clock);
    }
    LogHead::parse(line, clock)
}

/// `<38>`
fn without_priority(line: &[u8]) -> &[u8] {
    let priority = line.strip_prefix(b"<").and_then(|rest| cut(rest, b">"));
    match priority {
        Some((level, rest)) if level.len() <= 3 && number(level).is_some() => rest,
        _ => line,
    }
}

/// `TIME HOST PROGRAM PID MSGID DATA MESSAGE` as `TIME HOST PROGRAM[PID]: MESSAGE`.
fn of_rfc_5424(rest: &[u8]) -> Option<Vec<u8>> {
    let (time, rest) = word(rest);
    let (host, rest) = word(rest);
    let (program, rest) = word(rest);
    let (pid, rest) = word(rest);
    let (_, rest) = word(rest);
    let message = if let Some(message) = rest.strip_prefix(b"-") {
        message
    } else {
        let end = memchr::memmem::find(rest, b"] ").map_or(rest.len(), |at| at.saturating_add(1));
        rest.get(end..)?
    };
    let message = message.trim_ascii_start();
    let message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    let tag = match number(pid) {
        Some(_) => [program, b"[", pid, b"]"].concat(),
        None => program.to_vec(),
    };
    Some([time, b" ", host, b" ", tag.as_slice(), b": ", message].concat())
}

/// A session that logind began: `New session 5 of user ada.`
pub(super) fn session(head: &LogHead<'_>) -> Option<Event> {
    if head.program != b"systemd-logind" {
        return None;
    }
    let rest = head.message.strip_prefix(b"New session ")?;
    let (number, user) = cut(rest, b" of user ")?;
    let user = user.strip_suffix(b".").unwrap_or(user);
    let login = Login {
        user: Text::from(user),
        outcome: "success".to_owned(),
        service: "systemd-logind".to_owned(),
        session: self::number(number),
        seen_by: vec!["auth_log".to_owned()],
        ..Login::default()
    };
    let event = Event::new(Kind::Session, head.time, Source::AuthLog);
    Some(event.with(Detail::Login(login)))
}
