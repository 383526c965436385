//! `audit`: who did what, checked here: the chain, and each person's signature.

use picket_event::audit::Chain;
use picket_event::{Clock, SystemClock, Text};
use picket_proto::v1;
use picket_seal::Digest;
use serde_json::json;

use crate::cli::AuditArgs;
use crate::client::{self, Collector};
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::{Output, note};
use crate::table::{Table, cut};
use crate::when::stamp;

/// The audit begins with another trust root than the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("the audit begins with another trust root than the one that is pinned here")]
struct OtherRoot;

/// `audit`.
pub(crate) async fn run(operator: &Operator, args: AuditArgs) -> Result<(), Failure> {
    let since = args
        .since
        .map_or(i64::MIN, |when| when.from(SystemClock.now()).0);
    let mut collector = Collector::open(operator).await?;
    // A chain is checked from its beginning; what is older than wanted is only not shown.
    let mut stream = collector.audit(0).await?;
    let (mut chain, mut fault, mut entries) = (Chain::default(), None, Vec::new());
    while let Some(entry) = client::next(&mut stream, "read the audit").await? {
        if fault.is_none() {
            fault = chain.take(&entry).err();
        }
        if entry.time_unix_ns >= since {
            entries.push(entry);
        }
    }
    print(&entries, args.format.json)?;
    if let Some(fault) = fault {
        return Err(Failure::new(Exit::Unverified, fault)
            .hint("keep the collector's data as it is until somebody has looked"));
    }
    check_first(operator, &chain)?;
    note(&format!(
        "verified: {} entries, {} of them signed by persons",
        chain.entries(),
        chain.signed()
    ));
    Ok(())
}

/// Everything rests on the first trust root, which is pinned here.
fn check_first(operator: &Operator, chain: &Chain) -> Result<(), Failure> {
    let pinned = Digest::of(operator.first_trust_root());
    match chain.first_trust() {
        Some(first) if first != pinned => Err(Failure::new(Exit::Unverified, OtherRoot)),
        _ => Ok(()),
    }
}

fn print(entries: &[v1::AuditEntry], json: bool) -> Result<(), Failure> {
    let mut out = Output::stdout();
    if json {
        for entry in entries {
            out.json(&json!({
                "number": entry.number,
                "time": stamp(entry.time_unix_ns),
                "who": entry.who,
                "action": entry.action,
                "object": entry.object,
                "detail": entry.detail,
                "signed": !entry.proof.is_empty(),
                "hash": hex::encode(&entry.hash),
            }))?;
        }
        return out.flush();
    }
    let mut table = Table::new(&[
        "NUMBER", "TIME", "WHO", "SIGNED", "ACTION", "OBJECT", "DETAIL",
    ]);
    for entry in entries {
        let text = |text: &str, most| cut(&Text::from(text), most);
        let signed = if entry.proof.is_empty() { "" } else { "yes" };
        table.row([
            entry.number.to_string(),
            stamp(entry.time_unix_ns).unwrap_or_default(),
            text(&entry.who, 32),
            signed.to_owned(),
            text(&entry.action, 32),
            text(&entry.object, 32),
            text(&entry.detail, 120),
        ]);
    }
    for line in table.lines() {
        out.line(&line)?;
    }
    out.flush()
}
