//! Others that speak for a host: event keys that branch off its own.

use picket_event::UnixNanos;
use picket_proto::v1;

use crate::approve::confirm;
use crate::cli::BranchArgs;
use crate::client::Collector;
use crate::failure::{Exit, Failure};
use crate::operator::Operator;
use crate::output::Paint;
use crate::table::Table;
use crate::when::ago;

use super::{id_of, say, shown};

/// `host accept` and `host refuse`.
pub(super) async fn decide(
    operator: &Operator,
    args: BranchArgs,
    accept: bool,
) -> Result<(), Failure> {
    let mut collector = Collector::open(operator).await?;
    let host = collector.host(&args.host).await?;
    let name = named(&host, &args.branch)?;
    if !args.yes {
        let (of, id, word) = (shown(&host.name), id_of(&host), hex::encode(&name));
        confirm(&if accept {
            format!(
                "say that the branch {word} is {of} ({id}), and take nothing more from the one that it was?"
            )
        } else {
            format!("say that the branch {word} is not {of} ({id}), and take nothing more from it?")
        })?;
    }
    let request = v1::DecideBranchRequest {
        host: id_of(&host),
        branch: name,
        accept,
        reason: args.reason,
    };
    say(&collector.decide_branch(request).await?)
}

/// The one branch whose name begins so.
fn named(host: &v1::Host, beginning: &str) -> Result<Vec<u8>, Failure> {
    let names = host.branches.iter().map(|branch| &branch.name);
    let is_it = |name: &&Vec<u8>| hex::encode(name).starts_with(beginning);
    let mut found: Vec<&Vec<u8>> = names.filter(is_it).collect();
    match (found.pop(), found.pop()) {
        (Some(name), None) if !beginning.is_empty() => Ok(name.clone()),
        (None, _) => Err(Failure::new(
            Exit::Failed,
            "no other branch of this host's event keys has this name",
        )),
        (Some(_), _) => Err(Failure::new(
            Exit::Failed,
            "more than one branch of this host's event keys is meant",
        )),
    }
}

/// What is known of each; nothing for an honest host.
pub(super) fn lines(host: &v1::Host, now: UnixNanos, paint: Paint) -> Vec<String> {
    if host.branches.is_empty() {
        return Vec::new();
    }
    let title = "others that speak for it, with event keys that branch off: an operator decides (host accept, host refuse)";
    let mut table = Table::new(&[
        "BRANCH",
        "BEHIND EPOCH",
        "BEGUN",
        "STATE",
        "LINK",
        "LAST SEEN",
        "CALLS ITSELF",
    ]);
    for branch in &host.branches {
        let link = if branch.connected {
            "connected"
        } else {
            "away"
        };
        let facts = branch.facts.as_ref();
        table.row([
            hex::encode(&branch.name),
            branch.fork_epoch.to_string(),
            ago(branch.begun_unix_ns, now),
            branch.state.clone(),
            link.to_owned(),
            ago(branch.last_seen_unix_ns, now),
            facts.map_or_else(String::new, |facts| facts.hostname.clone()),
        ]);
    }
    let indented = table.lines().into_iter().map(|line| format!("  {line}"));
    [String::new(), paint.bad(title)]
        .into_iter()
        .chain(indented)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_named_by_the_beginning_of_its_name() {
        let branch = |name: u8| v1::HostBranch {
            name: vec![0xab, name, 0, 0, 0, 0, 0, 0],
            ..v1::HostBranch::default()
        };
        let host = v1::Host {
            branches: vec![branch(1), branch(2)],
            ..v1::Host::default()
        };
        assert_eq!(named(&host, "ab01").unwrap(), branch(1).name);
        let why = |beginning| named(&host, beginning).unwrap_err().to_string();
        assert!(why("ab").contains("more than one"));
        assert!(why("cd").contains("no other branch"));
        assert!(named(&host, "").is_err());
    }
}
