//! The life of one simulated agent: connect, say hello, send batches, take acks, beat; after a break, again.
//!
//! Over the wire it does what an agent does: one TLS 1.3 connection with its own certificate, a session and one
//! call for batches, credit in bytes, successions before the first batch of an epoch, a heartbeat every five seconds.
//!
//! # Invariants
//!
//! - Batches go in order; answers come in the order of the batches.
//! - What was not acknowledged goes again over the next connection, and nothing is counted as acknowledged twice.
//! - Before each connection but the first the agent waits as a real one does: half a second and up to half of that
//!   more, twice as long after each failure, at most a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_event::{Class, StreamId};
use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as ToCollector;
use picket_proto::v1::collector_frame::Frame as FromCollector;
use picket_rpc::channel::connect;
use picket_rpc::tls::client_config;
use picket_rpc::v1::agent_client::AgentClient;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::Trouble;
use super::dice::Dice;
use super::host::{Host, Waiting};
use super::orders::{Orders, Pace, time_of};
use super::tally::Tally;
use super::world::World;

/// What all agents share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: String,
    pub(super) ca: Arc<[u8]>,
    pub(super) world: World,
    pub(super) tally: Tally,
    /// First connections under way, so that a fleet comes up as fast as it is let in and not as a storm.
    pub(super) first: Semaphore,
}

/// One agent.
pub(super) struct Agent {
    pub(super) host: Host,
    shared: Arc<Shared>,
    orders: watch::Receiver<Orders>,
    dice: Dice,
    cut: u64,
    call: u64,
    /// The call whose batch is under way, with the number behind it and its class.
    calling: Option<(Class, u64)>,
    next_due: Option<Instant>,
    failures: u32,
}

/// How a connection ended that did not break.
enum End {
    Cut,
    Done,
}

/// One open connection.
struct Line {
    frames: mpsc::Sender<v1::AgentFrame>,
    session: Streaming<v1::CollectorFrame>,
    batches: mpsc::Sender<v1::SignedBatch>,
    acks: Streaming<v1::EventAck>,
    known_epoch: u64,
    credit: u64,
    sent: usize,
    bytes_under_way: u64,
}

impl Agent {
    pub(super) fn new(
        host: Host,
        shared: Arc<Shared>,
        orders: watch::Receiver<Orders>,
        seed: u64,
    ) -> Self {
        let cut = orders.borrow().cut;
        Self {
            host,
            shared,
            orders,
            dice: Dice::new(seed),
            cut,
            call: 0,
            calling: None,
            next_due: None,
            failures: 0,
        }
    }

    /// Runs until it is told to end and everything is acknowledged. Gives the host with its books.
    pub(super) async fn live(mut self) -> Host {
        let mut first = true;
        loop {
            if !first {
                tokio::time::sleep(self.backoff()).await;
            }
            let ended = self.connection(first).await;
            first = false;
            match ended {
                Ok(End::Done) => return self.host,
                Ok(End::Cut) => self.failures = 0,
                Err(trouble) => {
                    self.shared.tally.error(trouble.kind());
                    if self.orders.borrow().end && self.failures >= GIVE_UP {
                        return self.host;
                    }
                }
            }
        }
    }

    /// As the agent's own: see `agent/src/uplink/backoff.rs`.
    fn backoff(&mut self) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        let base = doubled.min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let more = base.mul_f64(f64::from(self.dice.small(1_000)) / 2_000.0);
        base + more
    }

    async fn connection(&mut self, first: bool) -> Result<End, Trouble> {
        self.cut = self.orders.borrow_and_update().cut;
        let mut line = {
            let shared = Arc::clone(&self.shared);
            let _turn = if first {
                Some(shared.first.acquire().await?)
            } else {
                None
            };
            self.open().await?
        };
        self.failures = 0;
        self.shared.tally.session_began();
        let ended = self.hold(&mut line).await;
        if matches!(ended, Ok(End::Done)) {
            self.close(line).await?;
        }
        ended
    }

    async fn open(&mut self) -> Result<Line, Trouble> {
        let identity = self.host.papers.identity();
        let config = client_config(&self.shared.ca, Some(identity))?;
        let channel = connect(&self.shared.address, config).await?;
        let mut client = AgentClient::new(channel);
        let (frames, outgoing) = mpsc::channel(FRAMES);
        send(&frames, ToCollector::Hello(self.host.hello())).await?;
        let opened =
            tokio::time::timeout(WELCOME_WAIT, client.session(ReceiverStream::new(outgoing)));
        let mut session = opened.await.map_err(late)??.into_inner();
        let welcome = tokio::time::timeout(WELCOME_WAIT, session.message());
        let first = welcome.await.map_err(late)??;
        let Some(FromCollector::Welcome(welcome)) = first.and_then(|first| first.frame) else {
            return Err(Trouble::Protocol("the first word was not a welcome"));
        };
        for ack in &welcome.acks {
            self.learn(ack);
        }
        self.forget_durable();
        let (batches, outgoing) = mpsc::channel(QUEUE);
        let opened = client.events(Request::new(ReceiverStream::new(outgoing)));
        let opened = tokio::time::timeout(WELCOME_WAIT, opened);
        Ok(Line {
            frames,
            session,
            batches,
            acks: opened.await.map_err(late)??.into_inner(),
            known_epoch: welcome.known_epoch,
            credit: FIRST_CREDIT,
            sent: 0,
            bytes_under_way: 0,
        })
    }

    /// Sends and listens until the connection breaks, is cut, or the agent's work is done.
    async fn hold(&mut self, line: &mut Line) -> Result<End, Trouble> {
        // Spread, so that a fleet does not beat in step.
        let begin = tokio::time::Instant::now()
            + HEARTBEAT.mul_f64(f64::from(self.dice.small(1_000)) / 1_000.0);
        let mut beat = tokio::time::interval_at(begin, HEARTBEAT);
        loop {
            let orders = *self.orders.borrow_and_update();
            if orders.cut != self.cut {
                return Ok(End::Cut);
            }
            self.make(orders, line.sent)?;
            if orders.end && self.host.waiting.is_empty() {
                return Ok(End::Done);
            }
            let may_send = line.sent < self.host.waiting.len()
                && line.sent < MAX_UNDER_WAY
                && line.bytes_under_way < line.credit;
            let due = self.next_due.filter(|_| orders.pace != Pace::Rest);
            let overdue = self.host.waiting.front().filter(|_| line.sent > 0);
            let overdue = overdue.map_or_else(Instant::now, |front| front.sent) + ANSWER_WAIT;
            tokio::select! {
                biased;
                ack = line.acks.message() => {
                    let ack = ack?.ok_or(Trouble::Protocol("the collector ended the batches"))?;
                    self.take(line, &ack)?;
                }
                room = line.batches.clone().reserve_owned(), if may_send => {
                    let room = room.map_err(|_closed| Trouble::Protocol("the batches' stream is closed"))?;
                    self.send_next(line, room);
                }
                () = sleep_until(due), if due.is_some() => {}
                _ = beat.tick() => send(&line.frames, ToCollector::Heartbeat(self.host.heartbeat())).await?,
                word = line.session.message() => {
                    let word = word?.ok_or(Trouble::Protocol("the collector ended the session"))?;
                    self.hear(word)?;
                }
                told = self.orders.changed() => told.map_err(|_gone| Trouble::Protocol("nobody commands any more"))?,
                () = sleep_until(Some(overdue)), if line.sent > 0 => {
                    return Err(Trouble::Protocol("the collector does not answer batches"));
                }
            }
        }
    }

    /// Commands are answered; what else the collector says changes nothing here.
    fn hear(&mut self, word: v1::CollectorFrame) -> Result<(), Trouble> {
        let before = self.host.waiting.len();
        match word.frame {
            Some(FromCollector::Command(signed)) => self.host.obey(&signed, None)?,
            Some(FromCollector::Started(started)) => {
                let signed = started.command.unwrap_or_default();
                self.host.obey(&signed, started.start.as_ref())?;
            }
            _ => {}
        }
        let made = self.host.waiting.len().saturating_sub(before);
        if made > 0 {
            self.shared.tally.made(made as u64);
        }
        Ok(())
    }

    fn send_next(&mut self, line: &mut Line, room: mpsc::OwnedPermit<v1::SignedBatch>) {
        let Some(batch) = self.host.send(line.sent, &mut line.known_epoch) else {
            return;
        };
        self.shared.tally.sent(batch.events, batch.bytes);
        line.bytes_under_way = line.bytes_under_way.saturating_add(batch.bytes);
        drop(room.send(batch.signed));
        line.sent += 1;
    }

    /// Makes what is due. `sent`: how many of the waiting batches are under way.
    fn make(&mut self, orders: Orders, sent: usize) -> Result<(), Trouble> {
        let before = self.host.waiting.len();
        let world = &self.shared.world;
        if orders.call > self.call {
            self.call = orders.call;
            self.host
                .make(world, orders.batch.min(CALL_EVENTS), Instant::now())?;
            self.calling = self
                .host
                .waiting
                .back()
                .map(|last| (last.class, last.seq_end));
        }
        if orders.end {
            self.next_due = None;
        } else {
            match orders.pace {
                Pace::Rest => self.next_due = None,
                Pace::Window(window) => {
                    while self.host.waiting.len() < window.max(1) && self.host.waiting.len() <= sent
                    {
                        self.host.make(world, orders.batch, Instant::now())?;
                    }
                }
                Pace::Rate(rate) => self.keep_up(rate, orders.batch)?,
            }
        }
        let made = self.host.waiting.len().saturating_sub(before);
        if made > 0 {
            self.shared.tally.made(made as u64);
        }
        Ok(())
    }

    /// Makes the batches that are due by now at `rate` events a second.
    fn keep_up(&mut self, rate: f64, batch: usize) -> Result<(), Trouble> {
        let now = Instant::now();
        // Spread over the first interval, so that a fleet does not send in step.
        let first =
            time_of(batch as u64, rate).mul_f64(f64::from(self.dice.small(1_000)) / 1_000.0);
        let mut due = self.next_due.unwrap_or(now + first);
        while due <= now && self.host.waiting.len() < MOST_WAITING {
            let made = self.host.make(&self.shared.world, batch, due)?;
            due += time_of(made, rate);
        }
        self.next_due = Some(due);
        Ok(())
    }

    fn take(&mut self, line: &mut Line, ack: &v1::EventAck) -> Result<(), Trouble> {
        if !ack.refused.is_empty() {
            return Err(Trouble::Refused(ack.refused.clone()));
        }
        if ack.credit_bytes > 0 {
            line.credit = ack.credit_bytes;
        }
        self.learn(ack);
        let front = self.host.waiting.front();
        let bytes = front.map(Waiting::bytes).unwrap_or_default();
        if !front.is_some_and(|front| self.host.is_durable(front)) {
            return Err(Trouble::Protocol(
                "an ack does not cover the batch that it answers",
            ));
        }
        line.bytes_under_way = line.bytes_under_way.saturating_sub(bytes);
        line.sent = line.sent.saturating_sub(1);
        self.forget_front();
        Ok(())
    }

    fn learn(&mut self, ack: &v1::EventAck) {
        let own = StreamId::from_slice(&ack.stream).is_ok_and(|stream| stream == self.host.stream);
        if let (Some(class), true) = (Class::from_wire(ack.class), own) {
            self.host.durable(class, ack.durable_seq);
        }
    }

    /// What the welcome says is durable need not go again.
    fn forget_durable(&mut self) {
        for _ in 0..self.host.waiting.len() {
            let Some(waiting) = self.host.waiting.pop_front() else {
                return;
            };
            if self.host.is_durable(&waiting) {
                self.acked(&waiting);
            } else {
                self.host.waiting.push_back(waiting);
            }
        }
    }

    fn forget_front(&mut self) {
        if let Some(front) = self.host.waiting.pop_front() {
            self.acked(&front);
        }
    }

    fn acked(&mut self, batch: &Waiting) {
        self.shared.tally.acked(batch.events, batch.since.elapsed());
        if self.calling == Some((batch.class, batch.seq_end)) {
            self.calling = None;
            self.shared.tally.answered_call();
        }
    }

    /// Tells the last books, and waits until the collector has heard them.
    async fn close(&mut self, mut line: Line) -> Result<(), Trouble> {
        send(&line.frames, ToCollector::Heartbeat(self.host.heartbeat())).await?;
        drop((line.frames, line.batches));
        let last = tokio::time::timeout(CLOSE_WAIT, async {
            while line.session.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        });
        Ok(last.await.map_err(late)??)
    }
}

async fn send(frames: &mpsc::Sender<v1::AgentFrame>, frame: ToCollector) -> Result<(), Trouble> {
    let sent = frames.send(v1::AgentFrame { frame: Some(frame) }).await;
    sent.map_err(|_closed| Trouble::Protocol("the session is closed"))
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

fn late(_elapsed: tokio::time::error::Elapsed) -> Trouble {
    Trouble::Protocol("the collector took too long")
}

/// As the agent's uplink has them.
const FRAMES: usize = 4;
const QUEUE: usize = 2;
const MAX_UNDER_WAY: usize = 48;
const FIRST_CREDIT: u64 = 1 << 20;
const HEARTBEAT: Duration = Duration::from_secs(5);
const WELCOME_WAIT: Duration = Duration::from_secs(15);
const ANSWER_WAIT: Duration = Duration::from_mins(1);
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

/// How long the last word may take to be heard.
const CLOSE_WAIT: Duration = Duration::from_secs(20);

/// Events in the batch that answers a call, at most.
const CALL_EVENTS: usize = 8;

/// Batches that an agent holds, at most; it then falls behind its rate, which the latencies show.
const MOST_WAITING: usize = 256;

/// Failures in a row after which an agent that was told to end gives up, with batches that nobody acknowledged.
const GIVE_UP: u32 = 8;
