//! The digest that binds a command to the dry run that its approvers saw.
//!
//! ```text
//! SHA-256 of, for each host in the order of their ids: host id | length u64 le | receipt (Containment) as it came
//! ```

use picket_event::command::{Command, Mode};
use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;

use crate::client::Collector;
use crate::commands;
use crate::failure::{Exit, Failure};
use crate::output::Paint;
use crate::receipt::Answer;

/// The digest of a dry run to which every host has answered.
pub(crate) fn digest(status: &v1::CommandStatus) -> Option<Digest> {
    let signed = status.command.as_ref()?;
    let command = Command::decode(&signed.body).ok()?;
    if command.mode != Mode::DryRun {
        return None;
    }
    let mut hosts: Vec<_> = status.hosts.iter().collect();
    hosts.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    let mut bytes = Vec::new();
    for host in hosts {
        let receipt = host.receipt.as_ref()?.encode_to_vec();
        bytes.extend(&host.host_id);
        bytes.extend((receipt.len() as u64).to_le_bytes());
        bytes.extend(receipt);
    }
    Some(Digest::of(&bytes))
}

/// The digest of the dry run of this id.
pub(crate) async fn digest_of(collector: &mut Collector, id: &str) -> Result<Digest, Failure> {
    let status = commands::find(collector, id).await?;
    digest(&status).ok_or_else(|| {
        let text = format!("`{id}` is no dry run to which every host has answered");
        Failure::new(Exit::Usage, text).hint("picketctl contain ... --dry-run --wait")
    })
}

/// The dry run that has this digest.
pub(crate) async fn find(
    collector: &mut Collector,
    wanted: &Digest,
) -> Result<Option<v1::CommandStatus>, Failure> {
    let all = collector.list_commands(commands::ALL).await?;
    Ok(all
        .into_iter()
        .find(|status| digest(status).as_ref() == Some(wanted)))
}

/// What its hosts said they would do.
pub(crate) fn lines(status: &v1::CommandStatus, paint: Paint) -> Vec<String> {
    let answers = status.hosts.iter().map(Answer::of);
    answers.flat_map(|answer| answer.lines(paint)).collect()
}
