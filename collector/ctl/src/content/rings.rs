//! The release of content, ring by ring, each judged by what its hosts say.
//!
//! # Invariants
//!
//! - A host that refuses, goes away or says nothing ends the release before the next ring.
//! - Hosts that are away take it when they come; they hold nobody up.

use std::collections::BTreeSet;
use std::time::Duration;

use picket_event::content::ContentKind;
use picket_proto::v1;
use tokio::time::Instant;

use crate::cli::RingArgs;
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};

/// How often hosts are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The shares of the connected hosts that have the version after each ring, in hundredths; before them one host.
const SHARES: [usize; 4] = [1, 10, 50, 100];

/// Why a release ended early.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("halted: {host} refused {what}: {reason}")]
    Refused {
        host: String,
        what: String,
        reason: String,
    },
    #[error("halted: {host} went away after it was given {what}")]
    Gone { host: String, what: String },
    #[error("halted: {host} did not say within {wait:?} that it uses {what}")]
    Silent {
        host: String,
        what: String,
        wait: Duration,
    },
}

/// Releases a version to the hosts that are named, or to all in rings.
pub(super) async fn release(
    collector: &mut Collector,
    this: (ContentKind, u64),
    args: &RingArgs,
) -> Result<(), Failure> {
    let mut hosts = Vec::new();
    if args.host.is_empty() {
        hosts = collector.list_hosts("").await?;
    }
    for host in &args.host {
        hosts.push(collector.host(host).await?);
    }
    hosts.retain(|host| !host.revoked);
    let away = hosts.iter().filter(|host| !host.connected).count();
    let whole = args.host.is_empty();
    let connected: Vec<v1::Host> = hosts
        .iter()
        .filter(|host| host.connected)
        .cloned()
        .collect();
    let rings = if whole {
        rings(connected.len())
    } else {
        vec![connected.len()]
    };
    let mut out = Output::stdout();
    for end in rings {
        let ring: Vec<&v1::Host> = connected.iter().take(end).collect();
        let ids = ring.iter().map(|host| host.host_id.clone()).collect();
        collector.release_content(this, Some(ids)).await?;
        judge(collector, this, (&ring, args)).await?;
        out.line(&format!("{} {}: {end} hosts use it", this.0, this.1))?;
        out.flush()?;
    }
    if whole {
        collector.release_content(this, None).await?;
    } else {
        let ids = hosts.iter().map(|host| host.host_id.clone()).collect();
        collector.release_content(this, Some(ids)).await?;
    }
    if away > 0 {
        note(&format!("{away} hosts are away and take it when they come"));
    }
    Ok(())
}

/// How many of the connected hosts have it after each ring.
pub(crate) fn rings(connected: usize) -> Vec<usize> {
    let share = |hundredths: usize| (connected * hundredths).div_ceil(100);
    let ends: BTreeSet<usize> = [1.min(connected)]
        .into_iter()
        .chain(SHARES.map(share))
        .filter(|end| *end > 0)
        .collect();
    ends.into_iter().collect()
}

/// Waits until every host of the ring uses it, and then whether they stay.
async fn judge(
    collector: &mut Collector,
    this: (ContentKind, u64),
    (ring, args): (&[&v1::Host], &RingArgs),
) -> Result<(), Failure> {
    let until = Instant::now() + args.wait;
    let mut settled = None;
    loop {
        let now = collector.list_hosts("").await?;
        let mut waits_for = None;
        for host in ring {
            let now = now.iter().find(|now| now.host_id == host.host_id);
            match now.map_or(Word::Gone, |now| word(now, this)) {
                Word::Uses => {}
                Word::Nothing => waits_for = Some(host.name.clone()),
                // It starts anew to use it.
                Word::Gone if this.0 == ContentKind::Configuration && settled.is_none() => {
                    waits_for = Some(host.name.clone());
                }
                Word::Gone => return Err(halt(gone(host, this))),
                Word::Refused(reason) => {
                    let (host, what) = (host.name.clone(), what(this));
                    return Err(halt(Halt::Refused { host, what, reason }));
                }
            }
        }
        match (waits_for, settled) {
            (None, None) => settled = Some(Instant::now() + args.settle),
            (None, Some(settled)) if Instant::now() >= settled => return Ok(()),
            (Some(host), _) if Instant::now() >= until => {
                let (what, wait) = (what(this), args.wait);
                return Err(halt(Halt::Silent { host, what, wait }));
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a host says of a version.
enum Word {
    Uses,
    Refused(String),
    Nothing,
    Gone,
}

fn word(host: &v1::Host, (kind, version): (ContentKind, u64)) -> Word {
    let ack = host.content.iter().find(|ack| ack.kind == kind.to_wire());
    match ack {
        _ if !host.connected => Word::Gone,
        Some(ack) if ack.version >= version => Word::Uses,
        Some(ack) if ack.offered == version && !ack.refused.is_empty() => {
            Word::Refused(ack.refused.clone())
        }
        _ => Word::Nothing,
    }
}

fn gone(host: &v1::Host, this: (ContentKind, u64)) -> Halt {
    Halt::Gone {
        host: host.name.clone(),
        what: what(this),
    }
}

fn what((kind, version): (ContentKind, u64)) -> String {
    format!("{kind} {version}")
}

fn halt(halt: Halt) -> Failure {
    Failure::new(Exit::Failed, halt)
        .hint("picketctl content rollback makes a new version of the one before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_begin_with_one_host_and_end_with_all() {
        assert_eq!(rings(1), [1]);
        assert_eq!(rings(3), [1, 2, 3]);
        assert_eq!(rings(1_000), [1, 10, 100, 500, 1_000]);
        assert!(rings(0).is_empty());
    }
}
