//! Which hosts there are, which of them are connected, and what they said last.
//!
//! # Invariants
//!
//! - A revoked host has no open connection for longer than it takes to tell it why.
//! - A host has at most one session; a newer one takes over. Others that speak for it have theirs beside it.
//! - Everything is bounded by the number of enrolled hosts.

mod lives;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_event::{HostId, StreamId, UnixNanos};
use picket_proto::v1;
use picket_store::{Lineage, SignedBy};
use tokio::sync::watch;

use crate::alarm::Alarm;
use crate::branch::{Branch, Branches, Standing};
use crate::database::hosts::{HostNews, HostRow};
use crate::metrics::Metrics;
use crate::refusal::Refusal;

pub use lives::{Place, Told};

use lives::Lives;

/// All hosts. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Registry {
    hosts: Arc<Mutex<HashMap<HostId, Known>>>,
    closers: Arc<Mutex<Closers>>,
    metrics: Arc<Metrics>,
}

/// What is known of a host now.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name, as it calls itself.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was enrolled.
    pub enrolled: UnixNanos,
    /// What it says about itself.
    pub facts: v1::HostFacts,
    /// Its last heartbeat.
    pub heartbeat: Option<v1::Heartbeat>,
    /// When it was last heard of; 0: never.
    pub last_seen: UnixNanos,
    /// Its state generation.
    pub host_epoch: u64,
    /// Of the trust root that it believes; 0: not heard of yet.
    pub trust_version: u64,
    /// What it said last of each kind of content; none: not heard of yet.
    pub content: Vec<v1::ContentAck>,
    /// What was noticed about it, and when.
    pub alarms: BTreeMap<Alarm, UnixNanos>,
    /// Where its event keys branch off.
    pub branches: Branches,
    /// Its session, and those of others that speak for it.
    lives: Lives,
    /// Runs that said that they are on another machine; the latest ones.
    moved: Vec<StreamId>,
    /// Tells its session that there are commands to look for.
    wake: watch::Sender<u64>,
    events_calls: u32,
    dirty: bool,
}

/// Ends connections for a reason.
pub type Closer = watch::Sender<Option<Refusal>>;

#[derive(Debug, Default)]
struct Closers {
    next: u64,
    /// Of every open connection, with the host it speaks for.
    open: HashMap<u64, (Option<HostId>, Closer)>,
    /// The open connections of each host, the oldest first.
    of_host: HashMap<HostId, Vec<u64>>,
    draining: bool,
}

/// One host's session; ends when it is dropped.
#[derive(Debug)]
pub struct SessionGuard {
    registry: Registry,
    host: HostId,
    number: u64,
}

/// One call that sends events; ends when it is dropped.
#[derive(Debug)]
pub struct EventsGuard {
    registry: Registry,
    host: HostId,
}

/// One open connection; ends when it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard {
    registry: Registry,
    number: u64,
}

impl Registry {
    /// Of these hosts.
    pub fn new(hosts: Vec<HostRow>, metrics: Arc<Metrics>) -> Self {
        let hosts = hosts
            .into_iter()
            .map(|row| (row.id, Known::from(row)))
            .collect();
        Self {
            hosts: Arc::new(Mutex::new(hosts)),
            closers: Arc::default(),
            metrics,
        }
    }

    /// A host was enrolled.
    pub fn enrolled(&self, host: HostRow) {
        self.hosts().insert(host.id, Known::from(host));
    }

    /// An alarm about a host. Whether it is new.
    pub fn raise(&self, host: &HostId, alarm: Alarm, when: UnixNanos) -> bool {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(host) else {
            return false;
        };
        let is_new = !known.alarms.contains_key(&alarm);
        known.alarms.entry(alarm).or_insert(when);
        is_new
    }

    /// Whether the host may connect.
    pub fn admits(&self, host: &HostId) -> Result<(), Refusal> {
        match self.hosts().get(host) {
            None => Err(Refusal::UnknownPeer),
            Some(known) if known.revoked => Err(Refusal::Revoked),
            Some(_) => Ok(()),
        }
    }

    /// What is known of a host.
    pub fn known(&self, host: &HostId) -> Option<Known> {
        self.hosts().get(host).cloned()
    }

    /// A host's name.
    pub fn name(&self, host: &HostId) -> String {
        self.hosts()
            .get(host)
            .map(|known| known.name.clone())
            .unwrap_or_default()
    }

    /// All hosts that `wanted` names: an id, the beginning of one, or a name; empty: all. By name.
    pub fn select(&self, wanted: &str) -> Vec<(HostId, Known)> {
        let hosts = self.hosts();
        let named = |(id, known): &(&HostId, &Known)| names(wanted, id, known);
        let mut found: Vec<_> = hosts
            .iter()
            .filter(named)
            .map(|(id, k)| (*id, k.clone()))
            .collect();
        found.sort_by(|(a_id, a), (b_id, b)| (&a.name, a_id).cmp(&(&b.name, b_id)));
        found
    }

    /// A connection was opened. Its closer will be called when `host` is revoked.
    pub fn connected(
        &self,
        host: Option<HostId>,
    ) -> (ConnectionGuard, watch::Receiver<Option<Refusal>>) {
        let (closer, closing) = watch::channel(None);
        let mut closers = self.closers();
        if closers.draining {
            closer.send_replace(Some(Refusal::ShuttingDown));
        }
        let number = closers.next;
        closers.next = number.wrapping_add(1);
        closers.open.insert(number, (host, closer));
        if let Some(host) = host {
            closers.keep_few(host, number);
        }
        drop(closers);
        self.metrics.connections.inc();
        // The host may have been revoked between the look at it and here.
        if let Some(refusal) = host.and_then(|host| self.admits(&host).err()) {
            self.close_host(host, refusal);
        }
        (
            ConnectionGuard {
                registry: self.clone(),
                number,
            },
            closing,
        )
    }

    /// Begins a session, which takes over from an older one of who speaks.
    pub fn begin_session(
        &self,
        host: HostId,
        (hello, place): (&v1::Hello, Place),
        now: UnixNanos,
    ) -> Option<(SessionGuard, watch::Receiver<u64>)> {
        let mut hosts = self.hosts();
        let known = hosts.get_mut(&host)?;
        let number = known.wake.borrow().wrapping_add(1);
        let was_connected = known.is_connected();
        known.lives.begin(number, place);
        self.count(was_connected, known.is_connected());
        if place.is_host {
            known.host_epoch = hello.host_epoch;
            known.trust_version = hello.trust_version;
            known.take_facts(hello.facts.clone());
            known.heard(now);
        } else {
            let facts = hello.facts.clone();
            known.lives.tell(number, now, |told| told.facts = facts);
        }
        known.wake.send_replace(number);
        let wake = known.wake.subscribe();
        Some((
            SessionGuard {
                registry: self.clone(),
                host,
                number,
            },
            wake,
        ))
    }

    /// Begins a call that sends events, unless the host has too many already.
    pub fn begin_events(&self, host: HostId) -> Result<EventsGuard, Refusal> {
        let mut hosts = self.hosts();
        let known = hosts.get_mut(&host).ok_or(Refusal::UnknownPeer)?;
        let lives = u32::try_from(known.lives.count()).unwrap_or(u32::MAX);
        if known.events_calls >= MAX_EVENTS_CALLS.saturating_mul(lives.max(1)) {
            return Err(Refusal::TooManyCalls);
        }
        known.events_calls += 1;
        Ok(EventsGuard {
            registry: self.clone(),
            host,
        })
    }

    /// A heartbeat came.
    pub fn heartbeat(&self, session: &SessionGuard, heartbeat: v1::Heartbeat, now: UnixNanos) {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(&session.host) else {
            return;
        };
        if known.lives.is_host(session.number) {
            known.heartbeat = Some(heartbeat);
            known.heard(now);
        } else {
            let mut classes = heartbeat.classes;
            classes.truncate(MOST_CLASSES);
            let tell = |told: &mut Told| told.classes = classes;
            known.lives.tell(session.number, now, tell);
        }
    }

    /// By whom a batch may be signed that this key signed, unless its branch was refused.
    pub fn lineage(&self, host: &HostId, by: SignedBy) -> Result<Lineage, Refusal> {
        let hosts = self.hosts();
        let branches = hosts.get(host).map(|known| &known.branches);
        let Some(branches) = branches.filter(|branches| !branches.is_empty()) else {
            return Ok(Lineage::trunk());
        };
        match branches.standing(by) {
            Standing::Refused => Err(Refusal::BranchRefused),
            Standing::Host | Standing::Doubtful => Ok(branches.lineage(by.branch)),
        }
    }

    /// Whose word a key's is.
    pub fn standing(&self, host: &HostId, by: SignedBy) -> Standing {
        let hosts = self.hosts();
        let known = hosts.get(host);
        known.map_or(Standing::Host, |known| known.branches.standing(by))
    }

    /// A run of a host has shown by whose key it speaks.
    pub fn speaks(&self, host: &HostId, stream: StreamId, by: SignedBy) {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(host).filter(|it| !it.branches.is_empty()) else {
            return;
        };
        let is_host = known.branches.standing(by) == Standing::Host;
        let was_connected = known.is_connected();
        known.lives.speaks(stream, by, is_host);
        self.count(was_connected, known.is_connected());
    }

    /// Where the keys of a host branch off; `None`: nowhere.
    pub fn branches(&self, host: &HostId) -> Option<Branches> {
        let hosts = self.hosts();
        let known = hosts.get(host).filter(|it| !it.branches.is_empty())?;
        Some(known.branches.clone())
    }

    /// The hosts whose keys branch off.
    pub fn branched(&self) -> Vec<(HostId, Branches)> {
        let hosts = self.hosts();
        let branched = hosts.iter().filter(|(_, it)| !it.branches.is_empty());
        branched
            .map(|(id, it)| (*id, it.branches.clone()))
            .collect()
    }

    /// The keys of a host branch off.
    pub fn branches_begun(&self, host: &HostId, begun: Vec<Branch>) {
        if let Some(known) = self.hosts().get_mut(host) {
            known.branches.add(begun);
        }
    }

    /// A run says that it is on another machine than the host was.
    pub fn moved(&self, host: &HostId, stream: StreamId) {
        let mut hosts = self.hosts();
        let Some(known) = hosts.get_mut(host).filter(|it| !it.moved.contains(&stream)) else {
            return;
        };
        if known.moved.len() >= MOST_MOVED {
            known.moved.remove(0);
        }
        known.moved.push(stream);
    }

    /// Whether a run said that it is on another machine than the host was.
    pub fn has_moved(&self, host: &HostId, stream: StreamId) -> bool {
        let hosts = self.hosts();
        hosts.get(host).is_some_and(|it| it.moved.contains(&stream))
    }

    /// An operator decided which branch is the host: all that speak for it begin anew, and its machine is the one that this branch runs on.
    pub fn decided(&self, host: HostId, branches: Branches) {
        if let Some(known) = self.hosts().get_mut(&host) {
            let changed = known.branches.current() != branches.current();
            if changed {
                let told = known.told(branches.current()).facts.unwrap_or_default();
                known.facts.machine_id_hash = told.machine_id_hash;
                known.moved.clear();
                known.dirty = true;
            }
            known.branches = branches;
        }
        self.close_host(Some(host), Refusal::Superseded);
    }

    fn count(&self, was_connected: bool, is_connected: bool) {
        match (was_connected, is_connected) {
            (false, true) => drop(self.metrics.hosts_connected.inc()),
            (true, false) => drop(self.metrics.hosts_connected.dec()),
            (true, true) | (false, false) => {}
        }
    }

    /// The host believes this trust root now.
    pub fn believes(&self, host: &HostId, trust_version: u64) {
        if let Some(known) = self.hosts().get_mut(host) {
            known.trust_version = trust_version;
        }
    }

    /// The host said which content it uses now.
    pub fn uses(&self, host: &HostId, ack: v1::ContentAck) {
        if let Some(known) = self.hosts().get_mut(host) {
            known.content.retain(|one| one.kind != ack.kind);
            known.content.push(ack);
        }
    }

    /// Whether the host's agent said, when it was last heard of, that it takes commands by the root of their hosts.
    pub fn takes_host_sets(&self, host: &HostId) -> bool {
        let hosts = self.hosts();
        hosts
            .get(host)
            .is_some_and(|known| known.facts.takes_host_sets)
    }

    /// Tells the host's session, if it has one, that there is a command for it.
    pub fn wake(&self, host: &HostId) {
        if let Some(known) = self.hosts().get(host) {
            // The number only grows; a session knows its own and the first that is not.
            known.wake.send_modify(|_same| {});
        }
    }

    /// Ends a host's connections, now and from now on.
    pub fn revoke(&self, host: HostId) {
        if let Some(known) = self.hosts().get_mut(&host) {
            known.revoked = true;
        }
        self.close_host(Some(host), Refusal::Revoked);
    }

    /// Ends all connections, now and from now on.
    pub fn drain(&self) {
        let mut closers = self.closers();
        closers.draining = true;
        for (_, closer) in closers.open.values() {
            closer.send_replace(Some(Refusal::ShuttingDown));
        }
    }

    /// What changed since the last time, to be kept.
    pub fn take_news(&self) -> Vec<HostNews> {
        let mut hosts = self.hosts();
        let changed = hosts.iter_mut().filter(|(_, known)| known.dirty);
        changed.map(|(id, known)| known.take_news(*id)).collect()
    }

    fn close_host(&self, host: Option<HostId>, reason: Refusal) {
        let closers = self.closers();
        let numbers = host
            .and_then(|host| closers.of_host.get(&host))
            .into_iter()
            .flatten();
        for (_, closer) in numbers.filter_map(|number| closers.open.get(number)) {
            closer.send_replace(Some(reason));
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Known>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closers(&self) -> MutexGuard<'_, Closers> {
        self.closers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Closers {
    /// A host has few connections; the oldest make room.
    fn keep_few(&mut self, host: HostId, number: u64) {
        let numbers = self.of_host.entry(host).or_default();
        numbers.push(number);
        let oldest = numbers.len().checked_sub(MAX_CONNECTIONS_PER_HOST + 1);
        let oldest = oldest.and_then(|_| numbers.first());
        if let Some((_, closer)) = oldest.and_then(|number| self.open.get(number)) {
            closer.send_replace(Some(Refusal::TooManyCalls));
        }
    }

    fn forget(&mut self, number: u64) {
        let Some((Some(host), _)) = self.open.remove(&number) else {
            return;
        };
        if let Some(numbers) = self.of_host.get_mut(&host) {
            numbers.retain(|open| *open != number);
            if numbers.is_empty() {
                self.of_host.remove(&host);
            }
        }
    }
}

impl Known {
    /// Whether it has a session.
    pub fn is_connected(&self) -> bool {
        self.lives.has_host()
    }

    /// What another branch of its keys said of itself last.
    pub fn told(&self, branch: u32) -> Told {
        self.lives.told(branch)
    }

    fn take_facts(&mut self, facts: Option<v1::HostFacts>) {
        let Some(facts) = facts else {
            return;
        };
        if !facts.hostname.is_empty() {
            self.name = host_name(&facts.hostname);
        }
        self.facts = facts;
    }

    fn heard(&mut self, now: UnixNanos) {
        self.last_seen = now;
        self.dirty = true;
    }

    fn take_news(&mut self, id: HostId) -> HostNews {
        self.dirty = false;
        HostNews {
            id,
            name: self.name.clone(),
            facts: self.facts.clone(),
            heartbeat: self.heartbeat.clone(),
            last_seen: self.last_seen,
            host_epoch: self.host_epoch,
        }
    }
}

impl From<HostRow> for Known {
    fn from(row: HostRow) -> Self {
        Self {
            name: row.name,
            group: row.group,
            revoked: row.revoked,
            enrolled: row.enrolled,
            facts: row.facts,
            heartbeat: row.heartbeat,
            last_seen: row.last_seen,
            host_epoch: row.host_epoch,
            trust_version: 0,
            content: Vec::new(),
            alarms: BTreeMap::new(),
            branches: Branches::default(),
            lives: Lives::default(),
            moved: Vec::new(),
            wake: watch::Sender::new(0),
            events_calls: 0,
            dirty: false,
        }
    }
}

impl SessionGuard {
    /// Whether a newer session took over.
    pub fn is_superseded(&self) -> bool {
        let hosts = self.registry.hosts();
        hosts
            .get(&self.host)
            .is_none_or(|known| !known.lives.holds(self.number))
    }

    /// Whether it is the host's own, and not of another that speaks for it.
    pub fn is_host(&self) -> bool {
        let hosts = self.registry.hosts();
        let known = hosts.get(&self.host);
        known.is_some_and(|known| known.lives.is_host(self.number))
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut hosts = self.registry.hosts();
        if let Some(known) = hosts.get_mut(&self.host)
            && known.lives.holds(self.number)
        {
            let was_connected = known.is_connected();
            known.lives.end(self.number);
            known.dirty = true;
            self.registry.count(was_connected, known.is_connected());
        }
    }
}

impl Drop for EventsGuard {
    fn drop(&mut self) {
        if let Some(known) = self.registry.hosts().get_mut(&self.host) {
            known.events_calls = known.events_calls.saturating_sub(1);
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.registry.closers().forget(self.number);
        self.registry.metrics.connections.dec();
    }
}

/// A host's name as it is shown: what it says, cut to what a name may have.
pub fn host_name(said: &str) -> String {
    let kept = said
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c));
    kept.take(253).collect()
}

fn names(wanted: &str, id: &HostId, known: &Known) -> bool {
    // A host may call itself what it likes, also by another's id: a whole id means that host only.
    if let Ok(whole) = HostId::parse(wanted) {
        return whole == *id;
    }
    let may_begin =
        wanted.len() >= SHORTEST_PREFIX && wanted.bytes().all(|c| c.is_ascii_hexdigit());
    let prefix = may_begin && id.to_string().starts_with(wanted);
    wanted.is_empty() || prefix || known.name == wanted
}

const SHORTEST_PREFIX: usize = 4;

/// Two in use, and two that the host has not noticed to be dead.
const MAX_CONNECTIONS_PER_HOST: usize = 4;

/// Of the ledger of another that speaks for a host, in lines.
const MOST_CLASSES: usize = 64;

/// Runs of one host on other machines that are remembered.
const MOST_MOVED: usize = 8;

/// Two for each session, so that a host may open a new call while the old one is still ending.
const MAX_EVENTS_CALLS: u32 = 2;
