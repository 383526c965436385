//! This run's stream on disk: so that the next run can say how this one ended.

use picket_event::batch::{ClassHead, PreviousStream};
use picket_event::{Class, StreamId};
use picket_seal::Digest;
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError};

/// `stream.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StreamFile {
    stream: String,
    clean: bool,
    heads: Vec<HeadFile>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    class: String,
    next_seq: u64,
    head: String,
}

const NAME: &str = "stream.json";
/// Runs that came before it.
const EARLIER: &str = "streams.json";

/// How the run before this one ended; `None` if there was none.
pub(crate) fn read(state: &StateDir) -> Result<Option<PreviousStream>, StateError> {
    let file: Option<StreamFile> = read_json(state, NAME)?;
    let damaged = |reason| StateError::Damaged {
        path: state.path(NAME),
        reason,
    };
    file.map(|file| ended(&file)).transpose().map_err(damaged)
}

/// How the runs before it ended, as far as they were kept, the oldest first.
pub(crate) fn read_earlier(state: &StateDir) -> Result<Vec<PreviousStream>, StateError> {
    let files: Option<Vec<StreamFile>> = read_json(state, EARLIER)?;
    let runs = files.iter().flatten().map(ended);
    runs.collect::<Result<_, _>>()
        .map_err(|reason| StateError::Damaged {
            path: state.path(EARLIER),
            reason,
        })
}

fn read_json<T: serde::de::DeserializeOwned>(
    state: &StateDir,
    name: &str,
) -> Result<Option<T>, StateError> {
    let Some(bytes) = state.read(name)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
        path: state.path(name),
        reason: error.to_string(),
    })
}

fn ended(file: &StreamFile) -> Result<PreviousStream, String> {
    let heads = file.heads.iter().map(head).collect::<Result<_, _>>()?;
    Ok(PreviousStream {
        stream: StreamId::parse(&file.stream).map_err(|error| error.to_string())?,
        heads,
        clean: file.clean,
    })
}

/// Keeps where this run stands. `clean` only when its books are closed.
pub(crate) fn write(
    state: &StateDir,
    stream: StreamId,
    heads: &[ClassHead],
    clean: bool,
) -> Result<(), StateError> {
    let text = serde_json::to_vec(&StreamFile::of(stream, heads, clean))
        .expect("strings and numbers are always JSON");
    state.write(NAME, &text)
}

/// Keeps how the runs before this one ended.
pub(crate) fn write_earlier(state: &StateDir, runs: &[PreviousStream]) -> Result<(), StateError> {
    let files = runs
        .iter()
        .map(|run| StreamFile::of(run.stream, &run.heads, run.clean));
    let files: Vec<StreamFile> = files.collect();
    let text = serde_json::to_vec(&files).expect("strings and numbers are always JSON");
    state.write(EARLIER, &text)
}

impl StreamFile {
    fn of(stream: StreamId, heads: &[ClassHead], clean: bool) -> Self {
        let heads = heads.iter().map(|head| HeadFile {
            class: head.class.name().to_owned(),
            next_seq: head.next_seq,
            head: head.head.to_string(),
        });
        Self {
            stream: stream.to_string(),
            clean,
            heads: heads.collect(),
        }
    }
}

/// Renames a damaged file and goes on without knowing the run before.
pub(crate) fn set_aside(state: &StateDir) -> Result<std::path::PathBuf, StateError> {
    state.set_aside(NAME)
}

/// The same for the file of earlier runs.
pub(crate) fn set_earlier_aside(state: &StateDir) -> Result<std::path::PathBuf, StateError> {
    state.set_aside(EARLIER)
}

fn head(file: &HeadFile) -> Result<ClassHead, String> {
    let class = Class::from_name(&file.class).ok_or("no such class")?;
    let head = Digest::from_hex(&file.head).map_err(|error| error.to_string())?;
    Ok(ClassHead {
        class,
        next_seq: file.next_seq,
        head,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_learns_how_this_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(read(&state).unwrap(), None);
        let head = ClassHead {
            class: Class::Bulk,
            next_seq: 9,
            head: Digest::of(b"x"),
        };
        write(&state, StreamId::new([1; 16]), &[head], false).unwrap();
        let previous = read(&state).unwrap().unwrap();
        assert_eq!((previous.clean, previous.heads), (false, vec![head]));
    }

    #[test]
    fn damage_is_named_and_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        state.write(NAME, b"{").unwrap();
        assert!(matches!(read(&state), Err(StateError::Damaged { .. })));
        assert!(set_aside(&state).unwrap().ends_with("stream.json.damaged"));
        assert_eq!(read(&state).unwrap(), None);
    }
}
