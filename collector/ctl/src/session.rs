//! The login session in which something was done: who came, from where, by which key.

use picket_event::{BootId, Detail, Event, Kind, Login, Origin, Source, UnixNanos, json};
use picket_proto::v1;
use serde_json::{Value, json};

use crate::sentence;

/// How a session began, as the collector joined it.
#[derive(Debug)]
pub(crate) struct Session {
    time: UnixNanos,
    kind: Kind,
    login: Login,
}

impl Session {
    /// One that this version can read.
    pub(crate) fn checked(wire: v1::Session) -> Option<Self> {
        Some(Self {
            time: UnixNanos(wire.time_unix_ns),
            kind: Kind::from_wire(wire.kind)?,
            login: wire.login?.into(),
        })
    }

    /// The fields of its login, with when and how it began.
    pub(crate) fn json(&self) -> Value {
        let detail = Detail::Login(self.login.clone());
        let event = Event::new(self.kind, self.time, Source::Agent).with(detail);
        let origin = Origin {
            host: None,
            boot: BootId::new([0; 16]),
        };
        let mut login = json::to_value(&event, &origin)["login"].take();
        let mut session = json!({"time": self.time.to_string(), "kind": self.kind.name()});
        if let (Some(session), Some(login)) = (session.as_object_mut(), login.as_object_mut()) {
            session.append(login);
        }
        session
    }

    /// Short, for the end of a line: `(ada from 192.0.2.7)`.
    pub(crate) fn who(&self) -> String {
        let Login {
            user, source_ip, ..
        } = &self.login;
        let user = crate::table::cut(user, 64);
        match source_ip.as_str() {
            "" => format!("({user} via {})", self.service()),
            from => {
                let from = crate::table::cut(&from.into(), 64);
                format!("({user} from {from})")
            }
        }
    }

    /// In full, for the head of a tree.
    pub(crate) fn sentence(&self) -> String {
        let number = self.login.session.unwrap_or_default();
        let key = match self.login.key_fingerprint.as_str() {
            "" => String::new(),
            key => format!(" key {}", crate::table::cut(&key.into(), 64)),
        };
        format!(
            "session {number} since {}: {}{key}",
            sentence::moment(self.time),
            sentence::of_login(&self.login),
        )
    }

    fn service(&self) -> String {
        match self.login.service.as_str() {
            "" => "?".to_owned(),
            service => crate::table::cut(&service.into(), 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_in_json_and_in_words() {
        let login = v1::Login {
            user: b"ada".to_vec(),
            outcome: "success".to_owned(),
            service: "sshd".to_owned(),
            method: "publickey".to_owned(),
            source_ip: "192.0.2.7".to_owned(),
            key_fingerprint: "SHA256:abc".to_owned(),
            session: Some(7),
            ..v1::Login::default()
        };
        let wire = v1::Session {
            time_unix_ns: 1_767_607_200_000_000_000,
            kind: Kind::Login.to_wire(),
            login: Some(login),
        };
        let session = Session::checked(wire).unwrap();
        assert_eq!(session.who(), "(ada from 192.0.2.7)");
        assert_eq!(
            session.sentence(),
            "session 7 since 2026-01-05T10:00:00.000Z: ada: success from 192.0.2.7 via sshd by publickey key SHA256:abc"
        );
        let json = session.json();
        assert_eq!(
            (json["kind"].as_str(), json["key_fingerprint"].as_str()),
            (Some("login"), Some("SHA256:abc"))
        );
        assert_eq!(json["time"], "2026-01-05T10:00:00.000000000Z");
    }
}
