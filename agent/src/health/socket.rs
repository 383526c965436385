//! The status socket: whoever may open it gets the snapshot as one line of JSON.
//!
//! What stays true: one connection at a time, each for at most [`PATIENCE`]; nothing is read from it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::SharedHealth;
use crate::config::DEFAULT_STATE;
use crate::failure::{Code, Failure};

const PATIENCE: Duration = Duration::from_secs(1);
/// The most that an answer may have.
const MAX_ANSWER: u64 = 4 << 20;

/// Where the agent of this state directory listens.
pub(crate) fn path(state: &Path) -> PathBuf {
    if state == Path::new(DEFAULT_STATE) {
        PathBuf::from("/run/picket/agent.sock")
    } else {
        state.join("agent.sock")
    }
}

/// Answers on the socket until the agent ends. The state directory's lock says that nobody else does.
pub(crate) fn serve(state: &Path, health: &SharedHealth) -> Result<(), Failure> {
    let path = path(state);
    let listener = listen(&path).map_err(|source| {
        Failure::new(
            Code::Failed,
            &SocketError {
                operation: "listen on",
                path,
                source,
            },
        )
    })?;
    let health = Arc::clone(health);
    let work = move || {
        for connection in listener.incoming().flatten() {
            let text = health.status().to_json().to_string();
            if let Err(error) = answer(connection, &text) {
                tracing::debug!(%error, "status not told");
            }
        }
    };
    let started = thread::Builder::new().name("status".to_owned()).spawn(work);
    started
        .map(drop)
        .map_err(|error| Failure::new(Code::Failed, &error))
}

/// Asks the agent of this state directory.
pub(crate) fn ask(state: &Path) -> Result<String, Failure> {
    let path = path(state);
    read(&path).map_err(|source| {
        let (code, hint) = match source.kind() {
            io::ErrorKind::PermissionDenied => (Code::Refused, "run as root"),
            _ => (
                Code::Unreachable,
                "is it running? picket-agent run, or name its --state",
            ),
        };
        Failure::new(
            code,
            &SocketError {
                operation: "ask the agent at",
                path,
                source,
            },
        )
        .hint(hint)
    })
}

#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} `{}`", path.display())]
struct SocketError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn answer(mut connection: UnixStream, text: &str) -> io::Result<()> {
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(text.as_bytes())?;
    connection.write_all(b"\n")
}

fn read(path: &Path) -> io::Result<String> {
    let connection = UnixStream::connect(path)?;
    connection.set_read_timeout(Some(PATIENCE * 5))?;
    let mut text = String::new();
    connection.take(MAX_ANSWER).read_to_string(&mut text)?;
    Ok(text)
}
