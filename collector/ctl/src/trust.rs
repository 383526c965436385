//! `trust`: who is believed, and how that changes: a draft, signatures, publication.
//!
//! # Invariants
//!
//! - Every version is verified here against the one that was pinned before; the collector is only asked for it.
//! - A draft is shown as the difference to what is in force before it is signed.

mod draft;

use std::collections::BTreeMap;
use std::path::Path;

use picket_event::trust::{ActionClass, SuccessorStanding, TrustRoot, from_pem, to_pem};
use picket_event::{Clock, SystemClock};
use picket_proto::v1;
use picket_seal::Domain;
use serde_json::{Value, json};

use crate::approve::confirm;
use crate::cli::{Format, SignArgs, TrustVerb};
use crate::client::Collector;
use crate::document;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::table::Table;

/// Why a trust root is not made, signed or published.
#[derive(Debug, thiserror::Error)]
enum TrustVerbError {
    #[error("`{path}` holds no trust root")]
    Form {
        path: String,
        source: picket_event::trust::TrustFileError,
    },
    #[error("the trust root cannot follow the one in force")]
    Refused(#[source] picket_event::trust::TrustError),
    #[error("trust root {0} does not name your signing key")]
    Stranger(u64),
}

/// `trust ...`.
pub(crate) async fn run(operator: &Operator, verb: TrustVerb) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let root = operator.sync_trust(&mut collector).await?;
    match verb {
        TrustVerb::Show(format) => show(&mut collector, &root, format).await,
        TrustVerb::Propose(args) => {
            let next = draft::make(&mut collector, &root, &args).await?;
            root.check_successor(&next, SystemClock.now())
                .map_err(refused)?;
            let signed = v1::SignedTrustRoot {
                body: next.encode(),
                signatures: Vec::new(),
            };
            tell_changes(&root, &next)?;
            document::write_new(&args.out, &to_pem(&signed))?;
            let path = args.out.display();
            note(&format!("next: picketctl trust sign {path}"));
            Ok(())
        }
        TrustVerb::Sign(args) => sign(operator, &root, &args),
        TrustVerb::Publish { file } => publish(operator, &mut collector, (&root, &file)).await,
    }
}

fn sign(operator: &Operator, root: &TrustRoot, args: &SignArgs) -> Result<(), Failure> {
    let (mut signed, next) = read(&args.file)?;
    root.check_successor(&next, SystemClock.now())
        .map_err(refused)?;
    root.weigh_successor(&signed).map_err(refused)?;
    tell_changes(root, &next)?;
    let key = operator.signing_key(args.passphrase_file.as_deref())?;
    let key_id = key.public_key().key_id();
    let person = root
        .holder(key_id)
        .ok_or_else(|| Failure::new(Exit::Refused, TrustVerbError::Stranger(root.version)))?;
    if !args.yes {
        confirm(&format!("sign this as {}?", person.name))?;
    }
    signed.signatures.push(v1::Signature {
        key_id: key_id.0.to_vec(),
        signature: key.sign(Domain::TrustRoot, &signed.body).0.to_vec(),
    });
    let standing = root.weigh_successor(&signed).map_err(refused)?;
    document::replace(&args.file, &to_pem(&signed))?;
    tell_standing(&standing, &args.file)
}

async fn publish(
    operator: &Operator,
    collector: &mut Collector,
    (root, file): (&TrustRoot, &Path),
) -> Result<(), Failure> {
    let (signed, next) = read(file)?;
    if next.version > root.version {
        root.succeed(&signed, SystemClock.now()).map_err(refused)?;
    }
    let version = collector.publish(signed).await?;
    operator.sync_trust(collector).await?;
    let mut out = Output::stdout();
    out.line(&format!("trust root {version} is published"))?;
    out.flush()
}

async fn show(collector: &mut Collector, root: &TrustRoot, format: Format) -> Result<(), Failure> {
    let mut hosts: BTreeMap<u64, usize> = BTreeMap::new();
    for host in collector.list_hosts("").await? {
        let count = hosts.entry(host.trust_version).or_default();
        *count = count.saturating_add(1);
    }
    let mut out = Output::stdout();
    if format.json {
        out.json(&as_json(root, &hosts))?;
        return out.flush();
    }
    let now = SystemClock.now();
    out.line(&format!(
        "trust root {}, expires {}{}",
        root.version,
        root.expires,
        if now > root.expires { " (EXPIRED)" } else { "" }
    ))?;
    for line in persons(root).lines() {
        out.line(&line)?;
    }
    for class in ActionClass::ALL {
        let takes = root.threshold(*class);
        out.line(&format!("{:<12} {takes}", class.name()))?;
    }
    for host in &root.critical_hosts {
        out.line(&format!("critical     {host}"))?;
    }
    for (version, count) in hosts {
        out.line(&match version {
            0 => format!("{count} hosts were not heard of since the collector started"),
            _ => format!("{count} hosts believe trust root {version}"),
        })?;
    }
    out.flush()
}

fn persons(root: &TrustRoot) -> Table {
    let mut table = Table::new(&["PERSON", "ROLES", "KEYS"]);
    for person in &root.persons {
        let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
        let keys = person.keys.iter().map(|key| key.key_id().to_string());
        let keys: Vec<String> = keys.collect();
        table.row([person.name.clone(), roles.join(", "), keys.join(", ")]);
    }
    table
}

fn as_json(root: &TrustRoot, hosts: &BTreeMap<u64, usize>) -> Value {
    let persons = root.persons.iter().map(|person| {
        json!({
            "name": person.name,
            "roles": person.roles.iter().map(|role| role.name()).collect::<Vec<_>>(),
            "keys": person.keys.iter().map(|key| key.key_id().to_string()).collect::<Vec<_>>(),
        })
    });
    let thresholds = ActionClass::ALL
        .iter()
        .map(|class| (class.name().to_owned(), root.threshold(*class).into()));
    let hosts = hosts
        .iter()
        .map(|(version, count)| (version.to_string(), (*count).into()));
    json!({
        "version": root.version,
        "created": root.created.to_string(),
        "expires": root.expires.to_string(),
        "persons": persons.collect::<Vec<_>>(),
        "thresholds": thresholds.collect::<serde_json::Map<_, _>>(),
        "critical_hosts": root.critical_hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hosts_by_version": hosts.collect::<serde_json::Map<_, _>>(),
    })
}

/// What would be otherwise, one line each.
fn tell_changes(from: &TrustRoot, to: &TrustRoot) -> Result<(), Failure> {
    let mut out = Output::stdout();
    out.line(&format!("trust root {} after {}", to.version, from.version))?;
    for line in draft::changes(from, to) {
        out.line(&line)?;
    }
    out.flush()
}

fn tell_standing(standing: &SuccessorStanding, file: &Path) -> Result<(), Failure> {
    let mut out = Output::stdout();
    out.line(&format!("signed by {}", standing.signers.join(", ")))?;
    out.flush()?;
    let path = file.display();
    if standing.is_complete() {
        note(&format!("next: picketctl trust publish {path}"));
    } else {
        note(&format!(
            "{} of {} persons: give the file to another, who runs picketctl trust sign {path}",
            standing.counted, standing.needed
        ));
    }
    Ok(())
}

fn read(path: &Path) -> Result<(v1::SignedTrustRoot, TrustRoot), Failure> {
    let text = document::read(path)?;
    from_pem(&text).map_err(|source| {
        let path = path.display().to_string();
        Failure::new(Exit::Failed, TrustVerbError::Form { path, source })
    })
}

fn refused(source: picket_event::trust::TrustError) -> Failure {
    Failure::new(Exit::Refused, TrustVerbError::Refused(source))
}
