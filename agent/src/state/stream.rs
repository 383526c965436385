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

/// How the run before this one ended; `None` if there was none.
pub(crate) fn read(state: &StateDir) -> Result<Option<PreviousStream>, StateError> {
    let Some(bytes) = state.read(NAME)? else {
        return Ok(None);
    };
    let damaged = |reason: String| StateError::Damaged {
        path: state.path(NAME),
        reason,
    };
    let file: StreamFile =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let stream = StreamId::parse(&file.stream).map_err(|error| damaged(error.to_string()))?;
    let heads = file
        .heads
        .iter()
        .map(head)
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    Ok(Some(PreviousStream {
        stream,
        heads,
        clean: file.clean,
    }))
}

/// Keeps where this run stands. `clean` only when its books are closed.
pub(crate) fn write(
    state: &StateDir,
    stream: StreamId,
    heads: &[ClassHead],
    clean: bool,
) -> Result<(), StateError> {
    let heads = heads.iter().map(|head| HeadFile {
        class: head.class.name().to_owned(),
        next_seq: head.next_seq,
        head: head.head.to_string(),
    });
    let file = StreamFile {
        stream: stream.to_string(),
        clean,
        heads: heads.collect(),
    };
    let text = serde_json::to_vec(&file).expect("strings and numbers are always JSON");
    state.write(NAME, &text)
}

/// Renames a damaged file and goes on without knowing the run before.
pub(crate) fn set_aside(state: &StateDir) -> Result<std::path::PathBuf, StateError> {
    state.set_aside(NAME)
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
