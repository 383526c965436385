//! `command fetch`: a file that a host sent, checked against the hash in the host's own receipt.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use picket_event::HostId;
use picket_proto::v1;
use ring::digest::{Context, SHA256};

use crate::client::{self, Collector};
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::receipt::Answer;

/// Fetches the file of a command into `out`, which must not exist.
pub(crate) async fn run(
    collector: &mut Collector,
    status: &v1::CommandStatus,
    host: Option<&str>,
    out: &Path,
) -> Result<(), Failure> {
    let (host, promised) = sender(status, host)?;
    let mut stream = collector.fetch(status.command_id.clone(), host).await?;
    let part = beside(out);
    let mut file = create(&part)?;
    let mut hash = Context::new(&SHA256);
    let mut total = 0_u64;
    while let Some(chunk) = client::next(&mut stream, "fetch the file").await? {
        hash.update(&chunk.data);
        total = total.saturating_add(chunk.data.len() as u64);
        file.write_all(&chunk.data)
            .map_err(|error| failed("write", &part, &error))?;
    }
    let got = format!("sha256:{}", hex::encode(hash.finish()));
    if got != promised {
        drop(fs::remove_file(&part));
        let text = format!("the file is {got}, but the host's receipt says {promised}");
        return Err(Failure::new(Exit::Unverified, text));
    }
    file.sync_all()
        .and_then(|()| fs::hard_link(&part, out))
        .map_err(|error| failed("make", out, &error))?;
    drop(fs::remove_file(&part));
    note(&format!("{total} bytes, {got}, as the host's receipt says"));
    Ok(())
}

/// The host that sent the file, and the hash that its receipt has.
fn sender(status: &v1::CommandStatus, host: Option<&str>) -> Result<(Vec<u8>, String), Failure> {
    let is_meant = |outcome: &&v1::HostOutcome| {
        let Some(wanted) = host else { return true };
        let id = HostId::from_slice(&outcome.host_id).map(|id| id.to_string());
        outcome.host_name == wanted || id.is_ok_and(|id| id.starts_with(wanted))
    };
    let mut meant = status.hosts.iter().filter(is_meant);
    let (Some(outcome), None) = (meant.next(), meant.next()) else {
        let text = "the command does not have exactly one such host".to_owned();
        return Err(Failure::new(Exit::Usage, text).hint("name it with --host"));
    };
    let answer = Answer::of(outcome);
    let receipt = answer.receipt.filter(|receipt| receipt.verified);
    let affected = receipt.map(|receipt| receipt.affected).unwrap_or_default();
    let hash = affected
        .iter()
        .filter_map(|one| one.object.as_str())
        .find(|object| object.starts_with("sha256:"));
    let Some(hash) = hash else {
        let text = format!(
            "{} has not sent the whole file: {}",
            answer.host, answer.state
        );
        let id = hex::encode(&status.command_id);
        return Err(Failure::new(Exit::Failed, text).hint(format!("picketctl command show {id}")));
    };
    Ok((outcome.host_id.clone(), hash.to_owned()))
}

/// Where it is written until it is checked.
fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| failed("make", path, &error))
}

fn failed(operation: &str, path: &Path, error: &std::io::Error) -> Failure {
    let text = format!("failed to {operation} `{}`: {error}", path.display());
    Failure::new(Exit::Failed, text)
}
