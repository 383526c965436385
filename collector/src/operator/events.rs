//! Searching, following and trees.
//!
//! Walks over the store run on threads that may block, a bounded piece at a time; answers are sent
//! from a task. So an operator who does not read holds up nobody.
//!
//! # Queues
//!
//! - Parts of an answer: `PARTS` per call. Full: the call waits for its reader, and goes on in the
//!   store where it stopped; nothing is lost.
//! - Walks: a few at once; the others wait.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use picket_event::filter::Filter;
use picket_event::{HostId, Kind, ProcessUid, Severity, UnixNanos};
use picket_proto::v1;
use picket_seal::KeyId;
use picket_store::{
    Cancel, Cursor, KindSet, Marks, Query, Reader, Session, Sessions, SignedSpan, StoreError,
    StoredEvent, TreeNode, Unread,
};
use prost::Message;
use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

use super::{OperatorService, no_host};
use crate::branch::{self, Standing};
use crate::calls::{Answers, Parts};
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;

impl OperatorService {
    pub(super) async fn search(
        &self,
        operator: &OperatorIdentity,
        request: &v1::SearchRequest,
    ) -> Result<Answers<v1::FoundEvent>, Status> {
        let mut query = self.query(request)?;
        let limit = limit(request.limit);
        let ((found, sessions), unread) = self
            .walk_noting(move |reader| {
                if query.needs_sessions() {
                    query.sessions = Some(Arc::new(reader.sessions(query.hosts.clone())?));
                }
                let found = reader.newest(&query, limit)?;
                let sessions = match query.sessions {
                    Some(sessions) => sessions,
                    None => Arc::new(reader.sessions_of(&found)?),
                };
                Ok((found, sessions))
            })
            .await?;
        let service = self.clone();
        Ok(Answers::filled(
            operator.closing(),
            PARTS,
            async move |parts| {
                for event in found {
                    parts.send(service.found(event, &sessions)).await?;
                }
                tell(unread, &parts).await
            },
        ))
    }

    pub(super) fn tail(
        &self,
        operator: &OperatorIdentity,
        request: &v1::SearchRequest,
    ) -> Result<Answers<v1::FoundEvent>, Status> {
        let mut query = self.query(request)?;
        let service = self.clone();
        let mut synced: watch::Receiver<u64> = self.synced.clone();
        let mut cursor = self.reader.end();
        Ok(Answers::filled(
            operator.closing(),
            PARTS,
            async move |parts| {
                let hosts = query.hosts.clone();
                let known = service.walk_noting(move |reader| reader.sessions(hosts));
                let (known, unread) = known.await?;
                tell(unread, &parts).await?;
                query.sessions = Some(Arc::new(known));
                loop {
                    synced.mark_unchanged();
                    let (next, found) = service.piece(&mut query, cursor).await?;
                    let sessions = query.sessions.clone().unwrap_or_default();
                    cursor = next;
                    let more = found.len() >= PIECE;
                    for event in found {
                        parts.send(service.found(event, &sessions)).await?;
                    }
                    if !more && synced.changed().await.is_err() {
                        return Err(Refusal::ShuttingDown.status());
                    }
                }
            },
        ))
    }

    /// What was stored behind the cursor, up to a bound, and how far that is. The query learns of the sessions that began there.
    async fn piece(
        &self,
        query: &mut Query,
        from: Cursor,
    ) -> Result<(Cursor, Vec<StoredEvent>), Status> {
        // Taken, so that what it learns is not learned by a copy.
        let mut sessions = query.sessions.take().unwrap_or_default();
        let mut asked = query.clone();
        let (next, found, sessions) = self
            .walk(move |reader| {
                let begins = Query {
                    hosts: asked.hosts.clone(),
                    kinds: Sessions::kinds(),
                    ..Query::default()
                };
                reader.follow(from, &begins, &mut |event| {
                    Arc::make_mut(&mut sessions).learn(&event);
                    ControlFlow::Continue(())
                })?;
                asked.sessions = Some(Arc::clone(&sessions));
                let mut found = Vec::new();
                let next = reader.follow(from, &asked, &mut |event| {
                    found.push(event);
                    if found.len() < PIECE {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
                Ok((next, found, sessions))
            })
            .await?;
        query.sessions = Some(sessions);
        Ok((next, found))
    }

    pub(super) async fn tree(
        &self,
        request: v1::TreeRequest,
    ) -> Result<Response<v1::TreeResponse>, Status> {
        let (host, _) = self.host(&request.host)?;
        let (session, uid) = self.target(host, &request).await?;
        let tree = self.walk_noting(move |reader| reader.tree(host, uid));
        let (tree, unread) = tree.await?;
        if tree.nodes.is_empty() {
            return Err(unknown("process", &unread));
        }
        let known = tree.nodes.len();
        let mut left = LARGEST_TREE;
        let nodes = tree.nodes.into_iter().map(shown_node).map_while(|node| {
            left = left.checked_sub(node.encoded_len())?;
            Some(node)
        });
        let nodes: Vec<_> = nodes.collect();
        let cut = tree.cut || nodes.len() < known;
        let session = session.as_ref().map(shown_session);
        let mut response = Response::new(v1::TreeResponse {
            session,
            nodes,
            unread,
        });
        if cut {
            response
                .metadata_mut()
                .insert("picket-cut", MetadataValue::from_static("1"));
        }
        Ok(response)
    }

    /// The process that is asked for, or the one in which the session began that is asked for.
    async fn target(
        &self,
        host: HostId,
        request: &v1::TreeRequest,
    ) -> Result<(Option<Session>, ProcessUid), Status> {
        let Some(number) = request.session else {
            let uid = ProcessUid::from_slice(&request.process_uid);
            let uid = uid.map_err(|wrong| Refusal::BadQuery.saying(wrong))?;
            return Ok((None, uid));
        };
        let found = self.walk_noting(move |reader| reader.session(host, number));
        let ((session, process), unread) = found.await?;
        let process = process.ok_or_else(|| unknown("session", &unread))?;
        Ok((session, process))
    }

    /// As [`OperatorService::walk`], going past sealed files that cannot be read: they are what the answer lacks.
    pub(super) async fn walk_noting<T: Send + 'static>(
        &self,
        walk: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(T, Vec<v1::UnreadFile>), Status> {
        let noted = |reader: &Reader| {
            let unread = Unread::default();
            let answer = walk(&reader.noting(&unread))?;
            Ok((answer, unread.shown()))
        };
        self.walk(noted).await
    }

    /// Runs one walk on a thread that may block. It ends soon after the caller has left.
    pub(super) async fn walk<T: Send + 'static>(
        &self,
        walk: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let permit = Arc::clone(&self.walks).acquire_owned().await;
        let permit = permit.map_err(|_closed| Refusal::ShuttingDown.status())?;
        let cancel = Cancel::default();
        let reader = self.reader.until(cancel.clone());
        let _waiting = cancel.on_drop();
        // The permit goes with the walk: a caller who leaves does not make room for another walk.
        let walked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            walk(&reader)
        });
        let walked = walked.await.map_err(|_ended| Refusal::Internal.status())?;
        walked.map_err(|failed| {
            let error = crate::failure::chain(&failed);
            tracing::error!(error, "a walk over the store failed");
            self.refused(Refusal::Internal)
        })
    }

    fn found(&self, stored: StoredEvent, sessions: &Sessions) -> v1::FoundEvent {
        let session = sessions.of(&stored.host, &stored.boot, &stored.event);
        let doubtful = self.doubtful(&stored);
        v1::FoundEvent {
            unread: Vec::new(),
            doubtful: doubtful.map_or_else(Vec::new, |name| name.as_bytes().to_vec()),
            session: session.map(shown_session),
            host_id: stored.host.as_bytes().to_vec(),
            host_name: self.registry.name(&stored.host),
            boot_id: stored.boot.as_bytes().to_vec(),
            stream: stored.stream.as_bytes().to_vec(),
            class: stored.class.to_wire(),
            event: Some(stored.event.into()),
        }
    }

    /// The branch of its host's event keys that signed an event, if that is not the host.
    fn doubtful(&self, stored: &StoredEvent) -> Option<KeyId> {
        let branches = self.registry.branches(&stored.host)?;
        branch::doubtful(&branches, &self.reader, stored)
    }

    /// Which events are wanted by who signed them.
    fn marks(&self, request: &v1::SearchRequest) -> Result<Option<Marks>, Status> {
        let only = match v1::Doubt::try_from(request.doubt) {
            Ok(v1::Doubt::Unspecified) => return Ok(None),
            Ok(v1::Doubt::Only) => true,
            Ok(v1::Doubt::Without) => false,
            Err(_unknown) => return Err(Refusal::BadQuery.saying("there is no such doubt")),
        };
        let spans = self.doubtful_spans();
        let spans = spans.into_iter().map(|(host, span, _)| (host, span));
        Ok(Some(Marks::new(only, spans)))
    }

    /// What of each host others signed that speak for it, with the branch.
    pub(super) fn doubtful_spans(&self) -> Vec<(HostId, SignedSpan, KeyId)> {
        let hosts = self.registry.branched();
        let spans = hosts.into_iter().flat_map(|(host, branches)| {
            let spans = self.reader.signed_spans(&host).into_iter();
            spans.filter_map(move |span| {
                let is_host = branches.standing(span.by) == Standing::Host;
                (!is_host).then(|| (host, span, branches.name(span.by.branch, &host)))
            })
        });
        spans.collect()
    }

    pub(super) fn query(&self, request: &v1::SearchRequest) -> Result<Query, Status> {
        let instant = |nanos: i64| (nanos != 0).then_some(UnixNanos(nanos));
        Ok(Query {
            hosts: self.wanted_hosts(&request.host)?,
            kinds: kinds(&request.kinds)?,
            since: instant(request.since_unix_ns),
            until: instant(request.until_unix_ns),
            min_severity: severity(request.min_severity)?,
            filter: filter(&request.r#where)?,
            sessions: None,
            marks: self.marks(request)?,
        })
    }

    fn wanted_hosts(&self, wanted: &str) -> Result<Option<HashSet<HostId>>, Status> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let found = self.registry.select(wanted);
        if found.is_empty() {
            return Err(no_host(wanted));
        }
        Ok(Some(found.into_iter().map(|(id, _)| id).collect()))
    }
}

/// Nothing is known of what was asked for, as far as the store can be read.
fn unknown(what: &str, unread: &[v1::UnreadFile]) -> Status {
    let words = format!("nothing is known of this {what}");
    if unread.is_empty() {
        return Refusal::NotFound.saying(words);
    }
    let (files, events) = (unread.len(), unread.iter().map(|file| file.events));
    let events = events.fold(0, u64::saturating_add);
    Refusal::NotFound.saying(format!(
        "{words}, but {files} sealed files with {events} events cannot be read"
    ))
}

/// Says what the answer lacks, in a message of its own.
async fn tell(unread: Vec<v1::UnreadFile>, parts: &Parts<v1::FoundEvent>) -> Result<(), Status> {
    if unread.is_empty() {
        return Ok(());
    }
    let told = v1::FoundEvent {
        unread,
        ..v1::FoundEvent::default()
    };
    parts.send(told).await
}

fn kinds(wanted: &[i32]) -> Result<KindSet, Status> {
    let known = |number: &i32| {
        let unknown = || Refusal::BadQuery.saying(format!("there is no kind {number}"));
        Kind::from_wire(*number).ok_or_else(unknown)
    };
    wanted.iter().map(known).collect()
}

fn severity(number: i32) -> Result<Option<Severity>, Status> {
    let unknown = || Refusal::BadQuery.saying(format!("there is no severity {number}"));
    match number {
        0 => Ok(None),
        _ => Severity::from_wire(number).map(Some).ok_or_else(unknown),
    }
}

fn filter(text: &str) -> Result<Option<Filter>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Filter::parse(text)
        .map(Some)
        .map_err(|wrong| Refusal::BadQuery.saying(wrong))
}

fn shown_session(session: &Session) -> v1::Session {
    let login = session.event.login().cloned();
    v1::Session {
        time_unix_ns: session.event.time.0,
        kind: session.event.kind.to_wire(),
        login: login.map(Into::into),
    }
}

fn shown_node(node: TreeNode) -> v1::TreeNode {
    v1::TreeNode {
        depth: node.depth,
        process: Some(node.process.into()),
        time_unix_ns: node.time.0,
        exit: node.exit.map(|exit| v1::Exit {
            code: exit.code,
            signal: exit.signal,
            duration_ns: exit.duration_ns,
        }),
        target: node.target,
        verdicts: node.verdicts.into_iter().map(Into::into).collect(),
    }
}

fn limit(asked: u64) -> usize {
    let asked = if asked == 0 { DEFAULT_LIMIT } else { asked };
    usize::try_from(asked)
        .unwrap_or(usize::MAX)
        .min(MOST_EVENTS)
}

const DEFAULT_LIMIT: u64 = 1_000;

/// The most events that one search answers with.
const MOST_EVENTS: usize = 100_000;

/// Events that a follower takes at once.
const PIECE: usize = 512;

/// Largest tree, in bytes as encoded.
const LARGEST_TREE: usize = 8 << 20;

/// Parts of an answer that may wait for the operator's side to read them.
pub(super) const PARTS: usize = 64;
