//! One simulation from its beginning to its proof: enrol, come up, load, storm, end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fleet::{Barracks, Fleet};
use super::orders::Pace;
use super::proof::Proof;
use super::site::{Site, Used};
use super::tally::{Counts, Spread};
use super::{Options, place_of, usage};
use crate::failure::Failure;
use crate::wait;

/// A collector with all agents connected to it.
pub struct Play {
    site: Site,
    fleet: Fleet,
    agents: u64,
    standing: Standing,
}

/// What it took to get all agents connected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// How many agents.
    pub agents: u64,
    /// Files that each process may open.
    pub files: u64,
    /// Seconds that the enrolment of all took.
    pub enrolment_s: f64,
    /// Seconds from the first connection to the last agent's first ack.
    pub connecting_s: f64,
    /// The collector's resident memory with all hosts enrolled and none connected, in KiB.
    pub enrolled_kib: Option<u64>,
    /// The same with all connected, each with a batch acknowledged.
    pub connected_kib: Option<u64>,
}

/// What a load came to, over a span in which it was steady.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// How long, in seconds.
    pub seconds: f64,
    /// Events sent.
    pub events_sent: u64,
    /// Events acknowledged as durable.
    pub events_acked: u64,
    /// Batches acknowledged as durable.
    pub batches_acked: u64,
    /// Bytes of headers and payloads sent, compressed.
    pub bytes_sent: u64,
    /// From when a batch was due to its ack.
    pub spread: Spread,
    /// Seconds of processor time of the collector.
    pub collector_cpu: Option<f64>,
    /// Seconds of processor time of all simulated agents.
    pub sim_cpu: f64,
}

/// What a reconnect storm came to.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// Seconds from the cut until each agent had a new batch acknowledged.
    pub seconds: f64,
    /// What agents met meanwhile, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Handshakes that failed at the collector meanwhile.
    pub handshakes_failed: Option<u64>,
    /// Warnings and errors that the collector logged meanwhile.
    pub complaints: Option<u64>,
}

/// How it all ended.
#[derive(Debug)]
pub struct End {
    /// What was acknowledged and what is stored.
    pub proof: Proof,
    /// What agents met, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were made.
    pub connections: u64,
    /// The collector's resident memory at the end, in KiB.
    pub resident_kib: Option<u64>,
    /// Batches that came to the collector again.
    pub redelivered: Option<u64>,
    /// Warnings and errors that the collector logged.
    pub complaints: Option<Vec<String>>,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play")
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

impl Play {
    /// Starts or finds the collector, enrols all agents and connects them.
    pub fn begin(options: &Options) -> Result<Self, Failure> {
        let agents = options.agents.max(1);
        let wanted = agents as u64 + SPARE_FILES;
        let files = usage::allow_files(wanted);
        if files < wanted {
            let text =
                format!("{agents} agents need {wanted} open files, this user may have {files}");
            return Err(place_of("the limit of open files", &text));
        }
        let site = match options.given.clone() {
            None => Site::own(options.approver)?,
            Some(given) => Site::given(given)?,
        };
        let barracks = Barracks::fill(&site, agents, options.seed)?;
        let enrolment = barracks.took;
        let enrolled = site.used()?;
        let began = Instant::now();
        let fleet = barracks.march(options.batch.max(1), EPOCH)?;
        fleet.wait_for_all(CONNECT_LIMIT)?;
        let connecting = began.elapsed();
        let connected = site.used()?;
        let kib = |used: Used| used.resident_kib;
        Ok(Self {
            site,
            fleet,
            agents: agents as u64,
            standing: Standing {
                agents: agents as u64,
                files,
                enrolment_s: enrolment.as_secs_f64(),
                connecting_s: connecting.as_secs_f64(),
                enrolled_kib: enrolled.map(kib),
                connected_kib: connected.map(kib),
            },
        })
    }

    pub(super) const fn site(&self) -> &Site {
        &self.site
    }

    /// How it began.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// How it began, for people.
    pub fn beginning(&self) -> String {
        let Standing {
            agents,
            enrolment_s,
            connecting_s,
            ..
        } = self.standing;
        format!(
            "{agents} agents: enrolled in {enrolment_s:.1} s, connected and acknowledged in {connecting_s:.1} s"
        )
    }

    /// All make events at this pace; after `warm` it is measured for `time`. Ends when everything is acknowledged.
    pub(crate) fn load(&self, pace: Pace, warm: Duration, time: Duration) -> Result<Load, Failure> {
        self.fleet.pace(pace);
        rest(warm)?;
        let before = self.moment()?;
        self.fleet.tally().watch();
        rest(time)?;
        let spread = self.fleet.tally().spread();
        let after = self.moment()?;
        self.fleet.pace(Pace::Rest);
        self.fleet.drain(DRAIN_LIMIT)?;
        Ok(Load::between(&before, &after, spread))
    }

    /// The collector's resident memory after agents did nothing but beat for a while, in KiB.
    pub fn resident_after_rest(&self, time: Duration) -> Result<Option<u64>, Failure> {
        rest(time)?;
        Ok(self.site.used()?.map(|used| used.resident_kib))
    }

    /// Cuts all connections at once and waits until each agent has a new batch acknowledged.
    pub fn storm(&mut self) -> Result<Storm, Failure> {
        let errors = self.fleet.tally().errors();
        let failed = self.site.figure(HANDSHAKES_FAILED)?;
        let complaints = self.site.complaints();
        let began = Instant::now();
        self.fleet.cut();
        self.fleet.wait_for_all(CONNECT_LIMIT)?;
        let seconds = began.elapsed().as_secs_f64();
        let failed_now = self.site.figure(HANDSHAKES_FAILED)?;
        let complaints_now = self.site.complaints();
        let count = |lines: Option<Vec<String>>| lines.map(|lines| lines.len() as u64);
        Ok(Storm {
            seconds,
            errors: more(&errors, self.fleet.tally().errors()),
            handshakes_failed: difference(failed, failed_now),
            complaints: difference(count(complaints), count(complaints_now)),
        })
    }

    /// Ends all runs, and proves what became of their events.
    pub fn end(mut self) -> Result<End, Failure> {
        let errors = self.fleet.tally().errors();
        let connections = self.fleet.tally().counts().connections;
        let hosts = self.fleet.end(END_LIMIT)?;
        let resident_kib = self.site.used()?.map(|used| used.resident_kib);
        let redelivered = self.site.figure(DUPLICATES)?;
        let complaints = self.site.complaints();
        debug_assert_eq!(hosts.len() as u64, self.agents, "no agent is lost");
        let proof = Proof::of(&mut self.site, &hosts)?;
        Ok(End {
            proof,
            errors,
            connections,
            resident_kib,
            redelivered,
            complaints,
        })
    }

    fn moment(&self) -> Result<Moment, Failure> {
        Ok(Moment {
            at: Instant::now(),
            counts: self.fleet.tally().counts(),
            collector_cpu: self.site.used()?.map(|used| used.cpu),
            sim_cpu: usage::cpu(std::process::id())?.as_secs_f64(),
        })
    }
}

/// Everything that a load is measured by.
struct Moment {
    at: Instant,
    counts: Counts,
    collector_cpu: Option<f64>,
    sim_cpu: f64,
}

impl Load {
    fn between(before: &Moment, after: &Moment, spread: Spread) -> Self {
        let of =
            |count: fn(&Counts) -> u64| count(&after.counts).saturating_sub(count(&before.counts));
        Self {
            seconds: after.at.duration_since(before.at).as_secs_f64(),
            events_sent: of(|counts| counts.events_sent),
            events_acked: of(|counts| counts.events_acked),
            batches_acked: of(|counts| counts.batches_acked),
            bytes_sent: of(|counts| counts.bytes_sent),
            spread,
            collector_cpu: after
                .collector_cpu
                .zip(before.collector_cpu)
                .map(|(after, before)| after - before),
            sim_cpu: after.sim_cpu - before.sim_cpu,
        }
    }

    /// Events made durable, a second.
    pub fn events_per_s(&self) -> f64 {
        ratio(self.events_acked, self.seconds)
    }

    /// Events in a batch, on average.
    pub fn events_per_batch(&self) -> f64 {
        float(self.events_acked) / float(self.batches_acked).max(1.0)
    }

    /// Bytes of an event on the wire, its share of the header included.
    pub fn bytes_per_event(&self) -> f64 {
        float(self.bytes_sent) / float(self.events_sent).max(1.0)
    }

    /// Microseconds of the collector's processor time for each event.
    pub fn collector_us(&self) -> Option<f64> {
        let cpu = self.collector_cpu?;
        Some(cpu * 1e6 / float(self.events_acked).max(1.0))
    }

    /// Microseconds of the simulation's processor time for each event.
    pub fn sim_us(&self) -> f64 {
        self.sim_cpu * 1e6 / float(self.events_acked).max(1.0)
    }
}

impl Standing {
    /// KiB of the collector's memory for each connected agent.
    pub fn kib_per_agent(&self) -> Option<f64> {
        let (before, after) = (self.enrolled_kib?, self.connected_kib?);
        Some(float(after.saturating_sub(before)) / float(self.agents).max(1.0))
    }

    /// Handshakes a second while all connected for the first time.
    pub fn handshakes_per_s(&self) -> f64 {
        ratio(self.agents, self.connecting_s)
    }
}

impl End {
    /// Fails if an acknowledged event is missing, anything is stored twice or a book does not balance.
    pub fn must_hold(&self) -> Result<(), Failure> {
        if self.proof.holds() {
            return Ok(());
        }
        Err(place_of(
            "the collector's store",
            &format!("{:?}", self.proof),
        ))
    }
}

fn rest(time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if wait::interrupted() {
            return Err(Failure::TooLate("the simulation".to_owned()));
        }
        let left = end.saturating_duration_since(Instant::now());
        wait::pause(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

fn more(before: &BTreeMap<String, u64>, after: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.into_iter().map(|(kind, count)| {
        let before = before.get(&kind).copied().unwrap_or_default();
        (kind, count.saturating_sub(before))
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

fn ratio(count: u64, seconds: f64) -> f64 {
    float(count) / seconds.max(0.001)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events stay far below 2^52"
)]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

const HANDSHAKES_FAILED: &str = "picket_handshakes_failed_total";
const DUPLICATES: &str = "picket_ingest_duplicates_total";

/// Descriptors beside those of the connections.
const SPARE_FILES: u64 = 256;

/// How long an epoch key is used; a real agent has an hour.
const EPOCH: Duration = Duration::from_mins(1);

const CONNECT_LIMIT: Duration = Duration::from_mins(10);
const DRAIN_LIMIT: Duration = Duration::from_mins(2);
const END_LIMIT: Duration = Duration::from_mins(5);
