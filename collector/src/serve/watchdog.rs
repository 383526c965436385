//! Tells the service manager that this service lives, as often as that wants to hear it.
//!
//! What stays true: it is told only after the database and the thread that writes have each done something. One that
//! hangs is not alive, whatever the rest still answers.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;

use super::parts::stopped;
use super::{ServeError, notify};
use crate::database::{self, Database, DatabaseError};
use crate::init::NAMES;
use crate::writer::Writer;

/// Until the service ends; at once done where nobody wants to hear.
pub(super) async fn pat(
    database: Database,
    writer: Writer,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
    loop {
        tokio::select! {
            () = next(every) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
        tokio::select! {
            () = work_is_done(&database, &writer) => notify(&[NotifyState::Watchdog]),
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// Without a watchdog there is no next time.
async fn next(every: Option<Duration>) {
    match every {
        Some(every) => tokio::time::sleep(every).await,
        None => std::future::pending().await,
    }
}

/// An error is an answer too: that disks are full is told elsewhere, and a restart would not mend it.
async fn work_is_done(database: &Database, writer: &Writer) {
    let read = database.call::<_, DatabaseError>(|t| database::setting(t, NAMES));
    if let Err(error) = read.await {
        tracing::debug!(%error, "the database answers with an error");
    }
    if let Err(refusal) = writer.answers().await {
        tracing::debug!(?refusal, "the writer answers with an error");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_store::{Options, Store};

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn who_hangs_is_not_alive_and_who_works_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        std::fs::write(&path, []).unwrap();
        let database = Database::create(&path).unwrap();
        let (writer, work) = Writer::new(Arc::new(Metrics::new()));
        let patience = Duration::from_millis(200);
        let hangs = tokio::time::timeout(patience, work_is_done(&database, &writer)).await;
        assert!(hangs.is_err(), "nobody works on the queue yet");
        let (store, _recovery) =
            Store::open(&folder.path().join("wal"), Options::default()).unwrap();
        let working = tokio::task::spawn_blocking(move || work.run(store));
        let patience = Duration::from_mins(1);
        let works = tokio::time::timeout(patience, work_is_done(&database, &writer)).await;
        assert!(works.is_ok());
        drop(writer);
        assert!(working.await.unwrap().is_ok());
    }
}
