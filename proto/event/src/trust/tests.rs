//! Roles, thresholds, critical hosts, expiry, and the way from one version to the next.

use std::time::Duration;

use picket_seal::SigningKey;

use super::*;
use crate::command::{Action, Command, FLEET, Isolation, Mode, Target};
use crate::{CommandId, ProcessUid};

const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

/// Persons with their keys, and the root that names them.
struct People {
    root: TrustRoot,
    keys: Vec<SigningKey>,
}

impl People {
    /// As `init` makes them, then with the roles that the test wants.
    fn new(roles: &[&[Role]]) -> Self {
        let keys: Vec<SigningKey> = roles
            .iter()
            .map(|_| SigningKey::generate().unwrap())
            .collect();
        let persons = keys.iter().zip(roles).enumerate();
        let persons = persons.map(|(number, (key, roles))| Person {
            name: format!("p{number}"),
            keys: vec![key.public_key()],
            roles: roles.to_vec(),
        });
        Self {
            root: TrustRoot::first(persons.collect(), NOW),
            keys,
        }
    }

    fn weigh(&self, command: &Command, by: &[usize]) -> Result<Standing, TrustError> {
        let body = command.encode();
        let signatures: Vec<_> = by.iter().map(|who| self.sign(*who, &body)).collect();
        let signed = Signed {
            domain: Domain::Command,
            body: &body,
            signatures: &signatures,
        };
        self.root.authorize(command, signed, NOW)
    }

    fn sign(&self, who: usize, body: &[u8]) -> v1::Signature {
        signature(&self.keys[who], Domain::Command, body)
    }

    /// The next version, signed by these.
    fn next(&self, next: &TrustRoot, by: &[usize]) -> v1::SignedTrustRoot {
        let body = next.encode();
        let signatures = by
            .iter()
            .map(|who| signature(&self.keys[*who], Domain::TrustRoot, &body));
        v1::SignedTrustRoot {
            signatures: signatures.collect(),
            body,
        }
    }

    fn draft(&self) -> TrustRoot {
        TrustRoot {
            version: self.root.version.saturating_add(1),
            ..self.root.clone()
        }
    }
}

fn signature(key: &SigningKey, domain: Domain, body: &[u8]) -> v1::Signature {
    v1::Signature {
        key_id: key.public_key().key_id().0.to_vec(),
        signature: key.sign(domain, body).0.to_vec(),
    }
}

const BOTH: &[Role] = &[Role::Requester, Role::Approver];

fn host(number: u8) -> HostId {
    HostId::new([number; 32])
}

fn kill(hosts: usize) -> Command {
    let target = Target {
        process: ProcessUid::new([3; 16]),
        pid: 7,
    };
    let hosts = (0..hosts).map(|number| host(u8::try_from(number).unwrap()));
    Command {
        id: CommandId::new([1; 16]),
        hosts: hosts.collect(),
        host_epoch: 0,
        not_before: NOW,
        expires: NOW.plus(Duration::from_mins(15)),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action: Action::Kill(target),
        reason: "test".to_owned(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

fn too_few(got: usize, needed: u32) -> impl Fn(&Result<Standing, TrustError>) -> bool {
    move |result| matches!(result, Err(TrustError::TooFew { got: g, needed: n, .. }) if *g == got && *n == needed)
}

#[test]
fn a_fleet_takes_the_requester_and_another_person() {
    let people = People::new(&[BOTH, BOTH]);
    let fleet = kill(FLEET + 1);
    assert!(people.weigh(&kill(FLEET), &[0]).is_ok());
    assert!(too_few(1, 2)(&people.weigh(&fleet, &[0])));
    assert!(too_few(1, 2)(&people.weigh(&fleet, &[0, 0])));
    let standing = people.weigh(&fleet, &[0, 1]).unwrap();
    assert_eq!(standing.signers(), ["p0", "p1"]);
    assert_eq!(standing.class, ActionClass::Fleet);
}

#[test]
fn a_second_key_does_not_make_a_second_person() {
    let mut people = People::new(&[BOTH, BOTH]);
    let second = SigningKey::generate().unwrap();
    people.root.persons[0].keys.push(second.public_key());
    people.keys.push(second);
    assert!(too_few(1, 2)(&people.weigh(&kill(11), &[0, 2])));
}

#[test]
fn who_only_asks_cannot_approve_and_who_only_approves_cannot_ask() {
    let people = People::new(&[&[Role::Requester], &[Role::Requester], &[Role::Approver]]);
    let fleet = kill(11);
    let asked = people.weigh(&fleet, &[0, 1]);
    assert_eq!(
        asked,
        Err(TrustError::WrongRole {
            person: "p1".to_owned(),
            role: Role::Approver
        })
    );
    let approved = people.weigh(&fleet, &[2, 0]);
    assert_eq!(
        approved,
        Err(TrustError::WrongRole {
            person: "p2".to_owned(),
            role: Role::Requester
        })
    );
    assert!(people.weigh(&fleet, &[0, 2]).is_ok());
}

#[test]
fn automation_asks_and_never_counts() {
    let people = People::new(&[&[Role::Automation], BOTH, BOTH]);
    assert!(too_few(0, 1)(&people.weigh(&kill(1), &[0])));
    assert!(people.weigh(&kill(1), &[0, 1]).is_ok());
    assert!(too_few(1, 2)(&people.weigh(&kill(11), &[0, 1])));
    assert!(people.weigh(&kill(11), &[0, 1, 2]).is_ok());
    // It cannot approve either, and can have no other role.
    assert!(people.weigh(&kill(11), &[1, 0]).is_err());
    let double = People::new(&[&[Role::Automation, Role::Approver]]);
    assert!(matches!(
        TrustRoot::decode(&double.root.encode()),
        Err(TrustError::Automation(_))
    ));
}

/// Who is shown a root does not see whether a critical host is among the others.
#[test]
fn by_a_root_whatever_cannot_be_undone_is_for_a_critical_host_where_there_are_any() {
    let mut people = People::new(&[BOTH, BOTH, BOTH]);
    people.root.thresholds.push((ActionClass::Critical, 3));
    let few = kill(2).by_root().unwrap();
    let bare = |command: &Command| Command::decode(&command.encode()).unwrap();
    assert!(people.weigh(&few, &[0]).is_ok(), "no host is critical");
    people.root.critical_hosts.insert(host(200));
    for same in [&few, &bare(&few)] {
        assert!(too_few(2, 3)(&people.weigh(same, &[0, 1])));
        assert!(people.weigh(same, &[0, 1, 2]).is_ok());
    }
    assert!(
        people.weigh(&kill(2), &[0]).is_ok(),
        "a list shows that it is not"
    );
    let mut end = kill(FLEET + 1);
    end.action = Action::Release;
    let end = end.by_root().unwrap();
    for same in [&end, &bare(&end)] {
        assert!(
            too_few(1, 2)(&people.weigh(same, &[0])),
            "a fleet by its number"
        );
        assert!(people.weigh(same, &[0, 1]).is_ok());
    }
}

#[test]
fn a_critical_host_takes_another_person_for_what_cannot_be_undone() {
    let mut people = People::new(&[BOTH, BOTH]);
    people.root.critical_hosts.insert(host(0));
    assert_eq!(
        TrustRoot::decode(&people.root.encode()),
        Ok(people.root.clone())
    );
    assert!(too_few(1, 2)(&people.weigh(&kill(1), &[0])));
    assert!(people.weigh(&kill(1), &[0, 1]).is_ok());
    let mut isolate = kill(1);
    isolate.action = Action::Isolate(Isolation::default());
    assert!(
        too_few(1, 2)(&people.weigh(&isolate, &[0])),
        "it never ends"
    );
    isolate.auto_release = Some(Duration::from_hours(1));
    assert!(people.weigh(&isolate, &[0]).is_ok());
    let mut elsewhere = kill(1);
    elsewhere.hosts = vec![host(9)];
    assert!(people.weigh(&elsewhere, &[0]).is_ok());
    let mut dry = kill(30);
    dry.mode = Mode::DryRun;
    assert!(people.weigh(&dry, &[0]).is_ok(), "looking is free");
}

#[test]
fn with_one_operator_there_is_no_second_approver() {
    let people = People::new(&[BOTH]);
    for class in ActionClass::ALL {
        let needed = if *class == ActionClass::Recovery {
            2
        } else {
            1
        };
        assert_eq!(people.root.threshold(*class), needed, "{class}");
    }
    assert!(people.weigh(&kill(11), &[0]).is_ok());
}

#[test]
fn an_expired_trust_root_lets_effects_end_and_nothing_begin() {
    let mut people = People::new(&[BOTH]);
    people.root.expires = UnixNanos(NOW.0 - 1);
    let expired = Err(TrustError::Expired(people.root.expires));
    assert_eq!(people.weigh(&kill(1), &[0]), expired);
    for action in [
        Action::Release,
        Action::Restore(CommandId::new([1; 16])),
        Action::UnlockUser("ada".to_owned()),
    ] {
        let mut undo = kill(1);
        undo.action = action;
        assert!(people.weigh(&undo, &[0]).is_ok(), "{undo:?}");
    }
    let mut next = people.draft();
    (next.created, next.expires) = (NOW, NOW.plus(MAX_TRUST_AGE));
    let signed = people.next(&next, &[0]);
    assert_eq!(people.root.succeed(&signed, NOW).unwrap().0, next);
}

#[test]
fn the_next_version_takes_the_persons_of_the_one_before() {
    let people = People::new(&[BOTH, BOTH, &[Role::Requester]]);
    let mut next = people.draft();
    // Whoever takes over brings their own key, which counts for nothing yet.
    let thief = SigningKey::generate().unwrap();
    next.persons[1].keys = vec![thief.public_key()];
    let by_thief = v1::SignedTrustRoot {
        signatures: vec![
            people.next(&next, &[0]).signatures.remove(0),
            signature(&thief, Domain::TrustRoot, &next.encode()),
        ],
        body: next.encode(),
    };
    let refused = people.root.succeed(&by_thief, NOW);
    assert!(
        matches!(refused, Err(TrustError::UnknownKey(_))),
        "{refused:?}"
    );
    let alone = people.root.succeed(&people.next(&next, &[0, 0]), NOW);
    assert!(
        matches!(alone, Err(TrustError::TooFew { got: 1, .. })),
        "{alone:?}"
    );
    let mut altered = people.next(&next, &[0, 1]);
    altered.body = people.draft().encode();
    assert!(people.root.succeed(&altered, NOW).is_err());
    let (taken, signers) = people
        .root
        .succeed(&people.next(&next, &[0, 1]), NOW)
        .unwrap();
    assert_eq!(
        (taken.version, signers),
        (2, vec!["p0".to_owned(), "p1".to_owned()])
    );
    assert!(
        people
            .root
            .succeed(&people.next(&next, &[2, 0]), NOW)
            .is_ok()
    );
}

#[test]
fn only_the_very_next_version_follows_and_for_90_days_at_most() {
    let people = People::new(&[BOTH]);
    for version in [0, 1, 3, u64::MAX] {
        let next = TrustRoot {
            version,
            ..people.draft()
        };
        let refused = people.root.succeed(&people.next(&next, &[0]), NOW);
        assert!(
            matches!(refused, Err(TrustError::Version { has: 1, .. })),
            "{version}"
        );
    }
    let day = Duration::from_hours(24);
    for (created, expires) in [
        (NOW, NOW.plus(MAX_TRUST_AGE + day)),
        (NOW.plus(day), NOW.plus(MAX_TRUST_AGE + day)),
        (NOW, NOW),
    ] {
        let next = TrustRoot {
            created,
            expires,
            ..people.draft()
        };
        let refused = people.root.succeed(&people.next(&next, &[0]), NOW);
        assert!(
            matches!(refused, Err(TrustError::TooLong)),
            "{created} {expires}"
        );
    }
}

#[test]
fn a_version_that_nobody_could_follow_is_refused() {
    let people = People::new(&[BOTH, BOTH]);
    let mut alone = people.draft();
    alone.persons.pop();
    let refused = people.root.succeed(&people.next(&alone, &[0, 1]), NOW);
    assert!(
        matches!(
            refused,
            Err(TrustError::Unmeetable {
                needed: 2,
                eligible: 1,
                ..
            })
        ),
        "{refused:?}"
    );
    for threshold in &mut alone.thresholds {
        threshold.1 = 1;
    }
    assert!(
        people
            .root
            .succeed(&people.next(&alone, &[0, 1]), NOW)
            .is_ok()
    );
    alone.persons[0].roles = vec![Role::Recovery];
    assert!(
        people
            .root
            .succeed(&people.next(&alone, &[0, 1]), NOW)
            .is_err()
    );
}

#[test]
fn the_role_of_recovery_signs_trust_roots_and_nothing_else() {
    let recovery: &[Role] = &[Role::Recovery];
    let people = People::new(&[BOTH, BOTH, recovery, recovery, recovery]);
    let next = people.draft();
    assert!(people.root.succeed(&people.next(&next, &[2]), NOW).is_err());
    assert!(
        people
            .root
            .succeed(&people.next(&next, &[2, 4]), NOW)
            .is_ok()
    );
    assert!(people.weigh(&kill(1), &[2]).is_err());
    assert!(people.weigh(&kill(11), &[0, 2]).is_err());
}

#[test]
fn a_trust_root_goes_from_person_to_person_as_text() {
    let people = People::new(&[BOTH]);
    let signed = people.next(&people.draft(), &[0]);
    let text = format!("please sign\n{}", to_pem(&signed));
    assert_eq!(from_pem(&text), Ok((signed, people.draft())));
    assert_eq!(from_pem("x"), Err(TrustFileError::NoBlock));
}
