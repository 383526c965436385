//! A draft of the next trust root, from the one in force and what the command line wants otherwise.

use std::path::Path;

use picket_event::request::OperatorRequest;
use picket_event::trust::{ActionClass, MAX_TRUST_AGE, Person, Role, TrustRoot};
use picket_event::{Clock, HostId, SystemClock};

use crate::cli::ProposeArgs;
use crate::client::Collector;
use crate::document;
use crate::failure::{Exit, Failure};

const ROLES: &[Role] = &[Role::Requester, Role::Approver, Role::Content];

/// The next version as it is wanted.
pub(super) async fn make(
    collector: &mut Collector,
    root: &TrustRoot,
    args: &ProposeArgs,
) -> Result<TrustRoot, Failure> {
    let now = SystemClock.now();
    let mut next = TrustRoot {
        version: root.version.saturating_add(1),
        created: now,
        expires: now.plus(args.expires.min(MAX_TRUST_AGE)),
        ..root.clone()
    };
    for name in &args.remove {
        person(&mut next, name)?;
        next.persons.retain(|person| &person.name != name);
    }
    for path in &args.add {
        add(&mut next, path)?;
    }
    for given in &args.remove_key {
        let (name, key) = pair("--remove-key", given)?;
        let person = person(&mut next, name)?;
        let before = person.keys.len();
        person.keys.retain(|held| held.key_id().to_string() != key);
        if person.keys.len() == before {
            return Err(usage(format!("`{name}` has no key {key}")));
        }
    }
    for given in &args.roles {
        let (name, roles) = pair("--roles", given)?;
        let roles = roles.split(',').map(role);
        person(&mut next, name)?.roles = roles.collect::<Result<_, _>>()?;
    }
    for given in &args.threshold {
        set_threshold(&mut next, given)?;
    }
    for host in &args.critical {
        next.critical_hosts.insert(host_id(collector, host).await?);
    }
    for host in &args.not_critical {
        let host = host_id(collector, host).await?;
        next.critical_hosts.remove(&host);
    }
    Ok(next)
}

/// A new person, or a further key of one who is there.
fn add(next: &mut TrustRoot, path: &Path) -> Result<(), Failure> {
    let text = document::read(path)?;
    let request =
        OperatorRequest::from_pem(&text).map_err(|source| Failure::new(Exit::Failed, source))?;
    let key = request.signing_key;
    let known = next
        .persons
        .iter_mut()
        .find(|person| person.name == request.name);
    match known {
        Some(person) => person.keys.push(key),
        None => next.persons.push(Person {
            name: request.name,
            keys: vec![key],
            roles: ROLES.to_vec(),
        }),
    }
    Ok(())
}

fn set_threshold(next: &mut TrustRoot, given: &str) -> Result<(), Failure> {
    let (class, persons) = pair("--threshold", given)?;
    let known = || {
        let names: Vec<&str> = ActionClass::ALL.iter().map(|class| class.name()).collect();
        usage(format!("`{class}` is not one of {}", names.join(" ")))
    };
    let class = ActionClass::from_name(class).ok_or_else(known)?;
    let persons = persons.parse::<u32>().ok().filter(|persons| *persons > 0);
    let persons = persons.ok_or_else(|| usage("a threshold is a number from 1 on".to_owned()))?;
    next.thresholds.retain(|(listed, _)| *listed != class);
    next.thresholds.push((class, persons));
    next.thresholds.sort_unstable();
    Ok(())
}

async fn host_id(collector: &mut Collector, host: &str) -> Result<HostId, Failure> {
    let host = collector.host(host).await?;
    HostId::from_slice(&host.host_id).map_err(|source| Failure::new(Exit::Unverified, source))
}

fn person<'a>(next: &'a mut TrustRoot, name: &str) -> Result<&'a mut Person, Failure> {
    let known = next.persons.iter_mut().find(|person| person.name == name);
    known.ok_or_else(|| usage(format!("the trust root names no `{name}`")))
}

fn role(name: &str) -> Result<Role, Failure> {
    let known = || {
        let names: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
        usage(format!("`{name}` is not one of {}", names.join(" ")))
    };
    Role::from_name(name).ok_or_else(known)
}

fn pair<'a>(option: &str, given: &'a str) -> Result<(&'a str, &'a str), Failure> {
    given
        .split_once('=')
        .ok_or_else(|| usage(format!("{option} takes two parts with `=` between them")))
}

fn usage(text: String) -> Failure {
    Failure::new(Exit::Usage, text).hint("picketctl trust propose --help")
}

/// What is otherwise in `to`, one line each.
pub(super) fn changes(from: &TrustRoot, to: &TrustRoot) -> Vec<String> {
    let mut lines = Vec::new();
    for person in &to.persons {
        match from.person(&person.name) {
            None => lines.push(format!("+ {}", spoken(person))),
            Some(before) if before != person => {
                lines.push(format!("- {}", spoken(before)));
                lines.push(format!("+ {}", spoken(person)));
            }
            Some(_) => {}
        }
    }
    let gone = from
        .persons
        .iter()
        .filter(|person| to.person(&person.name).is_none());
    lines.extend(gone.map(|person| format!("- {}", spoken(person))));
    for class in ActionClass::ALL {
        let (before, after) = (from.threshold(*class), to.threshold(*class));
        if before != after {
            lines.push(format!("  {class} takes {after} persons, not {before}"));
        }
    }
    let added = to.critical_hosts.difference(&from.critical_hosts);
    lines.extend(added.map(|host| format!("+ critical host {host}")));
    let removed = from.critical_hosts.difference(&to.critical_hosts);
    lines.extend(removed.map(|host| format!("- critical host {host}")));
    lines.push(format!("  expires {}", to.expires));
    lines
}

fn spoken(person: &Person) -> String {
    let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
    let keys: Vec<String> = person
        .keys
        .iter()
        .map(|key| key.key_id().to_string())
        .collect();
    format!(
        "{} ({}) with {}",
        person.name,
        roles.join(", "),
        keys.join(", ")
    )
}
