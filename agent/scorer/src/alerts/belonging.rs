//! Which incident an event belongs to.

use std::hash::Hasher;

use picket_event::{Event, ProcessUid};
use siphasher::sip::SipHasher13;

/// The number of the incident that the event belongs to.
///
/// What a process does belongs to the tree below the service that it came from: to the ancestor just
/// below the outermost one that is known, since a service such as cron or sshd lives for long and
/// starts much that has nothing in common. A login over a network belongs to its user and
/// source.
pub fn incident_of(event: &Event) -> u64 {
    let mut hasher = SipHasher13::new();
    let login = event.login();
    let from = login.map_or("", |login| login.source_ip.as_str());
    match (login, root(event)) {
        (Some(login), root) if root.is_none() || !from.is_empty() => {
            hasher.write(login.user.as_bytes());
            hasher.write_u8(0);
            hasher.write(from.as_bytes());
            hasher.write_u8(0);
            hasher.write(login.source_host.as_bytes());
        }
        (_, Some(root)) => hasher.write(root.as_bytes()),
        (_, None) => hasher.write(event.kind.name().as_bytes()),
    }
    hasher.finish()
}

fn root(event: &Event) -> Option<ProcessUid> {
    let process = event.process.as_ref()?;
    let services = process
        .ancestry
        .iter()
        .rposition(|ancestor| ancestor.pid > 1);
    let below = services.and_then(|outermost| outermost.checked_sub(1));
    let root = below.and_then(|place| process.ancestry.get(place));
    Some(root.map_or(process.uid, |ancestor| ancestor.uid))
}

#[cfg(test)]
mod tests {
    use picket_event::{Ancestor, Detail, Kind, Login, Process, Source, UnixNanos};

    use super::*;

    fn by(own: u8, ancestors: &[(u8, u32)]) -> Event {
        let ancestor = |(uid, pid): &(u8, u32)| Ancestor {
            uid: ProcessUid::new([*uid; 16]),
            pid: *pid,
            exe: "/x".into(),
        };
        let mut process = Process::new(ProcessUid::new([own; 16]), 900);
        process.ancestry = ancestors.iter().map(ancestor).collect::<Vec<_>>().into();
        Event::new(Kind::Exec, UnixNanos(0), Source::Replay).by(process)
    }

    fn login(user: &str, from: &str) -> Event {
        let login = Login {
            user: user.into(),
            source_ip: from.to_owned(),
            ..Login::default()
        };
        Event::new(Kind::Login, UnixNanos(0), Source::Replay).with(Detail::Login(login))
    }

    #[test]
    fn two_jobs_of_one_service_are_two_incidents_and_a_tree_is_one() {
        let cron = (50, 500);
        let init = (1, 1);
        let job = by(7, &[cron, init]);
        let child = by(8, &[(7, 700), cron, init]);
        let grandchild = by(9, &[(8, 800), (7, 700), cron, init]);
        let other_job = by(10, &[cron, init]);
        assert_eq!(incident_of(&job), incident_of(&child));
        assert_eq!(incident_of(&job), incident_of(&grandchild));
        assert_ne!(incident_of(&job), incident_of(&other_job));
    }

    #[test]
    fn logins_belong_to_user_and_source() {
        let one = incident_of(&login("ann", "198.51.100.7"));
        assert_eq!(one, incident_of(&login("ann", "198.51.100.7")));
        assert_ne!(one, incident_of(&login("ann", "198.51.100.8")));
        assert_ne!(one, incident_of(&login("bob", "198.51.100.7")));
    }
}
