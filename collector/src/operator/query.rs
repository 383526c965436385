//! SQL: each query in a worker process of its own, whose rows are passed on.
//!
//! # Invariants
//!
//! - The collector reads no SQL and holds no rows but those of one reply: the worker does, and may fail.
//! - A worker ends with its answer: when the reader leaves, the connection closes, or its time is over, it is killed.
//!
//! # Queues
//!
//! - Queries: `at_once`. More are refused at once, by name.
//! - Replies: `PARTS` per query. Full: the worker waits; its time goes on.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use picket_event::HostId;
use picket_proto::v1;
use picket_proto::v1::QueryBlame;
use picket_proto::v1::query_reply::Reply;
use picket_query::{Bounds, Doubt, Job, length_of};
use picket_seal::KeyId;
use picket_store::{Reader, SignedSpan, View};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::OperatorService;
use crate::calls::{Answers, Parts};
use crate::config::QuerySettings;
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;

/// How queries are run.
#[derive(Clone, Debug)]
pub struct Queries {
    places: Arc<Semaphore>,
    settings: QuerySettings,
    program: PathBuf,
}

impl Queries {
    /// By this program, which must know [`WORKER`].
    pub fn new(settings: QuerySettings, program: PathBuf) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.at_once)),
            settings,
            program,
        }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_none_left| {
            let most = self.settings.at_once;
            Refusal::TooManyCalls.saying(format!(
                "{most} queries are running already, which is as many as may"
            ))
        })
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            memory_bytes: self.settings.memory_mib << 20,
            seconds: self.settings.seconds,
        }
    }

    fn start(&self) -> Result<Child, Status> {
        let started = Command::new(&self.program)
            .arg(WORKER)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        started.map_err(|error| {
            tracing::error!(%error, program = %self.program.display(), "failed to start a query's worker");
            Refusal::Internal.status()
        })
    }
}

impl OperatorService {
    pub(super) async fn run_query(
        &self,
        operator: &OperatorIdentity,
        request: v1::QueryRequest,
    ) -> Result<Answers<v1::QueryReply>, Status> {
        let place = self.queries.place().inspect_err(|_refused| {
            self.metrics.call_refused(Refusal::TooManyCalls);
        })?;
        let (job, view) = self.job(request).await?;
        let child = self.queries.start()?;
        let worker = Worker {
            child,
            bounds: self.queries.bounds(),
            reader: self.reader.clone(),
            _view: view,
            _place: place,
        };
        Ok(Answers::filled(
            operator.closing(),
            PARTS,
            async move |parts| worker.answer(job, parts).await,
        ))
    }

    fn doubts(&self) -> Vec<Doubt> {
        let spans = self.doubtful_spans().into_iter();
        let doubt = |(host, span, branch): (HostId, SignedSpan, KeyId)| Doubt {
            host_id: host.as_bytes().to_vec(),
            stream: span.key.stream.as_bytes().to_vec(),
            class: span.key.class.to_wire(),
            first: span.first,
            end: span.end,
            branch: branch.to_string(),
        };
        spans.map(doubt).collect()
    }

    async fn job(&self, request: v1::QueryRequest) -> Result<(Vec<u8>, View), Status> {
        if request.sql.len() > LONGEST_SQL {
            return Err(Refusal::BadQuery.saying("a query has at most 65536 bytes"));
        }
        let mentions = |word: &str| request.sql.to_ascii_lowercase().contains(word);
        let hosts = if mentions("hosts") {
            self.shown_hosts("").await?
        } else {
            self.named_hosts()
        };
        let commands = if mentions("command") {
            let listed = self.commands.list(MOST_COMMANDS, self.clock.now()).await;
            listed.map_err(|failed| self.failed(failed))?
        } else {
            Vec::new()
        };
        let limit = if request.limit == 0 {
            DEFAULT_LIMIT
        } else {
            request.limit
        };
        let view = self.reader.view();
        let job = Job {
            view: view.bytes().to_vec(),
            sql: request.sql,
            limit: limit.min(MOST_ROWS),
            hosts,
            commands,
            bounds: Some(self.queries.bounds()),
            doubts: self.doubts(),
        };
        Ok((job.encode_to_vec(), view))
    }

    /// The hosts with no more than their names.
    fn named_hosts(&self) -> Vec<v1::Host> {
        let known = self.registry.select("").into_iter();
        known
            .map(|(id, known)| v1::Host {
                host_id: id.as_bytes().to_vec(),
                name: known.name,
                ..v1::Host::default()
            })
            .collect()
    }
}

/// A query that runs. Dropped, it is killed.
struct Worker {
    child: Child,
    bounds: Bounds,
    /// For what the worker could not read.
    reader: Reader,
    /// So that no file is removed that it reads.
    _view: View,
    _place: OwnedSemaphorePermit,
}

impl Worker {
    async fn answer(mut self, job: Vec<u8>, parts: Parts<v1::QueryReply>) -> Result<(), Status> {
        let most = Duration::from_secs(self.bounds.seconds) + GRACE;
        match tokio::time::timeout(most, self.pass_on(job, &parts)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(self.too_slow()),
        }
    }

    async fn pass_on(&mut self, job: Vec<u8>, parts: &Parts<v1::QueryReply>) -> Result<(), Status> {
        let (Some(mut input), Some(mut output), Some(mut complaints)) = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        ) else {
            return Err(Refusal::Internal.status());
        };
        // A worker that does not read its job has ended, which is seen below.
        drop(input.write_all(&job).await);
        drop(input);
        while let Some(reply) = next(&mut output).await? {
            match reply.reply {
                Some(Reply::Failure(failure)) => return Err(blamed(&failure)),
                Some(Reply::End(ref end)) => {
                    for file in end.unread.iter().filter(|file| !file.lost) {
                        self.reader.suspect(file.number);
                    }
                    return parts.send(reply).await;
                }
                _ => parts.send(reply).await?,
            }
        }
        let mut said = Vec::new();
        let read = (&mut complaints)
            .take(MOST_SAID)
            .read_to_end(&mut said)
            .await;
        drop(read);
        let ended = self.child.wait().await;
        Err(self.ended(ended.ok(), &said))
    }

    /// What it means that the worker ended without an end.
    fn ended(&self, status: Option<ExitStatus>, said: &[u8]) -> Status {
        match status.and_then(|status| status.signal()) {
            // What Rust does when memory is not to be had, and what the kernel does.
            Some(SIGABRT | SIGKILL) => {
                Refusal::QueryBounds.saying("the query needs more memory than it may use")
            }
            Some(SIGXCPU) => self.too_slow(),
            _ => {
                let said = String::from_utf8_lossy(said);
                tracing::error!(?status, %said, "a query's worker failed");
                Refusal::Internal.status()
            }
        }
    }

    fn too_slow(&self) -> Status {
        let seconds = self.bounds.seconds;
        Refusal::QueryBounds.saying(format!("the query ran longer than {seconds} s"))
    }
}

fn blamed(failure: &v1::QueryFailure) -> Status {
    match failure.blame() {
        QueryBlame::Sql => Refusal::BadQuery.saying(&failure.words),
        QueryBlame::Bounds => Refusal::QueryBounds.saying(&failure.words),
        QueryBlame::Store | QueryBlame::Unspecified => {
            tracing::error!(error = failure.words, "a query failed");
            Refusal::Internal.status()
        }
    }
}

/// The worker's next reply; none when it has closed its output.
async fn next(output: &mut ChildStdout) -> Result<Option<v1::QueryReply>, Status> {
    let mut head = [0; 4];
    if output.read_exact(&mut head).await.is_err() {
        return Ok(None);
    }
    let malformed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a query's worker wrote what is no reply");
        Refusal::Internal.status()
    };
    let length = length_of(head).map_err(|error| malformed(&error))?;
    let mut body = vec![0; length];
    if output.read_exact(&mut body).await.is_err() {
        return Ok(None);
    }
    let reply = v1::QueryReply::decode(body.as_slice());
    reply.map(Some).map_err(|error| malformed(&error))
}

/// The hidden command by which this program is a worker.
pub const WORKER: &str = "query-worker";

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// In bytes.
const LONGEST_SQL: usize = 64 << 10;

const DEFAULT_LIMIT: u64 = 1_000;

/// Most rows of an answer.
const MOST_ROWS: u64 = 1_000_000;

/// Most commands that the table `command` has, the newest.
const MOST_COMMANDS: u64 = 10_000;

/// For a worker to say itself that its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// What is read of a worker's complaints, in bytes.
const MOST_SAID: u64 = 4_096;

/// Replies that wait to be read.
const PARTS: usize = 4;
