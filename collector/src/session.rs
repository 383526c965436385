//! `Agent.Session`: a host says hello, then beats; the collector says welcome, then hands out commands.
//!
//! # Queues
//!
//! - Frames to the host: `FRAMES`. Full: the session waits for the host to read; commands wait in
//!   the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_event::content::ContentKind;
use picket_event::{Clock, CommandId, HostId, StreamId};
use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as FromAgent;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::{Digest, KeyId};
use picket_store::{Reader, SignedBy};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use crate::alarm::{Alarm, Alarms};
use crate::branch::Standing;
use crate::command::Commands;
use crate::content::Contents;
use crate::database::keys::{self, Forks, KeyError};
use crate::database::{Database, DatabaseError};
use crate::ingest::{ack_of, internal};
use crate::metrics::Metrics;
use crate::peer::{HostIdentity, closed};
use crate::prior::Priors;
use crate::refusal::Refusal;
use crate::registry::{Place, Registry, SessionGuard};
use crate::trust::Trust;

/// What sessions need.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Who hears when a host is not the one that it was.
    pub alarms: Alarms,
    /// Who is connected.
    pub registry: Registry,
    /// What is to be handed out.
    pub commands: Commands,
    /// Which epochs are known.
    pub database: Database,
    /// Where chains stand.
    pub reader: Reader,
    /// The trust roots that hosts are told of.
    pub trust: Trust,
    /// The content that hosts are given.
    pub contents: Contents,
    /// The newest checkpoint.
    pub checkpoints: watch::Receiver<Option<Digest>>,
    /// What the fleet knows; `None`: hosts are neither asked nor told.
    pub priors: Option<Priors>,
    /// Where else this collector is.
    pub addresses: Arc<[String]>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Where frames for the host go.
pub type Frames = mpsc::Sender<Result<v1::CollectorFrame, Status>>;

impl Sessions {
    /// Runs one session to its end, and tells the host why it ended.
    pub async fn run(self, host: HostIdentity, mut from: Streaming<v1::AgentFrame>, to: Frames) {
        let mut closing = host.closing();
        let ended = tokio::select! {
            biased;
            reason = closed(&mut closing) => Err(reason),
            ended = self.converse(&host, &mut from, &to) => ended,
        };
        if let Err(refusal) = ended {
            self.metrics.call_refused(refusal);
            tracing::info!(host = %host.id(), reason = refusal.name(), "ended a session");
            drop(to.send(Err(refusal.status())).await);
        }
    }

    async fn converse(
        &self,
        host: &HostIdentity,
        from: &mut Streaming<v1::AgentFrame>,
        to: &Frames,
    ) -> Result<(), Refusal> {
        let hello = self.hello(from).await?;
        let id = host.id();
        let place = self.look_at(id, &hello).await?;
        let begun = self
            .registry
            .begin_session(id, (&hello, place), self.clock.now());
        let (session, wake) = begun.ok_or(Refusal::UnknownPeer)?;
        tracing::info!(host = %id, name = %self.registry.name(&id), "began a session");
        let mut newest = self.checkpoints.clone();
        let welcome = ToAgent::Welcome(self.welcome(id, place, hash(&mut newest)).await?);
        if send(to, welcome).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            ended = self.listen(id, &session, from) => ended,
            ended = self.hand_out(id, &session, wake, to) => ended,
            ended = tell_checkpoints(newest, to) => ended,
            ended = self.tell_trust(hello.trust_version, to) => ended,
            ended = self.give_content(id, &hello, to) => ended,
            ended = self.give_prior(hello.prior, to) => ended,
        }
    }

    async fn hello(&self, from: &mut Streaming<v1::AgentFrame>) -> Result<v1::Hello, Refusal> {
        let first = tokio::time::timeout(HELLO_TIMEOUT, from.message()).await;
        match first {
            Ok(Ok(Some(v1::AgentFrame {
                frame: Some(FromAgent::Hello(hello)),
            }))) => {
                let fits = hello.encoded_len() <= LARGEST_FRAME;
                if fits {
                    Ok(hello)
                } else {
                    Err(Refusal::TooLarge)
                }
            }
            _ => Err(Refusal::NoHello),
        }
    }

    /// Compares what the host says of itself with what is known of it, and finds out for whom it speaks.
    async fn look_at(&self, host: HostId, hello: &v1::Hello) -> Result<Place, Refusal> {
        let known = self.registry.known(&host).ok_or(Refusal::UnknownPeer)?;
        let stream = StreamId::from_slice(&hello.stream).ok();
        let moved = Alarm::says_other_machine(hello, &known);
        if let Some(stream) = stream.filter(|_| moved) {
            self.registry.moved(&host, stream);
        }
        self.learn(host, hello, moved).await?;
        let name = KeyId::from_slice(&hello.key_id).ok();
        let epoch = hello.epoch;
        let found = self.database.call(move |t| -> Result<_, DatabaseError> {
            let signer = name.map(|name| keys::signer(t, &host, epoch, name));
            Ok((keys::latest(t, &host)?, signer.transpose()?.flatten()))
        });
        let (latest, signer) = found.await.map_err(|failed| internal(&failed))?;
        let known = self.registry.known(&host).ok_or(Refusal::UnknownPeer)?;
        for alarm in Alarm::of_hello(hello, &known, latest) {
            self.alarms.raise(host, alarm).await;
        }
        let branch = signer.filter(|(_, key)| Some(key.key_id()) == name);
        let branch = branch.map(|(branch, _)| branch);
        let by = match (branch, name) {
            (Some(branch), _) => Some(SignedBy { branch, epoch }),
            (None, Some(_)) if epoch <= latest => None,
            // Newer than anything that is known: its next batch shows whose it is. An agent of an earlier version names no key.
            (None, _) => Some(SignedBy {
                branch: known.branches.current(),
                epoch,
            }),
        };
        let standing = by.map_or(Standing::Doubtful, |by| known.branches.standing(by));
        if standing == Standing::Refused {
            return Err(Refusal::BranchRefused);
        }
        // One that is behind its own branch has a copy that is not.
        let is_behind = name.is_some() && epoch < latest;
        Ok(Place {
            stream,
            by,
            is_host: standing == Standing::Host && !is_behind && !moved,
        })
    }

    /// Takes the newest keys that the host names, so that it is known at once if they branch off. Of one that `moved` to another machine
    /// the new ones do.
    async fn learn(&self, host: HostId, hello: &v1::Hello, moved: bool) -> Result<(), Refusal> {
        let successions = hello.successions.clone();
        if successions.is_empty() || successions.len() > MOST_SUCCESSIONS {
            return Ok(());
        }
        let now = self.clock.now();
        let forks = if moved {
            Forks::Apart(now)
        } else {
            Forks::Taken(now)
        };
        let learned = self
            .database
            .call(move |t| keys::accept(t, &host, &successions, forks));
        match learned.await {
            Ok(begun) => self.alarms.branches_begun(host, begun, moved).await,
            Err(KeyError::Database(failed)) => return Err(internal(&failed)),
            // The batch that is signed by them is refused with its reason.
            Err(refused) => tracing::debug!(%host, error = %refused, "keys of a hello not taken"),
        }
        Ok(())
    }

    async fn welcome(
        &self,
        host: HostId,
        place: Place,
        checkpoint: Vec<u8>,
    ) -> Result<v1::Welcome, Refusal> {
        let landmarks = self.database.call(move |t| keys::landmarks(t, &host)).await;
        let landmarks = landmarks.map_err(|failed| internal(&failed))?;
        let known_keys = landmarks.iter().map(|(epoch, name)| v1::KnownKey {
            epoch: *epoch,
            key_id: name.as_bytes().to_vec(),
        });
        let acks = self.reader.heads(&host, HEADS).into_iter().map(ack_of);
        let secret = self.priors.as_ref().map(Priors::secret);
        Ok(v1::Welcome {
            known_epoch: landmarks.first().map_or(0, |(epoch, _)| *epoch),
            known_keys: known_keys.collect(),
            branch: self.doubtful_branch(&host, place),
            acks: acks.collect(),
            wall_unix_ns: self.clock.now().0,
            checkpoint,
            addresses: self.addresses.to_vec(),
            fleet_secret: secret.map_or_else(Vec::new, |secret| secret.as_bytes().to_vec()),
        })
    }

    /// The branch for which a session speaks, if it is not the host's.
    fn doubtful_branch(&self, host: &HostId, place: Place) -> Vec<u8> {
        let is_host = |by: &SignedBy| self.registry.standing(host, *by) == Standing::Host;
        let doubtful = place.by.filter(|by| !is_host(by));
        let known = doubtful.and_then(|by| Some((by, self.registry.known(host)?)));
        known.map_or_else(Vec::new, |(by, known)| {
            known.branches.name(by.branch, host).as_bytes().to_vec()
        })
    }

    /// Takes heartbeats until the host ends the session.
    async fn listen(
        &self,
        host: HostId,
        session: &SessionGuard,
        from: &mut Streaming<v1::AgentFrame>,
    ) -> Result<(), Refusal> {
        let mut sketched = None;
        while let Ok(Some(frame)) = from.message().await {
            match frame.frame {
                Some(FromAgent::Heartbeat(beat)) if beat.encoded_len() <= LARGEST_FRAME => {
                    self.registry.heartbeat(session, beat, self.clock.now());
                }
                Some(FromAgent::Heartbeat(_)) => return Err(Refusal::TooLarge),
                // What another says that speaks for the host is not what the host has.
                Some(_) if !session.is_host() => {}
                Some(FromAgent::Trust(ack)) => self.take_trust_ack(host, &ack),
                Some(FromAgent::Content(ack)) => self.take_content_ack(host, ack),
                Some(FromAgent::Sketch(sketch)) => {
                    self.take_sketch(host, sketch, &mut sketched).await?;
                }
                // A second hello says nothing new; an unknown frame is of a newer version.
                Some(FromAgent::Hello(_)) | None => {}
            }
        }
        Ok(())
    }

    /// Takes what the host says that it has; more than once in a while is not looked at.
    async fn take_sketch(
        &self,
        host: HostId,
        sketch: v1::FleetSketch,
        last: &mut Option<Instant>,
    ) -> Result<(), Refusal> {
        let early = last.is_some_and(|last| last.elapsed() < SKETCH_EVERY);
        match &self.priors {
            Some(priors) if !early => {
                *last = Some(Instant::now());
                priors.take(host, sketch).await
            }
            _ => Ok(()),
        }
    }

    /// Gives the host each prior that is newer than the one it has.
    async fn give_prior(&self, has: u64, to: &Frames) -> Result<(), Refusal> {
        let Some(priors) = &self.priors else {
            return std::future::pending().await;
        };
        let (mut newest, mut has) = (priors.newest(), has);
        loop {
            let given = newest.borrow_and_update().clone();
            if let Some(given) = given.filter(|given| given.prior.number != has) {
                has = given.prior.number;
                if send(to, ToAgent::Prior(given.signed.clone()))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
            if newest.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Hands each trust root on that the host has not, in their order. The first one came with its enrolment.
    async fn tell_trust(&self, has: u64, to: &Frames) -> Result<(), Refusal> {
        let mut has = has.max(1);
        let mut newest = self.trust.newest();
        loop {
            newest.mark_unchanged();
            let later = self.trust.after(has).await;
            for signed in later.map_err(|failed| internal(&failed))? {
                has = has.saturating_add(1);
                if send(to, ToAgent::TrustRoot(signed)).await.is_err() {
                    return Ok(());
                }
            }
            if newest.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Offers the host each content that it may have and did not take, each once in this session. An agent of before, which does not
    /// fetch, is given it.
    async fn give_content(
        &self,
        host: HostId,
        hello: &v1::Hello,
        to: &Frames,
    ) -> Result<(), Refusal> {
        let fetches = hello.facts.as_ref().is_some_and(|it| it.fetches_content);
        let took = &hello.content;
        let took = |kind: ContentKind| {
            let mut versions = took.iter().filter(|one| one.kind == kind.to_wire());
            (kind, versions.next().map_or(0, |one| one.version))
        };
        let mut given: Vec<(ContentKind, u64)> =
            ContentKind::ALL.iter().copied().map(took).collect();
        let mut changed = self.contents.changed();
        loop {
            changed.mark_unchanged();
            for (kind, has) in &mut given {
                let due = self.contents.due(host, *kind, *has).await;
                let Some(parcel) = due.map_err(|failed| internal(&failed))? else {
                    continue;
                };
                let frame = if fetches {
                    ToAgent::Offer(parcel.offer())
                } else {
                    ToAgent::Content(parcel.signed.clone())
                };
                if send(to, frame).await.is_err() {
                    return Ok(());
                }
                *has = parcel.version;
            }
            if changed.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    fn take_content_ack(&self, host: HostId, mut ack: v1::ContentAck) {
        if !ack.refused.is_empty() {
            ack.refused = ack.refused.chars().take(LONGEST_REASON).collect();
            let (version, reason) = (ack.offered, &ack.refused);
            tracing::warn!(%host, version, reason, "a host refused content");
        }
        if ContentKind::from_wire(ack.kind).is_some() {
            self.registry.uses(&host, ack);
        }
    }

    fn take_trust_ack(&self, host: HostId, ack: &v1::TrustAck) {
        self.registry.believes(&host, ack.version);
        if !ack.refused.is_empty() {
            let reason: String = ack.refused.chars().take(LONGEST_REASON).collect();
            tracing::warn!(%host, version = ack.version, reason, "a host refused a trust root");
        }
    }

    /// Hands out commands as they come, each once in this session; to who is not the host, none.
    async fn hand_out(
        &self,
        host: HostId,
        session: &SessionGuard,
        mut wake: watch::Receiver<u64>,
        to: &Frames,
    ) -> Result<(), Refusal> {
        let mut given = HashSet::new();
        loop {
            if session.is_superseded() {
                return Err(Refusal::Superseded);
            }
            wake.mark_unchanged();
            if session.is_host() {
                self.give_new(host, &mut given, to).await?;
            }
            if wake.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    async fn give_new(
        &self,
        host: HostId,
        given: &mut HashSet<CommandId>,
        to: &Frames,
    ) -> Result<(), Refusal> {
        let open = self.commands.open_for(host, self.clock.now()).await;
        for command in open.map_err(|failed| internal(&failed))? {
            if given.contains(&command.id) {
                continue;
            }
            let signed = command.to_host();
            let frame = match command.start {
                None => ToAgent::Command(signed),
                start => ToAgent::Started(v1::StartedCommand {
                    command: Some(signed),
                    start,
                }),
            };
            if send(to, frame).await.is_err() {
                return Ok(());
            }
            given.insert(command.id);
            self.metrics.commands_delivered.inc();
            let noted = self
                .commands
                .delivered(command.id, host, self.clock.now())
                .await;
            noted.map_err(|failed| internal(&failed))?;
        }
        Ok(())
    }
}

/// Tells the host of each new checkpoint, which it then names in its headers.
async fn tell_checkpoints(
    mut newest: watch::Receiver<Option<Digest>>,
    to: &Frames,
) -> Result<(), Refusal> {
    while newest.changed().await.is_ok() {
        let checkpoint = hash(&mut newest);
        if send(to, ToAgent::Checkpoint(checkpoint)).await.is_err() {
            return Ok(());
        }
    }
    std::future::pending().await
}

/// The newest checkpoint's hash, taken note of.
fn hash(newest: &mut watch::Receiver<Option<Digest>>) -> Vec<u8> {
    let hash = *newest.borrow_and_update();
    hash.map_or_else(Vec::new, |hash| hash.as_bytes().to_vec())
}

async fn send(to: &Frames, frame: ToAgent) -> Result<(), mpsc::error::SendError<()>> {
    let frame = v1::CollectorFrame { frame: Some(frame) };
    to.send(Ok(frame))
        .await
        .map_err(|_gone| mpsc::error::SendError(()))
}

/// Frames that may wait for the host to read them.
pub(crate) const FRAMES: usize = 16;

/// Chains that a welcome speaks of: the latest; older ones are complete or given up.
const HEADS: usize = 256;

/// How often a session may bring a sketch.
const SKETCH_EVERY: Duration = Duration::from_mins(1);

/// What is logged of a host's reason, in characters.
const LONGEST_REASON: usize = 200;

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest hello or heartbeat, in bytes.
const LARGEST_FRAME: usize = 64 << 10;

/// Successions that are looked at in a hello.
const MOST_SUCCESSIONS: usize = 4;
