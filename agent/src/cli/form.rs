//! What a line about an event looks like: for people, as JSON, or as OCSF.

use picket_event::{Event, Origin, json, ocsf};

use super::output::Paint;
use super::watch::readable;

/// The form of lines.
#[derive(Debug)]
pub(crate) enum Form {
    /// For people.
    People(Paint),
    /// Our own JSON.
    Json,
    /// OCSF, with how the host calls itself, if it is this host.
    Ocsf(Option<String>),
}

impl Form {
    /// As the flags say.
    pub(crate) fn new(json: bool, ocsf: bool) -> Self {
        match (json, ocsf) {
            (true, _) => Self::Json,
            (false, true) => Self::Ocsf(None),
            (false, false) => Self::People(Paint::of_stdout()),
        }
    }

    /// Of events of this host.
    pub(crate) fn of_this_host(self) -> Self {
        if !matches!(self, Self::Ocsf(_)) {
            return self;
        }
        let system = rustix::system::uname();
        Self::Ocsf(Some(system.nodename().to_string_lossy().into_owned()))
    }

    /// The line, without its newline.
    pub(crate) fn line(&self, event: &Event, origin: &Origin) -> String {
        match self {
            Self::People(paint) => readable::line(event, *paint),
            Self::Json => json::to_string(event, origin),
            Self::Ocsf(hostname) => ocsf::to_string(event, origin, hostname.as_deref()),
        }
    }
}
