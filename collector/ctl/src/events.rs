//! `events` and `tail`: search and follow.

use picket_event::{
    BootId, Clock, Event, EventError, HostId, IdError, Origin, SystemClock, ecs, json, ocsf,
};
use picket_proto::v1;
use picket_seal::KeyId;
use serde_json::Value;

use crate::cli::{Doubtful, EventView, EventsArgs, TailArgs};
use crate::client::{self, Collector};
use crate::failure::{Failure, joined};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::sentence;
use crate::session::Session;
use crate::unread;

/// An event as the collector found it, checked.
#[derive(Debug)]
pub(crate) struct Found {
    /// The event.
    pub(crate) event: Event,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// The host's name.
    pub(crate) host_name: String,
    /// The session in which it was done, where its login is known.
    pub(crate) session: Option<Session>,
    /// The branch of its host's event keys that signed it, if that is not the host.
    pub(crate) doubtful: Option<KeyId>,
}

/// Why a found event cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoundError {
    #[error("the answer holds no event")]
    Empty,
    #[error("the origin is malformed")]
    Origin(#[source] IdError),
    #[error("the event is malformed")]
    Event(#[source] EventError),
}

/// `events`.
pub(crate) async fn search(operator: &Operator, args: EventsArgs) -> Result<(), Failure> {
    let form = Form::of(args.view);
    let request = request_of(args);
    let mut stream = Collector::open(operator).await?.search(request).await?;
    let mut printer = Printer::new(form);
    let mut lacking = Vec::new();
    while let Some(mut found) = client::next(&mut stream, client::SEARCH).await? {
        if found.event.is_none() && !found.unread.is_empty() {
            lacking.append(&mut found.unread);
        } else {
            printer.print(found)?;
        }
    }
    printer.end()?;
    unread::end(&lacking)
}

/// `tail`: until it is interrupted or the reader leaves.
pub(crate) async fn tail(operator: &Operator, args: TailArgs) -> Result<(), Failure> {
    let request = v1::SearchRequest {
        host: args.host.unwrap_or_default(),
        kinds: args.kind.iter().map(|kind| kind.to_wire()).collect(),
        min_severity: args.min_severity.map_or(0, picket_event::Severity::to_wire),
        ..v1::SearchRequest::default()
    };
    let mut stream = Collector::open(operator).await?.tail(request).await?;
    let form = if args.format.json {
        Form::Json
    } else {
        Form::Sentence
    };
    let mut printer = Printer::new(form);
    while let Some(found) = client::next(&mut stream, "follow the events").await? {
        if found.event.is_none() && !found.unread.is_empty() {
            // Only sessions can be missing: what comes is read from the log.
            unread::tell(&found.unread);
            continue;
        }
        printer.print(found)?;
        printer.out.flush()?;
    }
    printer.end()
}

fn request_of(args: EventsArgs) -> v1::SearchRequest {
    let now = SystemClock.now();
    v1::SearchRequest {
        host: args.host.unwrap_or_default(),
        kinds: args.kind.iter().map(|kind| kind.to_wire()).collect(),
        since_unix_ns: args.since.map_or(0, |when| when.from(now).0),
        until_unix_ns: args.until.map_or(0, |when| when.from(now).0),
        r#where: args.filter.unwrap_or_default(),
        limit: args.limit,
        min_severity: 0,
        doubt: doubt(args.doubtful).into(),
    }
}

/// How an event is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// For people.
    Sentence,
    /// The contract's own.
    Json,
    Ocsf,
    Ecs,
}

impl Form {
    const fn of(view: EventView) -> Self {
        match view {
            EventView { json: true, .. } => Self::Json,
            EventView { ocsf: true, .. } => Self::Ocsf,
            EventView { ecs: true, .. } => Self::Ecs,
            EventView { .. } => Self::Sentence,
        }
    }
}

/// Prints events, and says at the end how many it could not.
struct Printer {
    out: Output,
    form: Form,
    unreadable: u64,
    why: String,
}

impl Printer {
    fn new(form: Form) -> Self {
        Self {
            out: Output::stdout(),
            form,
            unreadable: 0,
            why: String::new(),
        }
    }

    fn print(&mut self, wire: v1::FoundEvent) -> Result<(), Failure> {
        match Found::try_from(wire) {
            Ok(found) if self.form != Form::Sentence => self.out.line(&found.line(self.form)),
            Ok(found) => {
                let paint = self.out.paint();
                let mut line = sentence::of(&found.event, &found.host_name, paint);
                if let Some(session) = &found.session {
                    line.push_str("  ");
                    line.push_str(&paint.faint(&session.who()));
                }
                if let Some(branch) = &found.doubtful {
                    line.push_str("  ");
                    line.push_str(&paint.bad(&format!("DOUBTFUL {branch}")));
                }
                self.out.line(&line)
            }
            Err(error) => {
                self.unreadable += 1;
                self.why = joined(&error);
                Ok(())
            }
        }
    }

    fn end(mut self) -> Result<(), Failure> {
        self.out.flush()?;
        if self.unreadable > 0 {
            note(&format!(
                "{} events could not be shown, the last because {}",
                self.unreadable, self.why
            ));
        }
        Ok(())
    }
}

/// What is asked of the collector about who signed.
pub(crate) const fn doubt(wanted: Option<Doubtful>) -> v1::Doubt {
    match wanted {
        None => v1::Doubt::Unspecified,
        Some(Doubtful::Only) => v1::Doubt::Only,
        Some(Doubtful::Without) => v1::Doubt::Without,
    }
}

impl TryFrom<v1::FoundEvent> for Found {
    type Error = FoundError;

    fn try_from(wire: v1::FoundEvent) -> Result<Self, FoundError> {
        let event = wire.event.ok_or(FoundError::Empty)?;
        let host = HostId::from_slice(&wire.host_id).map_err(FoundError::Origin)?;
        let boot = BootId::from_slice(&wire.boot_id).map_err(FoundError::Origin)?;
        Ok(Self {
            event: Event::try_from(event).map_err(FoundError::Event)?,
            origin: Origin {
                host: Some(host),
                boot,
            },
            host_name: wire.host_name,
            session: wire.session.and_then(Session::checked),
            doubtful: KeyId::from_slice(&wire.doubtful).ok(),
        })
    }
}

impl Found {
    /// The event as one line for a program.
    fn line(&self, form: Form) -> String {
        let name = (!self.host_name.is_empty()).then_some(self.host_name.as_str());
        match form {
            Form::Sentence | Form::Json => self.json(),
            Form::Ocsf => self.marked(
                ocsf::to_value(&self.event, &self.origin, name),
                ocsf::mark_doubtful,
            ),
            Form::Ecs => self.marked(
                ecs::to_value(&self.event, &self.origin, name),
                ecs::mark_doubtful,
            ),
        }
    }

    /// Whose word it is, said in another form of the event.
    fn marked(&self, mut value: Value, mark: impl FnOnce(&mut Value, &str)) -> String {
        if let Some(branch) = &self.doubtful {
            mark(&mut value, &branch.to_string());
        }
        value.to_string()
    }

    /// The event as the host's own JSON has it, with its session beside, and whose it is if not the host's.
    fn json(&self) -> String {
        if self.session.is_none() && self.doubtful.is_none() {
            return json::to_string(&self.event, &self.origin);
        }
        let mut whole = json::to_value(&self.event, &self.origin);
        if let Some(session) = &self.session {
            whole["session"] = session.json();
        }
        if let Some(branch) = &self.doubtful {
            whole["doubtful"] = branch.to_string().into();
        }
        whole.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_event_is_checked_before_it_is_shown() {
        let wire = v1::FoundEvent {
            host_id: vec![1; 32],
            boot_id: vec![2; 16],
            event: Some(v1::Event {
                kind: 4_711,
                source: 1,
                ..v1::Event::default()
            }),
            ..v1::FoundEvent::default()
        };
        let error = Found::try_from(wire).unwrap_err();
        assert_eq!(
            joined(&error),
            "the event is malformed: kind has the unknown value 4711"
        );
    }
}
