//! `content`: rules, policy and configuration for every host: made here, checked, signed by persons, released in rings.
//!
//! # Invariants
//!
//! - What hosts would refuse is refused here before anybody signs it.
//! - Whoever signs sees what is otherwise than in the newest version, read from the bytes that are signed.
//! - A ring begins only after every host of the ring before it uses the version and stayed connected.

mod changes;
pub(crate) mod rings;

use std::path::Path;

use picket_event::configuration::Configuration;
use picket_event::content::{self, Content, ContentError, ContentFile, ContentKind};
use picket_event::policy::Policy;
use picket_event::trust::{Standing, TrustRoot};
use picket_event::{Clock, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_rules::{RuleSet, Source};
use picket_seal::{Digest, Domain};
use serde_json::json;

use crate::approve::confirm;
use crate::cli::{ContentSignArgs, ContentVerb, Format, PublishArgs, PushArgs, RollbackArgs};
use crate::client::Collector;
use crate::document;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::table::Table;

/// Why content is not made, signed or published.
#[derive(Debug, thiserror::Error)]
enum ContentVerbError {
    #[error("`{path}` holds no content")]
    Form { path: String, source: ContentError },
    #[error("`{path}` holds no file that ends in .yml or .yaml")]
    NoRules { path: String },
    #[error("{0}")]
    Rule(String),
    #[error("the policy cannot be used")]
    Policy(#[source] picket_event::policy::PolicyError),
    #[error("the configuration cannot be used")]
    Configuration(#[source] picket_event::configuration::ConfigurationError),
    #[error("the content cannot be used")]
    Unusable(#[source] ContentError),
    #[error("trust root {0} does not name your signing key")]
    Stranger(u64),
    #[error("there is no earlier version of the {0}")]
    NoEarlier(ContentKind),
    #[error("the collector shows another content than it says")]
    Other,
}

/// `content ...`.
pub(crate) async fn run(operator: &Operator, verb: ContentVerb) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let root = operator.sync_trust(&mut collector).await?;
    match verb {
        ContentVerb::Push(args) => push(operator, &mut collector, &root, args).await,
        ContentVerb::Sign(args) => sign_file(operator, &mut collector, &root, &args).await,
        ContentVerb::Publish(args) => {
            let (signed, content) = read(&args.file)?;
            publish(&mut collector, &root, (signed, content), &args).await
        }
        ContentVerb::Rollback(args) => rollback(operator, &mut collector, &root, args).await,
        ContentVerb::Status(format) => status(&mut collector, format).await,
    }
}

async fn push(
    operator: &Operator,
    collector: &mut Collector,
    root: &TrustRoot,
    args: PushArgs,
) -> Result<(), Failure> {
    let kind = args.kind;
    let content = Content {
        kind,
        version: newest(collector, kind).await?.saturating_add(1),
        created: SystemClock.now(),
        files: files(kind, &args.path)?,
        reason: args.reason.unwrap_or_default(),
    };
    offer(operator, collector, (root, content), args.how).await
}

async fn rollback(
    operator: &Operator,
    collector: &mut Collector,
    root: &TrustRoot,
    args: RollbackArgs,
) -> Result<(), Failure> {
    let newest = newest(collector, args.kind).await?;
    let none = || Failure::new(Exit::Failed, ContentVerbError::NoEarlier(args.kind));
    let to = args.to.or_else(|| newest.checked_sub(1));
    let to = to.filter(|to| *to > 0 && *to < newest).ok_or_else(none)?;
    let (_, earlier) = fetch(collector, args.kind, to).await?;
    let reason = args.reason.unwrap_or_else(|| format!("back to {to}"));
    let content = Content {
        version: newest.saturating_add(1),
        created: SystemClock.now(),
        reason,
        ..earlier
    };
    offer(operator, collector, (root, content), args.how).await
}

/// Signs new content; if that suffices it is published, else it goes to a file for the others.
async fn offer(
    operator: &Operator,
    collector: &mut Collector,
    (root, content): (&TrustRoot, Content),
    how: PublishArgs,
) -> Result<(), Failure> {
    check(&content)?;
    let mut signed = v1::SignedContent {
        body: content.encode(),
        signatures: Vec::new(),
    };
    Content::decode(&signed.body).map_err(|source| unusable(&source))?;
    tell_changes(collector, &content).await?;
    let standing = sign(operator, root, &mut signed, &how)?;
    if standing.missing() == 0 {
        return publish(collector, root, (signed, content), &how).await;
    }
    document::replace(&how.file, &content::to_pem(&signed))?;
    tell_missing(&standing, &how.file);
    Ok(())
}

async fn sign_file(
    operator: &Operator,
    collector: &mut Collector,
    root: &TrustRoot,
    args: &ContentSignArgs,
) -> Result<(), Failure> {
    let (mut signed, content) = read(&args.how.file)?;
    check(&content)?;
    tell_changes(collector, &content).await?;
    let standing = sign(operator, root, &mut signed, &args.how)?;
    document::replace(&args.how.file, &content::to_pem(&signed))?;
    tell_missing(&standing, &args.how.file);
    Ok(())
}

fn sign(
    operator: &Operator,
    root: &TrustRoot,
    signed: &mut v1::SignedContent,
    how: &PublishArgs,
) -> Result<Standing, Failure> {
    let key = operator.signing_key(how.passphrase_file.as_deref())?;
    let key_id = key.public_key().key_id();
    let stranger = || Failure::new(Exit::Refused, ContentVerbError::Stranger(root.version));
    let person = root.holder(key_id).ok_or_else(stranger)?;
    if !how.yes {
        confirm(&format!("sign this as {}?", person.name))?;
    }
    let digest = Digest::of(&signed.body);
    signed.signatures.push(v1::Signature {
        key_id: key_id.0.to_vec(),
        signature: key.sign(Domain::Content, digest.as_bytes()).0.to_vec(),
    });
    Content::weigh(signed, root).map_err(|source| unbelieved(&source))
}

async fn publish(
    collector: &mut Collector,
    root: &TrustRoot,
    (signed, content): (v1::SignedContent, Content),
    how: &PublishArgs,
) -> Result<(), Failure> {
    Content::believe(&signed, root, SystemClock.now()).map_err(|source| unbelieved(&source))?;
    let this = (content.kind, content.version);
    // Published by an earlier call that was interrupted: the rings go on.
    if newest(collector, content.kind).await? < content.version {
        collector.publish_content(signed).await?;
    }
    rings::release(collector, this, &how.rings).await
}

async fn status(collector: &mut Collector, format: Format) -> Result<(), Failure> {
    let listed = collector.list_content(None).await?.contents;
    let hosts = collector.list_hosts("").await?;
    let mut out = Output::stdout();
    let mut table = Table::new(&[
        "CONTENT",
        "SIGNED BY",
        "ADDED",
        "RELEASED",
        "IN USE",
        "REFUSED",
    ]);
    for one in &listed {
        let acks = hosts.iter().flat_map(|host| &host.content);
        let of_kind = acks.filter(|ack| ack.kind == one.kind);
        let used = of_kind.clone().filter(|ack| ack.version == one.version);
        let refused = of_kind.filter(|ack| ack.offered == one.version && !ack.refused.is_empty());
        let (used, refused) = (used.count(), refused.count());
        let kind = ContentKind::from_wire(one.kind).map_or("unknown", ContentKind::name);
        if format.json {
            out.json(&json!({
                "kind": kind, "version": one.version, "sha256": hex::encode(&one.sha256),
                "added": UnixNanos(one.added_unix_ns).to_string(), "signers": one.signers,
                "reason": one.reason, "everyone": one.everyone,
                "released_to": one.released_to.iter().map(hex::encode).collect::<Vec<_>>(),
                "hosts_using": used, "hosts_refusing": refused,
            }))?;
            continue;
        }
        table.row([
            format!("{kind} {}", one.version),
            one.signers.join(", "),
            UnixNanos(one.added_unix_ns).to_string(),
            if one.everyone {
                "to all".to_owned()
            } else {
                format!("to {}", one.released_to.len())
            },
            used.to_string(),
            refused.to_string(),
        ]);
    }
    if !format.json {
        for line in table.lines() {
            out.line(&line)?;
        }
    }
    out.flush()
}

/// The highest version that was published; 0: none.
async fn newest(collector: &mut Collector, kind: ContentKind) -> Result<u64, Failure> {
    let listed = collector.list_content(Some((kind, 0))).await?;
    Ok(listed.contents.first().map_or(0, |newest| newest.version))
}

/// A published version; what it says must be what was asked for.
async fn fetch(
    collector: &mut Collector,
    kind: ContentKind,
    version: u64,
) -> Result<(v1::SignedContent, Content), Failure> {
    let answer = collector.list_content(Some((kind, version))).await?;
    let signed = answer.content.unwrap_or_default();
    let content = Content::decode(&signed.body).map_err(|source| unusable(&source))?;
    if (content.kind, content.version) != (kind, version) {
        return Err(Failure::new(Exit::Unverified, ContentVerbError::Other));
    }
    Ok((signed, content))
}

async fn tell_changes(collector: &mut Collector, content: &Content) -> Result<(), Failure> {
    let before = match newest(collector, content.kind).await? {
        0 => None,
        has => Some(fetch(collector, content.kind, has).await?.1),
    };
    let mut out = Output::stdout();
    for line in changes::of(before.as_ref(), content) {
        out.line(&picket_event::Text::from(line).for_terminal())?;
    }
    out.flush()
}

fn tell_missing(standing: &Standing, file: &Path) {
    let path = file.display();
    if standing.missing() == 0 {
        note(&format!("next: picketctl content publish {path}"));
        return;
    }
    let (counted, needed) = (standing.counted(), standing.needed);
    note(&format!(
        "{counted} of {needed} persons: give the file to another, who runs picketctl content sign {path}"
    ));
}

/// What hosts would say of it.
fn check(content: &Content) -> Result<(), Failure> {
    match content.kind {
        ContentKind::Policy => Policy::of(content)
            .map(drop)
            .map_err(|source| Failure::new(Exit::Failed, ContentVerbError::Policy(source))),
        ContentKind::Configuration => Configuration::of(content)
            .map(drop)
            .map_err(|source| Failure::new(Exit::Failed, ContentVerbError::Configuration(source))),
        ContentKind::Rules => {
            let source = |file: &ContentFile| Source {
                name: file.name.clone(),
                text: file.text.clone(),
            };
            let sources: Vec<Source> = content.files.iter().map(source).collect();
            let loaded = RuleSet::compile(&sources);
            loaded.refused.first().map_or(Ok(()), |refused| {
                let text = format!("rule refused: {}: {}", refused.file, refused.reason);
                Err(Failure::new(Exit::Failed, ContentVerbError::Rule(text)))
            })
        }
    }
}

/// The one file of a policy or a configuration, or every rule of a folder.
fn files(kind: ContentKind, path: &Path) -> Result<Vec<ContentFile>, Failure> {
    let is_rule = |path: &Path| {
        let ending = path.extension();
        ending.is_some_and(|ending| ending == "yml" || ending == "yaml")
    };
    if kind != ContentKind::Rules || path.is_file() {
        return Ok(vec![file(path)?]);
    }
    let paths = document::list(path, is_rule)?;
    if paths.is_empty() {
        let path = path.display().to_string();
        return Err(Failure::new(
            Exit::Failed,
            ContentVerbError::NoRules { path },
        ));
    }
    paths.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> Result<ContentFile, Failure> {
    let text = document::read(path)?;
    let name = path.file_name().unwrap_or_default();
    Ok(ContentFile {
        name: name.to_string_lossy().into_owned(),
        text,
    })
}

fn read(path: &Path) -> Result<(v1::SignedContent, Content), Failure> {
    let text = document::read(path)?;
    content::from_pem(&text).map_err(|source| {
        let path = path.display().to_string();
        Failure::new(Exit::Failed, ContentVerbError::Form { path, source })
    })
}

fn unusable(source: &ContentError) -> Failure {
    Failure::new(Exit::Failed, ContentVerbError::Unusable(source.clone()))
}

fn unbelieved(source: &ContentError) -> Failure {
    Failure::new(Exit::Refused, source.clone())
}
