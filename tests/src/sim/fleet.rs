//! All simulated agents, commanded from outside: come up, send, be cut off, come to an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_event::trust::TrustRoot;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::host::{Enrolled, Host};
use super::link::{Agent, Shared};
use super::orders::{Orders, Pace};
use super::site::Site;
use super::tally::Tally;
use super::world::World;
use super::{enrol, place_of};
use crate::failure::Failure;
use crate::wait;

/// The agents and the runtime that they live in.
pub(super) struct Fleet {
    agents: JoinSet<Host>,
    orders: watch::Sender<Orders>,
    shared: Arc<Shared>,
    size: u64,
    runtime: Runtime,
}

/// Enrolled hosts that do not run yet.
pub(super) struct Barracks {
    hosts: Vec<Enrolled>,
    trust: Arc<TrustRoot>,
    shared: Arc<Shared>,
    runtime: Runtime,
    seed: u64,
    /// How long the enrolment of them all took.
    pub(super) took: Duration,
}

impl Barracks {
    /// Enrols `count` hosts.
    pub(super) fn fill(site: &Site, count: usize, seed: u64) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| Failure::Run {
            what: "the simulated agents".to_owned(),
            source,
        })?;
        let began = Instant::now();
        let token = site.token(count)?;
        let address = site.agents.clone();
        let (ca, trust, hosts) = runtime.block_on(async {
            let anchors = enrol::anchors(&address, &token).await;
            let (ca, trust) =
                anchors.map_err(|trouble| place_of("the collector's anchors", &trouble.chain()))?;
            let gate = enrol::Gate {
                address,
                token,
                ca: Arc::clone(&ca),
            };
            Ok::<_, Failure>((ca, trust, enrol::many(gate, count).await?))
        })?;
        let shared = Arc::new(Shared {
            address: site.agents.clone(),
            ca,
            world: World::new(seed),
            tally: Tally::default(),
            first: Semaphore::new(FIRST_AT_ONCE),
        });
        Ok(Self {
            hosts,
            trust,
            shared,
            runtime,
            seed,
            took: began.elapsed(),
        })
    }

    /// Every host begins a run. None makes events but those that a call asks for.
    pub(super) fn march(self, batch: usize, epoch_lasts: Duration) -> Result<Fleet, Failure> {
        let (orders, told) = watch::channel(Orders {
            pace: Pace::Rest,
            batch,
            cut: 0,
            call: 1,
            end: false,
        });
        let size = self.hosts.len() as u64;
        let mut agents = JoinSet::new();
        for (number, enrolled) in (0..).zip(self.hosts) {
            let seed = self.seed.wrapping_mul(0x1_0000_01b3).wrapping_add(number);
            let host = Host::begin(enrolled, Arc::clone(&self.trust), seed, epoch_lasts);
            let host = host.map_err(|source| Failure::Run {
                what: "a simulated host".to_owned(),
                source,
            })?;
            let agent = Agent::new(host, Arc::clone(&self.shared), told.clone(), seed ^ 0x5eed);
            agents.spawn_on(agent.live(), self.runtime.handle());
        }
        Ok(Fleet {
            agents,
            orders,
            shared: self.shared,
            size,
            runtime: self.runtime,
        })
    }
}

impl Fleet {
    pub(super) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Waits until every agent has seen a batch of its own acknowledged since the latest call.
    pub(super) fn wait_for_all(&self, limit: Duration) -> Result<(), Failure> {
        let what = format!("an acknowledged batch of each of {} agents", self.size);
        wait::until(&what, limit, || {
            Ok((self.tally().proved() >= self.size).then_some(()))
        })
        .map_err(|late| self.explained(late))
    }

    /// From now on all make events like this.
    pub(super) fn pace(&self, pace: Pace) {
        self.orders.send_modify(|orders| orders.pace = pace);
    }

    /// Waits until everything that was made is acknowledged. Nobody may be making more.
    pub(super) fn drain(&self, limit: Duration) -> Result<(), Failure> {
        wait::until("the last acks", limit, || {
            Ok((self.tally().waiting() == 0).then_some(()))
        })
        .map_err(|late| self.explained(late))
    }

    /// Cuts every connection, and asks each agent for a new batch.
    pub(super) fn cut(&self) {
        self.tally().prove_again();
        self.orders.send_modify(|orders| {
            orders.cut += 1;
            orders.call += 1;
        });
    }

    /// Ends the runs once everything is acknowledged, and gives the hosts with their books.
    pub(super) fn end(mut self, limit: Duration) -> Result<Vec<Host>, Failure> {
        self.orders.send_modify(|orders| {
            orders.pace = Pace::Rest;
            orders.end = true;
        });
        let mut hosts = Vec::with_capacity(self.agents.len());
        let ended = self.runtime.block_on(async {
            let all = async {
                while let Some(ended) = self.agents.join_next().await {
                    hosts.push(ended.map_err(|_panic| place_of("a simulated agent", "it broke"))?);
                }
                Ok(())
            };
            let late = |_elapsed| Failure::TooLate("the end of all simulated agents".to_owned());
            tokio::time::timeout(limit, all).await.map_err(late)?
        });
        ended.map_err(|late| self.explained(late))?;
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(hosts)
    }

    /// What did not happen in time, with what the agents met.
    fn explained(&self, late: Failure) -> Failure {
        let errors = self.tally().errors();
        if errors.is_empty() {
            return late;
        }
        let met = errors
            .iter()
            .map(|(kind, count)| format!("{kind} ({count})"));
        place_of(&late.to_string(), &met.collect::<Vec<_>>().join(", "))
    }
}

/// First connections under way at once.
const FIRST_AT_ONCE: usize = 64;
