//! Streams that answer calls, and the tasks that fill them: both end together.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::Status;

/// An answer in parts. When the peer goes away it is dropped, and the tasks with it.
#[derive(Debug)]
pub struct Answers<T> {
    parts: mpsc::Receiver<Result<T, Status>>,
    _tasks: JoinSet<()>,
}

impl<T> Answers<T> {
    /// With the tasks that fill it.
    pub fn new(parts: mpsc::Receiver<Result<T, Status>>, tasks: JoinSet<()>) -> Self {
        Self {
            parts,
            _tasks: tasks,
        }
    }
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.poll_recv(cx)
    }
}
