//! One connection, from its making to its end: hello, welcome, then words and batches side by side.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use picket_event::{Class, StreamId};
use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as ToCollector;
use picket_proto::v1::collector_frame::Frame as FromCollector;
use picket_rpc::channel::{self, ConnectError, Route};
use picket_rpc::tls::client_config;
use picket_rpc::v1::agent_client::AgentClient;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::backoff::Backoff;
use super::certificate::{self, Validity};
use super::{FRAMES, LinkError, Uplink, events, facts, fetch, renewal, upload};
use crate::health::Link;
use crate::respond::{Asked, Told};
use crate::state::epoch;
use crate::state::host::Certificate;

/// How often the collector hears how the agent is.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the collector may take to welcome.
const WELCOME_WAIT: Duration = Duration::from_secs(15);
/// How long the collector may take to answer a renewal.
const RENEW_WAIT: Duration = Duration::from_secs(30);
/// How often a renewal that did not work is tried again.
const RENEW_AGAIN: Duration = Duration::from_mins(5);
/// Of the host's successions, how many the collector hears at once: it then knows at once whose word this is.
const HELLO_SUCCESSIONS: usize = 4;
/// How often the collectors' addresses are looked up.
const LEARN_AGAIN: Duration = Duration::from_mins(10);

/// Makes a connection and keeps it until it ends.
pub(super) async fn hold(
    uplink: &Uplink,
    collector: &str,
    backoff: &mut Backoff,
) -> Result<Infallible, LinkError> {
    let certificate = Certificate::read(&uplink.state)?;
    let validity = Validity::of(&certificate);
    uplink.health.status().certificate_ends = validity.map_or(0, |validity| validity.to);
    if validity.is_some_and(|validity| validity.is_over(uplink.clock.now())) {
        renewal::after_expiry(uplink, collector, certificate).await?;
        return Err(LinkError::Renewed);
    }
    let config = client_config(&uplink.ca, Some(certificate.identity()))?;
    let (channel, at) = connect(uplink, collector, config).await?;
    uplink.places.connected(at);
    talk(uplink, channel, certificate, backoff).await
}

/// A channel to the collector, and the address, its own or the proxy's, at which it begins.
pub(super) async fn connect(
    uplink: &Uplink,
    collector: &str,
    config: ClientConfig,
) -> Result<(Channel, SocketAddr), LinkError> {
    let proxy = uplink.proxy.as_deref();
    let gate = channel::gate(proxy, collector);
    let found = uplink.places.find(gate, proxy.is_none()).await;
    let at = found.map_err(|source| ConnectError::Unreachable {
        address: collector.to_owned(),
        source,
    })?;
    let route = Route { at: &at, proxy };
    Ok(channel::connect_along(route, collector, config).await?)
}

/// Learns where the collectors are that were not tried, for a time when no resolver can be asked.
async fn learn_places(uplink: &Uplink) -> Result<Infallible, LinkError> {
    loop {
        if uplink.proxy.is_none() {
            for collector in &uplink.collectors {
                if let Err(error) = uplink.places.find(collector, true).await {
                    tracing::debug!(collector, %error, "the address of a collector is not known");
                }
            }
        }
        tokio::time::sleep(LEARN_AGAIN).await;
    }
}

/// Hello, welcome, and everything after, over a channel that is open.
pub(super) async fn talk(
    uplink: &Uplink,
    channel: Channel,
    certificate: Certificate,
    backoff: &mut Backoff,
) -> Result<Infallible, LinkError> {
    let mut client = AgentClient::new(channel);
    let (frames, mut session) = open_session(uplink, &mut client).await?;
    let welcome = welcome(&mut session).await?;
    if uplink.proxy.is_none() {
        uplink.places.told(&welcome.addresses);
    }
    take_acks(uplink, &welcome);
    uplink.store.hear_checkpoint(&welcome.checkpoint);
    uplink.fleet.hear_secret(&welcome.fleet_secret);
    note_older_state(uplink, &welcome);
    backoff.reset();
    let collector = uplink.health.status().collector.clone();
    tracing::info!(collector, known_epoch = welcome.known_epoch, "connected");
    uplink.health.status().link = Link::Connected;
    let (sending, files, fetching) = (client.clone(), client.clone(), client.clone());
    let (offers, offered) = mpsc::channel(fetch::OFFERS);
    tokio::select! {
        ended = beat(uplink, &frames) => ended,
        ended = listen(uplink, &mut session, &offers) => ended,
        ended = fetch::take(uplink, fetching, offered) => ended,
        ended = events::send(uplink, sending, &welcome) => ended,
        ended = upload::send(uplink, files) => ended,
        ended = renew(uplink, client, certificate) => ended,
        ended = learn_places(uplink) => ended,
    }
}

async fn open_session(
    uplink: &Uplink,
    client: &mut AgentClient<Channel>,
) -> Result<(mpsc::Sender<v1::AgentFrame>, Streaming<v1::CollectorFrame>), LinkError> {
    let (frames, outgoing) = mpsc::channel(FRAMES);
    send(&frames, ToCollector::Hello(hello(uplink))).await?;
    let opened = client.session(ReceiverStream::new(outgoing));
    let late = |_elapsed| LinkError::Protocol("the collector does not open the session");
    let session = tokio::time::timeout(WELCOME_WAIT, opened)
        .await
        .map_err(late)??;
    Ok((frames, session.into_inner()))
}

async fn welcome(session: &mut Streaming<v1::CollectorFrame>) -> Result<v1::Welcome, LinkError> {
    let late = |_elapsed| LinkError::Protocol("the collector does not say welcome");
    let first = tokio::time::timeout(WELCOME_WAIT, session.message())
        .await
        .map_err(late)??;
    match first.and_then(|first| first.frame) {
        Some(FromCollector::Welcome(welcome)) => Ok(welcome),
        _ => Err(LinkError::Protocol(
            "the collector's first word was not a welcome",
        )),
    }
}

/// A collector that knows newer event keys than are here, or others, has heard of this host since: the state directory is an old
/// copy, or was copied to another machine that goes on. What is sealed here is kept apart.
fn note_older_state(uplink: &Uplink, welcome: &v1::Welcome) {
    let known_epoch = welcome.known_epoch;
    let mut status = uplink.health.status();
    if known_epoch <= status.epoch && welcome.branch.is_empty() {
        status.link_note.clear();
        return;
    }
    OLDER_STATE.clone_into(&mut status.link_note);
    let epoch = status.epoch;
    drop(status);
    tracing::error!(epoch, known_epoch, "{OLDER_STATE}");
}

/// What the collector has already need not be sent again.
fn take_acks(uplink: &Uplink, welcome: &v1::Welcome) {
    for ack in &welcome.acks {
        let class = Class::from_wire(ack.class);
        if let (Ok(stream), Some(class)) = (StreamId::from_slice(&ack.stream), class) {
            uplink.store.ack(stream, class, ack.durable_seq);
        }
    }
}

fn hello(uplink: &Uplink) -> v1::Hello {
    let newest = epoch::newest(&uplink.successions, HELLO_SUCCESSIONS);
    let newest = newest.unwrap_or_else(|error| {
        tracing::warn!(
            reason = crate::failure::chain(&error),
            "successions cannot be read"
        );
        None
    });
    let status = uplink.health.status();
    let (epoch, key_id, successions) = match newest {
        Some((epoch, name, successions)) => (epoch, name.as_bytes().to_vec(), successions),
        None => (status.epoch, Vec::new(), Vec::new()),
    };
    v1::Hello {
        key_id,
        successions,
        facts: Some(facts::facts()),
        stream: uplink.stream.as_bytes().to_vec(),
        boot_id: crate::clock::boot_id().as_bytes().to_vec(),
        epoch,
        host_epoch: uplink.host_epoch,
        sensor: Some(status.sensor.clone().into()),
        trust_version: uplink.trust.borrow().version,
        content: uplink.contents.versions(),
        prior: uplink.fleet.number(),
    }
}

async fn beat(
    uplink: &Uplink,
    frames: &mpsc::Sender<v1::AgentFrame>,
) -> Result<Infallible, LinkError> {
    let mut trust = uplink.trust.clone();
    trust.mark_unchanged();
    let mut content = uplink.contents.told();
    content.mark_changed();
    loop {
        send(frames, ToCollector::Heartbeat(heartbeat(uplink))).await?;
        let next = tokio::time::Instant::now() + HEARTBEAT;
        while let Ok(news) =
            tokio::time::timeout_at(next, news(uplink, &mut trust, &mut content)).await
        {
            for frame in news {
                send(frames, frame).await?;
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

/// What there is to tell about trust and content, once it changed, and what the fleet may know.
async fn news(
    uplink: &Uplink,
    trust: &mut watch::Receiver<Told>,
    content: &mut watch::Receiver<Vec<v1::ContentAck>>,
) -> Vec<ToCollector> {
    tokio::select! {
        Ok(()) = trust.changed() => {
            let Told { version, refused } = trust.borrow_and_update().clone();
            vec![ToCollector::Trust(v1::TrustAck { version, refused })]
        }
        Ok(()) = content.changed() => {
            let acks = content.borrow_and_update().clone();
            acks.into_iter().map(ToCollector::Content).collect()
        }
        sketch = uplink.fleet.next_sketch() => vec![ToCollector::Sketch(sketch)],
    }
}

fn heartbeat(uplink: &Uplink) -> v1::Heartbeat {
    let status = uplink.health.status();
    v1::Heartbeat {
        classes: status
            .transport
            .iter()
            .take(MAX_LINES)
            .map(|line| v1::ClassLedger {
                stream: line.stream.as_bytes().to_vec(),
                class: line.class.to_wire(),
                numbered: line.numbered,
                spooled: line.spooled,
                gaps: line.gaps,
                durable_seq: line.durable_seq,
            })
            .collect(),
        kinds: status.kinds.iter().map(|line| (*line).into()).collect(),
        spool_bytes: status.spool_bytes,
        spool_quota_bytes: status.spool_quota,
        resident_bytes: crate::health::resident_bytes(),
        sensor: Some(status.sensor.clone().into()),
    }
}

const OLDER_STATE: &str = "this state directory is an old copy, or was copied to another machine: its events are kept apart and marked, and no commands come, until an operator decides which is the host; else enrol again in a new directory";

/// Lines of the ledger that one heartbeat carries; this run's come first.
const MAX_LINES: usize = 64;

async fn send(frames: &mpsc::Sender<v1::AgentFrame>, frame: ToCollector) -> Result<(), LinkError> {
    let sent = frames.send(v1::AgentFrame { frame: Some(frame) }).await;
    sent.map_err(|_closed| LinkError::Protocol("the session is closed"))
}

async fn listen(
    uplink: &Uplink,
    session: &mut Streaming<v1::CollectorFrame>,
    offers: &mpsc::Sender<v1::ContentOffer>,
) -> Result<Infallible, LinkError> {
    while let Some(frame) = session.message().await? {
        match frame.frame {
            Some(FromCollector::Command(command)) => {
                hand_over(uplink, Asked::Command(command, None)).await?;
            }
            Some(FromCollector::Started(started)) => {
                let command = started.command.unwrap_or_default();
                hand_over(uplink, Asked::Command(command, started.start)).await?;
            }
            Some(FromCollector::TrustRoot(root)) => {
                hand_over(uplink, Asked::TrustRoot(root)).await?;
            }
            Some(FromCollector::Content(content)) => {
                hand_over(uplink, Asked::Content(content)).await?;
            }
            Some(FromCollector::Offer(offer)) => {
                let waits = offers.send(offer).await;
                waits.map_err(|_ended| LinkError::Protocol("nothing is fetched any more"))?;
            }
            Some(FromCollector::Prior(prior)) => uplink.fleet.hear_prior(&prior),
            Some(FromCollector::Checkpoint(hash)) => uplink.store.hear_checkpoint(&hash),
            // A second welcome says nothing new; an unknown frame is of a newer version.
            Some(FromCollector::Welcome(_)) | None => {}
        }
    }
    Err(LinkError::Protocol("the collector ended the session"))
}

pub(super) async fn hand_over(uplink: &Uplink, asked: Asked) -> Result<(), LinkError> {
    let taken = uplink.commands.send(asked).await;
    taken.map_err(|_ended| LinkError::Protocol("the responder has ended"))
}

/// Renews the certificate at half of its life.
async fn renew(
    uplink: &Uplink,
    mut client: AgentClient<Channel>,
    certificate: Certificate,
) -> Result<Infallible, LinkError> {
    if let Some(validity) = Validity::of(&certificate) {
        tokio::time::sleep(validity.until_half(uplink.clock.now())).await;
    }
    loop {
        let current = Certificate {
            key: certificate.key.clone(),
            chain: certificate.chain.clone(),
        };
        let renewed = certificate::renew(uplink, &mut client, current);
        match tokio::time::timeout(RENEW_WAIT, renewed).await {
            Ok(Ok(())) => return Err(LinkError::Renewed),
            Err(_elapsed) => tracing::warn!("certificate not renewed: no answer"),
            Ok(Err(error)) => {
                tracing::warn!(
                    reason = crate::failure::chain(&error),
                    "certificate not renewed"
                );
            }
        }
        tokio::time::sleep(RENEW_AGAIN).await;
    }
}
