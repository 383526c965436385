//! Where somebody on the host says the code that ends its isolation, or asks whether the package may be removed.
//!
//! What stays true: only root may open it; one connection at a time; at most one line is read from each, for at most
//! [`PATIENCE`]; a wrong code's answer waits, and so does everybody behind it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::removal::Removal;
use super::code::Use;
use crate::failure::{Code, Failure};
use crate::health::socket::path as status_path;

const PATIENCE: Duration = Duration::from_secs(1);
/// The responder may be busy with a command.
const LONGEST_ANSWER: Duration = Duration::from_mins(2);
/// A code has fewer letters.
const MAX_LINE: u64 = 128;
/// Who allowed a removal may have long names.
const MAX_ANSWER: u64 = 4 << 10;
/// What is said to ask whether the package may be removed,
const ASK: &str = "removal ask";
/// and to have the collector hear of it.
const TELL: &str = "removal tell";
/// Codes that may wait for the responder.
const WAITING: usize = 1;

/// What somebody on the host says, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Typed {
    /// A code, unchecked.
    Code(String, SyncSender<Use>),
    /// Whether the package may be removed; whether the collector is to hear of it.
    Removal(bool, SyncSender<Removal>),
}

fn path(state: &Path) -> PathBuf {
    status_path(state).with_file_name("release.sock")
}

/// Listens until the agent ends.
pub(crate) fn serve(state: &Path) -> Result<mpsc::Receiver<Typed>, Failure> {
    let path = path(state);
    let failed = |error: io::Error| {
        let place = path.display();
        Failure::line(
            Code::Failed,
            format!("failed to listen on `{place}`: {error}"),
        )
    };
    let listener = listen(&path).map_err(failed)?;
    let (typed, asked) = mpsc::channel(WAITING);
    let work = move || {
        for connection in listener.incoming().flatten() {
            if let Err(error) = answer(connection, &typed) {
                tracing::debug!(%error, "a code was not answered");
            }
        }
    };
    let started = thread::Builder::new()
        .name("release".to_owned())
        .spawn(work);
    started.map_err(failed)?;
    Ok(asked)
}

/// Says the code to the agent of this state directory; `None`: none runs.
pub(crate) fn say(state: &Path, code: &str) -> io::Result<Option<Use>> {
    let line: String = code.chars().filter(|c| !c.is_control()).take(100).collect();
    understood(exchange(state, &line)?, parse)
}

/// Asks the agent of this state directory whether its package may be removed; `None`: none runs.
pub(crate) fn ask_removal(state: &Path, tells: bool) -> io::Result<Option<Removal>> {
    let word = if tells { TELL } else { ASK };
    understood(exchange(state, word)?, Removal::parse)
}

fn understood<T>(
    answer: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> io::Result<Option<T>> {
    let Some(answer) = answer else {
        return Ok(None);
    };
    let unknown = || io::ErrorKind::InvalidData.into();
    parse(answer.trim_end_matches('\n'))
        .map(Some)
        .ok_or_else(unknown)
}

/// One line there and one back.
fn exchange(state: &Path, line: &str) -> io::Result<Option<String>> {
    let mut connection = match UnixStream::connect(path(state)) {
        Ok(connection) => connection,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    connection.set_read_timeout(Some(LONGEST_ANSWER))?;
    connection.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    connection.take(MAX_ANSWER).read_to_string(&mut text)?;
    Ok(Some(text))
}

fn answer(mut connection: UnixStream, typed: &mpsc::Sender<Typed>) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(&connection)
        .take(MAX_LINE)
        .read_line(&mut line)?;
    let tells = line.trim_end() == TELL;
    if tells || line.trim_end() == ASK {
        let removal = answered_by(typed, |answer| Typed::Removal(tells, answer))?;
        return connection.write_all(removal.words().as_bytes());
    }
    let outcome = answered_by(typed, |answer| Typed::Code(line, answer))?;
    wait(outcome.delay());
    connection.write_all(words(outcome).as_bytes())
}

/// What the responder says to it.
fn answered_by<T>(
    typed: &mpsc::Sender<Typed>,
    form: impl FnOnce(SyncSender<T>) -> Typed,
) -> io::Result<T> {
    let (answer, answered) = sync_channel(1);
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let asked = typed.blocking_send(form(answer));
    asked.map_err(|_ended| gone())?;
    answered
        .recv_timeout(LONGEST_ANSWER)
        .map_err(|_ended| gone())
}

/// Lets time pass, whoever wakes this thread.
pub(crate) fn wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn words(outcome: Use) -> String {
    match outcome {
        Use::Released => "released\n".to_owned(),
        Use::Another => "another\n".to_owned(),
        Use::Wrong(count) => format!("wrong {count}\n"),
        Use::NotIsolated => "not-isolated\n".to_owned(),
        Use::Failed => "failed\n".to_owned(),
    }
}

fn parse(words: &str) -> Option<Use> {
    Some(match words {
        "released" => Use::Released,
        "another" => Use::Another,
        "not-isolated" => Use::NotIsolated,
        "failed" => Use::Failed,
        other => Use::Wrong(other.strip_prefix("wrong ")?.parse().ok()?),
    })
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
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_understood() {
        for outcome in [
            Use::Released,
            Use::Another,
            Use::Wrong(7),
            Use::NotIsolated,
            Use::Failed,
        ] {
            assert_eq!(parse(words(outcome).trim()), Some(outcome));
        }
        assert_eq!((parse(""), parse("wrong x")), (None, None));
    }

    #[test]
    fn the_longer_one_tries_the_longer_one_waits() {
        let delays = [1, 2, 3, 7, 8, u32::MAX].map(|count| Use::Wrong(count).delay().as_secs());
        assert_eq!(delays, [1, 2, 4, 64, 64, 64]);
        assert_eq!(Use::Released.delay(), Duration::ZERO);
    }
}
