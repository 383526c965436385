//! Streams that answer calls, and the tasks that fill them: both end together.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::Status;

use crate::peer::{Closing, closed};

/// An answer in parts. When the peer goes away it is dropped, and the tasks with it.
#[derive(Debug)]
pub struct Answers<T> {
    parts: mpsc::Receiver<Result<T, Status>>,
    _tasks: JoinSet<()>,
}

/// Where the parts of an answer go.
#[derive(Debug)]
pub struct Parts<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Answers<T> {
    /// With the tasks that fill it.
    pub fn new(parts: mpsc::Receiver<Result<T, Status>>, tasks: JoinSet<()>) -> Self {
        Self {
            parts,
            _tasks: tasks,
        }
    }

    /// Filled by `fill` until that is done, its reader is gone, or the connection closes. At most
    /// `waiting` parts wait to be read; `fill` then waits too.
    pub fn filled<Fut>(
        mut closing: Closing,
        waiting: usize,
        fill: impl FnOnce(Parts<T>) -> Fut,
    ) -> Self
    where
        T: Send + 'static,
        Fut: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (sender, parts) = mpsc::channel(waiting);
        let filling = fill(Parts(sender.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = tokio::select! {
                biased;
                reason = closed(&mut closing) => Err(reason.status()),
                ended = filling => ended,
            };
            if let Err(status) = ended {
                // A reader who is gone needs no reason.
                drop(sender.send(Err(status)).await);
            }
        });
        Self::new(parts, tasks)
    }
}

impl<T> Parts<T> {
    /// Waits for room. Fails when the reader is gone; what follows is then for nobody.
    pub async fn send(&self, part: T) -> Result<(), Status> {
        let sent = self.0.send(Ok(part)).await;
        sent.map_err(|_gone| Status::cancelled("the reader is gone"))
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.poll_recv(cx)
    }
}
