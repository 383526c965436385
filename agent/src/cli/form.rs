//! What a line about an event looks like: for people, as JSON, or as OCSF.

use picket_event::{Event, Origin, json, ocsf};

use super::output::Paint;
use super::watch::readable;

/// The form of lines.
#[derive(Debug)]
pub(crate) enum Form {
    /// For people, with the environment of the process if they want it.
    People {
        /// Its colours.
        paint: Paint,
        /// Whether the environment is shown.
        env: bool,
    },
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
            (false, false) => Self::People {
                paint: Paint::of_stdout(),
                env: false,
            },
        }
    }

    /// With the environment. The other forms have all that an event has, always.
    pub(crate) fn with_environment(self, shown: bool) -> Self {
        match self {
            Self::People { paint, .. } => Self::People { paint, env: shown },
            other => other,
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
            Self::People { paint, env } => {
                let mut text = readable::line(event, *paint);
                if *env {
                    text.push_str(&readable::environment(event));
                }
                text
            }
            Self::Json => json::to_string(event, origin),
            Self::Ocsf(hostname) => ocsf::to_string(event, origin, hostname.as_deref()),
        }
    }
}
